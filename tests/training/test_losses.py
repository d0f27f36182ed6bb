"""Labels that are missing count nothing; empty batches and unequal ones join in."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from schemas.frames import FrameArrays
from training.data import GraphCache
from training.fit import build_model
from training.job import FrameSplits, make_job
from training.settings import TrainSettings
from training.task import FittingTask, energy_weight, error_sums, rate_factor


def test_missing_labels_count_nothing(splits: FrameSplits, small: TrainSettings) -> None:
    arrays = splits.train
    forces, energy, stress = arrays.forces.copy(), arrays.energy.copy(), arrays.stress.copy()
    forces[: arrays.offsets[2]], energy[1], stress[0] = np.nan, np.nan, np.nan
    holes: FrameArrays = dataclasses.replace(arrays, forces=forces, energy=energy, stress=stress)
    model = build_model(make_job(arrays, splits.validation, small))
    batch = GraphCache(holes, model.elements, small.cutoff).batch([0, 1, 2])
    sums = error_sums(model(batch, create_graph=True), batch)
    natoms = arrays.natoms[:3]
    assert sums[:, 2].tolist() == [2, 3 * natoms[2], 18]
    sums[:, 0].sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.requires_grad)
    whole = GraphCache(arrays, model.elements, small.cutoff).batch([0, 1, 2])
    expected = error_sums(model(whole), whole)
    assert expected[1, 2] == 3 * natoms.sum()
    assert sums[0, 1] < expected[0, 1]


def test_huber_goes_over_from_squares_to_lines(splits: FrameSplits, small: TrainSettings) -> None:
    model = build_model(make_job(splits.train, splits.validation, small))
    batch = GraphCache(splits.train, model.elements, small.cutoff).batch([0, 1])
    said = model(batch)
    errors = (said.forces - batch.forces).abs()
    limit = float(errors.median())
    plain, robust, wide = (error_sums(said, batch, (0.0, h)) for h in (0.0, limit, 1e9))
    torch.testing.assert_close(wide, plain)
    expected = torch.where(errors < limit, errors**2, 2 * limit * errors - limit**2).sum()
    assert float(robust[1, 0]) == pytest.approx(float(expected))
    assert torch.equal(robust[:, 1:], plain[:, 1:])
    assert robust[0, 0] == plain[0, 0]


def test_empty_batch_gives_zero_gradients_to_every_parameter(splits: FrameSplits, small: TrainSettings) -> None:
    for settings in (small, dataclasses.replace(small, four_body=True)):
        model = build_model(make_job(splits.train, splits.validation, settings))
        batch = GraphCache(splits.train, model.elements, small.cutoff).batch([])
        error_sums(model(batch, create_graph=True), batch)[:, 0].sum().backward()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        assert all(parameter.grad is not None and not parameter.grad.any() for parameter in trained)


def test_learning_rate_rises_and_falls() -> None:
    rates = [rate_factor(step, step / 100, 10) for step in range(101)]
    assert rates[0] < 0.11
    assert max(rates) > 0.95
    assert rates[100] == 0.01
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))


def test_the_energy_weight_moves_by_equal_factors_and_losses_take_its_end(splits: FrameSplits, small: TrainSettings) -> None:
    moving = dataclasses.replace(small, energy_weight=1.0, energy_weight_end=100.0)
    assert [energy_weight(moving, done) for done in (0.0, 0.5, 1.0, 1.5)] == pytest.approx([1.0, 10.0, 100.0, 100.0])
    assert energy_weight(small, 0.7) == small.energy_weight
    jobs = {name: make_job(splits.train, splits.validation, settings) for name, settings in (("moving", moving), ("still", small))}
    tasks = {name: FittingTask(build_model(job), job.settings) for name, job in jobs.items()}
    squares, counts = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 1.0])
    begun = {name: float(task._loss(squares, counts, task._energy_weight)) for name, task in tasks.items()}
    assert begun == pytest.approx({"moving": 2.0, "still": 2.0 * small.energy_weight})
