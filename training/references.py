"""Energy of each element that is taken off before training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schemas.elements import SYMBOLS
from schemas.errors import TrainingError
from schemas.frames import Floats, FrameArrays


@dataclass(frozen=True)
class References:
    """Energies per element with what the data could tell about them."""

    energies: dict[str, float]
    """eV, by symbol, in order of atomic number."""
    rank: int
    """Independent compositions in the data."""
    notes: tuple[str, ...]


def count_elements(arrays: FrameArrays, elements: tuple[str, ...]) -> Floats:
    """Return (frames, elements), how many atoms of each element a frame has; others are not counted."""
    frame = np.repeat(np.arange(arrays.count), arrays.natoms)
    counts = np.zeros((arrays.count, len(elements)))
    for column, symbol in enumerate(elements):
        counts[:, column] = np.bincount(frame[arrays.numbers == SYMBOLS.index(symbol)], minlength=arrays.count)
    return counts


def elements_of(arrays: FrameArrays) -> tuple[str, ...]:
    """Return the elements in the frames in order of atomic number."""
    return tuple(SYMBOLS[int(number)] for number in np.unique(arrays.numbers))


def fit_references(arrays: FrameArrays) -> References:
    """Return the energies of elements by least squares over all frames with an energy, each weighted by 1/natoms.

    Where compositions do not tell elements apart (MgO alone gives no single energy of Mg) the solution of minimum norm is taken, and a
    note says so. Raises TrainingError where no frame has an energy.
    """
    elements = elements_of(arrays)
    counts = count_elements(arrays, elements)
    good = np.isfinite(arrays.energy)
    if not good.any():
        raise TrainingError(f"none of the {arrays.count} training frames has an energy; train on a dataset with energies")
    natoms = arrays.natoms[good].astype(np.float64)
    solution, _, rank, _ = np.linalg.lstsq(counts[good] / natoms[:, None], arrays.energy[good] / natoms, rcond=1e-9)
    notes: tuple[str, ...] = ()
    if rank < len(elements):
        notes = (
            f"Element references of rank {rank} for {len(elements)} elements ({', '.join(elements)}): the compositions do not tell them"
            " apart, the solution of minimum norm was taken; energies of compositions that are no mixture of these have no common zero.",
        )
    return References(dict(zip(elements, map(float, solution), strict=True)), int(rank), notes)
