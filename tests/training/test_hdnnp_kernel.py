"""The compiled kernel gives what torch operations give: energies, forces, virials, and the gradients that training needs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from schemas.errors import TrainingError
from training.data import GraphCache
from training.potentials.hdnnp import Hdnnp, HdnnpConfig, build
from training.structures import from_atoms

SHAPE = HdnnpConfig(radial_functions=4, channels=3, species_channels=2, l_max=3, four_body=True, hidden=(6, 5), four_body_l=3)
ELEMENTS = ("H", "C", "O", "Mg")


def model_of(elements: tuple[str, ...], shape: HdnnpConfig = SHAPE) -> Hdnnp:
    torch.manual_seed(1)
    model = Hdnnp(elements, 4.0, shape).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
        model.network.spread.copy_(torch.rand_like(model.network.spread) + 0.5)
        model.network.mean.copy_(torch.randn_like(model.network.mean))
    model.scale = 0.7
    return model


def structures(elements: tuple[str, ...]) -> list[Atoms]:
    random = np.random.default_rng(4)
    dense = bulk("Mg", "hcp", a=2.4, c=3.9).repeat((2, 2, 1))
    found = [dense, molecule("CH3CH2OH"), Atoms("O", [(0, 0, 0)]), bulk("MgO", "rocksalt", a=4.2)]
    for atoms in found:
        atoms.symbols = random.choice(elements, len(atoms))
        atoms.rattle(0.1, rng=random)
    return found


@pytest.mark.parametrize("elements", [("Mg",), ELEMENTS], ids=["one element", "more elements than channels"])
@pytest.mark.parametrize("frames", [[0, 1, 2, 3], [2], []], ids=["four frames", "an atom alone", "no frames"])
def test_kernel_and_torch_agree(elements: tuple[str, ...], frames: list[int]) -> None:
    compiled, plain = model_of(elements), model_of(elements)
    plain.compiled = "off"
    compiled.compiled = "on"
    batch = GraphCache(from_atoms(structures(elements)), elements, 4.0).batch(frames)
    found = []
    for model in (compiled, plain):
        said = model(batch, create_graph=True)
        weights = torch.linspace(-1, 1, 3 * batch.n_atoms, dtype=torch.float64).view(-1, 3)
        loss = said.energy_above.square().sum() + (said.forces * weights).square().sum() + said.virial[:, 0].square().sum()
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            alone = model(batch)
        torch.testing.assert_close(alone.forces, said.forces.detach(), rtol=1e-12, atol=1e-12)
        found.append((said, gradients))
    (first, first_gradients), (second, second_gradients) = found
    for name in ("energy", "atomic_energies", "forces", "virial"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=1e-10, atol=1e-10)
    assert first_gradients.keys() == second_gradients.keys()
    for name, gradient in first_gradients.items():
        torch.testing.assert_close(gradient, second_gradients[name], rtol=1e-9, atol=1e-9, msg=name)


def test_single_precision_is_near_double() -> None:
    double, single = model_of(ELEMENTS), model_of(ELEMENTS).float()
    batch = GraphCache(from_atoms(structures(ELEMENTS)), ELEMENTS, 4.0).batch([0, 1, 2, 3])
    with torch.no_grad():
        one, other = double(batch), single(batch)
    torch.testing.assert_close(other.energy, one.energy, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(other.forces.double(), one.forces, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hidden", [(), (9,), (3, 20, 8)], ids=["linear", "one layer", "three layers"])
@pytest.mark.parametrize("elements", [("Mg",), ELEMENTS], ids=["one element", "more elements than channels"])
def test_use_without_a_graph_gives_what_training_sees(elements: tuple[str, ...], hidden: tuple[int, ...]) -> None:
    model = model_of(elements, dataclasses.replace(SHAPE, hidden=hidden))
    # Two full blocks of atoms and a part of one; the middle one has no neighbours at all.
    batch = GraphCache(from_atoms(structures(elements)), elements, 4.0).batch([0, 1, 2, 1, 3])
    seen = model(batch, create_graph=True)
    with torch.no_grad():
        used = model(batch)
    assert not used.forces.requires_grad
    for name in ("atomic_energies", "forces", "virial"):
        torch.testing.assert_close(getattr(used, name), getattr(seen, name).detach(), rtol=1e-11, atol=1e-11, msg=name)


def test_units_far_from_zero_stay_finite() -> None:
    model = model_of(("Mg",)).float()
    with torch.no_grad():
        model.network.shifts[0].copy_(torch.tensor([[-1e4, -90.0, -30.0, 30.0, 90.0, 1e4]]))
    batch = GraphCache(from_atoms(structures(("Mg",))), ("Mg",), 4.0).batch([0])
    seen = model(batch, create_graph=True)
    with torch.no_grad():
        used = model(batch)
    assert torch.isfinite(used.forces).all()
    torch.testing.assert_close(used.atomic_energies, seen.atomic_energies.detach(), rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(used.forces, seen.forces.detach(), rtol=1e-4, atol=1e-3)


def test_without_a_compiler_torch_does_it_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lake.compiled.shutil.which", lambda name: None)
    # A shape that no other test has: what was compiled stays in memory.
    model = model_of(("O",), dataclasses.replace(SHAPE, radial_functions=3))
    assert model.path() == "torch operations, since there is no C compiler on this machine (cc, gcc or clang)"
    model.compiled = "on"
    with pytest.raises(TrainingError, match="compile is on, but there is no C compiler"):
        model.path()
    model.compiled = "off"
    assert model.path() == "torch operations, since the setting compile is off"


def test_configuration_of_before_four_body_l_is_read() -> None:
    old = {"radial_functions": 4, "channels": 3, "species_channels": 2, "l_max": 3, "four_body": True, "hidden": [6]}
    assert build(("O",), 4.0, old).shape.four_body_l == 2
    with pytest.raises(TrainingError, match="'chanels' is unknown or missing"):
        build(("O",), 4.0, {**old, "chanels": 3})
