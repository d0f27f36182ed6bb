"""elk.in, the input of Elk: the geometry of the first step of an optimisation, which no output has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lake.readers.elk.optimisation import Record, is_shifted
from lake.readers.rows import number
from lake.readers.text_steps import Step
from schemas.frames import Floats
from schemas.units import BOHR, HARTREE_PER_BOHR

INPUT: Final = "elk.in"

_STEP_SIZE: Final = 0.25
"""Default of tau0atp (manual of Elk 8.4)."""
_SAME_PLACE: Final = 1e-6
"""Å"""
_OTHER_CELLS: Final = frozenset({"molecule", "primcell"})
"""Blocks with which Elk makes another cell than that of avec."""


@dataclass(frozen=True, eq=False)
class _Input:
    cell: Floats
    """(3, 3) Å"""
    positions: Floats
    """(natoms, 3) Å"""
    step_size: float
    """Bohr² a hartree"""


def first_step(text: bytes, records: Sequence[Record]) -> Step | None:
    """Return the first step of an optimisation, with the geometry of the input, or None where that does not lead to the second.

    The first update moves each atom by tau0atp times its force (routine atptstep), so an input that was edited after the run is told by
    the geometry of the first record. All atoms may be shifted by the same vector: Elk moves the origin to a centre of symmetry.
    """
    given, after = _read_input(text), records[0]
    if given is None or not after.atomic or after.forces is None or given.positions.shape != after.positions.shape:
        return None
    if bool((np.abs(given.cell - after.cell) > _SAME_PLACE).any()) or not bool(np.isfinite(after.forces).all()):
        return None
    before = after.positions - given.step_size * after.forces / HARTREE_PER_BOHR * BOHR
    if not is_shifted(given.positions, before, after.cell):
        return None
    return Step(0, given.cell, given.positions, after.energy, forces=after.forces)


def asks_for_dynamics(text: bytes) -> bool:
    """Return whether an input has one of the tasks of molecular dynamics, 420 and 421."""
    lines = _lines(text)
    start = next((k + 1 for k, line in enumerate(lines) if line[:1] == [b"tasks"]), len(lines))
    end = next((k for k in range(start, len(lines)) if not lines[k]), len(lines))
    return any(line[0] in (b"420", b"421") for line in lines[start:end])


def _lines(text: bytes) -> list[list[bytes]]:
    """Return the words of each line without comments and quotes."""
    return [line.split(b"!", 1)[0].replace(b"'", b" ").split() for line in text.replace(b"\r", b"").split(b"\n")]


def _read_input(text: bytes) -> _Input | None:
    """Return geometry and step size; of a block that comes twice the last holds. None where a part is missing."""
    lines = _lines(text)
    blocks = {line[0].decode("latin-1"): k + 1 for k, line in enumerate(lines) if line}
    if "avec" not in blocks or "atoms" not in blocks or not _OTHER_CELLS.isdisjoint(blocks):
        return None
    scales = [_value(lines, blocks, name, 1.0) for name in ("scale", "scale1", "scale2", "scale3")]
    vectors = _rows(lines, blocks["avec"], 3)
    positions = _positions(lines, blocks["atoms"])
    if vectors is None or positions is None:
        return None
    cell = vectors * scales[0] * np.array(scales[1:])[:, None] * BOHR
    step_size = _value(lines, blocks, "tau0atp", _STEP_SIZE)
    whole = bool(np.isfinite(cell).all() and np.isfinite(positions).all()) and np.isfinite(step_size)
    return _Input(cell, positions @ cell, step_size) if whole else None


def _value(lines: list[list[bytes]], blocks: dict[str, int], name: str, default: float) -> float:
    rows = lines[blocks[name] : blocks[name] + 1] if name in blocks else []
    return _number(rows[0][0]) if rows and rows[0] else default if name not in blocks else float("nan")


def _number(field: bytes) -> float:
    """Return a number as Fortran reads it: 1.d0 is 1."""
    return number(field.lower().replace(b"d", b"e"))


def _rows(lines: list[list[bytes]], start: int, count: int) -> Floats | None:
    """Return the first three numbers of each of some lines, (count, 3)."""
    rows = lines[start : start + count]
    if len(rows) < count or any(len(row) < 3 for row in rows):
        return None
    return np.array([[_number(field) for field in row[:3]] for row in rows]).reshape(count, 3)


def _positions(lines: list[list[bytes]], start: int) -> Floats | None:
    """Return the positions of the block atoms: number of species, then for each its file, number of atoms, and their places."""
    found: list[Floats] = []
    n_species, place = _count(lines, start), start + 1
    for _ in range(n_species):
        natoms = _count(lines, place + 1)
        rows = _rows(lines, place + 2, natoms)
        if natoms == 0 or rows is None:
            return None
        found.append(rows)
        place += 2 + natoms
    return np.concatenate(found) if found else None


def _count(lines: list[list[bytes]], place: int) -> int:
    """Return the small whole number that a line begins with, 0 where it does not."""
    row = lines[place] if place < len(lines) else []
    return int(row[0]) if row and row[0].isdigit() and len(row[0]) < 7 else 0
