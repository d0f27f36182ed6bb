"""What a potential must show before it becomes champion: errors against the champion's, and properties of its own."""

# ASE has few annotations of its own.
# mypy: untyped-calls-exclude="ase"

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Final

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from schemas.elements import NUMBERS
from schemas.frames import Floats, FrameArrays
from schemas.potentials import ErrorSummary, GateCheck, Metrics
from schemas.settings import GateSettings
from training.dynamics import run_nve
from training.gradient_check import check_gradients
from training.job import systems_of
from training.stored import Potential
from training.structures import from_atoms, to_atoms

STRUCTURES: Final = 3
"""Most structures, of as many element systems, whose derivatives are taken."""

PAIRS: Final = 10
"""Most pairs of elements that are scanned."""

SCAN_STEP: Final = 0.01
"""Å"""

CONTACT: Final = 0.8
"""A scan begins at this many times the sum of the covalent radii."""

SMOOTH: Final = (0.002, 0.02)
"""Largest difference (eV, and relative to the step of the energy) between a step of the energy and the work of the forces."""


def compare_errors(new: Metrics, old: Metrics, against: str, tolerance: float) -> tuple[GateCheck, ...]:
    """Return how the errors of a new potential stand to those of the champion on the same frames, over all and by element system.

    Over all, the force error must not grow, and the energy error by no more than tolerance (a share); in an element system neither by more
    than that. Without forces the energy error decides; without frames there is nothing to compare, which passes and is said.
    """
    frames = f"{new.overall.n_frames} {new.split} frames"
    if not new.overall.n_frames:
        return (GateCheck("errors", True, f"there are no {new.split} frames to compare with {against} on"),)
    strict = 0.0 if math.isfinite(old.overall.force_mae) else tolerance
    forces = _no_worse(new.overall.force_mae, old.overall.force_mae, strict)
    energies = _no_worse(new.overall.energy_mae, old.overall.energy_mae, tolerance if math.isfinite(old.overall.force_mae) else 0.0)
    checks = [GateCheck("errors", forces and energies, f"{_both(new.overall, old.overall)} of {against}, on the same {frames}")]
    for system in sorted(set(new.by_system) & set(old.by_system)):
        mine, other = new.by_system[system], old.by_system[system]
        passed = all(
            _no_worse(*pair, tolerance) for pair in ((mine.energy_mae, other.energy_mae), (mine.force_mae, other.force_mae))
        )  # fmt: skip
        told = f"{_both(mine, other)} of {against}, on {mine.n_frames} frames; up to {100 * tolerance:.0f} % more is let pass"
        checks.append(GateCheck(f"errors of {system}", passed, told))
    return tuple(checks)


def _no_worse(new: float, old: float, tolerance: float) -> bool:
    """Return whether an error has not grown; one that is not known on either side does not count."""
    return not math.isfinite(old) or new <= (1 + tolerance) * old


def _both(new: ErrorSummary, old: ErrorSummary) -> str:
    return (
        f"{1000 * new.energy_mae:.1f} meV/atom and {1000 * new.force_mae:.1f} meV/Å against "
        f"{1000 * old.energy_mae:.1f} and {1000 * old.force_mae:.1f}"
    )


def check_properties(potential: Potential, structures: Sequence[Atoms], limits: GateSettings) -> tuple[GateCheck, ...]:
    """Return whether forces are the gradient of the energy, a short run conserves energy, and the energies of pairs are smooth.

    structures are such as the potential was made for (`structures_of`); the first one is that of the run.
    """
    checks = [_gradients(potential, atoms) for atoms in structures]
    checks.append(_energy_conservation(potential, structures, limits))
    pairs = list(combinations_with_replacement(potential.card.elements, 2))
    chosen = [pairs[place] for place in np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), PAIRS)).astype(int))]
    checks.append(_pair_scans(potential, chosen))
    return tuple(checks)


def structures_of(arrays: FrameArrays) -> list[Atoms]:
    """Return a structure of each element system, the smallest with two atoms or more, those of the most elements first."""
    found: dict[str, int] = {}
    systems = systems_of(arrays)
    for frame in np.argsort(arrays.natoms, kind="stable"):
        if arrays.natoms[frame] > 1:
            found.setdefault(systems[int(frame)], int(frame))
    order = sorted(found, key=lambda system: (-len(system.split("-")), system))
    return [to_atoms(arrays, found[system]) for system in order[:STRUCTURES]]


def _gradients(potential: Potential, atoms: Atoms) -> GateCheck:
    found = check_gradients(potential, atoms, max_atoms=4)
    stress = f", of stress {found.max_stress_error:.1e} eV/Å³" if math.isfinite(found.max_stress_error) else ""
    told = f"forces of {atoms.get_chemical_formula()} are minus the numeric gradient to {found.max_force_error:.1e} eV/Å{stress}"
    return GateCheck("derivatives", found.passed, told)


def _energy_conservation(potential: Potential, structures: Sequence[Atoms], limits: GateSettings) -> GateCheck:
    name = "energy conservation"
    if not structures:
        return GateCheck(name, False, "there is no structure of two atoms or more to run")
    run = run_nve(potential, structures[0], temperature=limits.temperature, steps=limits.steps, timestep=limits.timestep)
    what = f"{run.steps} steps of {run.timestep} fs from {limits.temperature:.0f} K, {structures[0].get_chemical_formula()}"
    if run.stopped:
        return GateCheck(name, False, f"{what}: ended with {run.stopped}")
    error = abs(run.energy_drift) * run.steps * run.timestep * 1e-3 + run.energy_spread
    told = f"{what}: the total energy changes by {error:.3f} meV/atom, up to {limits.max_energy_change} is let pass"
    return GateCheck(name, bool(error <= limits.max_energy_change), told)


def _pair_scans(potential: Potential, pairs: Sequence[tuple[str, str]]) -> GateCheck:
    """Scan two atoms alone from contact to beyond the cutoff: each step of the energy must be the work of the forces."""
    double = potential.in_precision("float64")
    worst = (-math.inf, "", 0.0)
    for first, second in pairs:
        contact = CONTACT * float(covalent_radii[NUMBERS[first]] + covalent_radii[NUMBERS[second]])
        distances = np.arange(min(contact, 0.5 * potential.model.cutoff), potential.model.cutoff + 20 * SCAN_STEP, SCAN_STEP)
        worst = max(worst, _roughness(double, (first, second), distances))
    excess, pair, distance = worst
    if excess <= 0:
        return GateCheck("pair scan", True, f"energies of {len(pairs)} pairs are smooth from contact to beyond the cutoff")
    return GateCheck("pair scan", False, f"the energy of {pair} jumps at {distance:.2f} Å, by {excess:.2g} eV more than its forces tell")


def _roughness(potential: Potential, pair: tuple[str, str], distances: Floats) -> tuple[float, str, float]:
    """Return by how much (eV) the worst step of a scan is over what SMOOTH lets pass, the pair and the distance (Å)."""
    found = potential.energy_forces_stress(from_atoms([Atoms(pair, [(0, 0, 0), (distance, 0, 0)]) for distance in distances]))
    pull = found.forces[1::2, 0]
    steps, work = np.diff(found.energy), -SCAN_STEP * (pull[1:] + pull[:-1]) / 2
    excess = np.abs(steps - work) - SMOOTH[0] - SMOOTH[1] * np.abs(steps)
    excess = np.where(np.isfinite(excess), excess, np.inf)
    place = int(excess.argmax())
    return float(excess[place]), "-".join(pair), float(distances[place])
