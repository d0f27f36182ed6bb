"""What a device needs: its frames gathered there, batches made ahead, precision that the forces bear, errors where there is no GPU."""

from __future__ import annotations

import dataclasses
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

import training
from schemas.errors import SettingsError, TrainingError
from training import precision
from training.accelerators import find_accelerator, find_device
from training.batch import Batch
from training.data import FrameData, GraphCache, PlannedLoader
from training.device_frames import frames_on
from training.fit import first_model
from training.job import FrameSplits, make_job
from training.settings import TrainSettings

ELEMENTS = ("Al", "Cu")
CPU = torch.device("cpu")


def same(one: Batch, other: Batch) -> None:
    assert one.width == other.width
    for name in {field.name for field in fields(Batch)} - {"width", "places"} | {"centre", "slot"}:
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype, name
        assert a.numpy().tobytes() == b.numpy().tobytes(), name
        assert a.is_contiguous(), name


@pytest.fixture
def cache(splits: FrameSplits) -> GraphCache:
    train = splits.train
    weights = np.random.default_rng(1).uniform(size=(train.count, 3))
    theories = ["A" if number % 3 else "B" for number in range(train.count)]
    return GraphCache(dataclasses.replace(train, weights=weights, theories=theories), ELEMENTS, 3.6, theories=("A", "B"))


def test_batches_gathered_on_a_device_are_those_of_the_host_bit_for_bit(cache: GraphCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.device_frames.CHUNK", 5)
    count = cache.arrays.count
    held = frames_on(map(cache.graph, range(count)), count, CPU, 1 << 30)
    assert held is not None
    assert held.count == count
    for frames in (range(count), [7, 3, 3, 20], [11], []):
        same(held.batch(list(frames)), cache.batch(list(frames)))


def test_frames_that_do_not_fit_are_not_held(cache: GraphCache) -> None:
    count = cache.arrays.count
    assert frames_on(map(cache.graph, range(count)), count, CPU, 1000) is None


def test_batches_made_ahead_are_the_same_and_only_those_given_out_count(cache: GraphCache) -> None:
    turn, ahead = (PlannedLoader(cache, 24, 0, 1, 5, ahead=ahead) for ahead in (False, True))
    for one, other in zip(turn, ahead, strict=True):
        same(one, other)
        assert turn.state_dict() == ahead.state_dict()
    batches, taken = iter(ahead), [next(iter(turn))]
    same(next(batches), taken[0])
    assert ahead.state_dict() == {"position": 1}
    batches.close()
    resumed = PlannedLoader(cache, 24, 0, 1, 5, ahead=True)
    resumed.load_state_dict(ahead.state_dict())
    assert len(list(resumed)) == len(turn) - 1


def test_a_failure_in_the_thread_is_told(cache: GraphCache, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = PlannedLoader(cache, 24, 0, 1, 5, ahead=True)
    monkeypatch.setattr(cache, "batch", lambda frames: (_ for _ in ()).throw(TrainingError("the frame is broken")))
    with pytest.raises(TrainingError, match="the frame is broken"):
        next(iter(loader))


def test_reduced_precision_is_taken_only_where_forces_bear_it(
    splits: FrameSplits, small: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(small, dtype="float32", matmul="bf16", compile="off")
    job = make_job(splits.train, splits.validation, settings)
    data = FrameData(job.train, job.validation, job.elements, settings)
    model = first_model(job, data)
    batch = data.train_cache.batch([0, 1, 2])
    errors = {name: precision.force_error(model, name, batch) for name in ("highest", "bf16")}
    assert errors["highest"] < 1e-5
    assert 1e-4 < errors["bf16"] < 0.5
    monkeypatch.setattr(precision, "TOLERANCE", errors["bf16"] / 2)
    with precision.reduced_precision(model, "bf16", lambda: batch, "cpu") as told:
        assert model.matmul == "highest"
    assert told.startswith("products not in bfloat16 but in full precision: forces differ by ")
    monkeypatch.setattr(precision, "TOLERANCE", errors["bf16"] * 2)
    with precision.reduced_precision(model, "bf16", lambda: batch, "cpu") as told:
        assert model.matmul == "bf16"
        assert model(batch, create_graph=True).forces.dtype == torch.float32
    assert told.startswith("products in bfloat16, forces differ by ")
    model.matmul = "highest"
    with precision.reduced_precision(model, "high", lambda: batch, "cpu"):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == "highest"


def test_precision_that_was_found_stands_on_the_card(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    settings = dataclasses.replace(small, dtype="float32", matmul="bf16", epochs=1, compile="off")
    found = training.train(splits, settings, work=tmp_path, progress=lambda progress: None)
    (note,) = (note for note in found.card.notes if note.startswith("Time of a training step"))
    assert "products not in bfloat16 but in full precision" in note
    assert "torch operations, since the setting compile is off" in note


def test_double_precision_has_no_reduced_products() -> None:
    with pytest.raises(SettingsError, match="highest where dtype is float64"):
        TrainSettings(dtype="float64", matmul="high")
    with pytest.raises(SettingsError, match="accelerator is 'tpu', expected cpu or gpu or auto"):
        TrainSettings(accelerator="tpu")


def test_missing_gpus_are_told(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    asked = dataclasses.replace(small, accelerator="gpu", devices=2)
    with pytest.raises(TrainingError, match=r"accelerator is gpu with devices = 2, but torch .* finds 1 GPUs here; install torch"):
        find_accelerator(asked, lambda: 1)
    assert find_accelerator(asked, lambda: 2) == "cuda"
    auto = dataclasses.replace(small, accelerator="auto")
    assert [find_accelerator(auto, lambda count=count: count) for count in (0, 1)] == ["cpu", "cuda"]
    with pytest.raises(TrainingError, match="there is no device 'gpu0'"):
        find_device("gpu0")
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="finds 0 GPUs here"):
            training.train(splits, dataclasses.replace(small, accelerator="gpu"), work=tmp_path)
        with pytest.raises(TrainingError, match="the device cuda was asked for"):
            find_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_on_a_gpu_gives_what_the_cpu_gives(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    found = [
        training.train(splits, dataclasses.replace(small, accelerator=name), name=name, work=tmp_path, progress=lambda progress: None)
        for name in ("cpu", "gpu")
    ]
    here, there = (potential.card.metrics["test"].overall.force_mae for potential in found)
    assert there == pytest.approx(here, rel=1e-4)
    arrays = splits.test
    here, there = (found[1].on(device).energy_forces_stress(arrays).forces for device in ("cpu", "cuda"))
    np.testing.assert_allclose(here, there, atol=1e-9)
