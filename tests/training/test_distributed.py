"""Two processes take the steps that one takes, and come back after a kill."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import training
from training.fit import newest_checkpoint
from training.job import FrameSplits
from training.settings import TrainSettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def splits(splits: FrameSplits) -> FrameSplits:
    """Return frames that count differently: a mean over each process's own would show."""
    weights = np.random.default_rng(5).uniform(0.2, 3.0, size=(splits.train.count, 3))
    return dataclasses.replace(splits, train=dataclasses.replace(splits.train, weights=weights))


PARENT = """
import pickle, sys, pathlib, training
splits, settings, work = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
training.train(splits, settings, name="two", work=work, progress=lambda progress: None)
"""


@pytest.fixture(scope="module")
def two(splits: FrameSplits, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainSettings, training.Potential]:
    """Return the settings of a run on two processes, and its potential."""
    settings = TrainSettings(
        cutoff=3.6, channels=3, l_max=2, radial_functions=5, hidden=(8,), epochs=12, batch_atoms=24, dtype="float64",
        checkpoint_seconds=0.0, checkpoint_steps=4, validate_every=2, warmup_steps=5, devices=2,
    )  # fmt: skip
    return settings, training.train(splits, settings, name="two", work=tmp_path_factory.mktemp("two"), progress=lambda progress: None)


def test_two_processes_give_the_weights_of_one(splits: FrameSplits, two: tuple[TrainSettings, training.Potential], tmp_path: Path) -> None:
    settings, potential = two
    told = []
    one = training.train(splits, dataclasses.replace(settings, devices=1), name="one", work=tmp_path, progress=told.append)
    assert told[-1].step >= 20
    expected = one.model.state_dict()
    for name, value in potential.model.state_dict().items():
        np.testing.assert_allclose(value.numpy(), expected[name].numpy(), atol=1e-6, err_msg=name)
    assert potential.card.metrics["test"].overall.force_mae == pytest.approx(one.card.metrics["test"].overall.force_mae, rel=1e-5)


def test_killed_parent_takes_its_workers_along_and_the_run_goes_on(
    splits: FrameSplits, two: tuple[TrainSettings, training.Potential], tmp_path: Path
) -> None:
    settings, whole = two
    (tmp_path / "call").write_bytes(pickle.dumps((splits, settings, tmp_path)))
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PARENT, str(tmp_path / "call")], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert whole.work is not None
    work = tmp_path / "two" / whole.work.name
    while newest_checkpoint(work) is None and parent.poll() is None:
        time.sleep(0.01)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    again = training.train(splits, settings, name="two", work=tmp_path, progress=lambda progress: None)
    for name, value in load_file(again.work / "weights.safetensors").items():
        assert value.numpy().tobytes() == load_file(whole.work / "weights.safetensors")[name].numpy().tobytes(), name
