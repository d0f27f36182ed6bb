"""OSZICAR: how the self-consistency cycle of each ionic step went, for outputs of the run that do not tell it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lake.readers.rows import number
from lake.readers.vasp.cycles import Criterion, Judgement
from lake.readers.vasp.frames import StepEnergies

NAME: Final = "OSZICAR"
_LINE: Final = re.compile(rb"^ *(?:[A-Z]{3}: +(\d{1,6}) +\S+ +(\S+) |\d+ [^\n]*?\bF= *(\S+) +E0=)", re.MULTILINE)
"""'DAV:   7    -0.192277426479E+02   -0.11603E-03 ...' of an iteration, '   1 F= -.27043980E+02 E0= ...' of a step."""
_DIGITS: Final = 2e-7
"""Relative; F has eight digits."""


@dataclass(frozen=True)
class Cycle:
    """The cycle of one ionic step."""

    steps: int
    change: float
    """Last change of the total energy, eV."""
    free: float
    """F of the step, eV."""


def read_cycles(text: bytes) -> tuple[Cycle, ...]:
    """Return the cycles of the steps that were ended, in order."""
    found: list[Cycle] = []
    steps, change = 0, float("nan")
    for row, last, free in _LINE.findall(text):
        if row:
            steps, change = int(row), number(last)
        else:
            found.append(Cycle(steps, change, number(free)))
            steps, change = 0, float("nan")
    return tuple(found)


def judged_by(cycles: Sequence[Cycle], energies: Sequence[StepEnergies], criterion: Criterion) -> list[Judgement] | None:
    """Return the verdict on each step, None where the cycles are those of other steps: another count, or another free energy."""
    if len(cycles) != len(energies):
        return None
    if not all(abs(cycle.free - step.free) <= _DIGITS * abs(step.free) for cycle, step in zip(cycles, energies, strict=True)):
        return None
    return [criterion.judge(cycle.steps, cycle.change) for cycle in cycles]
