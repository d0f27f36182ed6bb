"""A training run on disk: what it trains on and how, written once, so that it can go on after any end."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lake.local_copy import LocalCopy, open_copy
from schemas.datasets import DatasetManifest
from schemas.elements import element_system, symbols_of
from schemas.errors import TrainingError
from schemas.frames import FrameArrays
from training.references import elements_of, fit_references, isolated_atoms, references_by_theory
from training.settings import TrainSettings, settings_from
from training.weights import counting, mean_weights

if TYPE_CHECKING:
    from training.potentials.base import EnergyModel

CHUNK = 1 << 18
"""Rows of a column that are in memory at once where a whole column is gone through."""

SPLITS = ("train", "validation", "test")


class PinnedDataset(Protocol):
    """What training needs of a dataset of the lake."""

    @property
    def manifest(self) -> DatasetManifest:
        """What the dataset is."""
        ...

    def arrays(self, split: str | None = None) -> FrameArrays:
        """Return the frames of a split."""
        ...


@dataclass(frozen=True, eq=False)
class FrameSplits:
    """Frames by split without a lake: the same that a pinned dataset gives."""

    train: FrameArrays
    validation: FrameArrays
    test: FrameArrays
    name: str = ""
    theories: tuple[str, ...] = ()

    def arrays(self, split: str) -> FrameArrays:
        """Return the frames of a split."""
        found: FrameArrays = getattr(self, split)
        return found


@dataclass(frozen=True, eq=False)
class Job:
    """One run: settings, frames and what is known of them before the first step."""

    settings: TrainSettings
    elements: tuple[str, ...]
    references: Mapping[str, float]
    """eV"""
    scale: float
    """Energy scale of the network, eV."""
    notes: tuple[str, ...]
    train: FrameArrays = field(repr=False)
    validation: FrameArrays = field(repr=False)
    copies: Mapping[str, str] = field(default_factory=dict)
    """Folders of the local copies that splits are mapped from; the others are stored with the run."""
    start: EnergyModel | None = None
    """What training begins with, in place of first weights that are drawn."""
    theory_references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """eV, of each level of theory that is told apart, the default one first; none where the frames have one."""
    pace: tuple[float, ...] = ()
    """Pace of an earlier run (share of max_seconds at each look at the clock), followed in place of the clock."""


def make_job(
    train: FrameArrays,
    validation: FrameArrays,
    settings: TrainSettings,
    copies: Mapping[str, str] | None = None,
    known: tuple[str, ...] = (),
) -> Job:
    """Return the run that fits these frames; known are elements that the weights to begin with know already.

    Frames that count nothing (all weights zero) are left out, as if they were not there.
    Raises TrainingError where there is nothing to fit, or an element only to validate.
    """
    if train.count == 0:
        raise TrainingError("the training split has no frames; widen the query, or lower the shares of validation and test")
    given = {"train": train, "validation": validation}
    train, validation, told = _weighed(train, validation)
    # A copy is that of a split's frames as long as none of them was left out.
    changed = [split for split, arrays in (("train", train), ("validation", validation)) if arrays.count < given[split].count]
    copies = {split: folder for split, folder in (copies or {}).items() if split not in changed}
    elements = elements_of(train)
    strange = sorted(set(elements_of(validation)) - {*elements, *known})
    if strange:
        raise TrainingError(f"elements {', '.join(strange)} stand in validation but not in training frames; split otherwise")
    references, theories, notes = _references(train, validation, settings)
    notes = (*notes, *told)
    if not np.isfinite(train.forces).any():
        notes = (*notes, "No training frame has forces: energies alone were fitted.")
    if validation.count == 0 and settings.patience:
        notes = (*notes, "No validation frames: training could not stop early, the last average of the weights was kept.")
    return Job(
        settings, elements, references, _energy_scale(train), notes, train, validation, copies, theory_references=theories
    )  # fmt: skip


def _references(
    train: FrameArrays, validation: FrameArrays, settings: TrainSettings
) -> tuple[dict[str, float], dict[str, dict[str, float]], tuple[str, ...]]:
    """Return the references of elements, those of each level of theory where there are several, and notes."""
    weights, atoms = train.weights[:, 0] if len(train.weights) else None, settings.references == "atoms"
    if len(set(train.theories)) > 1:
        strange = sorted(set(validation.theories) - set(train.theories))
        if strange:
            raise TrainingError(f"the level of theory {strange[0]!r} stands in validation but not in training frames; split otherwise")
        found, notes = references_by_theory(train, settings.default_theory, weights=weights, atoms=atoms)
        return next(iter(found.values())), found, notes
    alone = fit_references(train, weights=weights, known=isolated_atoms(train, validation) if atoms else None)
    return alone.energies, {}, alone.notes


def _weighed(train: FrameArrays, validation: FrameArrays) -> tuple[FrameArrays, FrameArrays, tuple[str, ...]]:
    """Return the frames that count, weights being one on average, and a sentence on those left out."""
    if not len(train.weights):
        return train, counting(validation), ()
    counted = counting(train)
    if not counted.count:
        raise TrainingError(f"all {train.count} training frames have the weight 0; give some of them more")
    gone = train.count - counted.count
    told = (f"{gone} of {train.count} train frames have the weight 0 and were left out.",) if gone else ()
    means = mean_weights(counted)
    both = [counted, counting(validation)]
    scaled = [dataclasses.replace(arrays, weights=arrays.weights / means) if len(arrays.weights) else arrays for arrays in both]
    return scaled[0], scaled[1], told


def fingerprint(job: Job) -> str:
    """Return SHA-256 (hex) of settings and frames: two runs of one fingerprint give the same potential."""
    digest = hashlib.sha256(json.dumps(job.settings.to_mapping(), sort_keys=True).encode())
    for arrays in (job.train, job.validation):
        for name in _ARRAYS:
            column = getattr(arrays, name)
            for start in range(0, len(column), CHUNK):
                digest.update(np.ascontiguousarray(column[start : start + CHUNK]).tobytes())
        if job.theory_references:
            digest.update("\n".join(arrays.theories).encode())
        if len(arrays.weights):
            digest.update(np.ascontiguousarray(arrays.weights).tobytes())
    if job.pace:
        digest.update(json.dumps(job.pace).encode())
    if job.start is not None:
        for _, content in sorted(_start_files(job.start).items()):
            digest.update(content)
    return digest.hexdigest()


def write_job(job: Job, work: Path) -> None:
    """Write the run into a folder; a second time it must be the same run.

    Raises TrainingError where the folder holds another one, naming the settings that differ.
    """
    work.mkdir(parents=True, exist_ok=True)
    mark, record = work / "job.json", _record(job)
    if mark.is_file():
        there = json.loads(mark.read_text())
        if there["fingerprint"] != record["fingerprint"]:
            raise TrainingError(
                f"{work} holds another training run ({_difference(there, record)}); take another folder, or delete this one"
            )
        return
    for split in ("train", "validation"):
        arrays = getattr(job, split)
        if job.theory_references:
            (work / split).mkdir(exist_ok=True)
            places = [list(job.theory_references).index(name) for name in arrays.theories]
            np.save(work / split / "theory.npy", np.array(places, dtype=np.int64))
        names = [*([] if split in job.copies else _ARRAYS), *(["weights"] if len(arrays.weights) else [])]
        if names:
            (work / split).mkdir(exist_ok=True)
        for name in names:
            np.save(work / split / f"{name}.npy", getattr(arrays, name))
    if job.start is not None:
        (work / _START).mkdir(exist_ok=True)
        for name, content in _start_files(job.start).items():
            (work / _START / name).write_bytes(content)
    part = work / "job.part"
    part.write_text(json.dumps(record, indent=1))
    part.replace(mark)


def read_job(work: Path) -> Job:
    """Return the run of a folder; raises TrainingError where there is none."""
    mark = work / "job.json"
    if not mark.is_file():
        raise TrainingError(f"{work} holds no training run (no job.json); start it with atomlake train")
    record = json.loads(mark.read_text())
    copies = record.get("copies", {})
    theories = record.get("theory_references", {})
    splits = {split: _read_arrays(work, split, copies.get(split), tuple(theories)) for split in ("train", "validation")}
    return Job(
        settings_from(record["settings"], where=str(mark)),
        tuple(record["references"]),
        record["references"],
        record["scale"],
        tuple(record["notes"]),
        **splits,
        copies=copies,
        start=_read_start(work / _START),
        theory_references=theories,
        pace=tuple(record.get("pace", ())),
    )


def empty_arrays() -> FrameArrays:
    """Return no frames."""
    none = np.zeros
    return FrameArrays(
        none(1, np.int64), none(0, np.int16), none((0, 3)), none((0, 3, 3)), none((0, 3), bool), none(0), none((0, 3)), none((0, 3, 3))
    )


def systems_of(arrays: FrameArrays) -> list[str]:
    """Return the element system of each frame."""
    if len(arrays.element_systems) == arrays.count:
        return list(arrays.element_systems)
    pieces = np.split(arrays.numbers, arrays.offsets[1:-1])
    return [element_system(symbols_of(np.unique(piece))) for piece in pieces[: arrays.count]]


_START = "start"

_ARRAYS = ("offsets", "numbers", "positions", "cell", "pbc", "energy", "forces", "stress")


def _start_files(start: EnergyModel) -> dict[str, bytes]:
    from training.stored import files_of_model

    return files_of_model(start)


def _read_start(folder: Path) -> EnergyModel | None:
    if not folder.is_dir():
        return None
    from training.stored import model_of_files

    return model_of_files({file.name: file.read_bytes() for file in folder.iterdir()}, where=str(folder))


def _record(job: Job) -> dict[str, object]:
    return {
        "fingerprint": fingerprint(job),
        "settings": job.settings.to_mapping(),
        "references": dict(job.references),
        "scale": job.scale,
        "notes": list(job.notes),
        "copies": dict(job.copies),
        "pace": list(job.pace),
        "theory_references": {name: dict(each) for name, each in job.theory_references.items()},
    }


def _difference(there: Mapping[str, object], here: Mapping[str, object]) -> str:
    old, new = there["settings"], here["settings"]
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    changed = [f"{name} was {old.get(name)!r}, is {value!r}" for name, value in new.items() if old.get(name) != value]
    return "; ".join(changed) or "other frames"


def mapped(copy: LocalCopy) -> FrameArrays:
    """Return the frames of a local copy as they lie on disk: what is not looked at is not read, processes share what is."""
    missing = {"energy": (copy.count,), "forces": (int(copy.offsets[-1]), 3), "stress": (copy.count, 3, 3)}
    columns: dict[str, Any] = {name: copy.column(name) for name in _ARRAYS if name not in ("offsets", *missing)}
    # A column that was left out is one NaN, seen everywhere.
    held = copy.card.sizes
    labels: dict[str, Any] = {n: copy.column(n) if n in held else np.broadcast_to(np.nan, shape) for n, shape in missing.items()}
    return FrameArrays(offsets=copy.offsets, **columns, **labels)


def _read_arrays(work: Path, split: str, copy: str | None, theories: tuple[str, ...] = ()) -> FrameArrays:
    """Return frames mapped from files, or out of the archive in which earlier runs have them."""
    beside = work / split / "weights.npy"
    weights = np.load(beside) if beside.is_file() else np.zeros((0, 3))
    names = [theories[place] for place in np.load(work / split / "theory.npy")] if theories else ()
    if copy is not None:
        return dataclasses.replace(mapped(open_copy(Path(copy))), weights=weights, theories=names)
    old = work / f"{split}.npz"
    if old.is_file():
        with np.load(old) as stored:
            return FrameArrays(**{name: stored[name] for name in _ARRAYS})
    columns: dict[str, Any] = {name: np.asarray(np.load(work / split / f"{name}.npy", mmap_mode="r")) for name in _ARRAYS}
    return FrameArrays(**columns, weights=weights, theories=names)


def _energy_scale(train: FrameArrays) -> float:
    """Return the root mean square force times 1 Å, or the spread of energies per atom, or 1 eV."""
    squares, count = 0.0, 0.0
    weights = np.repeat(train.weights[:, 1], train.natoms)[:, None] if len(train.weights) else None
    for start in range(0, len(train.forces), CHUNK):
        forces = train.forces[start : start + CHUNK]
        known = np.isfinite(forces)
        counts = np.broadcast_to(1.0 if weights is None else weights[start : start + CHUNK], forces.shape)[known]
        squares, count = squares + float((np.square(forces[known]) * counts).sum()), count + float(counts.sum())
    if count and squares / count > 1e-12:
        return float(np.sqrt(squares / count))
    spread = float(np.nanstd(train.energy / train.natoms))
    return spread if np.isfinite(spread) and spread > 1e-6 else 1.0
