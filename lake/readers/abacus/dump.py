"""MD_dump, the trajectory that ABACUS writes beside running_md.log: the places of the steps, which the log leaves out.

A step of the log is found in it by its forces, which both print: no number of a step needs to be believed.
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
from lake.readers.text_steps import as_floats, lines_after
from schemas.frames import Floats
from schemas.units import BOHR

DUMP_NAME: Final = "MD_dump"
_STEP: Final = re.compile(rb"MDSTEP: +(\d{1,9}) *\n")
_CONSTANT: Final = re.compile(rb"LATTICE_CONSTANT: +(\S+)( Angstrom)? *\nLATTICE_VECTORS *\n")
_TABLE: Final = re.compile(rb"INDEX +LABEL +POSITIONS?( \(Angstrom\))? +FORCE \(eV/Angstrom\)[^\n]*\n")
_RELATIVE: Final = 2e-7
"""The log prints forces with eight digits in all, or ten decimals; the trajectory with twelve decimals."""
_ABSOLUTE: Final = 2e-9


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One step of the trajectory, in Å and eV/Å."""

    step: int
    numbers: NDArray[np.int16]
    cell: Floats
    """(3, 3)"""
    positions: Floats
    """(natoms, 3)"""
    forces: Floats
    """(natoms, 3)"""


def read_dump(text: bytes) -> list[Snapshot]:
    """Return the whole steps of a trajectory; one that is torn is left out."""
    text = text.replace(b"\r", b"")
    starts = [match.start() for match in _STEP.finditer(text)]
    pieces = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    return [snapshot for snapshot in map(_read, pieces) if snapshot is not None]


def find_step(snapshots: Sequence[Snapshot], numbers: NDArray[np.int16], forces: Floats | None, step: int) -> Snapshot | None:
    """Return the one snapshot of these atoms with the forces of a step of the log; of several that of its number, None for none.

    forces is (natoms, 3) in eV/Å as the log prints them, step its 'STEP OF MOLECULAR DYNAMICS', -1 where it has none.
    """
    if forces is None or not bool(np.isfinite(forces).all()):
        return None
    allowed = _ABSOLUTE + _RELATIVE * np.abs(forces)
    found = [each for each in snapshots if np.array_equal(each.numbers, numbers) and bool((np.abs(each.forces - forces) <= allowed).all())]
    if len(found) > 1:
        found = [each for each in found if each.step == step]
    return found[0] if len(found) == 1 else None


def _read(piece: bytes) -> Snapshot | None:
    step, constant, table = _STEP.match(piece), _CONSTANT.search(piece), _TABLE.search(piece)
    vectors = lines_after(piece, constant.end(), 3) if constant else None
    if step is None or constant is None or table is None or vectors is None:
        return None
    unit = number(constant.group(1)) * (1.0 if constant.group(2) else BOHR)
    rows = [line.split() for line in piece[table.end() :].split(b"\n")]
    rows = rows[: next((k for k, row in enumerate(rows) if not row), len(rows))]
    numbers = as_numbers([element_of(row[1].decode("latin-1")) for row in rows if len(row) > 1])
    counted = [row[0] for row in rows] == [b"%d" % k for k in range(len(rows))]
    if numbers is None or not counted or {len(row) for row in rows} not in ({8}, {11}):
        return None
    values = as_floats([field for row in rows for field in row[2:8]]).reshape(-1, 6)
    cell = as_floats(vectors.split()).reshape(-1, 3) * unit
    if cell.shape != (3, 3) or not bool(np.isfinite(cell).all()) or not bool(np.isfinite(values).all()):
        return None
    return Snapshot(int(step.group(1)), numbers, cell, values[:, :3] * (1.0 if table.group(1) else unit), values[:, 3:])
