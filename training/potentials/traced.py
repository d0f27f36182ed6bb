"""Energies, forces and virials as one compiled graph: traced by make_fx, derivative included, then torch.compile.

torch.compile alone does not differentiate twice (pytorch issue 91469). make_fx writes out the forces' gradient as plain operations
first, so that one derivative, by the weights, is left for it.
"""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from schemas.errors import TrainingError
from training.batch import Batch

if TYPE_CHECKING:
    from training.potentials.base import EnergyModel

MAX_GRAPHS: Final = 8
"""Graphs that are compiled for one potential, at most; batches of other sizes are computed by torch operations."""

PATIENCE: Final = 100
"""Batches without a derivative by the weights after which auto compiles for them: fewer are done sooner without."""

ROOM: Final = 1.04
"""Size of a graph relative to the batch that it was made for: the next ones are a little larger or smaller."""

MORE_ROOM: Final = 1.3
"""The same where graphs of about the size were made before, and it was too small."""

WASTE: Final = 2.0
"""Size of a graph, at most, relative to the batch that is computed with it; else one more is made."""

DEVIATION: Final = {torch.float64: 1e-8, torch.float32: 5e-3}
"""Of a new graph from torch operations, relative; what is above is no rounding."""

OLDEST_GPU: Final = (7, 0)
"""Least compute capability that triton makes programs for."""

OUTPUTS: Final = ("energy", "energy_above", "atomic_energies", "forces", "virial")
"""Fields of a Prediction that a graph gives. Not the stress: divided by the volume of a molecule, NaN, it would spoil all derivatives."""

Numbers = tuple[Tensor, ...]
"""These fields, in order."""

_INPUTS: Final = ("species", "positions", "frame", "centre", "neighbour", "slot", "offset", "natoms", "volume", "theory")
_PER_ATOM: Final = (False, False, True, True, False)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """What a graph is made for, its padding included."""

    atoms: int
    edges: int
    frames: int
    width: int

    def holds(self, other: Size, *, at_any_cost: bool = False) -> bool:
        """Return whether a batch of that size fits, without too much waste."""
        pairs = list(zip(vars(self).values(), vars(other).values(), strict=True))
        sparing = self.atoms <= WASTE * other.atoms + 8 and self.edges <= WASTE * other.edges + 64
        return (sparing or at_any_cost) and all(own >= need for own, need in pairs)

    def grown(self, room: float = ROOM) -> Size:
        """Return a size with room, in round numbers; the width is a few at most, and costs most."""
        atoms, edges, frames = (_rounded(int(room * count)) for count in (self.atoms, self.edges, self.frames))
        return Size(atoms, edges, frames, -(-self.width // 4) * 4)


@dataclass(frozen=True, eq=False)
class _Graph:
    size: Size
    trains: bool
    run: Callable[[list[Tensor], list[Tensor]], Numbers]


class TracedGraphs:
    """The compiled graphs of one potential on one device, made when batches come that they are for."""

    def __init__(self, backend: str = "inductor", *, problem: str = "") -> None:
        self.backend = backend
        self.problem = problem
        """Why there are none; empty where there may be."""
        self.seconds = 0.0
        """Spent on tracing and compiling."""
        self.missed = 0
        """Batches that were computed otherwise since there were too many sizes."""
        self.graphs: list[_Graph] = []
        self._made_of: tuple[object, ...] = ()
        self._used = 0

    def __call__(self, model: EnergyModel, batch: Batch, *, create_graph: bool) -> Numbers | None:
        """Return OUTPUTS, repulsion not included; None where torch operations should do it.

        Raises TrainingError where the setting compile is on and no graph can be made.
        """
        if self.problem or batch.n_atoms == 0 or (not create_graph and torch.is_grad_enabled()):
            return None
        self._used += not create_graph
        if not create_graph and model.compiled == "auto" and self._used <= PATIENCE:
            return None
        graph = self._graph_for(model, batch, create_graph)
        if graph is None:
            return None
        found = graph.run(_weights(model), _padded(batch, graph.size, model.cutoff))
        return _cut(found, batch)

    def detail(self) -> str:
        """Return what was made, in words; nothing where nothing was."""
        if not self.graphs:
            return ""
        missed = f"; {self.missed} batches by torch operations, since more than {MAX_GRAPHS} sizes came" if self.missed else ""
        return f"{len(self.graphs)} graphs compiled in {self.seconds:.0f} s{missed}"

    def _graph_for(self, model: EnergyModel, batch: Batch, trains: bool) -> _Graph | None:
        made_of = _constants(model)
        if made_of != self._made_of:
            self._made_of, self.graphs = made_of, []
        need = Size(batch.n_atoms + 1, len(batch.neighbour) + 1, batch.n_frames + 1, batch.width)
        full = len(self.graphs) == MAX_GRAPHS
        fitting = [graph for graph in self.graphs if graph.trains == trains and graph.size.holds(need, at_any_cost=full)]
        if fitting:
            return min(fitting, key=lambda graph: graph.size.atoms * graph.size.width)
        if full:
            self.missed += 1
            return None
        return self._make(model, batch, self._size_for(need, trains), trains)

    def _size_for(self, need: Size, trains: bool) -> Size:
        """Return the size of one graph more: with room, and for what the graphs of about this size are for too."""
        sizes = [graph.size for graph in self.graphs if graph.trains == trains]
        # The last one that may be made is for all that came.
        last = len(self.graphs) == MAX_GRAPHS - 1
        near = [size for size in sizes if last or 1 / WASTE <= size.edges / need.edges <= WASTE]
        columns = zip(*(vars(size).values() for size in (need, *near)), strict=True)
        return Size(*(max(column) for column in columns)).grown(MORE_ROOM if len(near) > 1 else ROOM)

    def _make(self, model: EnergyModel, batch: Batch, size: Size, trains: bool) -> _Graph | None:
        begun = time.perf_counter()
        try:
            graph = _Graph(size, trains, _compiled(model, _padded(batch, size, model.cutoff), (size, trains), self.backend))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                deviation = _deviation(model, batch, graph)
        except torch.OutOfMemoryError:
            raise
        # What compilers, drivers and their absence raise is of every kind; whatever it was, torch operations can do without.
        except Exception as error:  # noqa: BLE001
            words = str(error).strip().splitlines() or [""]
            self._failed(model, f"it failed with {type(error).__name__}: {words[0][:200]}", error)
            return None
        self.seconds += time.perf_counter() - begun
        _LOG.info("compiled a graph for %s in %.1f s", size, time.perf_counter() - begun)
        limit = DEVIATION[model.dtype] * (1 if model.matmul == "highest" else 10)
        if not deviation <= limit:
            self._failed(model, f"its numbers differ from those of torch operations by {deviation:.1g}", None)
            return None
        self.graphs.append(graph)
        return graph

    def _failed(self, model: EnergyModel, why: str, cause: Exception | None) -> None:
        self.problem = f"a compiled graph was tried and {why}"
        _LOG.warning("%s", self.problem, exc_info=cause)
        if model.compiled == "on":
            raise TrainingError(f"compile is on, but {self.problem}; set it to auto or off") from cause


def missing_compiler(device: torch.device) -> str:
    """Return why torch.compile has no compiler for a device; nothing where it has one."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        capability = torch.cuda.get_device_capability(device)
        if capability < OLDEST_GPU:
            return f"the GPU is of compute capability {capability[0]}.{capability[1]}, triton needs {OLDEST_GPU[0]}.{OLDEST_GPU[1]}"
        return "" if has_triton() else "triton, which compiles for GPUs, is not installed or does not work here"
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "there is no C++ compiler on this machine"
    return ""


class _Operations(nn.Module):
    """The operations of a potential, repulsion not included, as a function of its weights."""

    def __init__(self, model: EnergyModel) -> None:
        super().__init__()
        # The repulsion has no weights, and which edges it is for depends on the distances.
        self.model = copy.copy(model)
        self.model.repulsive = False

    def forward(self, batch: Batch, create_graph: bool) -> Numbers:
        """Return OUTPUTS."""
        found = vars(self.model.by_operations(batch, create_graph=create_graph))
        return tuple(found[name] for name in OUTPUTS)


def _compiled(
    model: EnergyModel, inputs: list[Tensor], graph_of: tuple[Size, bool], backend: str
) -> Callable[[list[Tensor], list[Tensor]], Numbers]:
    # Slow to import, and seldom needed.
    from torch.fx.experimental.proxy_tensor import make_fx

    size, trains = graph_of
    names = [f"model.{name}" for name in _named(model)]
    operations = _Operations(model)

    def numbers(weights: list[Tensor], tensors: list[Tensor]) -> Numbers:
        labels = {name: tensors[0].new_zeros(0) for name in ("energy", "forces", "stress", "weight")}
        given = dict(zip(_INPUTS, tensors, strict=True))
        places = given.pop("centre"), given.pop("slot"), given.pop("offset")
        unused = dict.fromkeys(("counts", "image", "images"), labels["energy"])
        batch = Batch(**given, **labels, **unused, width=size.width, places=places)
        found: Numbers = functional_call(operations, dict(zip(names, weights, strict=True)), (batch, trains))
        return found

    weights = [value.detach().requires_grad_(trains and value.requires_grad) for value in _weights(model)]
    graph = make_fx(numbers)(weights, inputs)
    # After eliminate_dead_code without recompile dynamo fails with an IndexError.
    graph.graph.eliminate_dead_code()
    graph.recompile()
    run: Any = torch.compile(graph, backend=backend, dynamic=False, fullgraph=True)
    return run  # type: ignore[no-any-return]


def _deviation(model: EnergyModel, batch: Batch, graph: _Graph) -> float:
    """Return the largest relative distance of the graph's numbers from those of torch operations: energies, forces, virials, gradients.

    This is also when the compiler runs, for the derivative too, so that a failure comes here and not in the middle of a step.
    """
    operations, weights = _Operations(model), [value for value in _weights(model) if value.requires_grad]
    found = []
    for compiled in (True, False):
        with torch.set_grad_enabled(graph.trains):
            if compiled:
                said = _cut(graph.run(_weights(model), _padded(batch, graph.size, model.cutoff)), batch)
            else:
                said = operations(batch, graph.trains)
            numbers = [said[1], said[3], said[4]]
            if graph.trains:
                loss = sum((value / model.scale).double().square().mean() for value in numbers)
                given = torch.autograd.grad(loss, weights, allow_unused=True)  # type: ignore[arg-type]
                numbers.append(torch.cat([value.flatten().double() for value in given if value is not None]) * model.scale)
        found.append([value.detach().double() for value in numbers])
    # Forces of a perfect crystal are nothing but rounding: what is small beside the scale of the potential does not count.
    floor = 1e-3 * model.scale
    pairs = [((one - other).norm(), other.norm() + floor * other.numel() ** 0.5) for one, other in zip(*found, strict=True)]
    return float(torch.stack([distance / size for distance, size in pairs]).max())


def _padded(batch: Batch, size: Size, cutoff: float) -> list[Tensor]:
    """Return the inputs of a graph: atoms more than the batch has stand in one frame more, edges more at the cutoff between these atoms."""
    atoms, edges, frames = size.atoms - batch.n_atoms, size.edges - len(batch.neighbour), size.frames - batch.n_frames
    offset = batch.offset.new_zeros((edges, 3))
    offset[:, 0] = cutoff
    more = {
        "species": batch.species.new_zeros(atoms),
        "positions": batch.positions.new_zeros((atoms, 3)),
        "frame": batch.frame.new_full((atoms,), batch.n_frames),
        "centre": batch.centre.new_full((edges,), batch.n_atoms),
        "neighbour": batch.neighbour.new_full((edges,), batch.n_atoms),
        "slot": batch.slot.new_zeros(edges),
        "offset": offset,
        "natoms": batch.natoms.new_ones(frames),
        "volume": batch.volume.new_ones(frames),
        "theory": batch.theory.new_zeros(frames),
    }
    return [torch.cat([getattr(batch, name), more[name]]) for name in _INPUTS]


def _cut(numbers: Numbers, batch: Batch) -> Numbers:
    counts = (batch.n_atoms if per_atom else batch.n_frames for per_atom in _PER_ATOM)
    return tuple(value[:count] for value, count in zip(numbers, counts, strict=True))


def _named(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _weights(model: nn.Module) -> list[Tensor]:
    return list(_named(model).values())


def _constants(model: EnergyModel) -> tuple[object, ...]:
    """Return what a graph holds as constants: with another one it must be made anew."""
    weight = next(model.parameters())
    return model.references, model.theory_references, model.scale, model.matmul, weight.dtype, weight.device


def _rounded(count: int) -> int:
    step = max(8, 1 << max(count.bit_length() - 5, 0))
    return -(-count // step) * step
