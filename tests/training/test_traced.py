"""Graphs that are traced and compiled give what torch operations give; where there is none it is said why."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from safetensors.torch import load_file

from schemas.errors import TrainingError
from training.batch import Batch
from training.data import GraphCache
from training.fit import fit
from training.job import FrameSplits, make_job, write_job
from training.potentials import base, traced
from training.potentials.base import EnergyModel
from training.potentials.hdnnp import Hdnnp, HdnnpConfig
from training.potentials.repulsion import repulsion
from training.potentials.traced import Size, TracedGraphs
from training.settings import TrainSettings
from training.structures import from_atoms

ELEMENTS = ("H", "C", "O", "Mg")
SHAPE = HdnnpConfig(radial_functions=3, channels=2, species_channels=2, l_max=2, four_body=True, hidden=(4,), four_body_l=2)
SMALL = dataclasses.replace(SHAPE, l_max=0, four_body=False, hidden=())
THEORIES = ("PBE", "LDA")


def model_of(shape: HdnnpConfig = SHAPE, *, told_apart: bool = True) -> Hdnnp:
    torch.manual_seed(1)
    model = Hdnnp(ELEMENTS, 4.0, shape)
    if told_apart:
        model.tell_apart(THEORIES, ((-3.0, -100.0, -400.0, -60.0), (-2.0, -90.0, -390.0, -55.0)), head=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    model.scale, model.repulsive = 0.7, True
    return model.double()


@pytest.fixture(scope="module")
def cache() -> GraphCache:
    """Return a crystal, a molecule, an atom alone, a small cell, two atoms too near to each other."""
    random = np.random.default_rng(4)
    found = [bulk("Mg", "hcp", a=2.8, c=4.4).repeat((2, 2, 1)), molecule("CH3CH2OH"), Atoms("O"), bulk("MgO", "rocksalt", a=4.2)]
    found.append(Atoms("OH", [(0, 0, 0), (0, 0, 0.4)]))
    for atoms in found:
        atoms.rattle(0.1, rng=random)
    arrays = dataclasses.replace(from_atoms(found), theories=["PBE", "LDA", "LDA", "PBE", "LDA"])
    return GraphCache(arrays, ELEMENTS, 4.0, theories=THEORIES)


def numbers_and_gradients(model: Hdnnp, batch: Batch) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    said = model(batch, create_graph=True)
    weights = torch.linspace(-1, 1, 3 * batch.n_atoms, dtype=torch.float64).view(-1, 3)
    loss = said.energy_above.square().sum() + (said.forces * weights).square().sum() + said.virial[:, 0].square().sum()
    gradients = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
    return [value.detach() for value in vars(said).values()], list(gradients)


def given(model: Hdnnp, backend: str | Callable[..., object] = "eager") -> TracedGraphs:
    """Let a potential compute by graphs on this CPU; return them."""
    model.compiled = "auto"
    graphs = TracedGraphs(backend)  # type: ignore[arg-type]
    model.traced = lambda device: graphs.problem or graphs  # type: ignore[method-assign]
    model.kernel = lambda device: "it is not tried here"  # type: ignore[method-assign]
    model.path = lambda: EnergyModel.path(model)  # type: ignore[method-assign]
    return graphs


@pytest.fixture(scope="module")
def compiled() -> tuple[Hdnnp, TracedGraphs]:
    model = model_of()
    return model, given(model, "aot_eager")


@pytest.mark.parametrize("frames", [[0, 1, 2, 3], [3, 4, 1, 0], [2], []], ids=str)
def test_graph_and_torch_operations_agree(compiled: tuple[Hdnnp, TracedGraphs], cache: GraphCache, frames: list[int]) -> None:
    model, graphs = compiled
    plain = model_of()
    plain.compiled = "off"
    batch = cache.batch(frames)
    for one, other in zip(
        (*numbers_and_gradients(model, batch)[0], *numbers_and_gradients(model, batch)[1]),
        (*numbers_and_gradients(plain, batch)[0], *numbers_and_gradients(plain, batch)[1]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10, equal_nan=True)
    assert graphs.problem == ""
    assert len(graphs.graphs) <= 2


def test_batches_of_about_one_size_share_a_graph(cache: GraphCache) -> None:
    model = model_of(SMALL, told_apart=False)
    graphs = given(model)
    for frames in ([0, 1, 3], [1, 0], [0, 1, 2], [0, 4, 3], [1, 0, 4]):
        numbers_and_gradients(model, cache.batch(frames))
    assert len(graphs.graphs) == 1
    assert model.path() == "graph by make_fx and torch.compile (eager)"
    assert graphs.detail().startswith("1 graphs compiled in ")


def test_inference_compiles_after_many_batches_and_agrees(cache: GraphCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "PATIENCE", 2)
    model, batch = model_of(SMALL, told_apart=False), cache.batch([0, 1])
    graphs = given(model)
    found = []
    with torch.no_grad():
        for count in (0, 0, 1, 1):
            found.append(model(batch))
            assert len(graphs.graphs) == count
    for name in ("energy", "atomic_energies", "forces", "virial"):
        assert not getattr(found[3], name).requires_grad
        torch.testing.assert_close(getattr(found[3], name), getattr(found[0], name), rtol=1e-11, atol=1e-11)


def test_changed_constants_are_not_forgotten(cache: GraphCache) -> None:
    model, batch = model_of(SMALL, told_apart=False), cache.batch([0])
    given(model)
    model(batch, create_graph=True)
    model.references, model.scale = (1.0, 2.0, 3.0, 4.0), 1.4
    with torch.no_grad():
        expected = model.by_operations(batch)
    after = model(batch, create_graph=True)
    torch.testing.assert_close(after.energy, expected.energy, rtol=1e-12, atol=0)
    assert float((after.energy - after.energy_above).detach()[0]) == pytest.approx(4.0 * batch.n_atoms)


def test_more_sizes_than_allowed_are_left_to_torch_operations_and_told(cache: GraphCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "MAX_GRAPHS", 1)
    model = model_of(SMALL, told_apart=False)
    graphs = given(model)
    for frames in ([1], [0, 1, 3] * 3):
        numbers_and_gradients(model, cache.batch(frames))
    assert (len(graphs.graphs), graphs.missed) == (1, 1)
    assert "1 batches by torch operations, since more than 1 sizes came" in graphs.detail()


def test_graph_that_cannot_be_compiled_is_told_and_done_without(cache: GraphCache, caplog: pytest.LogCaptureFixture) -> None:
    def broken(graph: torch.fx.GraphModule, inputs: Sequence[object]) -> Callable[..., object]:
        raise NotImplementedError("no program for this machine")

    model, batch = model_of(SMALL, told_apart=False), cache.batch([0])
    given(model, broken)
    plain = model_of(SMALL, told_apart=False)
    plain.compiled = "off"
    torch.testing.assert_close(model(batch, create_graph=True).forces, plain(batch, create_graph=True).forces)
    assert model.path().startswith("torch operations, since a compiled graph was tried and it failed with BackendCompilerFailed")
    other = model_of(SMALL, told_apart=False)
    given(other, broken)
    other.compiled = "on"
    with pytest.raises(TrainingError, match="compile is on, but a compiled graph was tried and it failed"):
        other(batch, create_graph=True)
    torch._dynamo.reset()


def test_graph_with_other_numbers_is_not_used(cache: GraphCache) -> None:
    def wrong(graph: torch.fx.GraphModule, inputs: Sequence[object]) -> Callable[..., object]:
        return lambda *args: tuple(value * 1.001 for value in graph(*args))

    model, batch = model_of(SMALL, told_apart=False), cache.batch([0])
    given(model, wrong)
    model(batch, create_graph=True)
    assert "its numbers differ from those of torch operations by 0.002" in model.path()


def test_missing_compilers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    assert traced.missing_compiler(gpu) == "the GPU is of compute capability 6.1, triton needs 7.0"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: False)
    assert traced.missing_compiler(gpu).startswith("triton, which compiles for GPUs, is not installed")
    from torch._inductor.exc import InvalidCxxCompiler

    def nothing() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", nothing)
    assert traced.missing_compiler(torch.device("cpu")) == "there is no C++ compiler on this machine"


def test_sizes_are_round_numbers_with_room() -> None:
    size = Size(513, 14000, 9, 33).grown()
    assert size.holds(Size(513, 14000, 9, 33))
    assert size.holds(Size(520, 14400, 9, 35))
    assert not size.holds(Size(100, 2000, 2, 30))
    assert size.holds(Size(100, 2000, 2, 30), at_any_cost=True)
    assert not size.holds(Size(513, 14000, 9, 60))


def test_repulsion_of_all_pairs_is_that_of_near_ones(cache: GraphCache) -> None:
    batch = cache.batch([0, 1, 2, 3, 4])
    species = batch.species[batch.centre], batch.species[batch.neighbour]
    near, every = (repulsion(ELEMENTS, 4.0, species, batch.vectors(), dense=dense) for dense in (False, True))
    assert float(near[0].max()) > 1
    for one, other in zip(near, every, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-14, atol=0)


def test_copies_of_a_potential_do_not_share_graphs() -> None:
    model = model_of(SMALL, told_apart=False)
    model._traced[torch.device("cpu")] = TracedGraphs()
    assert copy.deepcopy(model)._traced == {}


def test_training_by_graphs_ends_with_the_weights_of_torch_operations(
    splits: FrameSplits, small: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hdnnp, "kernel", lambda model, device: "it is not tried here")
    monkeypatch.setattr(Hdnnp, "path", EnergyModel.path)
    monkeypatch.setattr(base, "TracedGraphs", functools.partial(TracedGraphs, "aot_eager"))
    monkeypatch.setattr(base, "missing_compiler", lambda device: "")
    settings = dataclasses.replace(small, epochs=1, repulsion=True, l_max=0, hidden=())
    found = []
    for how in ("on", "off"):
        work = tmp_path / how
        write_job(make_job(splits.train, splits.validation, dataclasses.replace(settings, compile=how)), work)
        fit(work)
        found.append(load_file(work / "weights.safetensors"))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=0, atol=1e-9, msg=name)
    path = json.loads((tmp_path / "on" / "times.json").read_text())["path"]
    assert path.startswith("graph by make_fx and torch.compile (aot_eager); ")
    assert "graphs compiled in" in path


@pytest.mark.slow
def test_the_real_compiler(cache: GraphCache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = traced.missing_compiler(torch.device("cpu"))
    if missing:
        pytest.skip(missing)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(traced, "PATIENCE", 0)
    model, plain = (model_of(SMALL, told_apart=False) for _ in range(2))
    plain.compiled = "off"
    graphs, batch = given(model, "inductor"), cache.batch([0, 1])
    with torch.no_grad():
        one, other = model(batch), plain(batch)
    for name in ("energy", "atomic_energies", "forces", "virial"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-10, atol=1e-10)
    assert graphs.problem == ""
    assert len(graphs.graphs) == 1
