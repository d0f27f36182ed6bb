"""Tables of places in a Gaussian log, and what the log prints about them a second time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from lake.readers.cross_checks import other_value
from lake.readers.rows import number
from lake.readers.text_steps import as_floats, even_decimals, numbered
from schemas.elements import SYMBOLS
from schemas.frames import Floats
from schemas.units import BOHR

ORIENTATION: Final = re.compile(
    rb"\n +(Input|Standard|Z-Matrix) orientation: *\n -+\n[^\n]*\n[^\n]*\n -+\n((?: +\d+ +-?\d+ +-?\d+ [^\n]*\n)+) -+(?=\n)"
)
_VECTOR: Final = b"-2"
"""The atomic number that a translation vector has in the tables."""
_LENGTHS: Final = re.compile(rb"\n Lengths of translation vectors: +([^\n]*)")
FIELD: Final = re.compile(rb"\n The following finite field\(s\) will be applied:((?:\n An? [^\n]*)+)")
_REPULSION: Final = re.compile(rb" nuclear repulsion energy +(\d+\.\d+) Hartrees\.")
_ALL_ELECTRON: Final = 10
"""The largest atomic number of which no common basis replaces electrons by a potential."""
_REPULSION_TOLERANCE: Final = 2e-3
"""Hartree: what places with six decimals, and Bohr radii of earlier versions, leave open."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """The atoms of a table of places."""

    numbers: tuple[int, ...]
    positions: Floats
    vectors: Floats
    """(k, 3), the translation vectors; none for a molecule."""
    turned: bool
    """In the standard orientation, in which the forces are not printed."""

    def cell(self) -> Floats:
        """Return the cell (3, 3), with rows of zeros where the run is not periodic."""
        return np.vstack([self.vectors, np.zeros((3 - len(self.vectors), 3))])


def read_geometry(table: bytes, *, turned: bool) -> Geometry | None:
    """Return what a table of places holds: the atoms, and behind them three translation vectors at most."""
    rows = [line.split() for line in table.split(b"\n") if line.strip()]
    natoms = next((k for k, row in enumerate(rows) if row[1:2] == [_VECTOR]), len(rows))
    atoms, vectors = rows[:natoms], rows[natoms:]
    if any(len(row) != 6 or not row[1].isdigit() or not 0 < int(row[1]) < len(SYMBOLS) for row in atoms):
        return None
    if not atoms or len(vectors) > 3 or any(len(row) != 6 or row[1] != _VECTOR for row in vectors):
        return None
    places = as_floats([field for row in rows for field in row[3:]]).reshape(-1, 3)
    if not numbered(table.lstrip(b"\n"), len(rows)) or not even_decimals([field for row in rows for field in row[3:]]):
        return None
    if not bool(np.isfinite(places).all()):
        return None
    return Geometry(tuple(int(row[1]) for row in atoms), places[:natoms], places[natoms:], turned)


def contradictions_of(text: bytes, geometry: Geometry | None, *, whole: bool) -> tuple[str, ...]:
    """Return a sentence for each length of a translation vector, and for a repulsion of the nuclei, that is not the geometry's.

    whole says that no potential stands for electrons of the atoms.
    """
    if geometry is None:
        return ()
    return _other_lengths(text, geometry) + (_other_repulsion(text, geometry) if whole else ())


def _other_lengths(text: bytes, geometry: Geometry) -> tuple[str, ...]:
    found = _LENGTHS.findall(text)
    if not found:
        return ()
    pairs = zip(found[-1].split(), np.linalg.norm(geometry.vectors, axis=1).tolist(), strict=False)
    told = (other_value("length of a translation vector", printed, length, 1.0) for printed, length in pairs)
    return tuple(words for words in told if words)


def _other_repulsion(text: bytes, geometry: Geometry) -> tuple[str, ...]:
    """Return a sentence where light nuclei, printed last in a text, repel each other otherwise than the text says: they are of two steps.

    An external field works on the nuclei too.
    """
    found = _REPULSION.findall(text)
    if not found or len(geometry.vectors) or max(geometry.numbers) > _ALL_ELECTRON or len(geometry.numbers) < 2:
        return ()
    if FIELD.search(text):
        return ()
    first, second = np.triu_indices(len(geometry.numbers), 1)
    charges = np.array(geometry.numbers, dtype=np.float64)
    distances = np.linalg.norm(geometry.positions[first] - geometry.positions[second], axis=1)
    own = float(np.sum(charges[first] * charges[second] / np.maximum(distances, 1e-6))) * BOHR
    printed = number(found[-1])
    if abs(printed - own) <= max(_REPULSION_TOLERANCE, 2e-6 * own):
        return ()
    return (f"the repulsion of the nuclei is printed as {printed:g} hartree, and is {own:.6f} of the atoms above",)
