"""Checks that need only the numbers of a run: missing labels, forces, distances; flags are added, nothing is dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from ase.data import atomic_masses
from numpy.typing import NDArray

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


_DERIVED: Final[WeakKeyDictionary[FrameBlock, Derived]] = WeakKeyDictionary()
"""What was computed for blocks that are still there: the flags are judged by it, then the rows are made of it."""


def derive(frames: FrameBlock) -> Derived:
    """Return what the tables hold beside the labels, computed for all frames at once, and once for a block and its flagged copy."""
    known = _DERIVED.get(frames)
    if known is None:
        known = _DERIVED[frames] = _derive(frames)
    return known


def _derive(frames: FrameBlock) -> Derived:
    norms = np.sqrt(np.einsum("nij,nij->ni", frames.forces, frames.forces))
    volume = np.where(has_cell(frames.cell), np.abs(determinants(frames.cell)), np.nan)
    mass = float(atomic_masses[frames.numbers].sum())
    return Derived(
        max_force=norms.max(axis=1) if frames.natoms else np.full(frames.count, np.nan),
        net_force=np.linalg.norm(frames.forces.sum(axis=1), axis=1),
        pressure=-np.trace(frames.stress, axis1=1, axis2=2) / 3.0,
        volume=volume,
        density=mass / volume * DALTON_PER_A3,
        min_distance=smallest_distances(frames.positions, frames.cell, frames.pbc, DISTANCE_LIMIT),
    )


def check(run: Run) -> Run:
    """Return the run with flags for missing labels, forces that do not add up, huge forces and atoms too close."""
    frames = run.frames
    derived = derive(frames)
    found = {
        "missing_energy": np.isnan(frames.energy),
        "missing_forces": _with_gaps(frames.forces),
        "missing_stress": _with_gaps(frames.stress),
        "net_force": derived.net_force > NET_FORCE_LIMIT,
        "large_force": derived.max_force > FORCE_LIMIT,
        "atoms_too_close": derived.min_distance < CLOSE_LIMIT,
    }
    raised = {name: np.asarray(mask, dtype=np.bool_) for name, mask in found.items() if mask.any()}
    if not raised:
        return run
    flagged = replace(frames, flags=_with_flags(frames.flags, raised))
    _DERIVED[flagged] = derived
    return replace(run, frames=flagged)


def _with_gaps(values: Floats) -> NDArray[np.bool_]:
    """Return which frames have a number that is missing, (n,)."""
    gaps = np.isnan(values)
    return np.asarray(gaps.any(axis=(1, 2))) if gaps.any() else np.zeros(len(values), dtype=bool)


def _with_flags(flags: tuple[tuple[str, ...], ...], raised: Mapping[str, NDArray[np.bool_]]) -> tuple[tuple[str, ...], ...]:
    table = np.stack(list(raised.values()), axis=1)
    names = np.array(list(raised))
    merged: dict[tuple[tuple[str, ...], bytes], tuple[str, ...]] = {}
    result = []
    for old, row in zip(flags, table, strict=True):
        key = (old, row.tobytes())
        if key not in merged:
            merged[key] = tuple(sorted({*old, *map(str, names[row])}))
        result.append(merged[key])
    return tuple(result)
