"""Several levels of theory in one potential: shared weights, zeros of their own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from made_up_alloys import alloys, labelled
from made_up_readings import CAO, LDA, MGO, PBE, made_calculation, made_reading

import lake
import training
from lake.arrays import joined as together
from lake.commit import commit_batch, stage
from schemas.datasets import FrameQuery, Split
from schemas.errors import MixedTheory, QueryError, TrainingError
from schemas.frames import FrameArrays
from schemas.potentials import PotentialCard
from training.fit import build_model
from training.gradient_check import check_gradients
from training.job import FrameSplits, empty_arrays, make_job, read_job, write_job
from training.references import references_by_theory
from training.settings import TrainSettings
from training.structures import from_atoms, take, to_atoms
from training.warm_start import Start, in_theory

CARD = PotentialCard("two", 1, "hdnnp", "candidate", (), 3.6, "", "", {}, (), {}, {}, {}, (), {}, "", 0.0, 0)
SHIFT = {13: 3.0, 29: -5.0}


def two_theories(arrays: FrameArrays, every: int) -> FrameArrays:
    """Return frames of which one in so many counts its energies from other zeros."""
    other = np.arange(arrays.count) % every == 1
    shift = np.add.reduceat(np.vectorize(SHIFT.__getitem__)(arrays.numbers), arrays.offsets[:-1])
    return dataclasses.replace(arrays, energy=arrays.energy + other * shift, theories=["moved" if each else "plain" for each in other])


def train(frames: FrameSplits, settings: TrainSettings, work: Path, start: Start | None = None) -> training.Potential:
    return training.train(frames, settings, name="two", work=work, progress=lambda progress: None, start=start)


@pytest.fixture(scope="module")
def frames() -> FrameSplits:
    parts = (two_theories(labelled(alloys(count, seed)), 3) for count, seed in ((24, 1), (6, 2), (9, 3)))
    return FrameSplits(*parts, "both", ("plain", "moved"))


@pytest.fixture(scope="module")
def settings() -> TrainSettings:
    return TrainSettings(
        cutoff=3.6, channels=3, l_max=2, radial_functions=5, hidden=(8,), epochs=30, batch_atoms=48, dtype="float64",
        checkpoint_seconds=0.0, validate_every=10, warmup_steps=5, learning_rate=0.02, loggers=(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def both(frames: FrameSplits, settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> training.Potential:
    return train(frames, settings, tmp_path_factory.mktemp("both"))


def test_theories_that_differ_by_shifts_are_learned_as_one(
    both: training.Potential, frames: FrameSplits, settings: TrainSettings, tmp_path: Path
) -> None:
    assert (both.model.theories, both.card.default_theory) == (("plain", "moved"), "plain")
    errors = both.card.metrics["test"]
    blind = [dataclasses.replace(each, theories=()) for each in (frames.train, frames.validation, frames.test)]
    alone = train(FrameSplits(*blind), settings, tmp_path).card.metrics["test"]
    assert errors.overall.energy_mae < 0.1 * alone.overall.energy_mae
    assert set(errors.by_theory) == {"plain", "moved"}
    assert max(each.energy_mae for each in errors.by_theory.values()) < 3 * min(each.energy_mae for each in errors.by_theory.values())
    for symbol, number in (("Al", 13), ("Cu", 29)):
        apart = both.card.theory_references["moved"][symbol] - both.card.theory_references["plain"][symbol]
        assert apart == pytest.approx(SHIFT[number], abs=0.05)
    # What is learned of the zeros makes up for the different frames that references were fitted to.
    fitted = references_by_theory(frames.train, "")[0]
    off = [abs(fitted["moved"][symbol] - fitted["plain"][symbol] - SHIFT[number]) for symbol, number in (("Al", 13), ("Cu", 29))]
    assert max(off) > 0.001


def test_the_calculator_asks_for_a_theory_or_takes_the_default(both: training.Potential, frames: FrameSplits, tmp_path: Path) -> None:
    both.save(tmp_path)
    loaded = training.load(tmp_path)
    atoms = to_atoms(frames.test, 2)
    energies = {}
    for theory in ("", "plain", "moved"):
        atoms.calc = loaded.calculator(theory=theory)
        energies[theory] = atoms.get_potential_energy()
        forces = atoms.get_forces()
    assert energies[""] == energies["plain"]
    names = {13: "Al", 29: "Cu"}
    references = loaded.card.theory_references
    expected = sum(references["moved"][names[n]] - references["plain"][names[n]] for n in atoms.numbers)
    assert energies["moved"] - energies["plain"] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(forces, loaded.energy_forces_stress(take(frames.test, np.array([2]))).forces, atol=1e-12)
    assert loaded.energy_forces_stress(frames.test).energy[2] == pytest.approx(energies["plain"], rel=1e-12)
    assert loaded.energy_forces_stress(frames.test).energy[1] != pytest.approx(
        loaded.energy_forces_stress(dataclasses.replace(frames.test, theories=())).energy[1], abs=0.5
    )
    with pytest.raises(TrainingError, match=r"does not know the level of theory 'move'.*did you mean 'moved'"):
        loaded.calculator(theory="move")


def test_a_head_scales_energies_and_forces_alike(frames: FrameSplits, settings: TrainSettings) -> None:
    for compiled in ("auto", "off"):
        own = dataclasses.replace(settings, theory_head=True, compile=compiled)
        model = build_model(make_job(frames.train, frames.validation, own))
        assert model.theory_scales is not None
        assert model.theory_shifts is not None
        model.theory_scales.data += 0.3
        model.theory_shifts.data += 0.2
        potential = training.Potential(model, CARD)
        arrays = dataclasses.replace(from_atoms([to_atoms(frames.test, 0)]), theories=["moved"])
        moved = potential.energy_forces_stress(arrays)
        plain = potential.energy_forces_stress(dataclasses.replace(arrays, theories=["plain"]))
        np.testing.assert_allclose(moved.forces, 1.3 * plain.forces, atol=1e-12)
        np.testing.assert_allclose(moved.stress, 1.3 * plain.stress, atol=1e-12)
        with pytest.raises(TrainingError, match="has a head for 'moved'"):
            in_theory(model, "moved")
        assert check_gradients(potential, to_atoms(frames.test, 0), max_atoms=2).passed


def test_references_of_each_theory_where_elements_are_missing(frames: FrameSplits) -> None:
    copper = np.flatnonzero([13 not in piece for piece in np.split(frames.train.numbers, frames.train.offsets[1:-1])])
    mixed = take(frames.train, np.setdiff1d(np.arange(24), copper))
    arrays = dataclasses.replace(take(frames.train, copper), theories=["plain"] * len(copper))
    whole = dataclasses.replace(mixed, theories=["moved"] * mixed.count)
    joined = together([arrays, whole])
    found, notes = references_by_theory(joined, "plain")
    assert list(found) == ["plain", "moved"]
    assert found["plain"]["Al"] == found["moved"]["Al"]
    assert any("plain has no frames with Al" in note for note in notes)
    with pytest.raises(TrainingError, match=r"default_theory is 'plan' .did you mean 'plain'"):
        references_by_theory(joined, "plan")
    silent = dataclasses.replace(joined, energy=np.where(np.arange(joined.count) < len(copper), np.nan, joined.energy))
    with pytest.raises(TrainingError, match="no training frame of 'plain' has an energy"):
        references_by_theory(silent, "moved")


def test_runs_are_stored_and_begun_with_their_theories(
    both: training.Potential, frames: FrameSplits, settings: TrainSettings, tmp_path: Path
) -> None:
    job = make_job(frames.train, frames.validation, settings)
    write_job(job, tmp_path / "job")
    again = read_job(tmp_path / "job")
    assert (list(again.train.theories), again.theory_references) == (list(frames.train.theories), job.theory_references)
    few = dataclasses.replace(settings, epochs=1, learning_rate=1e-12, committee=2)
    # A potential of both goes on with both, and with one of them alone.
    on = train(frames, few, tmp_path / "on", Start(both))
    assert on.card.metrics["test"].overall.energy_mae < 2 * both.card.metrics["test"].overall.energy_mae + 0.02
    moved = [take(each, np.flatnonzero(np.array(each.theories) == "moved")) for each in (frames.train, frames.test)]
    alone = FrameSplits(moved[0], empty_arrays(), moved[1], "one", ("moved",))
    one = train(alone, dataclasses.replace(few, committee=1), tmp_path, Start(both))
    assert one.model.theories == ()
    expected = both.energy_forces_stress(moved[1]).energy
    np.testing.assert_allclose(one.energy_forces_stress(dataclasses.replace(moved[1], theories=())).energy, expected, rtol=1e-9)


def test_a_dataset_mixes_levels_only_by_their_names(tmp_path: Path) -> None:
    opened = lake.open(str(tmp_path / "lake")).create()
    made = [made_calculation(MGO, seed=1), made_calculation(CAO, seed=2), made_calculation(MGO, seed=3, level=LDA)]
    commit_batch(opened, [stage(opened, [made_reading("one.tar", *made)], "1" * 64, 0)], "1" * 64)
    with pytest.raises(MixedTheory, match=r"keep them apart .mix=True, --mix."):
        opened.publish("both", FrameQuery(), Split())
    with pytest.raises(QueryError, match="mixed by name only"):
        opened.publish("both", FrameQuery(), Split(), mix=True)
    with pytest.raises(QueryError, match="not both"):
        opened.publish("both", FrameQuery(), Split(), theories=("PBE", "LDA"), mix=True, align=True)
    dataset = opened.publish("both", FrameQuery(), Split(test=0.0, validation=0.0), theories=("PBE", "LDA"), mix=True)
    assert dataset.manifest.mixed
    arrays = dataset.arrays("train")
    assert list(arrays.theories) == dataset.theories("train")
    assert sorted(set(arrays.theories)) == ["LDA/plane waves/qe", "PBE/plane waves/qe"]
    job = make_job(arrays, empty_arrays(), TrainSettings())
    assert list(job.theory_references) == ["PBE/plane waves/qe", "LDA/plane waves/qe"]
    # Two zeros of energy under one name would share references.
    other = dataclasses.replace(PBE, pseudopotentials=(("Ca", "Ca.upf"), ("Mg", "other.upf"), ("O", "O.upf")))
    commit_batch(opened, [stage(opened, [made_reading("two.tar", made_calculation(MGO, seed=5, level=other))], "2" * 64, 0)], "2" * 64)
    with pytest.raises(MixedTheory, match="pseudopotential"):
        opened.publish("three", FrameQuery(), Split(), theories=("PBE", "LDA"), mix=True)
