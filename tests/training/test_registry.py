"""A trained potential through the registry of a lake, and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import lake
import training
from lake.potentials import next_version, publish_potential, set_state
from schemas.errors import UnknownName
from training.job import FrameSplits
from training.settings import TrainSettings


def test_published_and_loaded_by_name(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    opened = lake.open(str(tmp_path / "lake"))
    opened.create()
    trained = training.train(splits, dataclasses.replace(small, epochs=2), name="alloy", work=tmp_path, progress=lambda progress: None)
    card, files = trained.to_files(next_version(opened, "alloy"))
    publish_potential(opened, card, {name: content for name, content in files.items() if name != "card.json"})
    set_state(opened, "alloy", 1, "champion", "the first")
    loaded = training.load("alloy", lake=opened)
    assert (loaded.card.version, loaded.card.state) == (1, "champion")
    assert loaded.card.metrics == trained.card.metrics
    assert set(loaded.extra_files) == {"parity.png", "history.json"}
    np.testing.assert_array_equal(loaded.energy_forces_stress(splits.test).forces, trained.energy_forces_stress(splits.test).forces)
    with pytest.raises(UnknownName, match="did you mean 'alloy'"):
        training.load("aloy", lake=opened)
    assert trained.work is not None
    trained.clear_work()
    assert not trained.work.exists()
