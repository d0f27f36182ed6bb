"""Frames to ASE structures and back, and parts of frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from schemas.elements import NUMBERS
from schemas.errors import TrainingError
from schemas.frames import FrameArrays


def to_atoms(arrays: FrameArrays, frame: int) -> Atoms:
    """Return a frame without its labels as ASE Atoms; raises TrainingError for a frame that is not there."""
    if not 0 <= frame < arrays.count:
        raise TrainingError(f"frame {frame} was asked for, but there are {arrays.count}; choose another split or dataset")
    atoms = slice(int(arrays.offsets[frame]), int(arrays.offsets[frame + 1]))
    return Atoms(arrays.numbers[atoms], arrays.positions[atoms], cell=arrays.cell[frame], pbc=arrays.pbc[frame])


def from_atoms(structures: Sequence[Atoms]) -> FrameArrays:
    """Return ASE structures as frames without labels (NaN)."""
    natoms = np.array([len(atoms) for atoms in structures], dtype=np.int64)
    total = int(natoms.sum())
    return FrameArrays(
        offsets=np.concatenate([[0], np.cumsum(natoms)]),
        numbers=np.concatenate([np.zeros(0, np.int16), *(atoms.numbers for atoms in structures)]).astype(np.int16),
        positions=np.concatenate([np.zeros((0, 3)), *(atoms.positions for atoms in structures)]),
        cell=np.array([atoms.cell.array for atoms in structures], dtype=np.float64).reshape(-1, 3, 3),
        pbc=np.array([atoms.pbc for atoms in structures], dtype=bool).reshape(-1, 3),
        energy=np.full(len(natoms), np.nan),
        forces=np.full((total, 3), np.nan),
        stress=np.full((len(natoms), 3, 3), np.nan),
    )


def take(arrays: FrameArrays, frames: NDArray[np.int64]) -> FrameArrays:
    """Return these frames, in this order."""
    natoms = arrays.natoms[frames]
    pieces = [np.arange(arrays.offsets[frame], arrays.offsets[frame + 1]) for frame in frames]
    atoms = np.concatenate([np.zeros(0, np.int64), *pieces])
    return FrameArrays(
        offsets=np.concatenate([[0], np.cumsum(natoms)]).astype(np.int64),
        numbers=arrays.numbers[atoms],
        positions=arrays.positions[atoms],
        cell=arrays.cell[frames],
        pbc=arrays.pbc[frames],
        energy=arrays.energy[frames],
        forces=arrays.forces[atoms],
        stress=arrays.stress[frames],
        frame_ids=[arrays.frame_ids[int(frame)] for frame in frames] if len(arrays.frame_ids) else (),
        element_systems=[arrays.element_systems[int(frame)] for frame in frames] if len(arrays.element_systems) else (),
        theories=[arrays.theories[int(frame)] for frame in frames] if len(arrays.theories) else (),
        weights=arrays.weights[frames] if len(arrays.weights) else arrays.weights,
    )


def frames_of_elements(arrays: FrameArrays, elements: Sequence[str]) -> NDArray[np.int64]:
    """Return the frames that hold no other elements than these."""
    strange = ~np.isin(arrays.numbers, [NUMBERS[symbol] for symbol in elements])
    frame = np.repeat(np.arange(arrays.count), arrays.natoms)
    return np.flatnonzero(np.bincount(frame[strange], minlength=arrays.count) == 0)
