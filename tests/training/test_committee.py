"""A committee predicts the mean of members of other seeds, and is stored and read like any potential."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import training
from training.committee import Committee
from training.data import GraphCache
from training.gradient_check import check_gradients
from training.job import FrameSplits
from training.settings import TrainSettings
from training.structures import to_atoms


def test_committee_is_the_mean_of_its_members(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    settings = dataclasses.replace(small, epochs=1, committee=2)
    whole = training.train(splits, settings, name="two", work=tmp_path, progress=lambda progress: None)
    model = whole.model
    assert isinstance(model, Committee)
    assert whole.work is not None
    seeds = [json.loads((whole.work / f"member-{member}" / "job.json").read_text())["settings"]["seed"] for member in range(2)]
    assert seeds == [0, 1]
    found = whole.energy_forces_stress(splits.test)
    alone = [dataclasses.replace(whole, model=member).energy_forces_stress(splits.test) for member in model.each()]
    np.testing.assert_allclose(found.energy, (alone[0].energy + alone[1].energy) / 2, rtol=1e-12)
    np.testing.assert_allclose(found.forces, (alone[0].forces + alone[1].forces) / 2, atol=1e-12)
    assert check_gradients(whole, to_atoms(splits.test, 0), max_atoms=2).passed
    batch = GraphCache(splits.test, model.elements, model.cutoff).batch([0])
    half = np.linalg.norm(alone[0].forces - alone[1].forces, axis=1)[: batch.n_atoms] / 2
    np.testing.assert_allclose(model.spread_of_forces(batch).numpy(), half, rtol=1e-9)
    whole.save(tmp_path / "stored")
    again = training.load(tmp_path / "stored")
    np.testing.assert_array_equal(again.energy_forces_stress(splits.test).forces, found.forces)
    assert again.card.n_parameters == pytest.approx(2 * sum(p.numel() for p in model.each()[0].parameters()))
