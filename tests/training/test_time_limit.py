"""A run with a limit of time ends by then, with a learning rate that has fallen."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from training.fit import fit
from training.job import FrameSplits, make_job, write_job
from training.settings import TrainSettings


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
