"""What every potential is: atomic energies from edge vectors; forces and stress follow from one gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from schemas.errors import TrainingError
from training.batch import Batch
from training.potentials.repulsion import repulsion
from training.potentials.traced import OUTPUTS, TracedGraphs, missing_compiler


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

    def on_cpu(self) -> Prediction:
        """Return the same in the memory of the host."""
        return Prediction(**{name: value.cpu() for name, value in vars(self).items()})


class EnergyModel(nn.Module, ABC):
    """A potential as E = sum over atoms of references[element] + atomic_energies; subclasses give the latter."""

    name: ClassVar[str]
    untraceable: ClassVar[str] = ""
    """Why its operations cannot be traced as a graph of fixed shapes; empty where they can."""

    def __init__(self, elements: tuple[str, ...], cutoff: float) -> None:
        super().__init__()
        self.elements = elements
        self.cutoff = cutoff
        self.references: tuple[float, ...] = (0.0,) * len(elements)
        self.scale = 1.0
        self.theories: tuple[str, ...] = ()
        """Levels of theory that it tells apart, that of the references first; none where it knows but one."""
        self.theory_references: tuple[tuple[float, ...], ...] = ()
        """(theories, elements) eV"""
        self.theory_shifts: nn.Parameter | None = None
        """(theories - 1, elements) learned on top of these, in units of scale."""
        self.theory_scales: nn.Parameter | None = None
        """(theories - 1, elements) learned factors of atomic energies less 1; None without a head."""
        self.repulsive = False
        """Whether the repulsion of nuclei at short range is added."""
        self.compiled = "auto"
        """As the setting compile: auto, on or off."""
        self.matmul = "highest"
        """As the setting matmul; high is a matter of the whole process (`training.precision`), bf16 of this potential."""
        self._traced: dict[torch.device, TracedGraphs] = {}
        self._reference_table: tuple[tuple[object, ...], Tensor] | None = None

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

    def tell_apart(self, theories: tuple[str, ...], references: tuple[tuple[float, ...], ...], *, head: bool) -> None:
        """Give each level of theory references (eV) and learned shifts by element, with a head a learned factor too.

        All else is shared. The first level is the plain potential, so that nothing is learned twice.
        """
        self.theories, self.theory_references, self.references = theories, references, references[0]
        zeros = torch.zeros(len(theories) - 1, len(self.elements), dtype=self.dtype)
        self.theory_shifts = nn.Parameter(zeros)
        self.theory_scales = nn.Parameter(zeros.clone()) if head else None

    def told_apart(self) -> dict[str, object]:
        """Return the levels of theory as values of JSON; nothing where it knows but one."""
        if not self.theories:
            return {}
        return {"theories": self.theories, "theory_references": self.theory_references, "theory_head": self.theory_scales is not None}

    def energies_of_theories(self) -> list[list[float]]:
        """Return (theories, elements), the energies that each level counts from, with what was learned, eV."""
        if self.theory_shifts is None:
            return [list(row) for row in self.theory_references]
        learned = torch.cat([torch.zeros_like(self.theory_shifts[:1]), self.theory_shifts]).detach().double() * self.scale
        return [[float(value) for value in row] for row in torch.tensor(self.theory_references, dtype=torch.float64) + learned.cpu()]

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, batch: Batch, *, create_graph: bool = False) -> Prediction:
        """Return energy, forces and virial of a batch: by the compiled graph where there is one, else by torch operations.

        create_graph keeps the graph of the forces so that a loss on them can be differentiated by the weights. Gradients are taken even
        under torch.no_grad, not under inference_mode.
        """
        traced = self.traced(batch.positions.device)
        numbers = None if isinstance(traced, str) else traced(self, batch, create_graph=create_graph)
        if numbers is None:
            return self.by_operations(batch, create_graph=create_graph)
        said = dict(zip(OUTPUTS, numbers, strict=True))
        stress = said["virial"] / batch.volume.to(self.dtype)[:, None, None]
        return self._with_repulsion(batch, Prediction(**said, stress=stress))

    def by_operations(self, batch: Batch, *, create_graph: bool = False) -> Prediction:
        """Return the same by torch operations, one after the other."""
        reduced = self.matmul == "bf16"
        with torch.enable_grad(), torch.autocast(batch.positions.device.type, torch.bfloat16, enabled=reduced, cache_enabled=False):
            vectors = batch.vectors().to(self.dtype).requires_grad_(True)
            atomic = self.atomic_energies(batch, vectors).to(self.dtype) * self.scale
            (gradient,) = torch.autograd.grad(atomic.sum(), vectors, create_graph=create_graph)
        if not (create_graph or torch.is_grad_enabled()):
            atomic = atomic.detach()
        return self._assemble(batch, vectors.detach(), atomic, gradient)

    def traced(self, device: torch.device) -> TracedGraphs | str:
        """Return the compiled graphs for a device, or why there are none.

        Raises TrainingError where the setting compile is on and there can be none.
        """
        if self.compiled == "off":
            return "the setting compile is off"
        if self.compiled == "auto" and (self.untraceable or device.type == "cpu"):
            return self.untraceable or "compile is auto, which compiles graphs on a GPU only"
        if device not in self._traced:
            self._traced[device] = TracedGraphs(problem=self.untraceable or missing_compiler(device))
        found = self._traced[device]
        if found.problem and self.compiled == "on":
            raise TrainingError(f"compile is on, but {found.problem}; set it to auto or off")
        return found.problem or found

    def __getstate__(self) -> dict[str, object]:
        # Compiled graphs belong to this potential on this device in this process.
        return {**self.__dict__, "_traced": {}}

    def _assemble(self, batch: Batch, vectors: Tensor, atomic: Tensor, gradient: Tensor) -> Prediction:
        """Sum atoms to frames and edges to forces and virials, level of theory and repulsion put in."""
        atomic, gradient = self._repelled(batch, vectors, atomic, gradient)
        return self._summed(batch, atomic, *self._forces_and_virial(batch, vectors, gradient))

    def _forces_and_virial(self, batch: Batch, vectors: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return forces (atoms, 3) and virials (frames, 3, 3), not yet symmetric.

        A vector runs from centre to neighbour, so its gradient pulls the centre along and the neighbour against it.
        """
        forces = torch.zeros((batch.n_atoms, 3), dtype=self.dtype, device=vectors.device)
        forces = forces.index_add(0, batch.centre, gradient).index_add(0, batch.neighbour, -gradient)
        outer = vectors[:, :, None] * gradient[:, None, :]
        per_frame = torch.zeros((batch.n_frames, 3, 3), dtype=self.dtype, device=vectors.device)
        return forces, per_frame.index_add(0, batch.frame[batch.centre], outer)

    def _repelled(self, batch: Batch, vectors: Tensor, atomic: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return atomic energies and gradients as the level of theory has them, and with the repulsion of nuclei, where there are such."""
        atomic, gradient = self._in_theory(batch, atomic, gradient)
        if not self.repulsive:
            return atomic, gradient
        energies, slopes = self._repulsion(batch, vectors)
        return atomic.index_add(0, batch.centre, energies.to(atomic)), gradient + slopes

    def _repulsion(self, batch: Batch, vectors: Tensor) -> tuple[Tensor, Tensor]:
        species = batch.species[batch.centre], batch.species[batch.neighbour]
        return repulsion(self.elements, self.cutoff, species, vectors)

    def _with_repulsion(self, batch: Batch, said: Prediction) -> Prediction:
        """Return a prediction with the repulsion of nuclei, which has no weights, put on top, where there is such."""
        if not self.repulsive:
            return said
        vectors = batch.vectors().to(self.dtype)
        energies, slopes = self._repulsion(batch, vectors)
        forces, virial = self._forces_and_virial(batch, vectors, slopes)
        virial = 0.5 * (virial + virial.transpose(1, 2))
        atomic = torch.zeros_like(said.atomic_energies).index_add(0, batch.centre, energies.double())
        energy = torch.zeros_like(said.energy).index_add(0, batch.frame, atomic)
        return Prediction(
            energy=said.energy + energy,
            energy_above=said.energy_above + energy,
            atomic_energies=said.atomic_energies + atomic,
            forces=said.forces + forces,
            virial=said.virial + virial,
            stress=said.stress + virial / batch.volume.to(self.dtype)[:, None, None],
        )

    def _in_theory(self, batch: Batch, atomic: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and scale the energy of each atom; the gradient of an edge is that of its centre's energy, so it is scaled alike."""
        if self.theory_shifts is None:
            return atomic, gradient
        theory, first = batch.theory[batch.frame], torch.zeros_like(self.theory_shifts[:1])

        # Where no graph is kept, none begins here.
        def learned(rows: Tensor) -> Tensor:
            return torch.cat([first, rows if atomic.requires_grad else rows.detach()])[theory, batch.species]

        energies = atomic
        if self.theory_scales is not None:
            factors = 1 + learned(self.theory_scales)
            energies, gradient = energies * factors, gradient * factors[batch.centre, None]
        return energies + self.scale * learned(self.theory_shifts), gradient

    def _summed(self, batch: Batch, atomic: Tensor, forces: Tensor, virial: Tensor) -> Prediction:
        """Sum atoms to frames, put the references in and make the virials (frames, 3, 3) symmetric."""
        virial = 0.5 * (virial + virial.transpose(1, 2))
        base = self._references_on(atomic.device)[batch.theory[batch.frame] if self.theories else 0, batch.species]
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

    def _references_on(self, device: torch.device) -> Tensor:
        """Return (theories, elements) references on a device, kept there: a copy in each step would make the host wait."""
        key = (device, self.theory_references or (self.references,))
        if self._reference_table is None or self._reference_table[0] != key:
            self._reference_table = (key, torch.tensor(key[1], dtype=torch.float64, device=device))
        return self._reference_table[1]

    def libraries(self) -> tuple[str, ...]:
        """Return the packages, beside those that every potential needs, whose versions decide on the numbers."""
        return ()

    def path(self) -> str:
        """Return how energies and forces are computed."""
        found = self.traced(self.device)
        return f"torch operations, since {found}" if isinstance(found, str) else f"graph by make_fx and torch.compile ({found.backend})"

    def detail(self) -> str:
        """Return what was compiled so far; nothing where nothing was."""
        return "; ".join(found.detail() for found in self._traced.values() if found.graphs)
