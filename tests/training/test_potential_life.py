"""Train, store, load, use: on frames of an effective-medium theory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError

import training
from schemas.errors import TrainingError
from schemas.frames import FrameArrays
from training.dynamics import run_dynamics
from training.gradient_check import check_gradients
from training.job import FrameSplits, empty_arrays
from training.progress import Progress
from training.settings import TrainSettings
from training.structures import to_atoms


@pytest.fixture(scope="module")
def potential(splits: FrameSplits, tmp_path_factory: pytest.TempPathFactory) -> training.Potential:
    settings = TrainSettings(
        cutoff=4.5, channels=4, l_max=2, radial_functions=6, hidden=(16,), epochs=60, batch_atoms=24, learning_rate=0.01, validate_every=10
    )
    return training.train(splits, settings, name="alloy", work=tmp_path_factory.mktemp("work"), progress=lambda progress: None)


def test_card_tells_errors_far_below_the_trivial_ones(potential: training.Potential) -> None:
    card = potential.card
    for split, count in (("train", 24), ("validation", 4), ("test", 4)):
        metrics = card.metrics[split]
        assert metrics.overall.n_frames == count == metrics.trivial.n_frames
        assert set(metrics.by_system) <= {"Al", "Cu", "Al-Cu"}
        assert metrics.overall.force_mae < 0.3 * metrics.trivial.force_mae
    assert card.metrics["train"].overall.energy_mae < 0.02
    assert (card.elements, card.dataset, card.theories, card.architecture) == (("Al", "Cu"), "alloys", ("EMT",), "hdnnp")
    assert card.n_parameters == sum(parameter.numel() for parameter in potential.model.parameters())
    assert card.training_seconds > 0
    assert {"torch", "lightning", "atomlake", "python"} <= set(card.software)


def test_evaluate_again_gives_the_card_s_errors(potential: training.Potential, splits: FrameSplits) -> None:
    again = training.evaluate(potential, splits.test, "test", baseline=splits.train)
    assert again == potential.card.metrics["test"]
    rms = np.sqrt(np.mean(splits.test.forces**2))
    assert again.trivial.force_rmse == pytest.approx(rms)
    nothing = training.evaluate(potential, empty_arrays(), "none")
    assert nothing.overall.n_frames == 0
    assert np.isnan(nothing.overall.energy_mae)


def test_saved_and_loaded_is_the_same(potential: training.Potential, splits: FrameSplits, tmp_path: Path) -> None:
    potential.save(tmp_path)
    assert (tmp_path / "parity.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    loaded = training.load(tmp_path)
    assert dataclasses.replace(loaded.card, files={}) == dataclasses.replace(potential.card, files={}) or loaded.card.name == "alloy"
    first, second = (each.energy_forces_stress(splits.test) for each in (potential, loaded))
    np.testing.assert_array_equal(first.energy, second.energy)
    np.testing.assert_array_equal(first.forces, second.forces)
    (tmp_path / "weights.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(TrainingError, match=r"weights.safetensors has SHA-256 .* the file is damaged"):
        training.load(tmp_path)
    with pytest.raises(TrainingError, match="is no folder with a potential"):
        training.load(tmp_path / "nowhere")


def test_finished_run_is_not_trained_again(potential: training.Potential, splits: FrameSplits) -> None:
    from training.settings import settings_from

    def never(progress: Progress) -> None:
        raise AssertionError("it trained again")

    assert potential.work is not None
    again = training.train(splits, settings_from(potential.card.settings), name="alloy", work=potential.work.parent.parent, progress=never)
    assert again.card.metrics == potential.card.metrics


def test_calculator_knows_its_limits(potential: training.Potential) -> None:
    cluster = Atoms("Cu4", molecule("CH4").positions[:4] * 2, calculator=potential.calculator())
    assert np.isfinite(cluster.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError, match="periodic along three axes"):
        cluster.get_stress()
    with pytest.raises(TrainingError, match="knows Al, Cu but the structure also has O"):
        Atoms("CuO", [(0, 0, 0), (2, 0, 0)], calculator=potential.calculator()).get_potential_energy()


def test_skin_gives_the_forces_of_a_new_list(potential: training.Potential, splits: FrameSplits) -> None:
    atoms = to_atoms(splits.test, 1)
    kept, fresh = potential.calculator(skin=0.6), potential.calculator()
    for step in range(8):
        atoms.rattle(0.04, seed=step)
        np.testing.assert_allclose(kept.get_forces(atoms), fresh.get_forces(atoms), atol=1e-10)
    atoms.set_cell(atoms.cell.array * 1.02, scale_atoms=True)
    np.testing.assert_allclose(kept.get_stress(atoms), fresh.get_stress(atoms), atol=1e-10)


def test_gradients_of_a_trained_potential(potential: training.Potential, splits: FrameSplits) -> None:
    check = check_gradients(potential, to_atoms(splits.test, 2))
    assert check.passed
    assert check.max_force_error < 1e-6
    assert check.max_stress_error < 1e-7


def test_dynamics_conserves_energy_and_holds_the_temperature(potential: training.Potential) -> None:
    told = []
    atoms = bulk("Cu", "fcc", a=3.65, cubic=True).repeat(2)
    nve, nvt = run_dynamics(potential, atoms, temperature=300, steps=150, timestep=2.0, progress=lambda *done: told.append(done))
    assert (nve.ensemble, nve.steps, nve.n_atoms, nve.stopped) == ("NVE", 150, 32, "")
    assert abs(nve.energy_drift) < 5.0
    assert nve.energy_spread < 0.5
    assert 150 < nvt.temperature_mean < 450
    assert told[-1] == ("NVT", 150, 150)


def test_exploding_dynamics_says_so(potential: training.Potential) -> None:
    atoms = Atoms("Cu2", [(0, 0, 0), (0.3, 0, 0)])
    atoms.calc = potential.calculator()
    nve, _ = run_dynamics(potential, atoms, temperature=1e7, steps=50, timestep=5.0)
    assert nve.stopped or nve.max_force < 200


def test_frames_of_unknown_elements_are_left_out_and_noted(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    numbers = splits.test.numbers.copy()
    numbers[0] = 8
    strange: FrameArrays = dataclasses.replace(splits.test, numbers=numbers)
    other = dataclasses.replace(splits, test=strange, validation=empty_arrays())
    potential = training.train(other, dataclasses.replace(small, epochs=1, patience=3), work=tmp_path, progress=lambda progress: None)
    assert potential.card.metrics["test"].overall.n_frames == 3
    assert any("1 of 4 test frames hold elements that no training frame has" in note for note in potential.card.notes)
    assert any("No validation frames" in note for note in potential.card.notes)


def test_forces_and_stress_may_be_missing_everywhere(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    nan = np.nan
    bare = dataclasses.replace(splits.train, forces=splits.train.forces * nan, stress=splits.train.stress * nan)
    only = dataclasses.replace(splits, train=bare, validation=empty_arrays(), test=empty_arrays())
    potential = training.train(only, dataclasses.replace(small, epochs=2), work=tmp_path, progress=lambda progress: None)
    assert np.isnan(potential.card.metrics["train"].overall.force_mae)
    assert any("No training frame has forces" in note for note in potential.card.notes)


def test_nothing_to_train_on_is_said(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the training split has no frames"):
        training.train(dataclasses.replace(splits, train=empty_arrays()), small, work=tmp_path)
