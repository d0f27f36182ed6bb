"""One training, from a pinned dataset to a registered potential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lake
from lake.potentials import card_of, name_and_version, next_version, publish_potential
from pipelines.promotion import judge
from schemas.potentials import PotentialCard
from schemas.settings import Settings
from training.settings import TrainSettings, settings_from, settings_of_start


def train_and_register(settings: Settings, dataset: str, name: str, options: Mapping[str, Any]) -> PotentialCard:
    """Train, evaluate, store and register a potential, and let it take the place of the champion where it passes the gate.

    Work (checkpoints, logs) lies in HOME/training, so that the same command after a kill goes on where it was.
    """
    import training

    opened = lake.open(settings=settings)
    pinned = opened.dataset(dataset)
    trained = training.train(pinned, _settings(opened, options), name=name, work=settings.home / "training")
    card, files = trained.to_files(next_version(opened, name))
    card = publish_potential(opened, card, {file: content for file, content in files.items() if file != "card.json"})
    card = judge(opened, name, card.version, settings.gate)
    trained.clear_work()
    return card


def _settings(opened: lake.Lake, options: Mapping[str, Any]) -> TrainSettings:
    """Return the training settings; those of an earlier potential's shape come from its card."""
    if not options.get("start_from"):
        return settings_from(options)
    parent = card_of(opened, *name_and_version(str(options["start_from"])))
    return settings_of_start({**options, "start_from": f"{parent.name}@{parent.version}"}, parent.settings)
