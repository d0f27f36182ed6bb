"""Which atom of one structure is which atom of an equal one: they may differ in order, origin and lattice translations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.distances import has_cell
from schemas.frames import Floats

TOLERANCE: Final = 0.2
"""Å; atoms farther apart than this after the best shift are no match."""
_SURE: Final = 1e-4
"""Å; a match this close is taken without looking for a better one."""
_LARGEST_WORK: Final = 2e8
"""Distances for which a search over shifts is allowed (some ten seconds); over it only the order as it is is tried."""
_LENGTH: Final = 10.0
"""Å; stands in for the cell of a structure that has none, as in `lake.identity`."""


@dataclass(frozen=True)
class Match:
    """Atom order[i] of the second structure is atom i of the first."""

    order: NDArray[np.intp]
    displacement: float
    """Å; largest distance of two atoms that belong together, their common shift taken out."""


def match_atoms(numbers: tuple[NDArray[np.int16], NDArray[np.int16]], positions: tuple[Floats, Floats], cell: Floats) -> Match | None:
    """Return which atoms of two structures in one cell (3, 3) belong together, or None where they do not match within TOLERANCE.

    numbers are (natoms,), positions (natoms, 3) in Å. Tried first is the order as it is; then each shift that brings the first atom of
    the rarest species onto one of its kind, the closest match being taken.
    """
    if not has_cell(cell[None])[0]:
        cell = _LENGTH * np.eye(3)
    first, second = (place @ np.linalg.inv(cell) for place in positions)
    found: Match | None = None
    if np.array_equal(*numbers):
        found = _same_order(first, second, cell)
        if found is not None and found.displacement <= _SURE:
            return found
    kinds, counts = np.unique(numbers[0], return_counts=True)
    if not np.array_equal(np.sort(numbers[0]), np.sort(numbers[1])) or counts.min() * float((counts**2).sum()) > _LARGEST_WORK:
        return found
    species = [(np.flatnonzero(numbers[0] == kind), np.flatnonzero(numbers[1] == kind)) for kind in kinds[np.argsort(counts)]]
    anchor = species[0][0][0]
    for target in species[0][1]:
        tried = _nearest(first + (second[target] - first[anchor]), second, species, cell)
        if tried is not None and (found is None or tried.displacement < found.displacement):
            found = tried
            if found.displacement <= _SURE:
                break
    return found


def _same_order(first: Floats, second: Floats, cell: Floats) -> Match | None:
    return _match(second - first, np.arange(len(first)), cell)


def _nearest(first: Floats, second: Floats, species: list[tuple[NDArray[np.intp], NDArray[np.intp]]], cell: Floats) -> Match | None:
    order = np.empty(len(first), np.intp)
    for own, other in species:
        apart = second[other][None] - first[own][:, None]
        distances = np.linalg.norm((apart - np.round(apart)) @ cell, axis=2)
        chosen = distances.argmin(axis=1)
        # The anchor's own displacement is in each distance, so twice the tolerance.
        if distances.min(axis=1).max() > 2 * TOLERANCE or len(np.unique(chosen)) != len(chosen):
            return None
        order[own] = other[chosen]
    return _match(second[order] - first, order, cell)


def _match(apart: Floats, order: NDArray[np.intp], cell: Floats) -> Match | None:
    """Return the match whose atoms are (natoms, 3) cell vectors apart, after the mean of these is taken out."""
    apart = apart - apart[0]
    apart = apart - np.round(apart)
    largest = float(np.linalg.norm((apart - apart.mean(axis=0)) @ cell, axis=1).max())
    return Match(order, largest) if largest <= TOLERANCE else None
