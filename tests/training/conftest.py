"""Frames of copper and aluminium with labels of ASE's effective-medium theory, of unequal sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_alloys import alloys, labelled

from training.job import FrameSplits, make_job, write_job
from training.settings import TrainSettings


@pytest.fixture(scope="session")
def splits() -> FrameSplits:
    """Return 24 training, 4 validation and 4 test frames."""
    return FrameSplits(labelled(alloys(24, 1)), labelled(alloys(4, 2)), labelled(alloys(4, 3)), "alloys", ("EMT",))


@pytest.fixture
def small() -> TrainSettings:
    """Return settings of a potential that trains in seconds, in float64."""
    return TrainSettings(
        cutoff=3.6, channels=3, l_max=2, radial_functions=5, hidden=(8,), epochs=4, batch_atoms=24, dtype="float64", checkpoint_seconds=0.0,
        validate_every=2, warmup_steps=5,
    )  # fmt: skip


def prepare(splits: FrameSplits, settings: TrainSettings, folder: Path) -> Path:
    """Write a run into a folder and return that."""
    write_job(make_job(splits.train, splits.validation, settings), folder)
    return folder
