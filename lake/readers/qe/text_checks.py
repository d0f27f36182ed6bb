"""What pw.x prints twice of a step: pressure and total force beside the tables that make them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from lake.readers.cross_checks import other_volume, volume_apart
from lake.readers.qe.text_step import Labels
from schemas.frames import Floats
from schemas.units import BOHR, KBAR, RYDBERG_PER_BOHR

_NEW: Final = b"new unit-cell volume ="
_NEW_VOLUME: Final = re.compile(rb"new unit-cell volume =([^\n]*?)a\.u\.\^3")
_PRESSURE_DIGITS: Final = 0.0151
"""kbar; the pressure and each component of the stress are printed with two decimals."""
_FORCE_DIGITS: Final = 1e-6
"""Ry/bohr; the total force is printed with six decimals."""


class Labelled(Protocol):
    """A frame with its number and what was printed for it."""

    @property
    def step(self) -> int:
        """Number in the run."""
        ...

    @property
    def labels(self) -> Labels:
        """What was printed for it."""
        ...

    @property
    def told(self) -> str:
        """A volume printed beside the cell that is not that of its vectors."""
        ...


def other_new_volume(text: bytes, cell: Floats | None) -> str:
    """Return a sentence where the last new volume of a variable cell in text is not that of the cell (Å) behind it, else ''."""
    place = text.rfind(_NEW) if cell is not None else -1
    if cell is None or place < 0:
        return ""
    match = _NEW_VOLUME.match(text, place)
    return volume_apart(match.group(1), cell, BOHR**3) if match else other_volume(text, _NEW_VOLUME, cell, BOHR**3)


def contradictions(frames: Sequence[Labelled], forces: Floats, held: NDArray[np.bool_] | None, stress: Floats) -> list[tuple[int, str]]:
    """Return (step, sentence) where the printed volume, pressure or total force is not that of the tables (eV/Å and eV/Å³).

    held (natoms, 3) are coordinates that pw.x leaves out of the total force.
    """
    forces = forces if held is None else np.where(held, 0.0, forces)
    pressure, total = -np.trace(stress, axis1=1, axis2=2) / 3 / KBAR, np.sqrt(np.einsum("nij,nij->n", forces, forces)) / RYDBERG_PER_BOHR
    values = (
        ("pressure", "kbar", [frame.labels.pressure for frame in frames], pressure, _PRESSURE_DIGITS),
        ("total force", "Ry/bohr", [frame.labels.total_force for frame in frames], total, _FORCE_DIGITS),
    )
    found = [(frame.step, frame.told) for frame in frames if frame.told]
    for what, unit, texts, own, digits in values:
        printed = np.array(texts)
        for place in map(int, np.flatnonzero(np.abs(printed - own) > digits + 2e-4 * np.abs(own))):
            words = f"the {what} is printed as {printed[place]:g} {unit}, and is {own[place]:.8g} by the table"
            found.append((frames[place].step, words))
    return found
