"""One training from a pinned dataset to a registered potential; under DDP it runs in every rank, and rank 0 registers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lake
from lake.potentials import champion, next_version, publish_potential, set_state
from schemas.potentials import Metrics, PotentialCard
from schemas.settings import Settings

TOLERANCE = 1.05
"""A new version may be this much worse in one figure, as training is not exact, and still take the place of the old one."""


def train_and_register(settings: Settings, dataset: str, name: str, options: Mapping[str, Any]) -> PotentialCard | None:
    """Train, evaluate, store and register a potential; returns None in the ranks that do not register.

    Work (checkpoints, logs) lies in HOME/training/NAME, so that the same command after a kill goes on where it was.
    """
    import training

    opened = lake.open(settings=settings)
    pinned = opened.dataset(dataset)
    trained = training.train(pinned, name=name, settings=training.settings_from(options), work=settings.home / "training")
    if trained is None:
        return None
    card, files = trained.to_files(version=next_version(opened, name))
    card = publish_potential(opened, card, files)
    before = champion(opened, name)
    wins, why = True, "the first version of its name"
    if before is not None:
        old = training.evaluate(
            training.load(name, lake=opened, version=before.version), pinned.arrays("test"), "test", baseline=pinned.arrays("train")
        )
        wins, why = is_better(card.metrics["test"], old, before.version)
    if wins:
        if before is not None:
            set_state(opened, name, before.version, "retired", f"version {card.version} took its place")
        card = set_state(opened, name, card.version, "champion", why)
    else:
        card = set_state(opened, name, card.version, "candidate", why)
    trained.clear_work()
    return card


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
