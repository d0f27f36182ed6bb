"""High-dimensional neural-network potential on density moments; see README.md beside this file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from schemas.errors import TrainingError, closest
from training.batch import Batch
from training.potentials.base import EnergyModel
from training.potentials.hdnnp.density import DensityInvariants
from training.potentials.hdnnp.network import ElementNetwork
from training.settings import TrainSettings


@dataclass(frozen=True)
class HdnnpConfig:
    """Shape of one potential; each field as in TrainSettings."""

    radial_functions: int
    channels: int
    species_channels: int
    l_max: int
    four_body: bool
    hidden: tuple[int, ...]


class Hdnnp(EnergyModel):
    """E = sum of eps(D_i): invariants of the density around each atom through a small network with a linear skip."""

    name: ClassVar[str] = "hdnnp"

    def __init__(self, elements: tuple[str, ...], cutoff: float, shape: HdnnpConfig) -> None:
        super().__init__(elements, cutoff)
        self.shape = shape
        self.descriptor = DensityInvariants(
            len(elements),
            cutoff,
            radial_functions=shape.radial_functions,
            channels=shape.channels,
            species_channels=shape.species_channels,
            l_max=shape.l_max,
            four_body=shape.four_body,
        )
        self.network = ElementNetwork(len(elements), self.descriptor.size, shape.hidden)

    def atomic_energies(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Return (atoms,) energies above the references in units of scale."""
        return self.network(self.descriptor(batch, vectors), batch.species)  # type: ignore[no-any-return]

    def config(self) -> Mapping[str, object]:
        """Return the shape as values of JSON."""
        return {**dataclasses.asdict(self.shape), "hidden": list(self.shape.hidden)}

    @torch.no_grad()
    def standardise(self, batches: Iterable[Batch]) -> None:
        """Set the mean of each descriptor by element, and its spread within elements."""
        pairs = [(self.descriptor(batch, batch.vectors().to(self.dtype)), batch.species) for batch in batches]
        self.network.standardise(torch.cat([values for values, _ in pairs]), torch.cat([species for _, species in pairs]))


def configure(settings: TrainSettings) -> Mapping[str, object]:
    """Return the configuration that the settings ask for."""
    names = [field.name for field in dataclasses.fields(HdnnpConfig)]
    return {name: getattr(settings, name) for name in names}


def build(elements: tuple[str, ...], cutoff: float, config: Mapping[str, object]) -> Hdnnp:
    """Return an untrained potential; raises TrainingError for a configuration of other fields."""
    known = {field.name for field in dataclasses.fields(HdnnpConfig)}
    if set(config) != known:
        odd = sorted(set(config) ^ known)
        raise TrainingError(f"configuration of hdnnp: {odd[0]!r} is unknown or missing{closest(odd[0], known)}; expected {sorted(known)}")
    values = {**config, "hidden": tuple(config["hidden"])}  # type: ignore[arg-type]
    return Hdnnp(elements, cutoff, HdnnpConfig(**values))  # type: ignore[arg-type]
