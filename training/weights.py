"""By how much single frames count in the loss, in references and in what is standardised."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.errors import TrainingError
from schemas.frames import WEIGHED, Floats, FrameArrays
from training.settings import TrainSettings
from training.structures import take

if TYPE_CHECKING:
    from training.job import FrameSplits, PinnedDataset


def weighted(
    dataset: PinnedDataset | FrameSplits, splits: Mapping[str, FrameArrays], settings: TrainSettings
) -> tuple[dict[str, FrameArrays], tuple[str, ...]]:
    """Return the splits with the weights that the settings give their frames, and sentences for the card.

    Weights of the settings multiply those that the frames bring along. Raises QueryError as `lake.weighing.weigh`.
    """
    if not (settings.theory_weights or settings.frame_weights or settings.weights_file):
        return dict(splits), ()
    from lake.datasets import Dataset
    from lake.weighing import ordered_frames, parse_rule, rule_of_theory, scalars_of, weigh

    rules = [*map(rule_of_theory, settings.theory_weights), *map(parse_rule, settings.frame_weights)]
    table = Path(settings.weights_file) if settings.weights_file else None
    found = {}
    for split in set(splits) - {"test"}:
        arrays = splits[split]
        place, rows = (dataset.lake, ordered_frames(dataset, split)) if isinstance(dataset, Dataset) else (None, scalars_of(arrays))
        weights = weigh(place, rows, rules, table)
        found[split] = dataclasses.replace(arrays, weights=weights * arrays.weights if len(arrays.weights) else weights)
    told = [f"'{rule.text}'" for rule in rules] + ([f"the table {table.name}"] if table else [])
    return {**splits, **found}, (f"Frames were weighted by {', '.join(told)}.",)


def counting(arrays: FrameArrays) -> FrameArrays:
    """Return the frames that count: those with a weight above zero for any label."""
    if not len(arrays.weights) or (arrays.weights > 0).any(axis=1).all():
        return arrays
    return take(arrays, np.flatnonzero((arrays.weights > 0).any(axis=1)))


def mean_weights(train: FrameArrays) -> Floats:
    """Return (3,) the mean weight of energies, force components and stresses that are known and count at all; 1 where there are none.

    Divided by it, a frame of weight w counts in the loss as w copies of it, whatever the size of a step and the number of processes.
    Raises TrainingError for negative weights.
    """
    if (train.weights < 0).any() or not np.isfinite(train.weights).all():
        raise TrainingError(f"weights of frames are {np.nanmin(train.weights)} and more; expected numbers from 0")
    by_frame = np.add.reduceat(np.isfinite(train.forces).sum(axis=1), train.offsets[:-1]) if train.count else np.zeros(0)
    known = (np.isfinite(train.energy).astype(np.float64), by_frame, np.isfinite(train.stress).sum(axis=(1, 2)))
    means = np.ones(len(WEIGHED))
    for label, labels in enumerate(known):
        own = train.weights[:, label]
        total = labels[own > 0].sum()
        means[label] = float((labels * own).sum() / total) if total else 1.0
    return means


def drawn(weights: Floats, count: int, most: int) -> NDArray[np.int64]:
    """Return at most so many of count frames, evenly out of all; with weights (n, 3) out of what all copies would be, w for each frame."""
    if not len(weights):
        return np.array(sorted({round(place) for place in torch.linspace(0, count - 1, min(count, most)).tolist()}), dtype=np.int64)
    each = weights.max(axis=1)
    ends = np.cumsum(each / each.min())
    number = min(int(np.ceil(ends[-1] - 1e-9)), most)
    places: NDArray[np.int64] = np.searchsorted(ends, ends[-1] * (np.arange(number) + 0.5) / number, side="right").clip(max=count - 1)
    return places
