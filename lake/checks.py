"""Checks that need only the numbers of a run: missing labels, forces, distances; flags are added, nothing is dropped."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from ase.data import atomic_masses
from numpy.typing import NDArray

from lake import native
from lake.distances import determinants, has_cell, smallest_distances
from schemas.calculations import Run
from schemas.frames import Floats, FrameBlock
from schemas.units import DALTON_PER_A3

DISTANCE_LIMIT: Final = 3.0
"""Å; distances above it are not looked for."""
NET_FORCE_LIMIT: Final = 0.1
"""eV/Å; forces of a closed system add up to zero, printed ones to within the noise of the grid."""
FORCE_LIMIT: Final = 100.0
"""eV/Å; above it atoms overlap or the output is broken."""
CLOSE_LIMIT: Final = 0.4
"""Å; H2, the shortest bond there is, has 0.74 Å."""

_OVER: Final = ("large_force", "net_force", "", "missing_forces", "missing_stress")
_LIMITS: Final = np.array([[FORCE_LIMIT], [NET_FORCE_LIMIT], [np.inf], [0.5], [0.5]])
"""Flags that rows of `Derived.of_labels` above these limits raise."""


@dataclass(frozen=True, eq=False)
class Derived:
    """Numbers made from the labels of n frames, each (n,) float64; NaN where there is none."""

    max_force: Floats
    """Largest norm of a force, eV/Å."""
    net_force: Floats
    """Norm of the sum of forces, eV/Å."""
    pressure: Floats
    """-trace(stress)/3, eV/Å³."""
    volume: Floats
    """Å³"""
    density: Floats
    """g/cm³"""
    min_distance: Floats
    """Smallest distance of two atoms, images included, Å; NaN where none is within 3 Å."""
    of_labels: Floats
    """(5, n) max_force, net_force and pressure again, then 1 where a force and where a component of the stress is missing."""


_DERIVED: Final[WeakKeyDictionary[FrameBlock, Derived]] = WeakKeyDictionary()
"""What was computed for blocks that are still there: the flags are judged by it, then the rows are made of it."""


def derive(frames: FrameBlock) -> Derived:
    """Return what the tables hold beside the labels, computed for all frames at once, and once for a block and its flagged copy."""
    known = _DERIVED.get(frames)
    if known is None:
        known = _DERIVED[frames] = _derive(frames)
    return known


def _derive(frames: FrameBlock) -> Derived:
    of_labels = _of_labels(frames)
    volume = np.where(has_cell(frames.cell), np.abs(determinants(frames.cell)), np.nan)
    return Derived(
        max_force=of_labels[0],
        net_force=of_labels[1],
        pressure=of_labels[2],
        volume=volume,
        density=_mass(frames.numbers.tobytes(), frames.numbers.dtype.str) / volume * DALTON_PER_A3,
        min_distance=smallest_distances(frames.positions, frames.cell, frames.pbc, DISTANCE_LIMIT),
        of_labels=of_labels,
    )


def _of_labels(frames: FrameBlock) -> Floats:
    """Return (5, n) largest force, norm of the sum of forces, pressure, and 1 where a force and where a stress is missing."""
    found = native.label_numbers(frames.forces, frames.stress)
    if found is not None:
        return found
    forces, total, stress = frames.forces, frames.forces.sum(axis=1), frames.stress
    x, y, z = (forces[:, :, k] for k in range(3))
    squares = (x * x + y * y) + z * z
    sums = (total[:, 0] * total[:, 0] + total[:, 1] * total[:, 1]) + total[:, 2] * total[:, 2]
    largest = np.sqrt(squares.max(axis=1)) if frames.natoms else np.full(frames.count, np.nan)
    pressure = -((stress[:, 0, 0] + stress[:, 1, 1]) + stress[:, 2, 2]) / 3.0
    return np.array([largest, np.sqrt(sums), pressure, np.isnan(forces).any(axis=(1, 2)), np.isnan(stress).any(axis=(1, 2))])


@lru_cache(maxsize=256)
def _mass(numbers: bytes, kind: str) -> float:
    """Return the mass of atoms in Da; calculations of one material follow each other."""
    return float(atomic_masses[np.frombuffer(numbers, dtype=kind)].sum())


def check(run: Run) -> Run:
    """Return the run with flags for missing labels, forces that do not add up or hold constraints, huge ones, and atoms too close."""
    frames = run.frames
    derived = derive(frames)
    over = derived.of_labels > _LIMITS
    found = dict(zip(_OVER, over, strict=True)) if over.any() else {}
    found["missing_energy"] = np.isnan(frames.energy)
    found["atoms_too_close"] = derived.min_distance < CLOSE_LIMIT
    if "net_force" in found and found["net_force"].any():
        found["constrained_forces"] = _held_still(frames, found["net_force"])
    raised = {name: mask for name, mask in found.items() if mask.any()}
    if not raised:
        return run
    flagged = replace(frames, flags=_with_flags(frames.flags, raised))
    _DERIVED[flagged] = derived
    return replace(run, frames=flagged)


def _held_still(frames: FrameBlock, doubtful: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (n,) where atoms without any force stand beside others whose forces do not add up to zero.

    An atom on which symmetry leaves no force does not hold the others back: what they lack was taken from the atoms that are held.
    """
    still = np.zeros(frames.count, dtype=np.bool_)
    still[doubtful] = (frames.forces[doubtful] == 0.0).all(axis=2).any(axis=1)
    return still


def held_zero(frames: FrameBlock) -> NDArray[np.bool_]:
    """Return (n,) where every coordinate that is held fixed has a force of exactly zero, and another has one."""
    if frames.fixed is None or not bool(frames.fixed.any()):
        return np.zeros(frames.count, dtype=np.bool_)
    zero = frames.forces == 0.0
    return np.asarray(zero[:, frames.fixed].all(axis=1) & (np.isfinite(frames.forces) & ~zero).any(axis=(1, 2)))


def _with_flags(flags: tuple[tuple[str, ...], ...], raised: Mapping[str, NDArray[np.bool_]]) -> tuple[tuple[str, ...], ...]:
    merged: dict[tuple[tuple[str, ...], tuple[bool, ...]], tuple[str, ...]] = {}
    result = []
    for key in zip(flags, zip(*(mask.tolist() for mask in raised.values()), strict=True), strict=True):
        if key not in merged:
            merged[key] = tuple(sorted({*key[0], *itertools.compress(raised, key[1])}))
        result.append(merged[key])
    return tuple(result)
