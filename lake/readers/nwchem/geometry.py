"""Tables of NWChem's centres: places, gradients and basis sets, with ghosts and point charges told from atoms.

A centre whose tag begins with 'bq' or 'x' is no atom: without a charge it carries basis functions at most, with one it is a point charge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.rows import number
from lake.readers.step_log import as_numbers, element_of
from lake.readers.text_steps import NAN, as_floats, even_decimals, lines_after, numbered
from schemas.elements import NUMBERS
from schemas.frames import Floats
from schemas.units import BOHR, HARTREE_PER_BOHR

_UNIT: Final = re.compile(rb"\n Output coordinates in (angstroms|a\.u\.)")
_NAME: Final = re.compile(rb"\n +Geometry \"([^\"\n]*)\" -> \"([^\"\n]*)\"")
"""Name in the input or for the module, and that in the database where a module prints it."""
_ECHO: Final = re.compile(rb"\n=+ echo of input deck =+\n(.*?)\n={60,}\n", re.S)
_ATOM: Final = re.compile(rb"\n +(\d+) (\S+) +(-?\d+\.\d+) +(-?\d+\.\d+) +(-?\d+\.\d+) +(-?\d+\.\d+) *(?=\n)")
_GRADIENT: Final = re.compile(rb"\n +DFT ENERGY GRADIENTS\n\n +atom +coordinates +gradient\n +x +y +z +x +y +z *\n")


@dataclass(frozen=True, eq=False)
class Geometry:
    """The atoms of one geometry."""

    symbols: list[str]
    positions: Floats
    """(natoms, 3) Å"""
    real: NDArray[np.bool_]
    """(centres,) whether a row of its tables is an atom"""
    charged: bool
    """A centre that is no atom has a charge."""


class Geometries:
    """The geometries of a log by name, and the one that the task in hand has.

    Of several that an input defines, each task has the one that 'set geometry' named before it, not the one that is printed last. Without
    an echo of the input it is not told which one, until a module prints it.
    """

    def __init__(self) -> None:
        self.current: Geometry | None = None
        self._named: dict[bytes, Geometry | None] = {}
        self._tasks: list[bytes] = []
        """Names, by the echo of the input."""
        self._ended = 0
        self._next = (b"", b"")

    def follow(self, piece: bytes) -> None:
        """Take the echo of the input, and the name of the geometry behind a piece, from it."""
        echo, names = _ECHO.search(piece), _NAME.findall(piece)
        if echo is not None and not self._tasks:
            self._tasks = _names_of_tasks(echo.group(1))
        if names:
            self._next = names[-1][0].strip().lower(), names[-1][1].strip().lower()

    def add(self, piece: bytes) -> None:
        """Take the geometry that a piece begins with."""
        given, used = self._next
        geometry = read_geometry(piece)
        self._named[used or given] = geometry
        self.current = geometry if used or len(self._named) == 1 else self._chosen()

    def end_task(self) -> None:
        """Go on to the geometry of the next task."""
        self._ended += 1
        if len(self._named) > 1:
            self.current = self._chosen()

    def _chosen(self) -> Geometry | None:
        return self._named.get(self._tasks[self._ended]) if self._ended < len(self._tasks) else None


def _names_of_tasks(echo: bytes) -> list[bytes]:
    """Return the name of the geometry that each task of an input has."""
    name, found = b"geometry", []
    for line in echo.lower().split(b"\n"):
        words = line.split(b"#", 1)[0].replace(b'"', b" ").split()
        if words[:2] == [b"set", b"geometry"] and len(words) == 3:
            name = words[2]
        elif words[:2] == [b"unset", b"geometry"]:
            name = b"geometry"
        elif words[:1] == [b"task"]:
            found.append(name)
    return found


def read_geometry(text: bytes) -> Geometry | None:
    """Return the geometry that a text begins with, or None where it cannot be read."""
    unit, end = _UNIT.match(text), text.find(b"\n      Atomic Mass")
    rows = _ATOM.findall(text[:end] if end >= 0 else b"")
    symbols = [element_of(row[1].decode("latin-1")) for row in rows]
    charges = [number(row[2]) for row in rows]
    real = np.array([NUMBERS.get(symbol) == charge for symbol, charge in zip(symbols, charges, strict=True)], dtype=bool)
    ghosts = [_dummy(row[1]) for row in rows]
    counted = [row[0] for row in rows] == [b"%d" % k for k in range(1, len(rows) + 1)]
    if unit is None or not counted or not even_decimals([field for row in rows for field in row[3:]]):
        return None
    if not all(is_atom or ghost for is_atom, ghost in zip(real, ghosts, strict=True)):
        return None
    atoms = [symbol for symbol, is_atom in zip(symbols, real, strict=True) if is_atom]
    positions = as_floats([field for row in rows for field in row[3:]]).reshape(-1, 3)[real]
    if as_numbers(atoms) is None or not bool(np.isfinite(positions).all()):
        return None
    charged = any(charge != 0.0 for charge, is_atom in zip(charges, real, strict=True) if not is_atom)
    return Geometry(atoms, positions * (BOHR if unit.group(1) == b"a.u." else 1.0), real, charged)


def read_gradient(text: bytes, real: Sequence[bool] | NDArray[np.bool_]) -> tuple[Floats, Floats] | None:
    """Return places in Å and forces in eV/Å of the atoms of a table of the gradient, NaN where it is torn; real tells its rows of atoms."""
    table, rows, atoms = _GRADIENT.search(text), len(real), np.asarray(real, dtype=bool)
    lines = lines_after(text, table.end(), rows) if table else None
    if table is None:
        return None
    torn = np.full((int(atoms.sum()), 3), NAN)
    if lines is None or not numbered(lines, rows):
        return torn, torn
    fields = [line.split()[2:] for line in lines.split(b"\n")[:rows]]
    if not even_decimals([field for row in fields for field in row]):
        return torn, torn
    values = np.array([as_floats(row) if len(row) == 6 else np.full(6, NAN) for row in fields])[atoms]
    return values[:, :3] * BOHR, values[:, 3:] * -HARTREE_PER_BOHR


def read_basis(table: bytes) -> tuple[tuple[str, str], ...]:
    """Return element and basis set of each row of the summary of a basis, without those of ghosts."""
    rows = [line.decode("latin-1").split() for line in table.split(b"\n") if line.strip() and not _dummy(line.split()[0])]
    found = {(element_of(row[0]), " ".join(row[1:-3])) for row in rows if len(row) >= 5}
    return tuple(sorted(found))


def ghosts_of(table: bytes) -> tuple[tuple[str, str], ...]:
    """Return what a summary of a basis says of ghosts: energies with their functions are of a level of their own."""
    rows = [line.decode("latin-1").split() for line in table.split(b"\n") if line.strip() and _dummy(line.split()[0])]
    return (("ghost_orbitals", ", ".join(f"{row[0]} {' '.join(row[1:-3])}" for row in rows)),) if rows else ()


def _dummy(tag: bytes) -> bool:
    """Return whether a tag is that of a centre that is no atom, as 'bqO' or 'X1'; 'Xe' is one."""
    low = tag.lower()
    return low.startswith(b"bq") or (low.startswith(b"x") and not low.startswith(b"xe"))
