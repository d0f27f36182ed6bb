"""Numbers that an output prints twice: what a reader took is compared with the other place; a difference is a flag with both values.

Codes print the volume of the cell beside its vectors, the pressure beside the stress, the largest force beside the table: damage of one
of the two, which no row of a table can tell, shows here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np

from lake.readers.rows import number
from lake.readers.text_steps import Step
from schemas.frames import Floats

FLAG: Final = "contradictory_values"
_DIGITS: Final = re.compile(rb"-?\d*(?:\.(\d*))?(?:[EeDd]([-+]?\d{1,3}))?\Z")
_MOST_NOTES: Final = 5


@dataclass(frozen=True)
class CrossCheck:
    """One number that a code prints beside those that are taken."""

    what: str
    """'volume of the cell'"""
    words: bytes
    """Text in front of the number, found faster than the pattern."""
    pattern: re.Pattern[bytes]
    """Begins with the words; its first group is the number."""
    value: Callable[[Step], float]
    """What the step says of it, in eV and Å; NaN where it says nothing."""
    unit: float = 1.0
    """eV and Å in one printed unit."""
    share: float = 2e-4
    """Part of the value by which the two may differ, for the digits that either lost."""
    least: float = 0.0
    """Difference in eV and Å that always passes."""


def cell_volumes(cells: Floats) -> Floats:
    """Return the volumes of cells (..., 3, 3), NaN for one that is torn."""
    return np.asarray(_volume([[cells[..., i, j] for j in range(3)] for i in range(3)]))


def _volume(cell: Any) -> Any:
    """Return the volume of a cell of three times three numbers, or arrays."""
    (a, b, c), (d, e, f), (g, h, i) = cell
    return abs((a * (e * i - f * h) + b * (f * g - d * i)) + c * (d * h - e * g))


def volume(step: Step) -> float:
    """Return the volume of the cell in Å³."""
    return float(_volume(step.cell.tolist()))


def pressure(step: Step) -> float:
    """Return minus a third of the trace of the stress, eV/Å³; NaN without a stress."""
    return float(-np.trace(step.stress)) / 3.0 if step.stress is not None else float("nan")


def largest_component(step: Step) -> float:
    """Return the largest component of a force, eV/Å; NaN without forces."""
    return float(np.abs(step.forces).max()) if step.forces is not None else float("nan")


def largest_force(step: Step) -> float:
    """Return the largest norm of a force, eV/Å; NaN without forces."""
    return float(np.linalg.norm(step.forces, axis=1).max()) if step.forces is not None else float("nan")


def norm_of_forces(step: Step) -> float:
    """Return the norm of all forces together, eV/Å; NaN without forces."""
    return float(np.linalg.norm(step.forces)) if step.forces is not None else float("nan")


def rms_component(step: Step) -> float:
    """Return the root mean square of the components of the forces, eV/Å, which no rotation changes; NaN without forces."""
    return float(np.sqrt(np.mean(step.forces**2))) if step.forces is not None and step.forces.size else float("nan")


def resolution(printed: bytes) -> float:
    """Return one unit of the last digit of a printed number."""
    found = _DIGITS.match(printed.strip())
    if found is None:
        return 0.0
    return float(10.0 ** (int(found[2] or 0) - len(found[1] or b"")))


def differ(printed: bytes, found: float, *, unit: float = 1.0, share: float = 2e-4, least: float = 0.0) -> bool:
    """Return whether a printed number is another one than that found, in the digits that are printed; not where either is no number."""
    value = number(printed.strip()) * unit
    if not isfinite(value) or not isfinite(found):
        return False
    apart = abs(value - found) - share * abs(found)
    return apart > 0 and apart > max(0.51 * resolution(printed) * unit, least) * 1.001


def contradictions(text: bytes, step: Step, checks: Sequence[CrossCheck]) -> tuple[str, ...]:
    """Return a sentence for each number in the text of a step that is another one than the step has; the first of its kind counts."""
    found = []
    for check in checks:
        place = text.find(check.words)
        match = check.pattern.match(text, place) if place >= 0 else None
        if match is not None and differ(match[1], check.value(step), unit=check.unit, share=check.share, least=check.least):
            found.append(other_value(check.what, match[1], check.value(step), check.unit))
    return tuple(found)


def other_value(what: str, printed: bytes, found: float, unit: float) -> str:
    """Return a sentence where a printed number, in its unit, is another one than that found (eV and Å), else ''."""
    if not differ(printed, found, unit=unit):
        return ""
    return f"the {what} is printed as {printed.decode('latin-1').strip()}, and is {found / unit:.8g} by what else is printed"


def other_volume(text: bytes, pattern: re.Pattern[bytes], cell: Floats, unit: float = 1.0, share: float = 2e-4) -> str:
    """Return a sentence where the last volume printed in a text is not that of the cell (Å), else ''; unit is that of the volume in Å³."""
    found = pattern.findall(text)
    return volume_apart(found[-1], cell, unit, share) if found else ""


def volume_apart(printed: bytes, cell: Floats, unit: float = 1.0, share: float = 2e-4) -> str:
    """Return a sentence where a printed volume, in its unit, is not that of the cell (Å), else ''."""
    size = float(_volume(cell.tolist()))
    return other_value("volume of the cell", printed, size, unit) if differ(printed, size, unit=unit, share=share) else ""


def notes_of(steps: Sequence[Step]) -> list[str]:
    """Return what contradicts itself in the steps of a run, the first few of it, for the notes of the run."""
    return summed_up([(step.number, words) for step in steps for words in step.contradictions])


def summed_up(found: Sequence[tuple[int, str]]) -> list[str]:
    """Return notes for (number of the step, what contradicts itself in it), the first few of them and how many more there are."""
    notes = [f"step {step}: {words}" for step, words in found[:_MOST_NOTES]]
    return notes + ([f"{len(found) - _MOST_NOTES} more contradictions of this kind"] if len(found) > _MOST_NOTES else [])
