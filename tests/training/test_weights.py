"""Frames that count more or less: a weight is a number of copies, zero is absence, and rules say which frames have which."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from made_up_readings import CAO, MGO, PBE, made_calculation, made_reading

import lake
import training
from lake.commit import commit_batch, stage
from lake.weighing import ordered_frames, parse_rule, rule_of_theory, scalars_of, weigh
from schemas.datasets import FrameQuery, Split
from schemas.errors import QueryError, TrainingError
from schemas.frames import Floats, FrameArrays
from training.job import FrameSplits, empty_arrays, make_job
from training.settings import TrainSettings
from training.structures import take
from training.weights import drawn, weighted


def train(frames: FrameArrays, splits: FrameSplits, settings: TrainSettings, work: Path) -> training.Potential:
    own = FrameSplits(frames, splits.validation, splits.test, "own", ("EMT",))
    return training.train(own, settings, name="own", work=work, progress=lambda progress: None)


def heavy(arrays: FrameArrays, weights: list[float] | Floats) -> FrameArrays:
    three = np.repeat(np.asarray(weights, dtype=float)[:, None], 3, axis=1)
    return dataclasses.replace(arrays, weights=three)


def test_a_weight_is_a_number_of_copies(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    # All frames in one step: in smaller ones copies would stand in several.
    settings = dataclasses.replace(small, batch_atoms=10_000, epochs=6, force_huber=0.3, loggers=())
    few = take(splits.train, np.arange(8))
    # A label that one of the heavy frames lacks must not count for its weight.
    energy = few.energy.copy()
    energy[2] = np.nan
    few = dataclasses.replace(few, energy=energy)
    copies = take(few, np.array([0, 0, 0, 1, 2, 2, 3, 4, 5, 6, 7]))
    by_weight = train(heavy(few, [1.5, 0.5, 1, 0.5, 0.5, 0.5, 0.5, 0.5]), splits, settings, tmp_path / "weights")
    by_copies = train(copies, splits, settings, tmp_path / "copies")
    assert by_weight.card.references == pytest.approx(dict(by_copies.card.references), rel=1e-9)
    expected = by_copies.model.state_dict()
    for name, value in by_weight.model.state_dict().items():
        np.testing.assert_allclose(value.numpy(), expected[name].numpy(), rtol=1e-6, atol=1e-8, err_msg=name)
    plain = train(few, splits, settings, tmp_path / "plain").model.state_dict()
    assert any(not np.allclose(value.numpy(), expected[name].numpy(), rtol=1e-4, atol=1e-6) for name, value in plain.items())


def test_weight_zero_is_absence(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    settings = dataclasses.replace(small, epochs=3, loggers=())
    kept = np.array([0, 1, 3, 4, 6, 7, 9])
    weights = np.zeros(10)
    weights[kept] = 7.0
    with_zeros = train(heavy(take(splits.train, np.arange(10)), weights), splits, settings, tmp_path / "zeros")
    without = train(take(splits.train, kept), splits, settings, tmp_path / "without")
    expected = without.model.state_dict()
    assert all(np.array_equal(value.numpy(), expected[name].numpy()) for name, value in with_zeros.model.state_dict().items())
    assert "3 of 10 train frames have the weight 0 and were left out." in with_zeros.card.notes
    none = heavy(take(splits.train, np.arange(3)), [0, 0, 0])
    with pytest.raises(TrainingError, match="all 3 training frames have the weight 0"):
        make_job(none, empty_arrays(), settings)


def test_a_label_of_weight_zero_is_a_missing_label(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    settings = dataclasses.replace(small, epochs=2, loggers=())
    few = take(splits.train, np.arange(6))
    weights = np.ones((6, 3))
    weights[:4, 2] = 0.0
    stress = few.stress.copy()
    stress[:4] = np.nan
    one = train(dataclasses.replace(few, weights=weights), splits, settings, tmp_path / "zeros").model.state_dict()
    other = train(dataclasses.replace(few, stress=stress), splits, settings, tmp_path / "missing").model.state_dict()
    for name, value in one.items():
        np.testing.assert_allclose(value.numpy(), other[name].numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


def test_frames_to_standardise_by_are_those_of_all_copies() -> None:
    assert drawn(np.array([[2.0] * 3, [1.0] * 3, [3.0] * 3]), 3, 256).tolist() == [0, 0, 1, 2, 2, 2]
    many = drawn(np.array([[0.001] * 3, [1.0] * 3, [1.0] * 3]), 3, 256)
    assert np.bincount(many).tolist() == [0, 128, 128]
    assert drawn(np.zeros((0, 3)), 4, 256).tolist() == [0, 1, 2, 3]


def test_rules_say_which_frames_count_how_much(splits: FrameSplits) -> None:
    arrays = dataclasses.replace(splits.train, theories=["PBE/a"] * 20 + ["LDA/b"] * 4)
    rows = scalars_of(arrays)
    rules = [parse_rule(text) for text in ("2 where natoms = 4", "forces: 1 / natoms", "stress: 0.5 where max_force > 1")]
    weights = weigh(None, rows, [*rules, rule_of_theory("LDA=0.1")])
    base = np.where(arrays.natoms == 4, 2.0, 1.0) * np.where(np.arange(24) < 20, 1.0, 0.1)
    largest = [np.linalg.norm(arrays.forces[a:b], axis=1).max() for a, b in zip(arrays.offsets[:-1], arrays.offsets[1:], strict=True)]
    np.testing.assert_allclose(weights[:, 0], base)
    np.testing.assert_allclose(weights[:, 1], base / arrays.natoms)
    np.testing.assert_allclose(weights[:, 2], base * np.where(np.array(largest) > 1, 0.5, 1.0))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2 where natom = 4", "names the column 'natom' .did you mean 'natoms'"),
        ("-1 where natoms = 4", "gives -1.0 to frame 'emt:0'"),
        ("2 where where", "is no SQL expression"),
        ("'two'", "cannot be taken"),
        ("2 in dataset oxides", "in no lake"),
        ("", "expected"),
    ],
)
def test_bad_rules_are_told(splits: FrameSplits, text: str, told: str) -> None:
    with pytest.raises(QueryError, match=told):
        weigh(None, scalars_of(splits.train), [parse_rule(text)])


def test_tables_of_single_frames(splits: FrameSplits, tmp_path: Path) -> None:
    rows, file = scalars_of(splits.train), tmp_path / "own.csv"
    file.write_text("frame_id,weight,forces_weight\nemt:1,3,0.5\nemt:7,0,1\nelsewhere,9,9\n")
    weights = weigh(None, rows, [], file)
    assert weights[[1, 7, 0]].tolist() == [[3, 1.5, 3], [0, 0, 0], [1, 1, 1]]
    file.write_text("frame_id,weight\nemt:1,3\nemt:1,4\n")
    with pytest.raises(QueryError, match="frame 'emt:1' more than once"):
        weigh(None, rows, [], file)
    pl.DataFrame({"frame": ["a"]}).write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(QueryError, match="has the columns frame; expected frame_id"):
        weigh(None, rows, [], tmp_path / "bad.parquet")


def test_rules_over_a_pinned_dataset_and_another_one(tmp_path: Path) -> None:
    opened = lake.open(str(tmp_path / "lake")).create()
    other = dataclasses.replace(PBE, code="vasp")
    made = [made_calculation(MGO, seed=1), made_calculation(CAO, seed=2), made_calculation(MGO, seed=3, level=other)]
    commit_batch(opened, [stage(opened, [made_reading("one.tar", *made)], "1" * 64, 0)], "1" * 64)
    dataset = opened.publish("both", FrameQuery(theory="PBE/plane waves/qe"), Split(test=0.0, validation=0.0))
    magnesia = opened.publish("magnesia", FrameQuery(systems=("Mg-O",), theory="PBE/plane waves/qe"), Split(test=0.0, validation=0.0))
    rules = ("5 in dataset magnesia", "3 where element_system = 'Ca-O'")
    settings = TrainSettings(theory_weights=("PBE/plane waves=2",), frame_weights=rules)
    bare = dataclasses.replace(dataset.arrays("train"), frame_ids=())
    found, notes = weighted(dataset, {"train": bare, "validation": empty_arrays()}, settings)
    named = set(magnesia.frame_ids())
    expected = [10.0 if name in named else 6.0 for name in dataset.frame_ids("train")]
    assert found["train"].weights[:, 0].tolist() == expected
    assert sorted(set(expected)) == [6.0, 10.0]
    assert "'5 in dataset magnesia'" in notes[0]
    assert ordered_frames(dataset, "train").collect()["frame_id"].to_list() == dataset.frame_ids("train")
