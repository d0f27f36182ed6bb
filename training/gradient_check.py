"""Are forces and stress the derivatives of the energy?"""

# ASE has few annotations of its own.
# mypy: untyped-calls-exclude="ase"

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from schemas.frames import Floats
from training.stored import Potential

STEP = 1e-3
"""Displacement (Å) and strain of the numeric derivative."""

TOLERANCE = 1e-5
"""Largest error relative to 1 + the largest component that passes."""


@dataclass(frozen=True)
class GradientCheck:
    """How far forces and stress are from numeric derivatives of the energy, in float64."""

    n_forces: int
    """Force components compared."""
    largest_force: float
    """eV/Å"""
    max_force_error: float
    """eV/Å"""
    largest_stress: float
    """eV/Å³; NaN for a structure without three periodic axes."""
    max_stress_error: float
    """eV/Å³"""
    passed: bool


def check_gradients(potential: Potential, atoms: Atoms, *, max_atoms: int = 12, seed: int = 0) -> GradientCheck:
    """Return how far forces (of max_atoms atoms drawn by seed) and stress are from five-point derivatives of the energy.

    A perfect crystal has no forces, so atoms are first moved by about 0.05 Å.
    """
    moved = atoms.copy()
    random = np.random.default_rng(seed)
    moved.positions += random.normal(scale=0.05, size=moved.positions.shape)
    moved.calc = potential.calculator()
    forces = moved.get_forces()
    chosen = random.permutation(len(moved))[:max_atoms]
    errors = [abs(forces[atom, axis] + _derivative(_along(moved, atom, axis))) for atom in chosen for axis in range(3)]
    largest, stress_error = float("nan"), 0.0
    if moved.pbc.all():
        stress = moved.get_stress(voigt=False)
        largest, stress_error = float(np.abs(stress).max()), _stress_error(moved, stress)
    force = float(np.abs(forces[chosen]).max())
    passed = max(errors) < TOLERANCE * (1 + force) and stress_error < TOLERANCE
    return GradientCheck(len(errors), force, float(max(errors)), largest, stress_error if moved.pbc.all() else float("nan"), bool(passed))


def _along(atoms: Atoms, atom: int, axis: int) -> Callable[[float], float]:
    def energy(step: float) -> float:
        other = atoms.copy()
        other.positions[atom, axis] += step
        other.calc = atoms.calc
        return float(other.get_potential_energy())

    return energy


def _stress_error(atoms: Atoms, stress: Floats) -> float:
    errors = []
    for row, column in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):

        def energy(step: float, row: int = row, column: int = column) -> float:
            strain = np.eye(3)
            strain[row, column] += step / 2
            strain[column, row] += step / 2
            other = atoms.copy()
            other.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            other.calc = atoms.calc
            return float(other.get_potential_energy())

        errors.append(abs(_derivative(energy) / atoms.get_volume() - stress[row, column]))
    return float(max(errors))


def _derivative(energy: Callable[[float], float]) -> float:
    """Return the derivative at zero by the five-point formula, whose error is of fourth order."""
    return (8 * (energy(STEP) - energy(-STEP)) - (energy(2 * STEP) - energy(-2 * STEP))) / (12 * STEP)
