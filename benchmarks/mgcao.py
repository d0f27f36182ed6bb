"""What a few frames of AB buy, A = MgO, B = CaO, AB = (Mg,Ca)O: from dropped archives to a table and a picture.

    python benchmarks/mgcao.py --choose     # settings, by validation frames outside the test
    python benchmarks/mgcao.py --out docs   # docs/mgcao.md, docs/mgcao.png and results/mgcao.csv; goes on where it was ended

All archives of A, B and AB, of four codes, are put into the inbox of a lake on an S3 server of the project's own and ingested;
datasets are published with one level of theory and one split, so that all have the same test frames; potentials are trained on the
datasets and registered. Every potential has had the same CPU time, that of the potential it began with included.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Files here have names of packages: this folder must not come first.
sys.path.append(sys.path.pop(0))

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
from training.settings import START_RATE
from training.stored import Predictions

ROOT = Path(__file__).resolve().parent.parent
AB = "Ca-Mg-O"
SYSTEMS = {"A": "Mg-O", "B": "Ca-O", "AB": AB}
THEORY = "PBE/plane waves/qe"
TEST = 0.4
COUNTS = (2, 5, 10, 20)
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


TRIVIAL = "no potential: mean energies, zero forces"
MIXED_ANEW, MIXED_WARM = "A + B + k AB anew", "A + B, then A + B + k AB"
FEW_ANEW, FEW_WARM = "k AB alone, anew", "A + B, then k AB alone"
METHODS = (TRIVIAL, MIXED_ANEW, MIXED_WARM, FEW_WARM, FEW_ANEW)
"""Ways to a potential; what stands before `then` has half of the CPU time. At k = 0 the second and third are A + B alone."""


SLUGS = {MIXED_ANEW: "mixed-anew", MIXED_WARM: "mixed-warm", FEW_WARM: "few-warm", FEW_ANEW: "few-anew"}


@dataclasses.dataclass(frozen=True)
class Row:
    """Errors of one potential on the test frames; energies in meV/atom, forces in meV/Å."""

    method: str
    k: int
    draw: int
    train_frames: int
    energy: float
    force: float
    energy_a: float
    force_a: float
    energy_b: float
    force_b: float


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
        if changes.get("start_from"):
            settings = dataclasses.replace(settings, learning_rate=START_RATE * settings.learning_rate)
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
                if k or method not in (FEW_WARM, FEW_ANEW):
                    yield method, k, draw


def run(story: Story, method: str, k: int, draw: int) -> Row:
    """Train one potential and measure it on the test frames."""
    parents = story.dataset((SYSTEMS["A"], SYSTEMS["B"]))
    chosen = (AB,) if method in (FEW_ANEW, FEW_WARM) else tuple(SYSTEMS.values())
    dataset = story.dataset(chosen, k, draw) if k else parents
    assert set(dataset.frame_ids("test")) <= set(story.whole.frame_ids("test")), "one split"
    warm = {"start_from": story.parent(parents, draw)} if method in (MIXED_WARM, FEW_WARM) else {}
    name = f"{SLUGS[method]}-{k}-draw-{draw}"
    potential = story.fitted(dataset, name, story.seconds / 2 if warm else story.seconds, draw, **warm)
    return Row(method, k, draw, dataset.manifest.n_frames["train"], *errors(evaluate(potential, story.whole.arrays("test"), "test")))


def errors(metrics: Metrics) -> tuple[float, ...]:
    """Return energy and force errors on AB, A and B, as a row has them."""
    return tuple(value for name in ("AB", "A", "B") for value in both(metrics.by_system[SYSTEMS[name]]))


def both(errors: ErrorSummary) -> tuple[float, float]:
    return 1000 * errors.energy_mae, 1000 * errors.force_mae


def choose(story: Story) -> None:
    """Print errors on validation frames of AB, trained on A and B alone, and with AB frames outside test and validation."""
    share = 0.2
    parents = story.dataset((SYSTEMS["A"], SYSTEMS["B"]), validation=share)
    mixed = story.dataset(tuple(SYSTEMS.values()), validation=share)
    only = story.dataset((AB,), validation=share)
    frames = only.arrays("validation")
    print(f"AB: {only.manifest.n_frames}, A and B: {parents.manifest.n_frames}")

    for words, changes in CANDIDATES.items():
        for what, dataset in (("A and B alone", parents), ("A, B and AB", mixed)):
            found = (story.fitted(dataset, "choose", story.seconds, seed, **changes) for seed in (0, 1))
            pairs = [both(evaluate(potential, frames, "validation").overall) for potential in found]
            print(f"{words}, {what}: " + ", ".join(f"{energy:.2f} / {force:.1f}" for energy, force in pairs), flush=True)


def trivial_row(story: Story, k: int, draw: int) -> Row:
    """Return the errors of energies that know compositions and elements of the training frames alone, with zero forces."""
    chosen = tuple(SYSTEMS.values()) if k else (SYSTEMS["A"], SYSTEMS["B"])
    dataset = story.dataset(chosen, k or None, draw)
    test, known = story.whole.arrays("test"), dataset.arrays("train")
    energies = trivial_energies(test, known, {})
    found = Predictions(energies, np.zeros_like(test.forces), np.zeros_like(test.stress), np.zeros(len(test.numbers)))
    return Row(TRIVIAL, k, draw, known.count, *errors(compare(test, found, energies, "test")))


def read_rows(file: Path) -> list[Row]:
    """Return what was measured before."""
    if not file.is_file():
        return []
    with file.open(newline="") as lines:
        found = list(csv.DictReader(lines))
    kinds = get_type_hints(Row)
    return [Row(**{name: kinds[name](text) for name, text in row.items()}) for row in found]


def add_row(file: Path, row: Row) -> None:
    """Append a row; errors keep six digits."""
    values = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in dataclasses.asdict(row).items()}
    new = not file.is_file()
    with file.open("a", newline="") as lines:
        writer = csv.DictWriter(lines, list(values), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(values)


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


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (of single ones, n - 1)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def cell(rows: Sequence[Row], energy: str = "energy", force: str = "force") -> str:
    """Return the errors of some rows as one cell."""
    if not rows:
        return "–"
    pairs = [spread([getattr(row, name) for row in rows]) for name in (energy, force)]
    return " / ".join(f"{mean:.1f} ± {width:.1f}" for mean, width in pairs)


def picture(rows: Sequence[Row], file: Path) -> None:
    """Draw the errors on AB over the number of AB frames."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = zip(figure.subplots(1, 2), ("energy", "force"), ("energy, meV/atom", "force component, meV/Å"), strict=True)
    for axes, name, label in panels:
        for number, method in enumerate(METHODS):
            counts = sorted({row.k for row in rows if row.method == method})
            found = [spread([getattr(row, name) for row in rows if (row.method, row.k) == (method, k)]) for k in counts]
            shifted = [k + 0.15 * (number - 2) for k in counts]
            style = {"color": "0.5", "linestyle": ":"} if method == TRIVIAL else {"marker": "o", "markersize": 4}
            means, widths = zip(*found, strict=True)
            axes.errorbar(shifted, means, yerr=widths, capsize=2, linewidth=1.2, label=method, **style)
        axes.set_yscale("log")
        axes.set_xticks([0, *COUNTS])
        axes.set_xlabel("(Mg,Ca)O frames in training, k")
        axes.set_ylabel(f"mean absolute error, {label}")
    axes.legend(fontsize=8)
    figure.suptitle("Errors on (Mg,Ca)O frames that none has seen")
    figure.savefig(file, format="png", dpi=100)


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Return a table of mean errors over those of simpler ways."""
    known = {(row.method, row.k) for row in rows}

    def ratios(method: str, other: str, k: int) -> str:
        if not {(method, k), (other, k)} <= known:
            return "–"
        pairs = [[spread([getattr(row, name) for row in rows if (row.method, row.k) == (each, k)])[0] for each in (method, other)]
                 for name in ("energy", "force")]  # fmt: skip
        return " / ".join(f"{mine / theirs:.2f}" for mine, theirs in pairs)

    counts = (0, *COUNTS)
    lines = ["| errors | over those of | " + " | ".join(f"k = {k}" for k in counts) + " |", "| --- | --- |" + " --- |" * len(counts)]
    for method in (MIXED_ANEW, MIXED_WARM, FEW_WARM):
        for other in (TRIVIAL, FEW_ANEW, MIXED_ANEW):
            if method != other:
                lines.append(f"| {method} | {other} | " + " | ".join(ratios(method, other, k) for k in counts) + " |")
    return lines


def table(rows: Sequence[Row], names: tuple[str, str] = ("energy", "force")) -> list[str]:
    """Return a table of methods by k."""
    counts = (0, *COUNTS)
    lines = ["| | " + " | ".join(f"k = {k}" for k in counts) + " |", "| --- |" + " --- |" * len(counts)]
    for method in METHODS:
        cells = [cell([row for row in rows if (row.method, row.k) == (method, k)], *names) for k in counts]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


TOLD = "cutoff channels l_max four_body species_channels hidden optimiser learning_rate weight_decay batch_atoms energy_weight force_weight"


def page(rows: Sequence[Row], seconds: float, theories: Mapping[str, int], counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return the page: what was done, tables, what is beaten and what is not."""
    test = ", ".join(f"{counts[system]['test']} of {name}" for name, system in SYSTEMS.items())
    pool = ", ".join(f"{counts[SYSTEMS[name]]['train']} of {name}" for name in ("A", "B"))
    settings = SETTINGS.to_mapping()
    values = {
        "frames": ", ".join(f"{n} frames of {name}" for name, n in theories.items()), "theory": THEORY, "test": test, "pool": pool,
        "system": AB, "share": TEST, "seconds": f"{seconds:g}", "draws": len({row.draw for row in rows}), "rate": START_RATE,
        "table": "\n".join(table(rows)), "over": "\n".join(verdicts(rows)), "a": "\n".join(table(rows, ("energy_a", "force_a"))),
        "b": "\n".join(table(rows, ("energy_b", "force_b"))), "settings": ", ".join(f"{name} {settings[name]}" for name in TOLD.split()),
    }  # fmt: skip
    return (Path(__file__).parent / "mgcao.md.in").read_text().format(**values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archives", type=Path, default=ROOT.parent / "shared" / "dataset-mgcao")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="CPU time of each potential")
    parser.add_argument("--choose", action="store_true", help="compare candidates on validation frames")
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
        if given.choose:
            choose(story)
            return
        rows = measure_all(story, given.rows)
        counts = whole.manifest.element_systems
    if given.out:
        picture(rows, given.out / "mgcao.png")
        (given.out / "mgcao.md").write_text(page(rows, given.seconds, theories, counts))


if __name__ == "__main__":
    main()
