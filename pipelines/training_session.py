"""One training, from a pinned dataset to a registered potential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import lake
from lake.potentials import card_of, champion, name_and_version, next_version, publish_potential, set_state
from schemas.potentials import Metrics, PotentialCard
from schemas.settings import Settings
from training.settings import TrainSettings, settings_from, settings_of_start

TOLERANCE = 1.05
"""A new version may be this much worse in one figure, as training is not exact, and still take the place of the old one."""


def train_and_register(settings: Settings, dataset: str, name: str, options: Mapping[str, Any]) -> PotentialCard:
    """Train, evaluate, store and register a potential, and let it take the place of the champion where it is better.

    Work (checkpoints, logs) lies in HOME/training, so that the same command after a kill goes on where it was.
    """
    import training

    opened = lake.open(settings=settings)
    pinned = opened.dataset(dataset)
    trained = training.train(pinned, _settings(opened, options), name=name, work=settings.home / "training")
    card, files = trained.to_files(next_version(opened, name))
    card = publish_potential(opened, card, {file: content for file, content in files.items() if file != "card.json"})
    state, why = "champion", "the first version of its name"
    before = champion(opened, name)
    if before is not None:
        old = training.load(name, lake=opened, version=before.version)
        metrics = training.evaluate(old, pinned.arrays("test"), "test", baseline=pinned.arrays("train"))
        better, why = is_better(card.metrics["test"], metrics, before.version)
        state = "champion" if better else "candidate"
    set_state(opened, name, card.version, state, why)
    trained.clear_work()
    return replace(card, state=state)


def _settings(opened: lake.Lake, options: Mapping[str, Any]) -> TrainSettings:
    """Return the training settings; those of an earlier potential's shape come from its card."""
    if not options.get("start_from"):
        return settings_from(options)
    parent = card_of(opened, *name_and_version(str(options["start_from"])))
    return settings_of_start({**options, "start_from": f"{parent.name}@{parent.version}"}, parent.settings)


def is_better(new: Metrics, old: Metrics, old_version: int) -> tuple[bool, str]:
    """Return whether a new version takes the old one's place on the same test frames, and why.

    Force error must not grow, and energy error by no more than TOLERANCE; without test frames the new one, which has seen more, wins.
    """
    if not new.overall.n_frames:
        return True, "there are no test frames to compare on, and it has seen more data"
    text = (
        f"test errors {1000 * new.overall.energy_mae:.1f} meV/atom and {1000 * new.overall.force_mae:.1f} meV/Å against "
        f"{1000 * old.overall.energy_mae:.1f} and {1000 * old.overall.force_mae:.1f} of version {old_version}, on the same frames"
    )
    wins = new.overall.force_mae <= old.overall.force_mae and new.overall.energy_mae <= TOLERANCE * old.overall.energy_mae
    return wins, text
