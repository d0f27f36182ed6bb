"""NequIP, E(3)-equivariant message passing, by the package nequip; see README.md beside this file."""

from __future__ import annotations

import dataclasses
import importlib.util
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from schemas.errors import TrainingError, closest
from schemas.settings import environment_kept
from training.batch import Batch
from training.potentials.base import EnergyModel
from training.settings import TrainSettings


@dataclass(frozen=True)
class NequipConfig:
    """Shape of one potential; each field as in TrainSettings."""

    layers: int
    l_max: int
    channels: int
    radial_functions: int
    hidden: tuple[int, ...]


class Nequip(EnergyModel):
    """E = sum of atomic energies of NequIP (Batzner et al., Nat. Commun. 13, 2453, 2022), with references and scale as everywhere here.

    Only energies are asked of the package; forces and stress are derived as for every potential. Numbers that follow from the shape
    (coupling coefficients, norms) are no weights: they are not stored, and are exact in either precision.
    """

    name: ClassVar[str] = "nequip"
    packages: ClassVar[tuple[str, ...]] = ("nequip", "e3nn")
    """Distributions whose versions decide on the numbers; the first is that which makes the network."""
    module: ClassVar[str] = "nequip"
    """What is imported of the first."""
    untraceable: ClassVar[str] = "the package nequip has operations that cannot be traced"
    neighbours: Tensor

    def __init__(self, elements: tuple[str, ...], cutoff: float, shape: NequipConfig) -> None:
        super().__init__(elements, cutoff)
        self.shape = shape
        self.network = self.made(elements, cutoff, shape)
        self._exact = {f"network.{name}": value.clone() for name, value in self.network.named_buffers()}
        self._in_state = frozenset(f"network.{name}" for name in self.network.state_dict()) & frozenset(self._exact)
        self.register_buffer("neighbours", torch.ones((), dtype=torch.float64))
        self.register_state_dict_post_hook(_without_constants)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_constants)  # type: ignore[no-untyped-call]

    def atomic_energies(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Return (atoms,) energies above the references in units of scale."""
        # The names of nequip.data.AtomicDataDict.
        found: dict[str, Tensor] = self.network(
            {
                "edge_index": torch.stack([batch.centre, batch.neighbour.long()]),
                "edge_vectors": vectors,
                "atom_types": batch.species,
                "feature_norm_factor": self.neighbours.rsqrt().expand(batch.n_atoms, 1),
            }
        )
        return found["atomic_energy"].squeeze(-1).to(self.dtype)

    def config(self) -> Mapping[str, object]:
        """Return the shape as values of JSON."""
        return {**dataclasses.asdict(self.shape), "hidden": list(self.shape.hidden)}

    @torch.no_grad()
    def standardise(self, batches: Iterable[Batch]) -> None:
        """Set the mean number of neighbours, by which sums over them are divided."""
        counts = [(len(batch.neighbour), batch.n_atoms) for batch in batches]
        edges, atoms = (sum(column) for column in zip(*counts, strict=True))
        self.neighbours.fill_(max(edges / max(atoms, 1), 1.0))

    def libraries(self) -> tuple[str, ...]:
        """Return the packages beside our own whose versions decide on the numbers."""
        return self.packages

    def path(self) -> str:
        """Return how energies and forces are computed."""
        return f"torch operations of {self.packages[0]} {version(self.packages[0])}"

    @staticmethod
    def made(elements: tuple[str, ...], cutoff: float, shape: NequipConfig) -> nn.Module:
        """Return the part of the model that gives atomic energies, in double precision; weights are drawn from torch's generator."""
        seed = int(torch.randint(2**31 - 1, ()))
        with state_kept():
            from nequip.model import NequIPGNNModel

            whole: Any = NequIPGNNModel(
                seed=seed,
                model_dtype="float64",
                type_names=list(elements),
                r_max=cutoff,
                num_layers=shape.layers,
                l_max=shape.l_max,
                parity=False,
                num_features=shape.channels,
                num_bessels=shape.radial_functions,
                radial_mlp_depth=len(shape.hidden),
                radial_mlp_width=shape.hidden[0],
                avg_num_neighbors=1.0,
                per_type_energy_scales=1.0,
                per_type_energy_shifts=0.0,
                do_derivatives=False,
            )
        network: nn.Module = whole.model.func
        return network

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Nequip:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        own = dict(self.named_buffers())
        with torch.no_grad():
            for name, value in self._exact.items():
                own[name].copy_(value)
        parts: Iterable[Any] = self.network.modules()
        for part in parts:
            if hasattr(part, "_output_dtype"):
                # They remember the precision that they were built in.
                part._output_dtype = self.dtype
        return self


def configure(settings: TrainSettings) -> Mapping[str, object]:
    """Return the configuration that the settings ask for."""
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(NequipConfig)}


def build(elements: tuple[str, ...], cutoff: float, config: Mapping[str, object], architecture: type[Nequip] = Nequip) -> Nequip:
    """Return an untrained potential; raises TrainingError for a configuration of other fields, and where its package is not installed."""
    name, package = architecture.name, architecture.packages[0]
    if importlib.util.find_spec(architecture.module) is None:
        raise TrainingError(f"potential {name} needs the package {package}, which is not installed; pip install 'atomlake[nequip]'")
    known = {field.name for field in dataclasses.fields(NequipConfig)}
    if set(config) != known:
        odd = sorted(set(config) ^ known)
        raise TrainingError(f"configuration of {name}: {odd[0]!r} is unknown or missing{closest(odd[0], known)}; expected {sorted(known)}")
    shape = NequipConfig(**{**config, "hidden": tuple(config["hidden"])})  # type: ignore[arg-type]
    if len(set(shape.hidden)) != 1:
        raise TrainingError(f"{name}: hidden is {list(shape.hidden)}, expected one width or several equal ones, like [32, 32]")
    return architecture(elements, cutoff, shape)


@contextmanager
def state_kept() -> Iterator[None]:
    """Let nequip set what it wants of the whole process (seeds, default precision) while it builds, and undo that."""
    before = torch.get_default_dtype(), random.getstate(), np.random.get_state()
    sharing = torch.multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]
    names = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "PYTORCH_JIT_USE_NNC_NOT_NVFUSER")
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), environment_kept(*names):
        warnings.simplefilter("ignore")
        from nequip.utils.global_state import set_global_state

        set_global_state()
        try:
            yield
        finally:
            torch.set_default_dtype(before[0])
            random.setstate(before[1])
            np.random.set_state(before[2])
            torch.multiprocessing.set_sharing_strategy(sharing)  # type: ignore[no-untyped-call]


def _without_constants(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """Take what follows from the shape out of the weights that are stored."""
    assert isinstance(module, Nequip)
    for name in module._in_state:
        state.pop(prefix + name, None)


def _with_constants(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Put it back in before weights are taken over."""
    assert isinstance(module, Nequip)
    for name in module._in_state:
        state[prefix + name] = module._exact[name]
