"""High-dimensional neural-network potential on classical symmetry functions; see README.md beside this file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from schemas.errors import TrainingError, closest
from training.batch import Batch
from training.potentials.acsf.cutoffs import CUTOFF_TYPES
from training.potentials.acsf.descriptors import Environments, SymmetryFunctions, environments_of
from training.potentials.acsf.functions import SymmetryFunction, generated, in_order, parse_function
from training.potentials.acsf.network import ACTIVATIONS, FeedForward
from training.potentials.acsf.scaling import SCALINGS, Scaling
from training.potentials.base import EnergyModel, Prediction
from training.settings import TrainSettings

MAX_PAIRS: Final = 1 << 16
"""Pairs of neighbours that are computed at once where no graph is kept: bounds memory, and stays within the processor's cache."""


@dataclass(frozen=True)
class AcsfConfig:
    """Shape of one potential."""

    symmetry_functions: tuple[str, ...] = ()
    """Lines as behind symfunction_short in input.nn; none generates a set for the elements and the cutoff."""
    radial_functions: int = 8
    """Radial functions for each neighbour element in a generated set."""
    length_unit: float = 1.0
    """Å per unit of length in symmetry_functions."""
    cutoff_type: int = 2
    cutoff_alpha: float = 0.0
    scaling: str = "sigma"
    """One of `scaling.SCALINGS`."""
    scale_min: float = 0.0
    scale_max: float = 1.0
    hidden: tuple[int, ...] = (32, 32)
    activations: str = ""
    """A letter out of `network.ACTIVATIONS` for each hidden layer and the output; '' is tanh and a linear output."""
    normalize_nodes: bool = False

    def __post_init__(self) -> None:
        if self.scaling not in SCALINGS:
            raise TrainingError(
                f"acsf: there is no scaling {self.scaling!r}{closest(self.scaling, SCALINGS)}; known are {', '.join(SCALINGS)}"
            )
        if self.cutoff_type not in CUTOFF_TYPES:
            raise TrainingError(f"acsf: there is no cutoff_type {self.cutoff_type}; known are {', '.join(map(str, CUTOFF_TYPES))}")
        if not 0 <= self.cutoff_alpha < 1:
            raise TrainingError(f"acsf: cutoff_alpha is {self.cutoff_alpha}, expected 0 up to below 1")
        if len(self.letters) != len(self.hidden) + 1 or not set(self.letters) <= set(ACTIVATIONS):
            raise TrainingError(
                f"acsf: activations are {self.activations!r}, expected {len(self.hidden) + 1} letters out of {''.join(ACTIVATIONS)}"
            )

    @property
    def letters(self) -> str:
        """The activation functions of all layers."""
        return self.activations or "t" * len(self.hidden) + "l"


class Acsf(EnergyModel):
    """E = sum of network(scaled symmetry functions), one network an element; the functions are fixed, the networks are trained."""

    name: ClassVar[str] = "acsf"
    untraceable: ClassVar[str] = "the number of triplets changes with the distances"

    def __init__(self, elements: tuple[str, ...], cutoff: float, shape: AcsfConfig) -> None:
        super().__init__(elements, cutoff)
        self.shape = shape
        self.functions = _functions(elements, cutoff, shape)
        self.descriptor = SymmetryFunctions(
            elements, self.functions, cutoff_type=shape.cutoff_type, alpha=shape.cutoff_alpha, length_unit=shape.length_unit
        )
        widths = [(size, *shape.hidden, 1) for size in self.descriptor.sizes]
        self.scalings = nn.ModuleList(Scaling(w[0], shape.scaling, shape.scale_min, shape.scale_max) for w in widths)
        self.networks = nn.ModuleList(FeedForward(w, shape.letters, normalize_nodes=shape.normalize_nodes) for w in widths)

    def atomic_energies(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Return (atoms,) energies above the references in units of scale."""
        return self._energies(environments_of(batch, vectors)[1])

    def forward(self, batch: Batch, *, create_graph: bool = False) -> Prediction:
        """Return energy, forces and virial of a batch; where no graph is asked for, in pieces of bounded memory."""
        pieces = list(_pieces(batch))
        if create_graph or torch.is_grad_enabled() or len(pieces) < 2:
            return super().forward(batch, create_graph=create_graph)
        vectors = batch.vectors().to(self.dtype)
        atomic, gradients = [], []
        for first, last in pieces:
            edges, around = environments_of(batch, vectors, first, last)
            with torch.enable_grad():
                own = vectors[edges].detach().requires_grad_(True)
                energies = self._energies(dataclasses.replace(around, vectors=own)) * self.scale
                gradients.append(torch.autograd.grad(energies.sum(), own)[0])
            atomic.append(energies.detach())
        return self._assemble(batch, vectors, torch.cat(atomic), torch.cat(gradients))

    def config(self) -> Mapping[str, object]:
        """Return the shape as values of JSON, its functions in full."""
        lines = [function.line() for function in self.functions]
        return {**dataclasses.asdict(self.shape), "symmetry_functions": lines, "hidden": list(self.shape.hidden)}

    @torch.no_grad()
    def standardise(self, batches: Iterable[Batch]) -> None:
        """Set minimum, maximum, mean and spread of each function from the atoms of its element."""
        values: list[list[Tensor]] = [[] for _ in self.elements]
        for batch in batches:
            vectors = batch.vectors().to(self.dtype)
            for first, last in _pieces(batch):
                for species, (_, own) in enumerate(self.descriptor(environments_of(batch, vectors, first, last)[1])):
                    values[species].append(own)
        for scaling, own_values in zip(self.scalings, values, strict=True):
            if own_values:
                scaling.standardise(torch.cat(own_values))  # type: ignore[operator]

    def _energies(self, environments: Environments) -> Tensor:
        # Zero, but a function of the vectors: atoms without neighbours have forces too.
        energies = (0.0 * environments.vectors.sum()).expand(len(environments.species))
        described = self.descriptor(environments)
        for (atoms, values), scaling, network in zip(described, self.scalings, self.networks, strict=True):
            energies = energies.index_add(0, atoms, network(scaling(values)))
        return energies


def configure(settings: TrainSettings) -> Mapping[str, object]:
    """Return the configuration that the settings ask for: their functions, or a generated set; scaled by mean and spread."""
    shape = AcsfConfig(settings.symmetry_functions, settings.radial_functions, hidden=settings.hidden)
    return {**dataclasses.asdict(shape), "symmetry_functions": list(shape.symmetry_functions), "hidden": list(shape.hidden)}


def build(elements: tuple[str, ...], cutoff: float, config: Mapping[str, object]) -> Acsf:
    """Return an untrained potential; raises TrainingError for a configuration of other fields, or functions that reach over the cutoff."""
    known = {field.name for field in dataclasses.fields(AcsfConfig)}
    if set(config) != known:
        odd = sorted(set(config) ^ known)
        raise TrainingError(f"configuration of acsf: {odd[0]!r} is unknown or missing{closest(odd[0], known)}; expected {sorted(known)}")
    values: dict[str, object] = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    return Acsf(elements, cutoff, AcsfConfig(**values))  # type: ignore[arg-type]


def _functions(elements: tuple[str, ...], cutoff: float, shape: AcsfConfig) -> tuple[SymmetryFunction, ...]:
    if not shape.symmetry_functions:
        return generated(elements, cutoff / shape.length_unit, shape.radial_functions)
    functions = in_order(parse_function(line.split(), f"symmetry function {line!r}") for line in shape.symmetry_functions)
    for function in functions:
        strange = sorted({function.centre, *function.neighbours} - set(elements))
        if strange:
            raise TrainingError(f"symmetry function {function.line()!r} names {', '.join(strange)}, the elements are {', '.join(elements)}")
        if function.cutoff * shape.length_unit > cutoff * (1 + 1e-12):
            reach = function.cutoff * shape.length_unit
            raise TrainingError(f"symmetry function {function.line()!r} reaches to {reach:.4f} Å, the cutoff is {cutoff} Å; set it to that")
    return functions


def _pieces(batch: Batch) -> Iterator[tuple[int, int]]:
    """Return first and last (not included) atom of pieces with about MAX_PAIRS pairs of neighbours each."""
    counts = batch.counts
    done = (counts * (counts - 1) // 2 + 1).cumsum(0)
    piece = (done - 1) // MAX_PAIRS
    starts = [0, *((piece[1:] != piece[:-1]).nonzero()[:, 0] + 1).tolist(), batch.n_atoms]
    yield from pairwise(starts)
