"""From frames to a trained potential with its card: what `training.train` does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.torch import load_file

from schemas.frames import FrameArrays
from schemas.potentials import Metrics
from training.accelerators import find_accelerator, has_gpu
from training.card import make_card
from training.committee import Committee
from training.evaluation import compare, trivial_energies
from training.job import SPLITS, FrameSplits, Job, PinnedDataset, fingerprint, make_job, mapped, write_job
from training.launch import run_training
from training.parity import parity_picture
from training.potentials.base import EnergyModel
from training.progress import Progress, shown
from training.settings import TrainSettings
from training.stored import Potential
from training.structures import frames_of_elements, take
from training.times import Times
from training.warm_start import Start, begin, kept_apart, start_in_lake
from training.weights import weighted

EVALUATED_FRAMES = 100_000
"""Most frames of a split that the errors on the card are taken from."""

WEIGHTS: Final = "weights"
"""File, with the ending of the one that was given, of the weights of single frames."""

PACE: Final = "pace.json"
"""File of a potential whose training time was limited: the pace of each member."""


def train(
    dataset: PinnedDataset | FrameSplits,
    settings: TrainSettings | None = None,
    *,
    name: str = "potential",
    work: Path = Path("atomlake-training"),
    progress: Callable[[Progress], None] | None = None,
    start: Start | None = None,
    pace: Sequence[Sequence[float]] = (),
) -> Potential:
    """Return the potential that fits the training frames of a dataset, its card with errors on all splits.

    The run lies in work/NAME/FINGERPRINT of settings and frames: after any end, the same call goes on from the newest checkpoint, and
    returns a finished run at once. With more than one device it runs in worker processes. Without progress a bar is shown.
    start, or the setting start_from in a lake, gives a potential whose weights it begins with; see `training.warm_start`.
    pace, that of each member of an earlier run (`pace_of`), is followed in place of the clock: a run whose time was limited then
    repeats bit for bit on the same hardware.
    Raises TrainingError where there is nothing to train on or the workers fail.
    """
    from training.fit import build_model

    settings = settings or TrainSettings()
    if settings.nodes == 1:
        # Other nodes are not like this one.
        find_accelerator(settings)
    if start is None and settings.start_from:
        start = start_in_lake(dataset, settings.start_from)
    splits, copies = frames_of_splits(dataset, settings, work)
    splits, left_out = weighted(dataset, splits, settings)
    if start is not None:
        settings = dataclasses.replace(settings, start_from=start.name)
        whole_splits, (splits, apart) = splits, kept_apart(dataset, splits, start)
        left_out = (*left_out, *apart)
        copies = {split: copy for split, copy in copies.items() if splits[split] is whole_splits[split]}
    known = start.potential.model.elements if start is not None else ()
    whole = make_job(splits["train"], splits["validation"], settings, copies, known)
    whole = dataclasses.replace(whole, notes=(*whole.notes, *left_out))
    members = [whole] if settings.committee == 1 else [_member(whole, member) for member in range(settings.committee)]
    if start is not None:
        members = [begin(job, start, _theories(dataset), member) for member, job in enumerate(members)]
    if pace:
        members = [dataclasses.replace(job, pace=tuple(own)) for job, own in zip(members, pace, strict=True)]
    # Settings that fit no potential of these elements are told here, not in a worker.
    build_model(members[0])
    folder = work / name / fingerprint(dataclasses.replace(whole, start=members[0].start, pace=members[0].pace))[:12]
    folders = [folder] if len(members) == 1 else [folder / f"member-{member}" for member in range(len(members))]
    for member, (own, job) in enumerate(zip(folders, members, strict=True), 1):
        run_training_in(own, job, name if len(members) == 1 else f"{name}, member {member} of {len(members)}", progress)
    told = dataclasses.replace(members[0], settings=settings)
    return _finish(dataset, told, splits, list(zip(folders, members, strict=True)), name)


def _theories(dataset: PinnedDataset | FrameSplits) -> tuple[str, ...]:
    return dataset.theories if isinstance(dataset, FrameSplits) else dataset.manifest.theories


def frames_of_splits(
    dataset: PinnedDataset | FrameSplits, settings: TrainSettings, work: Path, names: Sequence[str] = SPLITS
) -> tuple[dict[str, FrameArrays], dict[str, str]]:
    """Return the frames of each named split, those of a lake mapped from a copy on the local disk, and the folders of such copies."""
    if isinstance(dataset, FrameSplits) or not hasattr(dataset, "local_copy"):
        return {split: dataset.arrays(split) for split in names}, {}
    from lake.datasets import Dataset

    room = int(settings.copy_gb * 1e9)
    made = {split: dataset.local_copy((work / "copies").absolute(), split, max_bytes=room) for split in names}
    found = {split: mapped(copy) for split, copy in made.items()}
    if isinstance(dataset, Dataset) and dataset.manifest.mixed:
        found = {split: dataclasses.replace(arrays, theories=dataset.theories(split)) for split, arrays in found.items()}
    return found, {split: str(copy.folder) for split, copy in made.items()}


def run_training_in(folder: Path, job: Job, name: str, progress: Callable[[Progress], None] | None) -> None:
    """Run a job in its folder to the end, or take it up there; a finished one is left as it is."""
    write_job(job, folder)
    if (folder / "finished.json").is_file():
        return
    if progress is not None:
        run_training(folder, progress)
        return
    with shown(name) as show:
        run_training(folder, show)


def pace_of(potential: Potential) -> list[list[float]]:
    """Return the pace of each member where the training time was limited; nothing for others, and those of before it was kept."""
    paces: list[list[float]] = json.loads(potential.extra_files.get(PACE, b"[]"))
    return paces


def _member(whole: Job, member: int) -> Job:
    """Return the job of one member of a committee: another seed, and its share of the time."""
    settings = whole.settings
    share = settings.max_seconds / settings.committee
    own = dataclasses.replace(settings, committee=1, seed=settings.seed + member, max_seconds=share)
    return dataclasses.replace(whole, settings=own)


def _finish(
    dataset: PinnedDataset | FrameSplits, job: Job, splits: dict[str, FrameArrays], runs: Sequence[tuple[Path, Job]], name: str
) -> Potential:
    from training.fit import build_model

    models, folders = [], [folder for folder, _ in runs]
    for folder, own in runs:
        models.append(build_model(own))
        models[-1].load_state_dict(load_file(folder / "weights.safetensors"))
    model: EnergyModel = models[0] if len(models) == 1 else Committee(models)
    empty = make_card(name, dataset, job, model, metrics={}, seconds=sum(_seconds(folder) for folder in folders))
    work = folders[0] if len(models) == 1 else folders[0].parent
    bare = Potential(model, empty, work=work)
    metrics, picture, notes = measure(bare.on("cuda") if has_gpu(job.settings) else bare, splits)
    files: dict[str, bytes] = {"parity.png": picture, "history.json": (folders[0] / "finished.json").read_bytes()}
    if job.settings.weights_file:
        table = Path(job.settings.weights_file)
        files[f"{WEIGHTS}{table.suffix}"] = table.read_bytes()
    paces = [json.loads(file.read_text()) for folder in folders if (file := folder / PACE).is_file()]
    if paces:
        files[PACE] = json.dumps(paces).encode()
    done = [json.loads((folder / "finished.json").read_text()) for folder in folders]
    card = dataclasses.replace(
        empty,
        metrics=metrics,
        notes=(*empty.notes, *_times(folders[0]), *notes),
        steps=tuple(each["steps"] for each in done),
        epochs=tuple(each["epochs"] for each in done),
    )
    return dataclasses.replace(bare, card=card, extra_files=files)


def measure(potential: Potential, splits: Mapping[str, FrameArrays]) -> tuple[dict[str, Metrics], bytes, tuple[str, ...]]:
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
        if arrays.count > EVALUATED_FRAMES:
            chosen = np.unique(np.linspace(0, arrays.count - 1, EVALUATED_FRAMES).astype(np.int64))
            notes.append(f"Errors of {split} are those of {len(chosen)} frames drawn evenly out of {arrays.count}.")
            arrays = take(arrays, chosen)
        found = potential.energy_forces_stress(arrays)
        trivial = trivial_energies(arrays, splits["train"], potential.card.references)
        metrics[split] = compare(arrays, found, trivial, split)
        if arrays.count and not picture:
            picture = parity_picture(arrays, found, f"{potential.card.name}: {arrays.count} {split} frames")
    return {split: metrics[split] for split in SPLITS}, picture, tuple(notes)


def _times(folder: Path) -> tuple[str, ...]:
    """Return a sentence of where the time of the training steps went."""
    file = folder / "times.json"
    return (Times(**json.loads(file.read_text())).sentence(),) if file.is_file() else ()


def _seconds(folder: Path) -> float:
    """Return the time spent training, all parts of a run that was taken up again together."""
    total = last = 0.0
    for line in (folder / "progress.jsonl").read_text().splitlines():
        seconds = float(json.loads(line)["seconds"])
        if seconds < last:
            total += last
        last = seconds
    return total + last
