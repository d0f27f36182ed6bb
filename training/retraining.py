"""Is there something new to learn?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.potentials import PotentialCard


@dataclass(frozen=True)
class RetrainingDecision:
    """Whether to train again, and why."""

    train: bool
    why: str
    n_new: int
    """Frames that are selected now and were not in the champion's dataset."""
    n_gone: int = 0
    """Frames that were in it and are not selected any more."""


def decide(card: PotentialCard | None, seen: Iterable[str], selected: Iterable[str]) -> RetrainingDecision:
    """Return whether the frames that a query selects now (ids) hold any that the champion's dataset (ids) did not."""
    now = set(selected)
    if card is None:
        return RetrainingDecision(bool(now), f"there is no potential yet; the query selects {len(now)} frames", len(now))
    before = set(seen)
    new, gone = len(now - before), len(before - now)
    known = f"dataset {card.dataset!r} of {card.name} version {card.version} ({len(before)} frames)"
    tail = f"; {gone} of its frames are not selected any more" if gone else ""
    if new == 0:
        return RetrainingDecision(False, f"the query selects {len(now)} frames and all are in {known}{tail}: nothing new to learn", 0, gone)
    return RetrainingDecision(True, f"the query selects {len(now)} frames, {new} of them not in {known}{tail}", new, gone)
