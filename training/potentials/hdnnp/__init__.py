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
from training.potentials.base import EnergyModel, Prediction
from training.potentials.hdnnp.density import DensityInvariants
from training.potentials.hdnnp.kernel import Kernel, KernelWeights, kernel_for
from training.potentials.hdnnp.native import assemble, pull, sums
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
    four_body_l: int = 2


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
            four_body_l=shape.four_body_l if shape.four_body else 0,
        )
        self.network = ElementNetwork(len(elements), self.descriptor.size, shape.hidden)

    def atomic_energies(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Return (atoms,) energies above the references in units of scale."""
        return self.network(self.descriptor(batch, vectors), batch.species)  # type: ignore[no-any-return]

    def forward(self, batch: Batch, *, create_graph: bool = False) -> Prediction:
        """Return energy, forces and virial of a batch: by the compiled kernel where there is one, all in it where no graph is kept."""
        kernel = self.kernel(batch.positions.device)
        if isinstance(kernel, str):
            return super().forward(batch, create_graph=create_graph)
        start = batch.starts()
        vectors = kernel.vectors(start, batch)
        if not create_graph:
            energies, gradient = kernel.evaluate((start, batch.neighbour, batch.species), vectors, self.cutoff, self._weights())
            return self._assembled(kernel, batch, (start, vectors), energies, gradient)
        weights = self.descriptor.embedding[batch.species].index_select(0, batch.neighbour)
        with torch.enable_grad():
            summed = sums(kernel, start, vectors, weights, self.cutoff)
            if not summed.requires_grad:
                summed.requires_grad_(True)
            energies = self.network(self.descriptor.of_sums(kernel, summed, batch.species), batch.species) * self.scale
            (by_sums,) = torch.autograd.grad(energies.sum(), summed, create_graph=True)
            gradient = pull(kernel, start, vectors, weights, self.cutoff, given=by_sums)
            return self._assembled(kernel, batch, (start, vectors), energies, gradient)

    def _assembled(
        self, kernel: Kernel, batch: Batch, edges: tuple[Tensor, Tensor], energies: Tensor, gradient: Tensor
    ) -> Prediction:  # fmt: skip
        """Return what energies (atoms,) and derivatives by vectors (edges, 3) make; edges are the first of each atom, and vectors."""
        start, vectors = edges
        every, gradient = self._repelled(batch, vectors, energies, gradient)
        forces, virial = assemble(kernel, (start, batch.neighbour, batch.frame), batch.n_frames, vectors, gradient)
        return self._summed(batch, every, forces, virial)

    @torch.no_grad()
    def _weights(self) -> KernelWeights:
        """Return all that the kernel needs to know, as it stands now."""
        rows, matrices, widths = self.network.packed(self.scale)
        return KernelWeights(self.descriptor.embedding.contiguous(), self.descriptor.mixing.contiguous(), rows, matrices, widths)

    def kernel(self, device: torch.device) -> Kernel | str:
        """Return the compiled kernel for a device, or why there is none."""
        if self.compiled == "off":
            return "the setting compile is off"
        if device.type != "cpu":
            return f"the kernel runs on the CPU, the potential is on {device}"
        found = kernel_for(self.descriptor.kernel_shape(self.dtype))
        if isinstance(found, str) and self.compiled == "on":
            raise TrainingError(f"compile is on, but {found}; install a C compiler, or set compile to auto or off")
        return found

    def path(self) -> str:
        """Return how energies and forces are computed."""
        kernel = self.kernel(self.device)
        if not isinstance(kernel, str):
            return "compiled kernel"
        return f"torch operations, since {kernel}" if self.device.type == "cpu" else super().path()

    def config(self) -> Mapping[str, object]:
        """Return the shape as values of JSON."""
        return {**dataclasses.asdict(self.shape), "hidden": list(self.shape.hidden)}

    @torch.no_grad()
    def standardise(self, batches: Iterable[Batch]) -> None:
        """Set the mean of each descriptor by element, and its spread within elements."""
        pairs = [(self._descriptors(batch), batch.species) for batch in batches]
        self.network.standardise(torch.cat([values for values, _ in pairs]), torch.cat([species for _, species in pairs]))

    def _descriptors(self, batch: Batch) -> Tensor:
        kernel = self.kernel(batch.positions.device)
        if isinstance(kernel, str):
            return self.descriptor(batch, batch.vectors().to(self.dtype))  # type: ignore[no-any-return]
        start = batch.starts()
        vectors = kernel.vectors(start, batch)
        weights = self.descriptor.embedding[batch.species[batch.neighbour]]
        return self.descriptor.of_sums(kernel, sums(kernel, start, vectors, weights, self.cutoff), batch.species)


def configure(settings: TrainSettings) -> Mapping[str, object]:
    """Return the configuration that the settings ask for."""
    names = [field.name for field in dataclasses.fields(HdnnpConfig)]
    return {name: getattr(settings, name) for name in names}


def build(elements: tuple[str, ...], cutoff: float, config: Mapping[str, object]) -> Hdnnp:
    """Return an untrained potential; raises TrainingError for a configuration of other fields."""
    fields = dataclasses.fields(HdnnpConfig)
    known = {field.name for field in fields}
    # Configurations of before a field was there have its default.
    needed = {field.name for field in fields if field.default is dataclasses.MISSING}
    if not needed <= set(config) <= known:
        odd = sorted((needed - set(config)) | (set(config) - known))
        raise TrainingError(f"configuration of hdnnp: {odd[0]!r} is unknown or missing{closest(odd[0], known)}; expected {sorted(known)}")
    values = {**config, "hidden": tuple(config["hidden"])}  # type: ignore[arg-type]
    return Hdnnp(elements, cutoff, HdnnpConfig(**values))  # type: ignore[arg-type]
