"""Molecular dynamics with a potential: does it conserve energy, and does it hold a temperature?"""

# ASE has few annotations of its own.
# mypy: untyped-calls-exclude="ase"

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet

from schemas.errors import TrainingError
from training.stored import Potential

FRICTION = 0.01
"""Of the Langevin thermostat, 1/fs."""

FORCE_LIMIT = 200.0
"""A force above this (eV/Å) ends a run: atoms have fallen into each other."""

SKIN = 0.5
"""Of the neighbour list, Å."""

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class DynamicsReport:
    """One run of molecular dynamics."""

    ensemble: str
    """NVE or NVT."""
    n_atoms: int
    steps: int
    """Steps that were made."""
    timestep: float
    """fs"""
    temperature_asked: float
    """K"""
    temperature_mean: float
    """K, over the second half."""
    temperature_spread: float
    """K, standard deviation over the second half."""
    energy_drift: float
    """meV/atom/ps, slope of the total energy; NaN for NVT, which exchanges energy."""
    energy_spread: float
    """meV/atom, standard deviation of the total energy around that slope; NaN for NVT."""
    max_force: float
    """eV/Å, largest in the run."""
    stopped: str
    """Why the run ended early; empty where it did not."""
    seconds: float


def run_dynamics(
    potential: Potential,
    atoms: Atoms,
    *,
    temperature: float = 300.0,
    steps: int = 1000,
    timestep: float = 1.0,
    progress: Report | None = None,
) -> tuple[DynamicsReport, DynamicsReport]:
    """Run NVE (velocity Verlet) from thermal velocities, then NVT (Langevin) from where that ended, and report both.

    temperature in K, timestep in fs; velocities and thermostat are drawn with a fixed seed. A run that explodes is ended and says so.
    """
    _check(temperature, steps, timestep)
    random = np.random.default_rng(0)
    structure = atoms.copy()
    structure.calc = potential.calculator(skin=SKIN)
    _thermalise(structure, temperature, random)
    verlet = VelocityVerlet(structure, timestep * units.fs)
    nve = _run("NVE", verlet, structure, (temperature, steps, timestep), progress)
    if nve.stopped:
        structure = atoms.copy()
        structure.calc = potential.calculator(skin=SKIN)
        _thermalise(structure, temperature, random)
    langevin = Langevin(structure, timestep * units.fs, temperature_K=temperature, friction=FRICTION / units.fs, rng=random, fixcm=False)
    return nve, _run("NVT", langevin, structure, (temperature, steps, timestep), progress)


def run_nve(potential: Potential, atoms: Atoms, *, temperature: float, steps: int, timestep: float) -> DynamicsReport:
    """Run NVE alone, as `run_dynamics` does first."""
    _check(temperature, steps, timestep)
    structure = atoms.copy()
    structure.calc = potential.calculator(skin=SKIN)
    _thermalise(structure, temperature, np.random.default_rng(0))
    return _run("NVE", VelocityVerlet(structure, timestep * units.fs), structure, (temperature, steps, timestep), None)


def _check(temperature: float, steps: int, timestep: float) -> None:
    if steps < 10 or timestep <= 0 or temperature <= 0:
        raise TrainingError(f"dynamics of {steps} steps of {timestep} fs at {temperature} K; give 10 steps or more, and positive numbers")


def _run(
    ensemble: str, dynamics: VelocityVerlet | Langevin, atoms: Atoms, asked: tuple[float, int, float], progress: Report | None
) -> DynamicsReport:
    temperature, steps, timestep = asked
    start = time.perf_counter()
    energies, temperatures, forces, stopped = [], [], [], ""
    for done in _steps(dynamics, steps):
        energies.append(atoms.get_total_energy() / len(atoms))
        temperatures.append(atoms.get_temperature())
        forces.append(float(np.linalg.norm(atoms.get_forces(), axis=1).max()))
        if progress and (done % 50 == 0 or done == steps):
            progress(ensemble, done, steps)
        if not np.isfinite(energies[-1]) or forces[-1] > FORCE_LIMIT:
            stopped = f"a force of {forces[-1]:.3g} eV/Å at step {done}: the structure has left what the potential knows"
            break
    late = np.array(temperatures[len(temperatures) // 2 :])
    drift, spread = _drift(np.array(energies), timestep) if ensemble == "NVE" and not stopped else (float("nan"), float("nan"))
    return DynamicsReport(
        ensemble=ensemble,
        n_atoms=len(atoms),
        steps=len(energies) - 1,
        timestep=timestep,
        temperature_asked=temperature,
        temperature_mean=float(late.mean()),
        temperature_spread=float(late.std()),
        energy_drift=drift,
        energy_spread=spread,
        max_force=float(np.nanmax(forces)) if np.isfinite(forces).any() else float("nan"),
        stopped=stopped,
        seconds=time.perf_counter() - start,
    )


def _thermalise(atoms: Atoms, temperature: float, random: np.random.Generator) -> None:
    """Draw velocities of a temperature (K) without a motion of the whole."""
    widths = np.sqrt(units.kB * temperature * atoms.get_masses())
    atoms.set_momenta(random.normal(size=(len(atoms), 3)) * widths[:, None])
    Stationary(atoms)


def _steps(dynamics: VelocityVerlet | Langevin, steps: int) -> Iterator[int]:
    yield 0
    for done in range(1, steps + 1):
        dynamics.run(1)  # type: ignore[no-untyped-call]
        yield done


def _drift(energies: np.ndarray[tuple[int], np.dtype[np.float64]], timestep: float) -> tuple[float, float]:
    """Return slope (meV/atom/ps) of the total energy by a linear fit, and the spread around it (meV/atom)."""
    picoseconds = np.arange(len(energies)) * timestep * 1e-3
    slope, start = np.polyfit(picoseconds, energies - energies[0], 1)
    around = energies - energies[0] - slope * picoseconds - start
    return float(1000 * slope), float(1000 * around.std())
