"""What every potential is: atomic energies from edge vectors; forces and stress follow from one gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from training.batch import Batch
from training.potentials.repulsion import repulsion


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a potential says of a batch: eV, eV/Å, eV/Å³ (tension positive)."""

    energy: Tensor
    """(frames,) float64, element references included."""
    energy_above: Tensor
    """(frames,) energy without the element references, which training fits."""
    atomic_energies: Tensor
    """(atoms,) float64, references included."""
    forces: Tensor
    """(atoms, 3)"""
    virial: Tensor
    """(frames, 3, 3) stress times volume, symmetric."""
    stress: Tensor
    """(frames, 3, 3); NaN for frames that are not periodic along three axes."""


class EnergyModel(nn.Module, ABC):
    """A potential as E = sum over atoms of references[element] + atomic_energies; subclasses give the latter."""

    name: ClassVar[str]

    def __init__(self, elements: tuple[str, ...], cutoff: float) -> None:
        super().__init__()
        self.elements = elements
        self.cutoff = cutoff
        self.references: tuple[float, ...] = (0.0,) * len(elements)
        self.scale = 1.0
        self.repulsive = False
        """Whether the repulsion of nuclei at short range is added."""
        self.compiled = "auto"
        """As the setting compile: auto, on or off."""

    @abstractmethod
    def atomic_energies(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Return (atoms,) energies above the references in units of scale; vectors is (edges, 3) in Å.

        Must be twice differentiable in vectors, and zero for edges at and beyond the cutoff.
        """

    @abstractmethod
    def config(self) -> Mapping[str, object]:
        """Return what `build` needs beside elements and cutoff, as values of JSON."""

    @abstractmethod
    def standardise(self, batches: Iterable[Batch]) -> None:
        """Set what depends on the training frames (means and spreads of descriptors) before the first step."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return next(self.parameters()).dtype

    def forward(self, batch: Batch, *, create_graph: bool = False) -> Prediction:
        """Return energy, forces and virial of a batch.

        create_graph keeps the graph of the forces so that a loss on them can be differentiated by the weights. Gradients are taken even
        under torch.no_grad, not under inference_mode.
        """
        with torch.enable_grad():
            vectors = batch.vectors().to(self.dtype).requires_grad_(True)
            atomic = self.atomic_energies(batch, vectors) * self.scale
            (gradient,) = torch.autograd.grad(atomic.sum(), vectors, create_graph=create_graph)
        if not (create_graph or torch.is_grad_enabled()):
            atomic = atomic.detach()
        return self._assemble(batch, vectors.detach(), atomic, gradient)

    def _assemble(self, batch: Batch, vectors: Tensor, atomic: Tensor, gradient: Tensor) -> Prediction:
        """Sum atoms to frames and edges to forces and virials.

        A vector runs from centre to neighbour, so its gradient pulls the centre along and the neighbour against it.
        """
        atomic, gradient = self._repelled(batch, vectors, atomic, gradient)
        forces = torch.zeros((batch.n_atoms, 3), dtype=self.dtype, device=vectors.device)
        forces = forces.index_add(0, batch.centre, gradient).index_add(0, batch.neighbour, -gradient)
        outer = vectors[:, :, None] * gradient[:, None, :]
        per_frame = torch.zeros((batch.n_frames, 3, 3), dtype=self.dtype, device=vectors.device)
        return self._summed(batch, atomic, forces, per_frame.index_add(0, batch.frame[batch.centre], outer))

    def _repelled(self, batch: Batch, vectors: Tensor, atomic: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return atomic energies and gradients with the repulsion of nuclei, where the potential has it."""
        if not self.repulsive:
            return atomic, gradient
        species = batch.species[batch.centre], batch.species[batch.neighbour]
        energies, slopes = repulsion(self.elements, self.cutoff, species, vectors)
        return atomic.index_add(0, batch.centre, energies.to(atomic)), gradient + slopes

    def _summed(self, batch: Batch, atomic: Tensor, forces: Tensor, virial: Tensor) -> Prediction:
        """Sum atoms to frames, put the references in and make the virials (frames, 3, 3) symmetric."""
        virial = 0.5 * (virial + virial.transpose(1, 2))
        base = torch.tensor(self.references, dtype=torch.float64, device=atomic.device)[batch.species]
        zeros = torch.zeros(batch.n_frames, dtype=torch.float64, device=atomic.device)
        above = zeros.index_add(0, batch.frame, atomic.double())
        return Prediction(
            energy=above + zeros.index_add(0, batch.frame, base),
            energy_above=above,
            atomic_energies=atomic.double() + base,
            forces=forces,
            virial=virial,
            stress=virial / batch.volume.to(self.dtype)[:, None, None],
        )

    def libraries(self) -> tuple[str, ...]:
        """Return the packages, beside those that every potential needs, whose versions decide on the numbers."""
        return ()

    def path(self) -> str:
        """Return how energies and forces are computed."""
        return "torch operations"
