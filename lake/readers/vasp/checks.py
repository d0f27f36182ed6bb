"""What VASP prints twice: energies below a step and in the last iteration of its cycle, and both triangles of a stress."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.cross_checks import summed_up
from schemas.frames import Floats

EQUAL: Final = 1e-6
"""eV; the two are printed with eight decimals."""
APART: Final = 1e-3
"""eV; what dispersion and the like add after the cycle is more, but then in all steps."""
_FEWEST: Final = 3
"""Steps from which it can be told that the two are equal in this run."""
_MIRRORED = np.array([0, 1, 2, 1, 4, 5, 2, 5, 8])
"""Places of a (3, 3) tensor from which its parts are taken: those of the upper triangle."""


def other_energies(
    free: NDArray[np.float64], cycle_free: NDArray[np.float64], steps: Sequence[int]
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Return which steps have another free energy (eV) than their cycle ended with, in a run where most have the same, and notes.

    free and cycle_free are (n,), cycle_free NaN where a step has no cycle; steps are the numbers of the steps.
    """
    if len(free) < _FEWEST or not np.fmax.reduce(apart := np.abs(free - cycle_free)) > APART:
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


def apart_from_cycle(energies: Floats) -> NDArray[np.bool_]:
    """Return which steps may join the cycle of one process to the result of another, in a file that several wrote; energies (4, n; eV)."""
    return np.asarray(~(np.abs(energies[0] - energies[3]) <= EQUAL))


def symmetric(stress: Floats, steps: Sequence[int]) -> tuple[Floats, tuple[str, ...]]:
    """Return stress (n, 3, 3; kbar) made symmetric from its upper triangle, as printed, and a note where the file has another lower one."""
    flat = stress.reshape(-1, 9)
    made = flat.take(_MIRRORED, axis=1)
    if made.tobytes() == flat.tobytes():
        return stress, ()
    apart = np.abs(flat - made) > 0.01
    return made.reshape(stress.shape), _told_of_skewed(flat - made, steps) if apart.any() else ()


def _told_of_skewed(apart: Floats, steps: Sequence[int]) -> tuple[str]:
    most = np.nan_to_num(np.abs(apart)).max(axis=1)
    first = steps[int((most > 0.01).argmax())]
    return (f"the printed stress of step {first} is not symmetric (by up to {most.max():.3g} kbar); its upper triangle is taken",)


def without_pressure(pressure: float, cell: Floats, energies: Floats, flags: Sequence[tuple[str, ...]]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return energies (4, n; eV) without pressure (eV/Å³) times volume where the printed ones hold it, and where that cannot be told.

    The energies of vasprun.xml are enthalpies after the cycle and energies inside of it (VASP; ASE corrects the same way); where both
    agree there is nothing to take out. The energies given come back where that holds for all steps.
    """
    volume = np.abs(np.linalg.det(cell))
    inside = energies[0] - energies[3]
    small = 1e-6 + 1e-3 * np.abs(pressure * volume)
    work = np.where(np.abs(inside) <= small, 0.0, pressure * volume)
    unknown = np.array([not isfinite(each) or "machine_learned" in of_step for each, of_step in zip(volume, flags, strict=True)])
    work[unknown] = 0.0
    return energies - work if work.any() else energies, unknown
