"""Energies that VASP prints twice: below a step, and in the last iteration of its cycle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.cross_checks import summed_up

EQUAL: Final = 1e-6
"""eV; the two are printed with eight decimals."""
APART: Final = 1e-3
"""eV; what dispersion and the like add after the cycle is more, but then in all steps."""
_FEWEST: Final = 3
"""Steps from which it can be told that the two are equal in this run."""


def other_energies(
    free: NDArray[np.float64], cycle_free: NDArray[np.float64], steps: Sequence[int]
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Return which steps have another free energy (eV) than their cycle ended with, in a run where most have the same, and notes.

    free and cycle_free are (n,), cycle_free NaN where a step has no cycle; steps are the numbers of the steps.
    """
    apart = np.abs(free - cycle_free)
    if not (apart > APART).any():
        return np.zeros(len(free), dtype=bool), ()
    known = np.isfinite(apart)
    if int(known.sum()) < _FEWEST or float(np.median(apart[known])) > EQUAL:
        return np.zeros(len(free), dtype=bool), ()
    found = known & (np.where(known, apart, 0.0) > APART)
    told = [
        (steps[k], f"the free energy is printed as {cycle_free[k]:.8f} in the last iteration, and is {free[k]:.8f} by what else is printed")
        for k in np.flatnonzero(found).tolist()
    ]
    return found, tuple(summed_up(told))
