"""Start a training in processes of its own, and decide whether one is due."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import lake
from lake.datasets import preview
from lake.potentials import list_potentials, read_potential
from schemas.datasets import DatasetManifest
from schemas.errors import ServiceFailed, UnknownName
from schemas.potentials import MACE, PotentialCard
from schemas.settings import Settings, environment_of_child


@dataclass(frozen=True)
class TrainRequest:
    """What to train: dataset, name of the potential, and training settings as (field, value)."""

    dataset: str
    potential: str
    options: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True)
class Retraining:
    """Whether a potential should be trained again; request is None where it should not."""

    why: str
    request: TrainRequest | None = None


def train_command(request: TrainRequest) -> list[str]:
    """Return the command that trains in the foreground; DDP starts it once more for each further rank."""
    command = [sys.executable, "-m", "pipelines.cli", "train", request.dataset, "--name", request.potential, "--no-prefect"]
    for field, value in request.options:
        command += ["--set", f"{field}={value if isinstance(value, str) else json.dumps(value)}"]
    return command


def run_training(settings: Settings, request: TrainRequest, report: Callable[[str], None]) -> tuple[PotentialCard, bytes]:
    """Train in a child process, give each line that it prints to report, and return the new card and its parity picture.

    Raises ServiceFailed with the end of the output where the training fails.
    """
    environment = environment_of_child({"ATOMLAKE_HOME": str(settings.home), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"})
    last: list[str] = []
    with subprocess.Popen(train_command(request), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip():
                report(line.rstrip())
                last = [*last[-19:], line.rstrip()]
    if child.returncode != 0:
        raise ServiceFailed(f"training {request.potential} on {request.dataset} ended with code {child.returncode}:\n" + "\n".join(last))
    opened = lake.open(settings=settings)
    newest = list_potentials(opened, request.potential)[-1]
    card, files = read_potential(opened, request.potential, newest.version)
    return card, files["parity.png"]


def decide_retraining(settings: Settings, potential: str) -> Retraining:
    """Return whether the query of the potential's dataset now selects frames that no version of the potential has seen.

    A newest version that was not good enough to be champion counts: the same frames would make the same potential again. Publishes
    the grown dataset under the next free name where there is something new. Raises UnknownName for a potential without any version.
    """
    from training.retraining import decide

    opened = lake.open(settings=settings)
    versions = list_potentials(opened, potential)
    if not versions:
        raise UnknownName(f"there is no potential of the name {potential!r}; train one first: atomlake train DATASET --name {potential}")
    card = versions[-1]
    if card.architecture == MACE:
        return Retraining(f"{card.name} version {card.version} was not trained here: train it where it was, and add that to the registry")
    dataset = opened.dataset(card.dataset)
    query, split, alignment = dataset.manifest.query, dataset.manifest.split, dataset.manifest.alignment
    align, mix = alignment.to if alignment is not None else False, dataset.manifest.mixed
    decision = decide(card, dataset.frame_ids(), preview(opened, query, split, align=align, mix=mix))
    if not decision.train:
        return Retraining(decision.why)
    grown = opened.publish(next_name(card.dataset, opened.datasets()), query, split, align=align, mix=mix)
    return Retraining(decision.why, TrainRequest(grown.manifest.name, potential, tuple(sorted(card.settings.items()))))


def next_name(name: str, known: list[DatasetManifest]) -> str:
    """Return the name of the next dataset of a series: 'oxides', 'oxides-2', 'oxides-3'."""
    base = re.sub(r"-\d+$", "", name)
    numbers = [1]
    for manifest in known:
        match = re.fullmatch(re.escape(base) + r"-(\d+)", manifest.name)
        if match:
            numbers.append(int(match.group(1)))
    return f"{base}-{max(numbers) + 1}"
