"""Training that begins with an earlier potential: what it knows is kept, what it was tested on stays out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from made_up_alloys import alloys, labelled

import training
from schemas.errors import TrainingError
from schemas.frames import FrameArrays
from schemas.potentials import PotentialCard
from training.committee import Committee
from training.fit import build_model
from training.job import FrameSplits, Job, empty_arrays
from training.potentials.base import EnergyModel
from training.settings import TrainSettings, settings_of_start
from training.structures import from_atoms
from training.warm_start import Start, adopt

CARD = PotentialCard("salts", 1, "hdnnp", "candidate", (), 3.6, "", "", {}, (), {}, {}, {}, (), {}, "", 0.0, 0)


def named(arrays: FrameArrays, word: str) -> FrameArrays:
    return dataclasses.replace(arrays, frame_ids=[f"{word}:{number}" for number in range(arrays.count)])


def coppers(count: int, seed: int) -> FrameArrays:
    found = alloys(count, seed)
    for atoms in found:
        atoms.numbers[:] = 29
    return labelled(found)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> training.Potential:
    """A potential of copper alone."""
    frames = FrameSplits(named(coppers(16, 1), "train"), named(coppers(3, 2), "validation"), named(coppers(3, 3), "test"), "cu", ("EMT",))
    settings = TrainSettings(
        cutoff=3.6, channels=3, l_max=2, radial_functions=5, hidden=(8,), epochs=60, batch_atoms=24, dtype="float64", learning_rate=0.02,
        checkpoint_seconds=0.0, validate_every=20, warmup_steps=5,
    )  # fmt: skip
    return training.train(frames, settings, name="cu", work=tmp_path_factory.mktemp("parent"), progress=lambda progress: None)


def shaped(parent: training.Potential, **values: object) -> TrainSettings:
    return settings_of_start({"epochs": 1, "validate_every": 1, "checkpoint_seconds": 0.0, "loggers": (), **values}, parent.card.settings)


def train(frames: FrameSplits, settings: TrainSettings, work: Path, start: Start | None) -> training.Potential:
    return training.train(frames, settings, name="next", work=work, progress=lambda progress: None, start=start)


def errors(potential: training.Potential) -> tuple[float, float]:
    found = potential.card.metrics["test"].overall
    return found.energy_mae, found.force_mae


def test_settings_of_the_shape_are_the_parent_s_and_so_is_the_rate(parent: training.Potential) -> None:
    settings = shaped(parent)
    assert (settings.cutoff, settings.hidden, settings.dtype) == (3.6, (8,), "float64")
    assert settings.learning_rate == pytest.approx(0.02)
    assert (settings.batch_atoms, settings.epochs) == (TrainSettings().batch_atoms, 1)
    assert shaped(parent, learning_rate=0.001).learning_rate == 0.001


def test_a_grown_dataset_begins_where_the_parent_is(parent: training.Potential, tmp_path: Path) -> None:
    grown = FrameSplits(named(coppers(20, 11), "new"), named(coppers(2, 12), "v"), named(coppers(4, 13), "t"), "cu-2", ("EMT",))
    warm = train(grown, shaped(parent), tmp_path / "warm", Start(parent))
    cold = train(grown, dataclasses.replace(shaped(parent), learning_rate=0.02), tmp_path / "cold", None)
    assert all(mine < 0.5 * other for mine, other in zip(errors(warm), errors(cold), strict=True))
    assert warm.card.parent == warm.card.settings["start_from"] == "cu@1"
    assert cold.card.parent == ""
    assert warm.model.references == parent.model.references
    assert any("began with the weights of cu@1" in note for note in warm.card.notes)
    again = train(grown, shaped(parent), tmp_path / "again", Start(parent))
    np.testing.assert_array_equal(again.energy_forces_stress(grown.test).forces, warm.energy_forces_stress(grown.test).forces)


def test_new_elements_leave_what_is_known_as_it_was(parent: training.Potential, splits: FrameSplits, tmp_path: Path) -> None:
    few = shaped(parent, learning_rate=1e-12)
    warm = train(splits, few, tmp_path, Start(parent))
    assert warm.card.elements == ("Al", "Cu")
    assert warm.card.references["Cu"] == parent.card.references["Cu"]
    copper = coppers(3, 21)
    before, after = (each.energy_forces_stress(copper) for each in (parent, warm))
    np.testing.assert_allclose(after.energy, before.energy, rtol=1e-9)
    np.testing.assert_allclose(after.forces, before.forces, atol=1e-7)
    assert any("Al are new to it" in note for note in warm.card.notes)
    # The reference of aluminium was fitted, so that energies begin near the data: EMT's zeros are within 1 eV/atom.
    assert warm.card.metrics["train"].overall.energy_mae < 0.3


def test_members_of_a_committee_do_not_begin_alike(parent: training.Potential, splits: FrameSplits, tmp_path: Path) -> None:
    still = shaped(parent, learning_rate=1e-12, committee=3)
    frames = FrameSplits(named(coppers(4, 61), "new"), empty_arrays(), named(coppers(3, 62), "t"), "cu-3", ("EMT",))
    both = train(frames, still, tmp_path / "one", Start(parent))
    assert isinstance(both.model, Committee)
    said = [dataclasses.replace(both, model=member).energy_forces_stress(frames.test).forces for member in both.model.each()]
    np.testing.assert_allclose(said[0], parent.energy_forces_stress(frames.test).forces, atol=1e-7)
    spread = [np.abs(said[first] - said[second]).mean() for first, second in ((0, 1), (0, 2), (1, 2))]
    typical = np.abs(frames.test.forces).mean()
    assert all(0.01 * typical < each < 0.5 * typical for each in spread), (spread, typical)
    # Of a committee each member goes on by itself; only one more than there were begins with noise.
    more = train(frames, dataclasses.replace(still, committee=4), tmp_path / "more", Start(both))
    assert isinstance(more.model, Committee)
    again = [dataclasses.replace(more, model=member).energy_forces_stress(frames.test).forces for member in more.model.each()]
    for before, after in zip(said, again, strict=False):
        np.testing.assert_allclose(after, before, atol=1e-7)
    assert np.abs(again[3] - again[0]).mean() > 0.01 * typical


def test_fine_tuning_on_few_frames_keeps_the_elements_that_they_lack(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    both = train(splits, small, tmp_path / "both", None)
    only = FrameSplits(named(coppers(3, 31), "few"), empty_arrays(), named(coppers(2, 32), "t"), "few", ("EMT",))
    tuned = train(only, shaped(both), tmp_path / "tuned", Start(both))
    assert tuned.card.elements == ("Al", "Cu")
    assert np.isfinite(tuned.energy_forces_stress(splits.test).energy).all()


def test_another_theory_has_other_references(parent: training.Potential, tmp_path: Path) -> None:
    train_frames, test = coppers(8, 41), coppers(3, 42)
    shifted = [dataclasses.replace(each, energy=each.energy + 7.0 * each.natoms) for each in (train_frames, test)]
    warm = train(FrameSplits(shifted[0], empty_arrays(), shifted[1], "other", ("EMT+7",)), shaped(parent), tmp_path, Start(parent))
    assert warm.model.references[0] - parent.model.references[0] == pytest.approx(7.0, abs=0.1)
    assert any("element references were fitted anew" in note for note in warm.card.notes)


def test_frames_of_the_parent_s_test_are_left_out_and_counted(parent: training.Potential, tmp_path: Path) -> None:
    mixed = FrameSplits(named(coppers(6, 51), "train"), named(coppers(2, 52), "v"), named(coppers(4, 53), "test"), "m", ("EMT",))
    start = Start(parent, held_out=["train:1", "train:4", "v:0", "elsewhere:7"], seen=["test:2"])
    warm = train(mixed, shaped(parent), tmp_path / "warm", start)
    counts = {split: found.overall.n_frames for split, found in warm.card.metrics.items()}
    assert counts == {"train": 4, "validation": 1, "test": 3}
    assert "2 of 6 train frames were left out: cu@1 or one before it was tested on them." in warm.card.notes
    assert "1 of 4 test frames were left out: cu@1 or one before it was trained on them." in warm.card.notes
    everything = Start(parent, held_out=[f"train:{number}" for number in range(6)])
    with pytest.raises(TrainingError, match="all 6 training frames are frames that cu@1 or one before it was tested on"):
        train(mixed, shaped(parent), tmp_path / "none", everything)
    nameless = dataclasses.replace(mixed, train=dataclasses.replace(mixed.train, frame_ids=()))
    with pytest.raises(TrainingError, match="have no ids to compare"):
        train(nameless, shaped(parent), tmp_path / "nameless", start)


def test_another_shape_is_refused_with_its_name(parent: training.Potential, splits: FrameSplits, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="channels is 4, in the earlier one 3"):
        train(splits, shaped(parent, channels=4), tmp_path, Start(parent))
    with pytest.raises(TrainingError, match=r"hdnnp with a cutoff of 3.6 Å, the settings ask for hdnnp with 4.0 Å"):
        train(splits, shaped(parent, cutoff=4.0), tmp_path, Start(parent))
    with pytest.raises(TrainingError, match="are in no lake"):
        train(splits, shaped(parent, start_from="cu@1"), tmp_path, None)


def salt(symbols: tuple[str, ...]) -> FrameArrays:
    structures = []
    for number, pair in enumerate([symbols[:2], symbols[-2:], symbols[:1] + symbols[-1:]]):
        atoms: Atoms = bulk("NaCl", "rocksalt", a=4.5, cubic=True)
        atoms.set_chemical_symbols([pair[place % 2] for place in range(len(atoms))])
        atoms.rattle(0.1, seed=number)
        structures.append(atoms)
    return from_atoms(structures)


@pytest.mark.parametrize("architecture", ["hdnnp", "acsf"])
@pytest.mark.parametrize("species", [2, 4])
def test_any_number_of_new_elements_fits_in(architecture: str, species: int) -> None:
    settings = TrainSettings(
        potential=architecture, cutoff=3.6, channels=3, l_max=1, radial_functions=3, hidden=(4,), dtype="float64", species_channels=species
    )

    def model(elements: tuple[str, ...], seed: int) -> EnergyModel:
        own = dataclasses.replace(settings, seed=seed)
        return build_model(Job(own, elements, dict.fromkeys(elements, 0.5), 1.0, (), empty_arrays(), empty_arrays()))

    old = model(("O", "Mg", "Ca"), 1)
    new = model(("H", "O", "Mg", "Cl", "Ca", "Sr"), 2)
    adopt(new, old)
    frames = salt(("O", "Mg", "Ca"))
    before, after = (training.Potential(each, CARD).energy_forces_stress(frames) for each in (old, new))
    np.testing.assert_allclose(after.energy, before.energy, rtol=1e-10)
    np.testing.assert_allclose(after.forces, before.forces, atol=1e-9)
    assert np.abs(before.forces).max() > 1e-4
    strange = training.Potential(new, CARD).energy_forces_stress(salt(("H", "Sr", "Cl")))
    assert np.isfinite(strange.forces).all()
    with pytest.raises(TrainingError, match="another shape"):
        adopt(old, new)
