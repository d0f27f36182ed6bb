"""Frames of copper and aluminium with labels of ASE's effective-medium theory, of unequal sizes."""

from __future__ import annotations

import dataclasses

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from made_up_readings import made_block, made_calculation

from schemas.calculations import Calculation
from schemas.frames import FrameArrays
from training.structures import from_atoms


def labelled(structures: list[Atoms], *, stress: bool = True) -> FrameArrays:
    """Return structures as frames with EMT's energies, forces and stresses."""
    bare = from_atoms(structures)
    for atoms in structures:
        atoms.calc = EMT()
    return FrameArrays(
        bare.offsets,
        bare.numbers,
        bare.positions,
        bare.cell,
        bare.pbc,
        np.array([atoms.get_potential_energy() for atoms in structures]),
        np.concatenate([atoms.get_forces() for atoms in structures]),
        np.array([atoms.get_stress(voigt=False) if stress else np.full((3, 3), np.nan) for atoms in structures]),
        [f"emt:{number}" for number in range(len(structures))],
    )


def alloys(count: int, seed: int) -> list[Atoms]:
    """Return rattled and strained cells of 4 to 16 atoms."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        atoms = bulk("Cu", "fcc", a=3.75, cubic=True).repeat([(1, 1, 1), (2, 1, 1), (2, 2, 1), (3, 1, 1)][number % 4])
        atoms.numbers[random.random(len(atoms)) < (number % 3) / 2] = 13
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + random.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=random)
        found.append(atoms)
    return found


def alloy_calculation(numbers: list[int], frames: int, seed: int) -> Calculation:
    """Return a calculation of cells of four atoms with EMT's labels, as a reader would give it."""
    random = np.random.default_rng(seed)
    structures = []
    for _ in range(frames):
        atoms = bulk("Cu", "fcc", a=3.75, cubic=True)
        atoms.numbers[:] = numbers
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + random.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=random)
        structures.append(atoms)
    told = labelled(structures)
    block = dataclasses.replace(
        made_block(numbers, frames, seed), cell=told.cell, positions=told.positions.reshape(frames, 4, 3), energy=told.energy,
        forces=told.forces.reshape(frames, 4, 3), stress=told.stress, energy_internal=told.energy,
    )  # fmt: skip
    return made_calculation(numbers, frames, seed, block=block)
