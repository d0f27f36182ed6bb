"""A run with a limit of time ends by then, with a learning rate that has fallen, and its pace can be followed again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import training
from training.fit import fit
from training.job import FrameSplits, make_job, write_job
from training.session import pace_of
from training.settings import TrainSettings
from training.stored import files_of_model


def test_run_ends_when_its_time_is_up(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    settings = dataclasses.replace(small, epochs=100_000, max_seconds=2.0, validate_every=1000)
    write_job(make_job(splits.train, splits.validation, settings), tmp_path)
    told = []
    fit(tmp_path, told.append)
    done = json.loads((tmp_path / "finished.json").read_text())
    assert 10 < done["steps"] < 100_000
    assert told[-1].seconds < 30
    # The weights that are kept are those after the last step, validated although no validation was due.
    assert "validation/loss" in done["history"][-1]


def test_early_stop_on_validation(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    settings = dataclasses.replace(small, epochs=300, patience=2, validate_every=1, learning_rate=0.3, ema=0.0)
    write_job(make_job(splits.train, splits.validation, settings), tmp_path)
    fit(tmp_path)
    assert json.loads((tmp_path / "finished.json").read_text())["epochs"] < 300


def test_its_pace_followed_again_gives_the_same_bits(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    settings = dataclasses.replace(small, epochs=100_000, max_seconds=2.0, committee=2, validate_every=1000, loggers=())

    def train(name: str, pace: list[list[float]]) -> training.Potential:
        return training.train(splits, settings, name=name, work=tmp_path, progress=lambda progress: None, pace=pace)

    first = train("first", [])
    first.save(tmp_path / "stored")
    pace = pace_of(training.load(tmp_path / "stored"))
    assert [len(own) for own in pace] == [steps // 10 + 1 for steps in first.card.steps]
    assert all(steps > 10 for steps in first.card.steps)
    again = train("again", pace)
    assert (again.card.steps, again.card.epochs) == (first.card.steps, first.card.epochs)
    assert files_of_model(again.model) == files_of_model(first.model)
    assert pace_of(again) == pace
