"""What a few frames of AB buy, A = MgO, B = CaO, AB = (Mg,Ca)O: from dropped archives to a table and a picture.

    python benchmarks/mgcao.py --choose     # settings, by validation frames outside the test
    python benchmarks/mgcao.py --out docs   # docs/mgcao.md, docs/mgcao.png and results/mgcao.csv; goes on where it was ended

All archives of A, B and AB, of four codes, are put into the inbox of a lake on an S3 server of the project's own and ingested;
datasets are published with one level of theory and one split, so that all have the same test frames; potentials are trained on the
datasets and registered. Every potential has had the same CPU time, that of the potential it began with included.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

# Files here have names of packages: this folder must not come first.
sys.path.append(sys.path.pop(0))

from mgcao_page import (
    COUNTS,
    FEW_ANEW,
    FEW_WARM,
    METHODS,
    MIXED_LOW,
    MIXED_SHORT,
    MIXED_WARM,
    TRIVIAL,
    Row,
    add_row,
    page,
    picture,
    read_rows,
)  # fmt: skip
from own_server import server

import lake
from lake.datasets import Dataset
from lake.inbox import upload
from lake.potentials import list_potentials, next_version, publish_potential
from lake.store import connect
from pipelines.ingesting import ingest_once
from schemas.datasets import FrameQuery, Split
from schemas.potentials import ErrorSummary, Metrics
from schemas.settings import IngestSettings, Settings
from training import Potential, TrainSettings, evaluate, train
from training.evaluation import compare, trivial_energies
from training.stored import Predictions

ROOT = Path(__file__).resolve().parent.parent
AB = "Ca-Mg-O"
SYSTEMS = {"A": "Mg-O", "B": "Ca-O", "AB": AB}
THEORY = "PBE/plane waves/qe"
TEST = 0.4
DRAWS = 3
SECONDS = 10.0
"""CPU time of each potential; one that begins with another has half of it, that one the other half."""

SETTINGS = TrainSettings(
    cutoff=5.0, channels=6, l_max=3, species_channels=2, hidden=(32, 32), optimiser="soap", learning_rate=3e-3, batch_atoms=64,
    weight_decay=0.1, epochs=1_000_000, validate_every=1_000_000, checkpoint_seconds=0.0, clock="cpu", loggers=(),
)  # fmt: skip
CANDIDATES: dict[str, dict[str, Any]] = {
    "as set": {},
    "4 numbers an element": {"species_channels": 4},
    "4-body terms": {"four_body": True},
    "weight decay 1.0": {"weight_decay": 1.0},
    "network 16-16": {"hidden": (16, 16)},
    "cutoff 4 Å": {"cutoff": 4.0},
    "energy weight 300": {"energy_weight": 300.0},
}


WARM_RATES = {MIXED_WARM: 1.0, MIXED_LOW: 0.2, FEW_WARM: 0.2}
"""Learning rates of warm starts, relative to that of a beginning anew; chosen by `--choose rates`."""
SEEDS = (0, 1)
"""Of the potentials that --choose compares."""
SLUGS = dict(zip(METHODS[1:], ("mixed-anew", "mixed-warm", "mixed-low", "few-warm", "few-anew", "mixed-short"), strict=True))
"""Of names of potentials."""


@dataclasses.dataclass
class Story:
    """The lake of the story and where work lies."""

    settings: Settings
    whole: Dataset
    """All frames of the level of theory, of which the test frames are looked at."""
    seconds: float = SECONDS

    @property
    def opened(self) -> lake.Lake:
        return lake.open(settings=self.settings)

    def dataset(self, systems: Sequence[str], k: int | None = None, draw: int = 0, validation: float = 0.0) -> Dataset:
        """Publish systems with the split of all, and of AB at most k frames outside the test."""
        name = "-".join([*(name for name, system in SYSTEMS.items() if system in systems), "all" if k is None else f"{k}-draw-{draw}"])
        query = FrameQuery(systems=tuple(systems), theory=THEORY, limits={} if k is None else {AB: k})
        split = Split(test=TEST, validation=validation, draw=str(draw))
        return self.opened.publish(f"{name}-v{round(100 * validation)}", query, split)

    def fitted(self, dataset: Dataset, name: str, seconds: float, seed: int, **changes: Any) -> Potential:
        """Train on a dataset for so many CPU seconds, or take what was trained and registered under the name before."""
        settings = dataclasses.replace(SETTINGS, max_seconds=seconds, seed=seed, **changes)
        potential = train(dataset, settings, name=name, work=self.settings.home / "training", progress=lambda _: None)
        card, files = potential.to_files(next_version(self.opened, name))
        publish_potential(self.opened, card, {file: content for file, content in files.items() if file != "card.json"})
        potential.clear_work()
        return potential

    def parent(self, dataset: Dataset, seed: int) -> str:
        """Return the name of the potential of A and B alone with half of the time, to begin others with."""
        name = f"parent-seed-{seed}"
        if not list_potentials(self.opened, name):
            self.fitted(dataset, name, self.seconds / 2, seed)
        return name


def fill(settings: Settings, archives: Path) -> dict[str, int]:
    """Put all archives of A, B and AB into the inbox, ingest them and return the frames by level of theory."""
    files = sorted(file for folder in ("mgo", "cao", "mgcao") for file in (archives / folder).iterdir())
    upload(connect(f"s3://{settings.store.inbox_bucket}", settings.store), files, project="oxides")
    ingest_once(settings)
    counts = lake.open(settings=settings).frames().group_by("theory").len().sort("theory").collect()
    return dict(counts.iter_rows())


def runs() -> Iterable[tuple[str, int, int]]:
    """Yield method, k and draw of all potentials, first draws first."""
    for draw in range(DRAWS):
        for k in (0, *COUNTS):
            for method in METHODS:
                if k or method not in (FEW_WARM, FEW_ANEW, MIXED_SHORT):
                    yield method, k, draw


def run(story: Story, method: str, k: int, draw: int) -> Row:
    """Train one potential and measure it on the test frames."""
    parents = story.dataset((SYSTEMS["A"], SYSTEMS["B"]))
    chosen = (AB,) if method in (FEW_ANEW, FEW_WARM) else tuple(SYSTEMS.values())
    dataset = story.dataset(chosen, k, draw) if k else parents
    assert set(dataset.frame_ids("test")) <= set(story.whole.frame_ids("test")), "one split"
    warm: dict[str, Any] = {}
    if method in WARM_RATES:
        warm = {"start_from": story.parent(parents, draw), "learning_rate": WARM_RATES[method] * SETTINGS.learning_rate}
    name = f"{SLUGS[method]}-{k}-draw-{draw}"
    seconds = story.seconds / 2 if warm or method == MIXED_SHORT else story.seconds
    potential = story.fitted(dataset, name, seconds, draw, **warm)
    return Row(method, k, draw, dataset.manifest.n_frames["train"], *errors(evaluate(potential, story.whole.arrays("test"), "test")))


def errors(metrics: Metrics) -> tuple[float, ...]:
    """Return energy and force errors on AB, A and B, as a row has them."""
    return tuple(value for name in ("AB", "A", "B") for value in both(metrics.by_system[SYSTEMS[name]]))


def both(errors: ErrorSummary) -> tuple[float, float]:
    return 1000 * errors.energy_mae, 1000 * errors.force_mae


def choose(story: Story, parts: Sequence[str]) -> None:
    """Print errors on validation frames of AB, trained on A and B alone, and with AB frames outside test and validation."""
    share = 0.2
    parents = story.dataset((SYSTEMS["A"], SYSTEMS["B"]), validation=share)
    mixed = story.dataset(tuple(SYSTEMS.values()), validation=share)
    only = story.dataset((AB,), validation=share)
    frames = only.arrays("validation")
    print(f"AB: {only.manifest.n_frames}, A and B: {parents.manifest.n_frames}")

    def told(what: str, found: Iterable[Potential]) -> None:
        pairs = [both(evaluate(potential, frames, "validation").overall) for potential in found]
        print(f"{what}: " + ", ".join(f"{energy:.2f} / {force:.1f}" for energy, force in pairs), flush=True)

    if "settings" in parts:
        for words, changes in CANDIDATES.items():
            for what, dataset in (("A and B alone", parents), ("A, B and AB", mixed)):
                told(f"{words}, {what}", (story.fitted(dataset, "choose", story.seconds, seed, **changes) for seed in SEEDS))
    if "rates" in parts:
        half = story.seconds / 2
        told("A and B alone, half the time", (story.fitted(parents, f"choose-{seed}", half, seed) for seed in SEEDS))
        told("A, B and AB anew, half the time", (story.fitted(mixed, "choose", half, seed) for seed in SEEDS))
        for rate in (1.0, 0.2):
            for what, dataset in (("A, B and AB", mixed), ("AB", only)):
                changes = {"learning_rate": rate * SETTINGS.learning_rate}
                found = (story.fitted(dataset, "choose", half, seed, start_from=f"choose-{seed}", **changes) for seed in SEEDS)
                told(f"then {what}, rate {rate}", found)


def trivial_row(story: Story, k: int, draw: int) -> Row:
    """Return the errors of energies that know compositions and elements of the training frames alone, with zero forces."""
    chosen = tuple(SYSTEMS.values()) if k else (SYSTEMS["A"], SYSTEMS["B"])
    dataset = story.dataset(chosen, k or None, draw)
    test, known = story.whole.arrays("test"), dataset.arrays("train")
    energies = trivial_energies(test, known, {})
    found = Predictions(energies, np.zeros_like(test.forces), np.zeros_like(test.stress), np.zeros(len(test.numbers)))
    return Row(TRIVIAL, k, draw, known.count, *errors(compare(test, found, energies, "test")))


def measure_all(story: Story, file: Path) -> list[Row]:
    """Train and measure what is not in the file yet."""
    done = {(row.method, row.k, row.draw) for row in read_rows(file)}
    for method, k, draw in runs():
        if (method, k, draw) in done:
            continue
        row = trivial_row(story, k, draw) if method == TRIVIAL else run(story, method, k, draw)
        add_row(file, row)
        print(f"{method}, k = {k}, draw {draw}: {row.energy:.1f} meV/atom, {row.force:.1f} meV/Å", flush=True)
    return read_rows(file)


TOLD = "cutoff channels l_max four_body species_channels hidden optimiser learning_rate weight_decay batch_atoms energy_weight force_weight"


def values_of(seconds: float, theories: Mapping[str, int], counts: Mapping[str, Mapping[str, int]]) -> dict[str, object]:
    """Return what the page says of how it was made."""
    settings = SETTINGS.to_mapping()
    return {
        "frames": ", ".join(f"{n} of {name}" for name, n in theories.items()), "theory": THEORY, "system": AB, "share": TEST,
        "test": ", ".join(f"{counts[system]['test']} of {name}" for name, system in SYSTEMS.items()),
        "pool": ", ".join(f"{counts[SYSTEMS[name]]['train']} of {name}" for name in ("A", "B")), "seconds": f"{seconds:g}",
        "rates": "; ".join(f"{rate} for `{method}`" for method, rate in WARM_RATES.items()),
        "settings": ", ".join(f"{name} {settings[name]}" for name in TOLD.split()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archives", type=Path, default=ROOT.parent / "shared" / "dataset-mgcao")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="CPU time of each potential")
    parser.add_argument("--choose", nargs="*", choices=("settings", "rates"), help="compare candidates on validation frames")
    parser.add_argument("--rows", type=Path, default=ROOT / "benchmarks" / "results" / "mgcao.csv", help="one line a potential")
    parser.add_argument("--out", type=Path, help="folder for mgcao.md and mgcao.png")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as started:
        settings = dataclasses.replace(started, ingest=IngestSettings(quiet_seconds=0))
        theories = fill(settings, given.archives)
        whole = lake.open(settings=settings).publish(
            "all", FrameQuery(systems=tuple(SYSTEMS.values()), theory=THEORY), Split(test=TEST, validation=0.0)
        )
        story = Story(settings, whole, given.seconds)
        if given.choose is not None:
            choose(story, given.choose or ("settings", "rates"))
            return
        rows = measure_all(story, given.rows)
        counts = whole.manifest.element_systems
    if given.out:
        picture(rows, given.out / "mgcao.png")
        (given.out / "mgcao.md").write_text(page(rows, values_of(given.seconds, theories, counts)))


if __name__ == "__main__":
    main()
