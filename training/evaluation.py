"""How well a potential does on frames, beside a predictor that knows nothing of structure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from schemas.elements import composition, reduced_formula
from schemas.frames import Floats, FrameArrays
from schemas.potentials import ErrorSummary, Metrics
from training.job import systems_of
from training.references import count_elements, elements_of, fit_references
from training.structures import take

if TYPE_CHECKING:
    from training.stored import Potential, Predictions


def evaluate(potential: Potential, arrays: FrameArrays, split: str, *, baseline: FrameArrays | None = None) -> Metrics:
    """Return the errors on frames by element system; baseline are the training frames that the trivial predictor learns from.

    Without a baseline the trivial predictor knows the element references of the potential only.
    Raises TrainingError for frames with elements that the potential does not know.
    """
    return compare(arrays, potential.energy_forces_stress(arrays), trivial_energies(arrays, baseline, potential.card.references), split)


def compare(arrays: FrameArrays, found: Predictions, trivial: Floats, split: str) -> Metrics:
    """Return the errors of predictions, and of trivial energies with zero forces and stress, over all frames and by element system."""
    zeros = (np.zeros_like(arrays.forces), np.zeros_like(arrays.stress))
    systems = np.array(systems_of(arrays), dtype=object)
    everywhere = np.ones(arrays.count, dtype=bool)
    by_system, trivial_by_system = {}, {}
    for system in sorted(set(systems)):
        chosen = systems == system
        by_system[system] = _summary(arrays, chosen, found.energy, found.forces, found.stress)
        trivial_by_system[system] = _summary(arrays, chosen, trivial, *zeros)
    return Metrics(
        split,
        _summary(arrays, everywhere, found.energy, found.forces, found.stress),
        _summary(arrays, everywhere, trivial, *zeros),
        by_system,
        trivial_by_system,
        _by_theory(arrays, found),
    )


def _by_theory(arrays: FrameArrays, found: Predictions) -> dict[str, ErrorSummary]:
    theories = np.array(arrays.theories, dtype=object)
    names = sorted(set(arrays.theories))
    return {name: _summary(arrays, theories == name, found.energy, found.forces, found.stress) for name in names}


def trivial_energies(arrays: FrameArrays, baseline: FrameArrays | None, references: Mapping[str, float]) -> Floats:
    """Return (n,) natoms times the mean energy per atom of the same composition in baseline, eV.

    Levels of theory, where baseline tells several, are gone through one by one.
    A composition that baseline lacks gets the sum of element energies that fit baseline best; NaN where it lacks an element.
    """
    if baseline is not None and len(set(baseline.theories)) > 1 and len(arrays.theories):
        found = np.full(arrays.count, np.nan)
        for name in set(arrays.theories):
            own, known = (np.flatnonzero(np.array(each.theories, dtype=object) == name) for each in (arrays, baseline))
            alone = [dataclasses.replace(take(each, places), theories=()) for each, places in ((arrays, own), (baseline, known))]
            found[own] = trivial_energies(alone[0], alone[1], references)
        return found
    means: dict[str, float] = {}
    if baseline is not None and np.isfinite(baseline.energy).any():
        references = fit_references(baseline).energies
        per_atom: dict[str, list[float]] = {}
        for formula, energy, natoms in zip(_formulas(baseline), baseline.energy, baseline.natoms, strict=True):
            if np.isfinite(energy):
                per_atom.setdefault(formula, []).append(float(energy / natoms))
        means = {formula: float(np.mean(values)) for formula, values in per_atom.items()}
    elements = elements_of(arrays)
    sums = count_elements(arrays, elements) @ np.array([references.get(symbol, np.nan) for symbol in elements])
    own = np.array([means.get(formula, np.nan) for formula in _formulas(arrays)])
    return np.where(np.isfinite(own), own * arrays.natoms, sums)


def _formulas(arrays: FrameArrays) -> list[str]:
    pieces = np.split(arrays.numbers, arrays.offsets[1:-1])[: arrays.count]
    return [reduced_formula(composition(piece)) for piece in pieces]


def _summary(
    arrays: FrameArrays, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]], energy: Floats, forces: Floats, stress: Floats
) -> ErrorSummary:
    atoms = np.repeat(chosen, arrays.natoms)
    energies = ((energy - arrays.energy) / arrays.natoms)[chosen]
    components = (forces - arrays.forces)[atoms]
    return ErrorSummary(
        n_frames=int(chosen.sum()),
        n_atoms=int(atoms.sum()),
        energy_mae=_mean(np.abs(energies)),
        energy_rmse=_mean(energies**2) ** 0.5,
        force_mae=_mean(np.abs(components)),
        force_rmse=_mean(components**2) ** 0.5,
        stress_mae=_mean(np.abs(stress - arrays.stress)[chosen]),
    )


def _mean(values: Floats) -> float:
    """Return the mean of the finite values; NaN where there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
