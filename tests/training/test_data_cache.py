"""Frames are read where they lie: memory-mapped, within limits, masked where a label is missing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from made_up_readings import CAO, MGCAO, MGO, made_block, made_calculation, made_reading
from safetensors.torch import load_file

import training
from lake.commit import commit_batch, stage
from lake.lake import Lake
from schemas.datasets import FrameQuery, Split
from schemas.errors import QueryError
from schemas.frames import FrameArrays
from training.data import GraphCache
from training.fit import fit
from training.job import FrameSplits, fingerprint, make_job, read_job, write_job
from training.neighbours import neighbours
from training.settings import TrainSettings
from training.times import Times


def test_neighbour_lists_are_kept_while_there_is_room(splits: FrameSplits, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr("training.data.neighbours", lambda *given: made.append(1) or neighbours(*given))
    roomy = GraphCache(splits.train, ("Al", "Cu"), 3.6)
    frames = list(range(splits.train.count))
    first = roomy.batch(frames)
    roomy.batch(frames)
    assert len(made) == len(frames)
    limit = roomy.bytes // 3
    tight = GraphCache(splits.train, ("Al", "Cu"), 3.6, max_bytes=limit)
    made.clear()
    again = tight.batch(frames)
    assert 0 < tight.bytes <= limit
    tight.batch(frames)
    assert len(frames) < len(made) < 2 * len(frames)
    assert again.offset.equal(first.offset)
    nothing = GraphCache(splits.train, ("Al", "Cu"), 3.6, max_bytes=0)
    nothing.batch(frames)
    assert nothing.bytes == 0
    assert nothing.neighbour_seconds > 0


def test_run_reads_its_frames_from_maps_and_old_runs_from_their_archive(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    job = make_job(splits.train, splits.validation, small)
    write_job(job, tmp_path / "new")
    found = read_job(tmp_path / "new")
    base = found.train.positions
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert fingerprint(found) == fingerprint(job)
    old = tmp_path / "old"
    old.mkdir()
    record = json.loads((tmp_path / "new" / "job.json").read_text())
    del record["copies"]
    (old / "job.json").write_text(json.dumps(record))
    for split in ("train", "validation"):
        names = ("offsets", "numbers", "positions", "cell", "pbc", "energy", "forces", "stress")
        np.savez(old / f"{split}.npz", **{name: getattr(getattr(job, split), name) for name in names})
    assert fingerprint(read_job(old)) == fingerprint(job)


def test_room_for_lists_changes_no_weight_and_times_are_told(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    settings = dataclasses.replace(small, epochs=2)
    weights = []
    for room in (100, 0):
        work = tmp_path / str(room)
        write_job(make_job(splits.train, splits.validation, dataclasses.replace(settings, cache_mb=room)), work)
        fit(work)
        weights.append({name: value.numpy().tobytes() for name, value in load_file(work / "weights.safetensors").items()})
        times = Times(**json.loads((work / "times.json").read_text()))
        assert times.steps > 0
        assert min(times.loader, times.forward, times.backward, times.optimiser) > 0
        assert times.path == "compiled kernel"
    assert weights[0] == weights[1]
    assert times.neighbours > 0


def test_sentence_says_when_the_loader_limits() -> None:
    fast = Times(loader=0.1, neighbours=0.1, forward=4.0, backward=5.0, optimiser=0.8, steps=1000, path="compiled kernel")
    assert fast.sentence() == (
        "Time of a training step 10.0 ms: loader 1.0 %, neighbours 1.0 %, forward 40 %, backward 50 %, optimiser 8.0 % (compiled kernel)."
    )
    slow: FrameArrays | str = dataclasses.replace(fast, loader=30.0).sentence()
    assert "the loader limits" in str(slow)


def test_frames_of_a_lake_are_trained_on_from_their_local_copy(folder_lake: Lake, small: TrainSettings, tmp_path: Path) -> None:
    runs = [made_calculation(numbers, 7, seed) for numbers in (MGO, CAO, MGCAO) for seed in (1, 2)]
    runs.append(made_calculation([12, 12, 8, 8, 8], 4, block=made_block([12, 12, 8, 8, 8], 4, 9, forces=False)))
    readings = [made_reading(f"{number}.tar", run) for number, run in enumerate(runs)]
    commit_batch(folder_lake, [stage(folder_lake, readings, "a" * 64, 0)], "a" * 64)
    dataset = folder_lake.publish("d", FrameQuery(only_good=False), Split(test=0.2))
    settings = dataclasses.replace(small, epochs=1)
    found = training.train(dataset, settings, work=tmp_path / "lake", progress=lambda progress: None)
    assert found.work is not None
    copies = json.loads((found.work / "job.json").read_text())["copies"]
    assert set(copies) == {"train", "validation", "test"}
    assert not (found.work / "train").exists()
    whole = FrameSplits(*(dataset.arrays(split) for split in ("train", "validation", "test")))
    held = training.train(whole, settings, work=tmp_path / "memory", progress=lambda progress: None)
    for name, value in held.model.state_dict().items():
        assert value.numpy().tobytes() == found.model.state_dict()[name].numpy().tobytes(), name
    assert found.card.metrics["train"] == held.card.metrics["train"]
    with pytest.raises(QueryError, match="B"):
        training.train(
            dataset, dataclasses.replace(settings, copy_gb=1e-6, seed=1), work=tmp_path / "small", progress=lambda progress: None
        )
