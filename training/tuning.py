"""A small search over settings, judged on groups of training frames that are held out; the test set takes no part."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np

from schemas.errors import TrainingError
from training.job import FrameSplits, PinnedDataset
from training.progress import Progress
from training.settings import TrainSettings
from training.trials import NEVER, Frames, Outcome, Pool, attempt, pool_of

FOLDS: Final = 5
"""Parts that the groups of training frames are dealt to; each round holds out another one."""

CUTOFFS: Final = (0.7, 0.85, 1.0, 1.15, 1.3)
"""Cutoffs that are tried where none are given, relative to that of the settings."""

SECONDS, EPOCHS = "seconds", "epochs"


@dataclass(frozen=True)
class Search:
    """What is tried: values of each setting; for none the ones around those of the settings."""

    cutoff: tuple[float, ...] = ()
    """Å"""
    channels: tuple[int, ...] = (4, 6, 8, 12, 16)
    width: tuple[int, ...] = (16, 24, 32, 48, 64)
    """Of all hidden layers."""
    weight_decay: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1)


@dataclass(frozen=True)
class Budget:
    """How long is searched."""

    amount: float
    """Seconds of training of all runs together (by the clock of the settings), or epochs of a run of the last round."""
    unit: str = SECONDS
    """'seconds', or 'epochs', by which a search repeats bit for bit."""
    candidates: int = 9
    """Settings that are compared in the first round."""
    keep: int = 3
    """One of so many goes on to the next round."""

    def rounds(self) -> list[int]:
        """Return how many candidates each round has."""
        counts = [self.candidates]
        while counts[-1] > 1 and self.keep > 1:
            counts.append(math.ceil(counts[-1] / self.keep))
        return counts[:-1] if len(counts) > 1 else counts

    def limits(self) -> list[dict[str, float | int]]:
        """Return the settings by which runs of each round end: equal time for each round, or keep times the epochs of the one before."""
        counts = self.rounds()
        if self.unit == SECONDS:
            return [{"max_seconds": self.amount / len(counts) / count, "epochs": NEVER} for count in counts]
        last = len(counts) - 1
        return [{"max_seconds": 0.0, "epochs": max(1, round(self.amount / self.keep ** (last - each)))} for each in range(last + 1)]


@dataclass(frozen=True)
class Trial:
    """One candidate in one round."""

    round: int
    """From 1."""
    candidate: int
    """From 0, which is the settings that the search began with."""
    cutoff: float
    """Å"""
    channels: int
    width: int
    weight_decay: float
    outcome: Outcome
    goes_on: bool
    """To the next round, or as the winner."""


@dataclass(frozen=True)
class Tuned:
    """What a search found."""

    settings: TrainSettings
    """Those given, with what won."""
    trials: tuple[Trial, ...]
    """By round and loss."""
    notes: tuple[str, ...]


def tune(
    dataset: PinnedDataset | FrameSplits,
    settings: TrainSettings,
    budget: Budget,
    search: Search | None = None,
    *,
    groups: Sequence[str] = (),
    work: Path = Path("atomlake-training"),
    progress: Callable[[str, int, int], None] | None = None,
) -> Tuned:
    """Return the settings that do best on training frames that were held out, found by successive halving.

    Candidates are drawn by the seed of the settings, the first being these. In each round all that are left are trained anew, with more
    time than in the one before, and judged by the loss on another fold of groups, so that no candidate is chosen twice by the same
    frames (Jamieson and Talwalkar, AISTATS 2016, algorithm 1, with runs that end with a low learning rate in each round). Runs lie in
    work; after any end the same call goes on. Raises TrainingError where no group can be held out or every run fails.
    """
    _check(budget)
    pool = pool_of(dataset, settings, work, groups)
    folds = pool.folds(FOLDS, f"tune-{settings.seed}")
    left = dict(enumerate(drawn_candidates(settings, search or Search(), budget.candidates)))
    counts, limits = budget.rounds(), budget.limits()
    trials: list[Trial] = []
    for number, limit in enumerate(limits):
        what = f"round {number + 1} of {len(counts)}"
        limited = {candidate: dataclasses.replace(each, **limit) for candidate, each in left.items()}  # type: ignore[arg-type]
        found = _round(pool, folds[number % len(folds)], limited, work, what=what, progress=progress)
        order = sorted(found, key=lambda candidate: (found[candidate].loss, candidate))
        if not math.isfinite(found[order[0]].loss):
            raise TrainingError(f"{what}: no run ended with a finite loss; give a larger budget, or a lower learning_rate")
        going = order[: counts[number + 1] if number + 1 < len(counts) else 1]
        trials += [_trial(number + 1, each, left[each], found[each], goes_on=each in going) for each in order]
        left = {candidate: left[candidate] for candidate in going}
    (winner,) = left.values()
    return Tuned(winner, tuple(trials), _notes(trials, folds, pool))


def drawn_candidates(settings: TrainSettings, search: Search, number: int) -> list[TrainSettings]:
    """Return so many settings, all different: first those given, then some drawn by their seed out of all combinations."""
    cutoffs = search.cutoff or tuple(round(factor * settings.cutoff, 2) for factor in CUTOFFS)
    every = list(product(cutoffs, search.channels, search.width, search.weight_decay))
    found = [settings]
    for place in np.random.default_rng([settings.seed, len(every)]).permutation(len(every)):
        cutoff, channels, width, decay = every[int(place)]
        hidden = (width,) * max(len(settings.hidden), 1)
        other = dataclasses.replace(settings, cutoff=cutoff, channels=channels, hidden=hidden, weight_decay=decay)
        if len(found) < number and other not in found:
            found.append(other)
    return found[:number]


def _check(budget: Budget) -> None:
    if budget.amount <= 0 or budget.candidates < 1 or budget.keep < 2 or budget.unit not in (SECONDS, EPOCHS):
        raise TrainingError(
            f"a search of {budget.candidates} candidates, of which one of {budget.keep} goes on, with {budget.amount} {budget.unit}: "
            "expected at least 1 candidate, one of 2 or more, and a number of seconds or epochs above 0"
        )


def _round(
    pool: Pool, held_out: Frames, candidates: dict[int, TrainSettings], work: Path, *, what: str,
    progress: Callable[[str, int, int], None] | None,
) -> dict[int, Outcome]:  # fmt: skip
    """Return what each candidate that is left does; progress is told in thousandths of a run."""
    found: dict[int, Outcome] = {}

    def tell(share: float) -> None:
        if progress is not None:
            progress(what, round(1000 * (len(found) + min(share, 1.0))), 1000 * len(candidates))

    for candidate, own in candidates.items():

        def show(at: Progress, own: TrainSettings = own) -> None:
            tell(at.seconds / own.max_seconds if own.max_seconds else at.epoch / own.epochs)

        found[candidate] = attempt(pool, (pool.rest(held_out), held_out), own, work / "trials", show)
        tell(0.0)
    return found


def _trial(number: int, candidate: int, settings: TrainSettings, outcome: Outcome, *, goes_on: bool) -> Trial:
    width = settings.hidden[0] if settings.hidden else 0
    return Trial(number, candidate, settings.cutoff, settings.channels, width, settings.weight_decay, outcome, goes_on)


def _notes(trials: list[Trial], folds: list[Frames], pool: Pool) -> tuple[str, ...]:
    last = [trial for trial in trials if trial.round == trials[-1].round]
    told = [
        f"{pool.arrays.count} training frames in {len(set(pool.groups))} groups, {len(folds)} folds of "
        f"{min(map(len, folds))} to {max(map(len, folds))} frames; validation and test frames of the dataset took no part.",
        "The error of the winner is that of the best of several, which is lower than it will be on other frames.",
    ]
    if len(last) > 1 and last[1].outcome.loss < 1.05 * last[0].outcome.loss:
        told.append("The first two are within 5 % of each other: the order of these is no more than chance.")
    if last[0].candidate == 0:
        told.append("The settings that the search began with won.")
    return tuple(told)
