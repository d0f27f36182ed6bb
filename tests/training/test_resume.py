"""A run that ended in any way goes on to the same weights, bit for bit."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from schemas.errors import TrainingError
from training.fit import fit, newest_checkpoint
from training.job import FrameSplits, make_job, write_job
from training.progress import Progress
from training.settings import TrainSettings


def prepare(splits: FrameSplits, settings: TrainSettings, folder: Path) -> Path:
    write_job(make_job(splits.train, splits.validation, settings), folder)
    return folder


def weights(folder: Path) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in load_file(folder / "weights.safetensors").items()}


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_resume_from_many_places_of_an_epoch(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    work = prepare(splits, dataclasses.replace(small, checkpoint_steps=3, epochs=6), tmp_path / "run")
    copies: list[Path] = []

    def copy(progress: Progress) -> None:
        copies.append(tmp_path / f"after-{progress.epoch}")
        shutil.copytree(work, copies[-1])

    fit(work, copy)
    steps = set()
    for folder in copies[:-1]:
        newest = newest_checkpoint(folder)
        assert newest is not None
        steps.add(newest.stem)
        fit(folder)
        assert weights(folder) == weights(work)
        assert json.loads((folder / "finished.json").read_text()) == json.loads((work / "finished.json").read_text())
    assert len(steps) == 5
    assert len({int(step.removeprefix("step-")) % 10 for step in steps}) >= 3


def test_killed_process_goes_on_to_the_same_weights(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    settings = dataclasses.replace(small, checkpoint_steps=3, epochs=20)
    whole = prepare(splits, settings, tmp_path / "whole")
    fit(whole)
    work = prepare(splits, settings, tmp_path / "killed")
    command = [sys.executable, "-W", "ignore", "-m", "training.worker", str(work)]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment())
    while newest_checkpoint(work) is None and worker.poll() is None:
        time.sleep(0.01)
    time.sleep(random.Random().uniform(0.0, 0.4))
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    assert worker.returncode == -signal.SIGKILL
    assert not (work / "finished.json").exists()
    fit(work)
    assert weights(work) == weights(whole)


def test_two_processes_do_not_train_in_one_folder(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    work = prepare(splits, small, tmp_path / "run")

    def second(progress: Progress) -> None:
        with pytest.raises(TrainingError, match=f"process {os.getpid()} is training in"):
            fit(work)

    fit(work, second)


def test_folder_of_another_run_is_refused(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    work = prepare(splits, small, tmp_path / "run")
    with pytest.raises(TrainingError, match="seed was 0, is 1"):
        prepare(splits, dataclasses.replace(small, seed=1), work)
