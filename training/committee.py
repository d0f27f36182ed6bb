"""Several potentials that learned the same frames from different beginnings, and predict their mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import ClassVar

import torch
from torch import Tensor, nn

from schemas.errors import TrainingError
from training.batch import Batch
from training.potentials.base import EnergyModel, Prediction


class Committee(EnergyModel):
    """E = mean of the members' energies; forces and stress follow. What members disagree about is in `spread_of_forces`."""

    name: ClassVar[str] = "committee"

    def __init__(self, members: Sequence[EnergyModel]) -> None:
        if not members or len({(member.elements, member.cutoff) for member in members}) != 1:
            raise TrainingError(f"a committee of {len(members)} potentials needs members of the same elements and cutoff")
        super().__init__(members[0].elements, members[0].cutoff)
        self.members = nn.ModuleList(members)
        self.references = members[0].references
        self.theories, self.theory_references = members[0].theories, members[0].theory_references

    def atomic_energies(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Return (atoms,) the mean of the members' energies above the references, eV."""
        return torch.stack([member.atomic_energies(batch, vectors) * member.scale for member in self.each()]).mean(dim=0)

    def forward(self, batch: Batch, *, create_graph: bool = False) -> Prediction:
        """Return the mean of what the members predict."""
        said = [member(batch, create_graph=create_graph) for member in self.each()]
        means = {f.name: torch.stack([getattr(one, f.name) for one in said]).mean(dim=0) for f in fields(Prediction)}
        return Prediction(**means)

    def energies_of_theories(self) -> list[list[float]]:
        """Return the mean of what the members count from."""
        each = torch.tensor([member.energies_of_theories() for member in self.each()], dtype=torch.float64)
        return [[float(value) for value in row] for row in each.mean(dim=0)] if self.theories else []

    def spread_of_forces(self, batch: Batch) -> Tensor:
        """Return (atoms,) the root mean square distance of the members' forces from their mean, eV/Å."""
        with torch.no_grad():
            forces = torch.stack([member(batch).forces for member in self.each()])
        spread: Tensor = (forces - forces.mean(dim=0)).square().sum(dim=2).mean(dim=0).sqrt()
        return spread

    def each(self) -> list[EnergyModel]:
        """Return the members."""
        return [member for member in self.members if isinstance(member, EnergyModel)]

    def config(self) -> Mapping[str, object]:
        """Return what each member is."""
        return {"members": [_record(member) for member in self.each()]}

    def standardise(self, batches: Iterable[Batch]) -> None:
        """Standardise each member."""
        kept = list(batches)
        for member in self.each():
            member.standardise(kept)

    def libraries(self) -> tuple[str, ...]:
        """Return the packages of the members."""
        return self.each()[0].libraries()

    def path(self) -> str:
        """Return how energies and forces are computed."""
        return self.each()[0].path()


def _record(member: EnergyModel) -> dict[str, object]:
    return {
        "potential": member.name,
        "scale": member.scale,
        "repulsion": member.repulsive,
        "references": list(member.references),
        "shape": dict(member.config()),
        **member.told_apart(),
    }
