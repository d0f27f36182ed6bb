"""Learning curve: errors on held-out groups against the number of training frames, with a forecast of how many a target needs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from schemas.errors import TrainingError
from training.forecast import ENERGY, FORCES, Fitted, Forecast, fit_law, forecast_of
from training.job import FrameSplits, PinnedDataset
from training.progress import Progress
from training.settings import TrainSettings
from training.trials import Frames, Outcome, Pool, attempt, pool_of

STEPS, EPOCHS = "steps", "epochs"


@dataclass(frozen=True)
class Plan:
    """What is trained for a curve."""

    points: int = 5
    """Numbers of frames, each half of the one before, from all that are not held out."""
    repeats: int = 3
    """Trainings at each, of other frames, other first weights and another order."""
    rule: str = STEPS
    """'steps': all do as many optimiser steps as the largest; 'epochs': all do as many epochs; a limit of time holds in both."""
    held_out: float = 0.2
    """Share of the training frames that errors are taken on."""


@dataclass(frozen=True)
class Point:
    """One training."""

    n_frames: int
    n_groups: int
    repeat: int
    outcome: Outcome


@dataclass(frozen=True)
class LearningCurve:
    """Trainings on growing numbers of frames and what they forecast."""

    points: tuple[Point, ...]
    forecast: Forecast
    notes: tuple[str, ...]
    fitted: Fitted = dataclasses.field(repr=False)


def learning_curve(
    dataset: PinnedDataset | FrameSplits,
    settings: TrainSettings,
    plan: Plan | None = None,
    *,
    metric: str = FORCES,
    target: float | None = None,
    groups: Sequence[str] = (),
    work: Path = Path("atomlake-training"),
    progress: Callable[[str, int, int], None] | None = None,
) -> LearningCurve:
    """Return errors on groups of training frames that are held out, for growing nested sets of the other groups.

    The order of groups in each repeat follows from a hash of their names: a smaller set lies in every larger one, and sets stay as the
    dataset grows. target is in eV/atom or eV/Å, a mean absolute error. Runs lie in work; after any end the same call goes on.
    Raises TrainingError where there are too few groups to hold some out, or fewer than three numbers of frames.
    """
    plan = plan or Plan()
    if plan.rule not in (STEPS, EPOCHS) or metric not in (ENERGY, FORCES):
        raise TrainingError(f"rule is {plan.rule!r}, metric {metric!r}; expected steps or epochs, and energy or forces")
    pool = pool_of(dataset, settings, work, groups)
    held_out = pool.folds(max(2, round(1 / plan.held_out)), "curve")[0]
    runs = [run for repeat in range(plan.repeats) for run in _sets(pool, held_out, plan, repeat)]
    largest = max(len(frames) for frames, _, _ in runs)
    if len({round(math.log2(largest / len(frames))) for frames, _, _ in runs}) < 3:
        raise TrainingError(
            f"{largest} training frames in {len(set(pool.groups))} groups give fewer than three numbers of frames to draw a curve through; "
            "add calculations"
        )
    points: list[Point] = []
    for frames, n_groups, repeat in runs:
        own = _settings(settings, plan, repeat, largest / len(frames))
        found = _run(pool, (frames, held_out), own, work, place=(len(points), len(runs)), progress=progress)
        points.append(Point(len(frames), n_groups, repeat, found))
    fitted = fit_law(_errors_by_size(points, metric))
    notes = (
        f"Errors are those of {len(held_out)} training frames that were held out, in groups that share no structure with the others; "
        "validation and test frames of the dataset took no part.",
    )
    ordered = sorted(points, key=lambda point: (point.n_frames, point.repeat))
    return LearningCurve(tuple(ordered), forecast_of(fitted, metric, target), notes, fitted)


def _sets(pool: Pool, held_out: Frames, plan: Plan, repeat: int) -> list[tuple[Frames, int, int]]:
    """Return nested sets of frames, the smallest first, with their number of groups and the repeat."""
    out = set(held_out.tolist())
    order = [own for own in pool.in_order(f"curve-{repeat}") if int(own[0]) not in out]
    ends = np.cumsum([len(own) for own in order])
    found: dict[int, tuple[Frames, int, int]] = {}
    for halvings in range(plan.points):
        count = int(np.searchsorted(ends, ends[-1] / 2**halvings * (1 - 1e-9))) + 1
        frames = np.sort(np.concatenate(order[:count]))
        if set(np.unique(_numbers(pool, frames))) == set(np.unique(_numbers(pool, np.concatenate(order)))):
            found.setdefault(count, (frames, count, repeat))
    return [found[count] for count in sorted(found)]


def _numbers(pool: Pool, frames: Frames) -> Frames:
    offsets = pool.arrays.offsets
    return np.concatenate([pool.arrays.numbers[offsets[frame] : offsets[frame + 1]] for frame in frames]).astype(np.int64)


def _settings(settings: TrainSettings, plan: Plan, repeat: int, fewer: float) -> TrainSettings:
    epochs = round(settings.epochs * fewer) if plan.rule == STEPS else settings.epochs
    return dataclasses.replace(settings, epochs=epochs, seed=settings.seed + repeat)


def _run(
    pool: Pool, sides: tuple[Frames, Frames], settings: TrainSettings, work: Path, *, place: tuple[int, int],
    progress: Callable[[str, int, int], None] | None,
) -> Outcome:  # fmt: skip
    done, total = place

    def tell(share: float) -> None:
        if progress is not None:
            progress("trainings", round(1000 * (done + min(share, 1.0))), 1000 * total)

    def show(at: Progress) -> None:
        tell(max(at.epoch / settings.epochs, at.seconds / settings.max_seconds if settings.max_seconds else 0.0))

    found = attempt(pool, sides, settings, work / "trials", show)
    tell(1.0)
    return found


def _errors_by_size(points: Sequence[Point], metric: str) -> list[list[tuple[int, float]]]:
    """Return (frames, error) of all repeats, by how often the number of frames was halved."""
    largest = max(point.n_frames for point in points)
    levels: dict[int, list[tuple[int, float]]] = {}
    for point in points:
        error = point.outcome.energy_mae if metric == ENERGY else point.outcome.force_mae
        if math.isfinite(error) and error > 0:
            levels.setdefault(round(math.log2(largest / point.n_frames)), []).append((point.n_frames, error))
    if len(levels) < 3:
        raise TrainingError(f"{metric}: there are errors at {len(levels)} numbers of frames; a curve needs three (are there labels?)")
    return [levels[level] for level in sorted(levels, reverse=True)]
