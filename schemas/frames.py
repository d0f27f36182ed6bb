"""Frames as arrays: the steps of one run (`FrameBlock`) and frames of any runs (`FrameArrays`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ShapeMismatch

Floats = NDArray[np.float64]

WEIGHED: Final = ("energy", "forces", "stress")
"""Labels that `FrameArrays.weights` has columns for."""


@dataclass(frozen=True, eq=False)
class FrameBlock:
    """The n frames of one run, all of the same natoms atoms; NaN means that the output does not give the number.

    Units: Å, eV, eV/Å, eV/Å³ (tension positive). Rows of cell are the lattice vectors; a cell of zeros means none.
    """

    numbers: NDArray[np.int16]
    """(natoms,) atomic numbers."""
    pbc: NDArray[np.bool_]
    """(3,) periodic along each cell vector."""
    cell: Floats
    """(n, 3, 3)"""
    positions: Floats
    """(n, natoms, 3) Cartesian, as the output gives them (not wrapped)."""
    energy: Floats
    """(n,) the force-consistent energy (free energy E - TS)."""
    forces: Floats
    """(n, natoms, 3) unconstrained; a frame without forces is all NaN."""
    stress: Floats
    """(n, 3, 3) symmetric; a frame without stress is all NaN."""
    energy_sigma0: Floats
    """(n,) energy extrapolated to zero smearing."""
    energy_internal: Floats
    """(n,) internal energy E of F = E - TS."""
    scf_converged: NDArray[np.int8]
    """(n,) 1 converged, 0 not, -1 not known; judged from counts and accuracies, not from the code's word."""
    n_scf_steps: NDArray[np.int32]
    """(n,) self-consistency steps, -1 not known."""
    step: NDArray[np.int32]
    """(n,) number of the ionic step in its run, from 0."""
    flags: tuple[tuple[str, ...], ...]
    """n tuples of sorted names out of `schemas.flags.FLAGS`."""
    energy_source: str
    """The printed quantity that `energy` is: 'VASP free energy TOTEN'."""
    stress_source: str = ""
    fixed: NDArray[np.bool_] | None = None
    """(natoms, 3) coordinates held fixed in the run, in the frame the code names; None when none is."""

    def __post_init__(self) -> None:
        n, natoms = self.energy.shape[0], self.numbers.shape[0]
        atoms, cells, one = (n, natoms, 3), (n, 3, 3), (n,)
        if len(self.flags) == n and one == self.energy.shape == self.energy_sigma0.shape == self.energy_internal.shape == self.step.shape:
            vectors = atoms == self.positions.shape == self.forces.shape and cells == self.cell.shape == self.stress.shape
            if vectors and one == self.scf_converged.shape == self.n_scf_steps.shape and self.pbc.shape == (3,):
                return
        shapes = (
            ("pbc", self.pbc.shape, (3,)), ("cell", self.cell.shape, cells), ("positions", self.positions.shape, atoms),
            ("energy", self.energy.shape, one), ("forces", self.forces.shape, atoms), ("stress", self.stress.shape, cells),
            ("energy_sigma0", self.energy_sigma0.shape, one), ("energy_internal", self.energy_internal.shape, one),
            ("scf_converged", self.scf_converged.shape, one), ("n_scf_steps", self.n_scf_steps.shape, one),
            ("step", self.step.shape, one),
        )  # fmt: skip
        for name, found, shape in shapes:
            if found != shape:
                raise ShapeMismatch(f"FrameBlock.{name} has shape {found}, expected {shape} for {n} frames of {natoms} atoms")
        if len(self.flags) != n:
            raise ShapeMismatch(f"FrameBlock.flags has {len(self.flags)} entries for {n} frames")

    @property
    def count(self) -> int:
        """Number of frames."""
        return int(self.energy.shape[0])

    @property
    def natoms(self) -> int:
        """Number of atoms of each frame."""
        return int(self.numbers.shape[0])


@dataclass(frozen=True, eq=False)
class FrameArrays:
    """Frames of any sizes as flat arrays: frame i owns the atoms offsets[i]:offsets[i+1]; NaN marks a missing label."""

    offsets: NDArray[np.int64]
    """(n+1,)"""
    numbers: NDArray[np.int16]
    """(atoms,)"""
    positions: Floats
    """(atoms, 3) Å"""
    cell: Floats
    """(n, 3, 3) Å"""
    pbc: NDArray[np.bool_]
    """(n, 3)"""
    energy: Floats
    """(n,) eV"""
    forces: Floats
    """(atoms, 3) eV/Å"""
    stress: Floats
    """(n, 3, 3) eV/Å³, tension positive"""
    frame_ids: Sequence[str] = field(default_factory=tuple)
    """n names of the frames, in order."""
    element_systems: Sequence[str] = field(default_factory=tuple)
    """n element systems, in order."""
    theories: Sequence[str] = field(default_factory=tuple)
    """n levels of theory, in order; empty where they are not told apart."""
    weights: Floats = field(default_factory=lambda: np.zeros((0, 3)))
    """(n, 3) by how much energy, forces and stress of a frame count in a training; empty where all count alike."""

    def __post_init__(self) -> None:
        n, atoms = len(self.offsets) - 1, int(self.offsets[-1])
        expected = {
            "numbers": (atoms,), "positions": (atoms, 3), "cell": (n, 3, 3), "pbc": (n, 3), "energy": (n,),
            "forces": (atoms, 3), "stress": (n, 3, 3),
        }  # fmt: skip
        if len(self.weights):
            expected["weights"] = (n, len(WEIGHED))
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ShapeMismatch(f"FrameArrays.{name} has shape {found}, expected {shape} for {n} frames of {atoms} atoms in all")

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.offsets) - 1

    @property
    def natoms(self) -> NDArray[np.int64]:
        """(n,) number of atoms of each frame."""
        return np.diff(self.offsets)
