"""Whether atoms still have the symmetry that ORCA imposes on the orbitals.

ORCA 2 and 3 keep the point group of the first step (UseSym) when the atoms leave it. The energy is then that of orbitals that are held in a
symmetry which the nuclei do not have, and the printed forces do half of its work: in three outputs of an optimisation of divinylbenzene
(C2h) energies lie up to 0.3 eV above the others. ORCA uses abelian groups alone, whose operations are changes of signs of its axes.
"""

from __future__ import annotations

import itertools
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.frames import Floats

_ON: Final = re.compile(rb"\n +Symmetry handling +UseSym +\.{4} +ON")
_FINDS: Final = 1e-3
"""Å, within which the first step has an operation."""
_LOSES: Final = 5e-3
"""Å, beyond which a later step has left it."""


def imposed(piece: bytes, numbers: NDArray[np.int16], positions: Floats) -> tuple[Floats, ...]:
    """Return the operations (3,), signs of the axes, that the orbitals of a run keep; none without UseSym."""
    if _ON.search(piece) is None:
        return ()
    signs = [np.array(each) for each in itertools.product((1.0, -1.0), repeat=3) if min(each) < 0]
    return tuple(each for each in signs if _error(each, numbers, positions) < _FINDS)


def has_left(operations: tuple[Floats, ...], numbers: NDArray[np.int16], positions: Floats) -> bool:
    """Return whether atoms (n, 3) lack one of the operations."""
    return any(_error(each, numbers, positions) > _LOSES for each in operations)


def _error(signs: Floats, numbers: NDArray[np.int16], positions: Floats) -> float:
    """Return how far, in Å, the worst atom is from one of its element after an operation about the centre."""
    centred = positions - positions.mean(axis=0)
    distances = np.linalg.norm((centred * signs)[:, None] - centred[None], axis=-1)
    return float(np.where(numbers[:, None] == numbers[None], distances, np.inf).min(axis=1).max())
