"""From frames to a trained potential with its card: what `training.train` does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file

from schemas.frames import FrameArrays
from schemas.potentials import Metrics
from training.card import make_card
from training.evaluation import compare, trivial_energies
from training.job import SPLITS, FrameSplits, Job, PinnedDataset, fingerprint, make_job, write_job
from training.launch import run_training
from training.parity import parity_picture
from training.progress import Progress, shown
from training.settings import TrainSettings
from training.stored import Potential
from training.structures import frames_of_elements, take


def train(
    dataset: PinnedDataset | FrameSplits,
    settings: TrainSettings | None = None,
    *,
    name: str = "potential",
    work: Path = Path("atomlake-training"),
    progress: Callable[[Progress], None] | None = None,
) -> Potential:
    """Return the potential that fits the training frames of a dataset, its card with errors on all splits.

    The run lies in work/NAME/FINGERPRINT of settings and frames: after any end, the same call goes on from the newest checkpoint, and
    returns a finished run at once. With more than one device it runs in worker processes. Without progress a bar is shown.
    Raises TrainingError where there is nothing to train on or the workers fail.
    """
    from training.fit import build_model

    splits = {split: dataset.arrays(split) for split in SPLITS}
    job = make_job(splits["train"], splits["validation"], settings or TrainSettings())
    # Settings that fit no potential of these elements are told here, not in a worker.
    build_model(job)
    folder = work / name / fingerprint(job)[:12]
    write_job(job, folder)
    if not (folder / "finished.json").is_file():
        if progress is not None:
            run_training(folder, progress)
        else:
            with shown(name) as show:
                run_training(folder, show)
    return _finish(dataset, job, splits, folder, name)


def _finish(dataset: PinnedDataset | FrameSplits, job: Job, splits: dict[str, FrameArrays], folder: Path, name: str) -> Potential:
    from training.fit import build_model

    model = build_model(job)
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    empty = make_card(name, dataset, job, model, metrics={}, seconds=_seconds(folder))
    bare = Potential(model, empty, work=folder)
    metrics, picture, notes = _measure(bare, splits)
    files = {"parity.png": picture, "history.json": (folder / "finished.json").read_bytes()}
    card = dataclasses.replace(empty, metrics=metrics, notes=(*empty.notes, *notes))
    return dataclasses.replace(bare, card=card, extra_files=files)


def _measure(potential: Potential, splits: dict[str, FrameArrays]) -> tuple[dict[str, Metrics], bytes, tuple[str, ...]]:
    """Return metrics by split, the parity picture of test (or else validation, train) frames, and what was left out."""
    metrics, notes, picture = {}, [], b""
    for split in reversed(SPLITS):
        arrays = splits[split]
        known = frames_of_elements(arrays, potential.model.elements)
        if len(known) < arrays.count:
            notes.append(
                f"{arrays.count - len(known)} of {arrays.count} {split} frames hold elements that no training frame has: not evaluated."
            )
            arrays = take(arrays, known)
        found = potential.energy_forces_stress(arrays)
        trivial = trivial_energies(arrays, splits["train"], potential.card.references)
        metrics[split] = compare(arrays, found, trivial, split)
        if arrays.count and not picture:
            picture = parity_picture(arrays, found, f"{potential.card.name}: {arrays.count} {split} frames")
    return {split: metrics[split] for split in SPLITS}, picture, tuple(notes)


def _seconds(folder: Path) -> float:
    """Return the time spent training, all parts of a run that was taken up again together."""
    total = last = 0.0
    for line in (folder / "progress.jsonl").read_text().splitlines():
        seconds = float(json.loads(line)["seconds"])
        if seconds < last:
            total += last
        last = seconds
    return total + last
