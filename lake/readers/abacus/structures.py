"""STRU_ION1_D and so on, the structures that ABACUS writes beside running_relax.log and running_cell-relax.log with `out_stru`.

STRU_ION1_D is the structure of the second step, for ABACUS writes it when the ions have moved. It has no forces by which a step could be
found, and may be left over from another run in the same folder: who calls asks for the number of the step, the cell, and a proof.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.rows import number
from lake.readers.step_log import as_numbers, element_of
from lake.readers.text_steps import as_floats
from schemas.frames import Floats
from schemas.units import BOHR

STRUCTURE_NAME: Final = re.compile(r"STRU_ION([1-9]\d{0,6})_D\Z")
_SECTION: Final = re.compile(r"[A-Z_]{5,}\Z")
CELL_TOLERANCE: Final = 1e-5
"""Part of the largest component by which the cell of the file and that of the log may differ, for the six digits of the log."""


@dataclass(frozen=True, eq=False)
class Structure:
    """One structure of a relaxation, in Å."""

    numbers: NDArray[np.int16]
    cell: Floats
    """(3, 3)"""
    positions: Floats
    """(natoms, 3)"""


def read_structure(text: bytes) -> Structure | None:
    """Return the structure of a STRU file of ABACUS, or None where it cannot be read as a whole."""
    sections = _sections(text)
    constant = number(" ".join(sections.get("LATTICE_CONSTANT", ["-"])).encode()) * BOHR
    cell = as_floats(" ".join(sections.get("LATTICE_VECTORS", [])).encode().split())
    lines = sections.get("ATOMIC_POSITIONS", [])
    atoms = _atoms(lines[1:]) if lines else None
    if atoms is None or cell.shape != (9,) or not np.isfinite(constant) or not bool(np.isfinite(cell).all()):
        return None
    numbers, places = as_numbers(atoms[0]), atoms[1]
    vectors = cell.reshape(3, 3) * constant
    moved = {"direct": vectors, "cartesian": constant * np.eye(3)}.get(lines[0].lower())
    if numbers is None or moved is None or not bool(np.isfinite(places).all()):
        return None
    return Structure(numbers, vectors, places @ moved)


def same_cell(first: Floats, second: Floats) -> bool:
    """Return whether two cells (3, 3) are one, in the digits that ABACUS's log has; not where one is torn."""
    return bool((np.abs(first - second) <= CELL_TOLERANCE * np.abs(second).max()).all())


def _sections(text: bytes) -> dict[str, list[str]]:
    """Return the lines of each section, without comments and blank lines."""
    found: dict[str, list[str]] = {}
    name = ""
    for raw in text.decode("latin-1").splitlines():
        line = re.split(r"#|//", raw, maxsplit=1)[0].strip()
        if _SECTION.match(line):
            name = line
        elif line:
            found.setdefault(name, []).append(line)
    return found


def _atoms(lines: list[str]) -> tuple[list[str], Floats] | None:
    """Return the elements and places of the blocks 'label, magnetism, count, rows', or None where a row is missing or there is one more."""
    symbols: list[str] = []
    rows: list[bytes] = []
    start = 0
    while start < len(lines):
        head = lines[start : start + 3]
        if len(head) < 3 or not head[2].isdecimal():
            return None
        count = int(head[2])
        block = [line.encode().split() for line in lines[start + 3 : start + 3 + count]]
        if len(block) < count or any(len(row) < 3 for row in block):
            return None
        symbols += [element_of(head[0])] * count
        rows += [field for row in block for field in row[:3]]
        start += 3 + count
    return symbols, as_floats(rows).reshape(-1, 3)
