"""Which frames go into which step on which process: computed alike by all of them, so that nothing is negotiated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def count_steps(natoms: NDArray[np.int64], max_atoms: int) -> int:
    """Return the steps of an epoch: so many that a step holds about max_atoms; the same for every order of frames."""
    return int(np.clip(round(float(natoms.sum()) / max_atoms), 1, max(len(natoms), 1)))


def plan_epoch(natoms: NDArray[np.int64], seed: int, epoch: int, world_size: int, max_atoms: int) -> list[list[Indices]]:
    """Return plan[rank][step], the frames of each process in each step of an epoch.

    natoms is (frames,). Every rank has the same number of steps; a rank without frames in a step has an empty one. The frames of a
    step do not depend on world_size, so that one process and many take the same steps. Deterministic in its arguments.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(natoms))
    plan: list[list[Indices]] = [[] for _ in range(world_size)]
    for frames in _steps(order, natoms, max_atoms):
        for rank, share in enumerate(_shares(frames, natoms, world_size)):
            plan[rank].append(share)
    return plan


def plan_in_order(natoms: NDArray[np.int64], world_size: int, max_atoms: int) -> list[list[Indices]]:
    """Return plan[rank][step] of one pass over the frames in their order, as for a validation."""
    plan: list[list[Indices]] = [[] for _ in range(world_size)]
    for frames in _steps(np.arange(len(natoms)), natoms, max_atoms):
        for rank, share in enumerate(_shares(frames, natoms, world_size)):
            plan[rank].append(share)
    return plan


def _steps(order: Indices, natoms: NDArray[np.int64], max_atoms: int) -> list[Indices]:
    """Cut an order of frames into count_steps pieces of nearly equal atoms, each of one frame or more."""
    n, steps = len(order), count_steps(natoms, max_atoms)
    ends = np.cumsum(natoms[order])
    targets = ends[-1] * np.arange(1, steps) / steps if n else np.zeros(0)
    cuts = np.searchsorted(ends, targets, side="left") + 1
    for place in range(len(cuts)):
        least = cuts[place - 1] + 1 if place else 1
        cuts[place] = min(max(cuts[place], least), n - (steps - 1 - place))
    return np.split(order, cuts)


def _shares(frames: Indices, natoms: NDArray[np.int64], world_size: int) -> list[Indices]:
    """Deal frames to processes, largest first, each to the one with the fewest atoms so far."""
    loads = np.zeros(world_size, dtype=np.int64)
    dealt: list[list[int]] = [[] for _ in range(world_size)]
    for frame in sorted(frames.tolist(), key=lambda frame: (-int(natoms[frame]), frame)):
        rank = int(loads.argmin())
        dealt[rank].append(frame)
        loads[rank] += natoms[frame]
    return [np.array(sorted(share), dtype=np.int64) for share in dealt]
