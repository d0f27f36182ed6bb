"""A potential as an ASE calculator."""

# ASE has few annotations of its own.
# mypy: untyped-calls-exclude="ase"

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from training.batch import collate, graph, place_of_theory
from training.neighbours import Edges, neighbours
from training.potentials.base import EnergyModel
from training.structures import from_atoms


class PotentialCalculator(Calculator):
    """ASE calculator: energy = free_energy and energies by atom (eV), forces (eV/Å), stress (eV/Å³, Voigt order, tension positive).

    Stress is there for structures that are periodic along three axes. Raises TrainingError for an element that the potential lacks.
    """

    implemented_properties: list[str] = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012 (as in ASE)

    def __init__(self, model: EnergyModel, *, skin: float = 0.0, theory: str = "") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.skin = skin
        self.theory = theory or (model.theories[0] if model.theories else "")
        if theory:
            place_of_theory(model.theories, theory)
        self._listed: tuple[Atoms, Edges] | None = None

    def calculate(
        self, atoms: Atoms | None = None, properties: Sequence[str] = ("energy",), system_changes: Sequence[str] = tuple(all_changes)
    ) -> None:
        """Compute all properties of a structure at once."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        structure = self.atoms
        assert structure is not None
        if "stress" in properties and not structure.pbc.all():
            raise PropertyNotImplementedError("stress needs a structure that is periodic along three axes; this one is not")
        arrays = dataclasses.replace(from_atoms([structure]), theories=[self.theory])
        batch = collate([graph(arrays, 0, self._edges(structure), self.model.elements, self.model.theories)])
        with torch.no_grad():
            found = self.model(batch.to(self.model.device)).on_cpu()
        energy = float(found.energy[0])
        results: dict[str, Any] = {
            "energy": energy,
            "free_energy": energy,
            "energies": found.atomic_energies.numpy(),
            "forces": found.forces.double().numpy(),
        }
        if structure.pbc.all():
            results["stress"] = full_3x3_to_voigt_6_stress(found.stress[0].double().numpy())
        self.results = results

    def _edges(self, structure: Atoms) -> Edges:
        """Return the neighbours within cutoff and skin; those of before where no atom has moved by half the skin."""
        if self._listed is not None and self.skin > 0:
            before, edges = self._listed
            same = len(before) == len(structure) and np.array_equal(before.cell.array, structure.cell.array)
            if same and np.array_equal(before.pbc, structure.pbc):
                moved = float(np.square(structure.positions - before.positions).sum(axis=1).max(initial=0.0))
                if moved < (self.skin / 2) ** 2:
                    return edges
        cutoff = self.model.cutoff + self.skin
        edges = neighbours(structure.positions, structure.cell.array, structure.pbc, cutoff)
        self._listed = (structure.copy(), edges)
        return edges
