"""NequIP and Allegro through our own data, training, files and calculator; skipped where the extra is not installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

import training
from schemas.errors import TrainingError
from training.data import GraphCache
from training.gradient_check import check_gradients
from training.job import FrameSplits
from training.potentials import find_potential
from training.potentials.base import EnergyModel
from training.settings import TrainSettings
from training.structures import from_atoms, to_atoms
from training.warm_start import adopt

needed = pytest.mark.skipif(
    importlib.util.find_spec("nequip") is None or importlib.util.find_spec("allegro") is None, reason="the extra nequip is not installed"
)

SMALL = TrainSettings(
    potential="nequip", cutoff=3.6, channels=4, l_max=1, radial_functions=5, hidden=(8,), epochs=12, batch_atoms=24, learning_rate=0.02,
    validate_every=6, warmup_steps=5, checkpoint_seconds=0.0, loggers=("csv",),
)  # fmt: skip


BOTH = pytest.mark.parametrize("name", ["nequip", "allegro"])


def made(elements: tuple[str, ...], seed: int, name: str = "nequip", **changes: object) -> EnergyModel:
    settings = dataclasses.replace(SMALL, potential=name, **changes)
    torch.manual_seed(seed)
    spec = find_potential(name)
    return spec.build(elements, settings.cutoff, spec.configure(settings))


@pytest.fixture(scope="module", params=["nequip", "allegro"])
def trained(request: pytest.FixtureRequest, splits: FrameSplits, tmp_path_factory: pytest.TempPathFactory) -> training.Potential:
    settings = dataclasses.replace(SMALL, potential=request.param)
    return training.train(splits, settings, name="partner", work=tmp_path_factory.mktemp("work"), progress=lambda progress: None)


@BOTH
def test_absent_package_is_told_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.potentials.nequip.importlib.util.find_spec", lambda _: None)
    with pytest.raises(TrainingError, match=rf"potential {name} needs .* not installed; pip install 'atomlake\[nequip\]'"):
        made(("Al",), 0, name)


@needed
def test_short_training_lowers_the_errors_and_the_card_tells_what_made_it(trained: training.Potential) -> None:
    card = trained.card
    assert card.architecture in ("nequip", "allegro")
    assert {"nequip", "e3nn", "torch", *(["nequip-allegro"] if card.architecture == "allegro" else [])} <= set(card.software)
    assert card.metrics["test"].overall.force_mae < 0.5 * card.metrics["test"].trivial.force_mae
    assert any(f"torch operations of nequip{'-allegro' if card.architecture == 'allegro' else ''} " in note for note in card.notes)


@needed
def test_saved_and_loaded_is_the_same_and_holds_no_constants(trained: training.Potential, splits: FrameSplits, tmp_path: Path) -> None:
    trained.save(tmp_path)
    loaded = training.load(tmp_path)
    assert set(loaded.model.state_dict()) == {name for name, _ in loaded.model.named_parameters()} | {"neighbours"}
    first, second = (each.energy_forces_stress(splits.test) for each in (trained, loaded))
    np.testing.assert_array_equal(first.energy, second.energy)
    np.testing.assert_array_equal(first.forces, second.forces)


@needed
def test_calculator_in_double_precision_is_exact_for_weights_in_single(trained: training.Potential, splits: FrameSplits) -> None:
    double = trained.in_precision("float64")
    atoms = to_atoms(splits.test, 0)
    found = double.energy_forces_stress(from_atoms([atoms]))
    atoms.calc = trained.calculator()
    assert atoms.get_potential_energy() == pytest.approx(found.energy[0], rel=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), found.forces, atol=1e-11)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
    assert double.energy_forces_stress(from_atoms([turned])).energy[0] == pytest.approx(found.energy[0], rel=1e-13)
    assert check_gradients(trained, atoms, max_atoms=2).passed


@needed
def test_building_leaves_the_process_as_it_was() -> None:
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_default_dtype(), dict(os.environ)
    made(("Al",), 5)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_default_dtype(), dict(os.environ)) == before
    first, again, other = (made(("Al",), seed).state_dict()["network.layer0_convnet.conv.linear_2.weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@needed
@BOTH
def test_new_elements_leave_the_energies_of_known_ones(splits: FrameSplits, name: str) -> None:
    parent, model = made(("Al", "Cu"), 1, name), made(("Al", "Ni", "Cu"), 2, name)
    cache = [GraphCache(splits.test, each.elements, each.cutoff).batch([0, 1]) for each in (parent, model)]
    parent.standardise([cache[0]])
    adopt(model, parent)
    energies = [each(batch).energy for each, batch in zip((parent, model), cache, strict=True)]
    torch.testing.assert_close(energies[1], energies[0], rtol=1e-12, atol=0)


@needed
@BOTH
def test_uneven_hidden_widths_are_refused(name: str) -> None:
    with pytest.raises(TrainingError, match=rf"{name}: hidden is \[8, 4\], expected one width or several equal ones"):
        made(("Al",), 0, name, hidden=(8, 4))
