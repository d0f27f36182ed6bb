"""Trainings for comparison inside the training side of a dataset: groups held out, what each run found, nothing of the test."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.errors import TrainingError
from schemas.frames import FrameArrays
from training.job import FrameSplits, PinnedDataset, fingerprint, make_job
from training.progress import Progress
from training.session import frames_of_splits, run_training_in
from training.settings import TrainSettings
from training.structures import take
from training.weights import weighted

Frames = NDArray[np.int64]

NEVER = 1_000_000_000
"""Epochs that no run comes to."""


@dataclass(frozen=True, eq=False)
class Pool:
    """The training frames of a dataset with the group of each; frames of one group are never parted."""

    arrays: FrameArrays
    groups: tuple[str, ...]

    def in_order(self, salt: str) -> list[Frames]:
        """Return the frames of each group, groups in an order that a hash of the salt and their name gives, stable as others join."""
        places: dict[str, list[int]] = {}
        for frame, group in enumerate(self.groups):
            places.setdefault(group, []).append(frame)
        return [np.array(places[group], dtype=np.int64) for group in sorted(places, key=lambda name: _place(salt, name))]

    def folds(self, number: int, salt: str) -> list[Frames]:
        """Return about number sets of frames to hold out, of whole groups and nearly equal size; each frame is in one at most.

        A group without which an element would not be trained on is in none. Raises TrainingError where nothing can be held out.
        """
        sizes = np.zeros(number, dtype=np.int64)
        folds: list[list[Frames]] = [[] for _ in range(number)]
        for frames in self.in_order(salt):
            fold = int(sizes.argmin())
            folds[fold].append(frames)
            sizes[fold] += len(frames)
        kept = [self._without_only_holders(fold) for fold in folds]
        found = [np.sort(np.concatenate(fold)) for fold in kept if fold]
        if not found or len(set(self.groups)) < 2:
            raise TrainingError(
                f"the {self.arrays.count} training frames are of {len(set(self.groups))} groups (calculations that share no structure), of "
                "which none can be held out; add calculations, or choose settings by hand"
            )
        return found

    def rest(self, held_out: Frames) -> Frames:
        """Return the frames that are not held out."""
        return np.setdiff1d(np.arange(self.arrays.count), held_out)

    def _without_only_holders(self, groups: list[Frames]) -> list[Frames]:
        kept = groups
        while kept:
            rest = set(np.unique(take(self.arrays, self.rest(np.concatenate(kept))).numbers).tolist())
            strange = [own for own in kept if not set(np.unique(take(self.arrays, own).numbers).tolist()) <= rest]
            if not strange:
                break
            kept = [own for own in kept if own is not strange[0]]
        return kept


@dataclass(frozen=True)
class Outcome:
    """What a training found on the groups that were held out from it."""

    loss: float
    """By the weights of the settings; infinite where the run went wrong."""
    energy_mae: float
    """eV/atom"""
    force_mae: float
    """eV/Å"""
    n_train: int
    n_held_out: int
    steps: int
    seconds: float


def pool_of(dataset: PinnedDataset | FrameSplits, settings: TrainSettings, work: Path, groups: Sequence[str] = ()) -> Pool:
    """Return the training frames of a dataset, weighted by the settings; groups are those of frames that are in no lake.

    Without groups each such frame is one. Raises TrainingError where there are no training frames.
    """
    from lake.datasets import Dataset

    splits, _ = frames_of_splits(dataset, settings, work, ("train",))
    arrays = weighted(dataset, splits, settings)[0]["train"]
    if not arrays.count:
        raise TrainingError("the training split has no frames; widen the query, or lower the shares of validation and test")
    if isinstance(dataset, Dataset):
        from lake.groups import groups_of

        groups = groups_of(dataset, "train")
    names = tuple(groups) or tuple(arrays.frame_ids) or tuple(f"{place}" for place in range(arrays.count))
    if len(names) != arrays.count:
        raise TrainingError(f"there are {len(names)} groups for {arrays.count} training frames; give one for each frame")
    return Pool(arrays, names)


def attempt(pool: Pool, sides: tuple[Frames, Frames], settings: TrainSettings, work: Path, progress: Callable[[Progress], None]) -> Outcome:
    """Train on the frames of the first side and return the errors on those of the second; a run that was killed goes on, a finished one
    is read.

    Of a finished run its record is kept alone. Raises TrainingError as `training.train` does.
    """
    train, held_out = sides
    own = dataclasses.replace(settings, committee=1, loggers=(), start_from="")
    if not own.patience:
        # Weights are judged after the last step only: time goes into training.
        own = dataclasses.replace(own, validate_every=NEVER)
    job = make_job(take(pool.arrays, train), take(pool.arrays, held_out), own)
    folder = work / fingerprint(job)[:16]
    if not (folder / "outcome.json").is_file():
        run_training_in(folder, job, "", progress)
        found = _outcome(folder, len(train), len(held_out), patient=bool(own.patience))
        part = folder / "outcome.part"
        part.write_text(json.dumps(dataclasses.asdict(found)))
        part.replace(folder / "outcome.json")
        for name in ("train", "validation", "checkpoints", "logs"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return Outcome(**json.loads((folder / "outcome.json").read_text()))


def _outcome(folder: Path, n_train: int, n_held_out: int, *, patient: bool) -> Outcome:
    done = json.loads((folder / "finished.json").read_text())
    judged = [entry for entry in done["history"] if math.isfinite(entry.get("validation/loss", math.nan))]
    seconds = json.loads((folder / "progress.jsonl").read_text().splitlines()[-1])["seconds"]
    if not judged:
        return Outcome(math.inf, math.nan, math.nan, n_train, n_held_out, done["steps"], seconds)
    best = min(judged, key=lambda entry: float(entry["validation/loss"])) if patient else judged[-1]
    loss, energy, force = (float(best[f"validation/{name}"]) for name in ("loss", "energy_mae", "force_mae"))
    return Outcome(loss, energy, force, n_train, n_held_out, done["steps"], seconds)


def _place(salt: str, name: str) -> bytes:
    return hashlib.sha256(f"{salt}:{name}".encode()).digest()
