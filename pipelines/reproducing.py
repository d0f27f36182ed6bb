"""Train a potential again from its card and compare: is what the registry holds what its card makes?"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import lake
from lake.potentials import card_of
from schemas.errors import QueryError
from schemas.potentials import ErrorSummary, Metrics
from schemas.settings import Settings

if TYPE_CHECKING:
    from training.settings import TrainSettings
    from training.stored import Potential

EQUAL, WITHIN, DIFFERS = "equal", "within", "DIFFERS"


@dataclass(frozen=True)
class Reproduced:
    """One thing that was compared."""

    what: str
    stored: str
    again: str
    verdict: str
    """'equal' (bit for bit), 'within' the tolerance, or 'DIFFERS'."""


def reproduce(settings: Settings, name: str, version: int | None, tolerance: float) -> list[Reproduced]:
    """Train a potential again on its pinned dataset with the settings and the seed of its card, and compare errors and weights.

    Where the time was limited, the stored pace is followed, so that the same steps are done at the same rates.
    tolerance is relative, of errors and (to the largest one of a tensor) of weights. Nothing is registered, the work is removed.
    Raises QueryError for a potential that was imported, or that another content of its dataset made.
    """
    import training
    from training.session import pace_of
    from training.settings import settings_from

    opened = lake.open(settings=settings)
    card = card_of(opened, name, version)
    if not card.settings or not card.dataset:
        raise QueryError(f"{card.name} version {card.version} was not trained here: its card names no dataset and settings to train with")
    dataset = opened.dataset(card.dataset)
    if dataset.manifest.content_hash != card.dataset_hash:
        raise QueryError(
            f"dataset {card.dataset!r} is {dataset.manifest.content_hash[:12]}, {card.name} version {card.version} was trained on "
            f"{card.dataset_hash[:12]}; restore that dataset from a backup"
        )
    dataset.verify()
    stored = training.load(card.name, lake=opened, version=card.version)
    # No potential is named so, and the copies of datasets are shared.
    work, folder = settings.home / "training", f"{card.name}@{card.version}"
    given = settings_from(card.settings, where=f"card of {card.name} version {card.version}")
    given = _with_weights(given, stored, work / folder)
    pace = pace_of(stored)
    again = training.train(dataset, given, name=folder, work=work, pace=pace)
    rows = _software(card.software, again.card.software)
    rows.append(_steps(card.steps, again.card.steps))
    if given.max_seconds and not pace:
        rows.append(Reproduced("pace", "not stored", "by the clock", "bits cannot be equal"))
    rows += [row for split, errors in card.metrics.items() for row in _errors(errors, again.card.metrics[split], tolerance)]
    rows.append(_weights(stored, again, tolerance))
    shutil.rmtree(work / folder, ignore_errors=True)
    return rows


def _with_weights(given: TrainSettings, stored: Potential, folder: Path) -> TrainSettings:
    """Return the settings with the table of weights that is stored with the potential, written into the folder."""
    if not given.weights_file:
        return given
    name = f"weights{Path(given.weights_file).suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(stored.extra_files[name])
    return replace(given, weights_file=str(folder / name))


def is_reproduced(rows: list[Reproduced]) -> bool:
    """Return whether errors and weights are equal or within the tolerance; other versions of software alone do not count."""
    return not any(row.verdict == DIFFERS for row in rows)


def _software(stored: Mapping[str, str], now: Mapping[str, str]) -> list[Reproduced]:
    """Return what made the potential and is of another version now, or a row that says that nothing is."""
    other = [name for name, version in stored.items() if now.get(name) != version]
    rows = [Reproduced(name, stored[name], now.get(name, "not there"), "another version") for name in other]
    return rows or [Reproduced("software", f"{len(stored)} versions", "the same", EQUAL)]


def _steps(stored: tuple[int, ...], again: tuple[int, ...]) -> Reproduced:
    """Return the steps of each member; versions from before these were kept are not judged by them."""
    told = [", ".join(map(str, steps)) or "not stored" for steps in (stored, again)]
    return Reproduced("steps", told[0], told[1], EQUAL if stored == again else "another number" if stored else "not judged")


def _errors(stored: Metrics, again: Metrics, tolerance: float) -> list[Reproduced]:
    """Return the errors over all frames of a split, and those of element systems that are not equal."""
    rows = _summaries(stored.split, stored.overall, again.overall, tolerance)
    for system in sorted(set(stored.by_system) | set(again.by_system)):
        old, new = stored.by_system.get(system), again.by_system.get(system)
        what = f"{stored.split}, {system}"
        if old is None or new is None:
            rows.append(Reproduced(what, "there" if old else "not there", "there" if new else "not there", DIFFERS))
        else:
            rows += [row for row in _summaries(what, old, new, tolerance) if row.verdict != EQUAL]
    return rows


def _summaries(what: str, stored: ErrorSummary, again: ErrorSummary, tolerance: float) -> list[Reproduced]:
    rows = []
    for field in fields(ErrorSummary):
        old, new = getattr(stored, field.name), getattr(again, field.name)
        counts = field.name.startswith("n_")
        if old == new or (math.isnan(old) and math.isnan(new)):
            verdict = EQUAL
        else:
            verdict = WITHIN if not counts and abs(new - old) <= tolerance * abs(old) else DIFFERS
        if field.name.endswith("_mae") or verdict != EQUAL:
            rows.append(Reproduced(f"{what}: {field.name}", f"{old:.9g}", f"{new:.9g}", verdict))
    return rows


def _weights(stored: Potential, again: Potential, tolerance: float) -> Reproduced:
    """Return how far the tensors, references and scale are from each other, relative to the largest number of each tensor."""
    from training.stored import files_of_model

    old, new = stored.model.state_dict(), again.model.state_dict()
    numbers = f"{sum(value.numel() for value in old.values())} numbers in {len(old)} tensors"
    if files_of_model(stored.model) == files_of_model(again.model):
        return Reproduced("weights", numbers, "the same bits", EQUAL)
    shapes = [{name: tuple(value.shape) for name, value in each.items()} for each in (old, new)]
    if shapes[0] != shapes[1]:
        return Reproduced("weights", numbers, "tensors of other shapes", DIFFERS)
    apart = {name: float((new[name] - old[name]).abs().max() / old[name].abs().max().clamp(min=1e-30)) for name in old if len(old[name])}
    references = zip(stored.model.references, again.model.references, strict=True)
    apart["references"] = max((abs(b - a) / max(abs(a), 1e-30) for a, b in references), default=0.0)
    name = max(apart, key=lambda each: apart[each])
    told = f"up to {apart[name]:.2e} of the largest in {name}"
    return Reproduced("weights", numbers, told, WITHIN if apart[name] <= tolerance else DIFFERS)
