"""What an OUTCAR prints twice of a step: volume and pressure beside the rows that make them; and in which order its version prints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from lake import native
from lake.readers.anchors import seek_back
from lake.readers.cross_checks import FLAG, cell_volumes, summed_up
from lake.readers.rows import number
from lake.readers.vasp.frames import NAN, StepTable
from lake.readers.vasp.tags import Tags
from schemas.frames import Floats

_NUMBERS: Final = re.compile(rb"vasp\.(\d{1,3})\.(\d{1,3})")
_ENERGIES_LAST: Final = (5, 3)
"""The first version that prints the energies of a step behind its force table."""
_LAST_DIGIT: Final = 0.0101
"""Volume and pressure are printed with two decimals."""

_SHARE: Final = 1e-5
"""Part of a number by which the digits of the rows that make it let it differ."""


def may_begin_with_energies(head: bytes) -> bool:
    """Return whether the version of VASP is one that prints the energies of a step before its force table, or is not known."""
    version = _NUMBERS.search(head)
    return version is None or (int(version[1]), int(version[2])) < _ENERGIES_LAST


def printed_beside(buffer: bytes | bytearray, start: int, end: int) -> tuple[float, float]:
    """Return the last volume (Å³) and external pressure (kB) between two places, NaN for none."""
    return _behind(buffer, b"volume of cell :", start, end), _behind(buffer, b"external pressure =", start, end)


def _behind(buffer: bytes | bytearray, words: bytes, start: int, end: int) -> float:
    place = seek_back(buffer, words, words[:1], start, end)
    fields = bytes(buffer[place + len(words) : place + len(words) + 30]).split(None, 1) if place >= 0 else []
    return number(fields[0]) if fields else NAN


def flag_contradictions(steps: StepTable, cell: Floats, stress: Floats, beside: Sequence[Sequence[float]], tags: Tags) -> tuple[str, ...]:
    """Flag the steps whose printed volume or pressure is not that of cell (n, 3, 3) and stress (n, 6); return notes of them.

    PSTRESS may be taken off the printed pressure or not.
    """
    printed, wanted, found = np.array(beside, dtype=np.float64).reshape(-1, 2), tags.number("PSTRESS", 0.0), []
    if native.outcar_contradicts(cell, stress, printed, wanted, (_LAST_DIGIT, _SHARE)) is False:
        return ()
    values = (("volume of the cell", cell_volumes(cell), 0.0), ("external pressure", stress[:, :3].sum(axis=1) / 3, wanted))
    for column, (what, own, less) in enumerate(values):
        off = np.abs(printed[:, column] - own)
        off = np.minimum(off, np.abs(printed[:, column] + less - own)) if less else off
        for k in map(int, np.flatnonzero(off > _LAST_DIGIT + _SHARE * np.abs(own))):
            steps.flags[k] = (*steps.flags[k], FLAG)
            found.append((steps.steps[k], f"the {what} is printed as {printed[k, column]}, and is {own[k]:.6g} by the rows"))
    return tuple(summed_up(found))
