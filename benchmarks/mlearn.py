"""Accuracy on mlearn (Zuo et al. 2020): six elements, the authors' split, one setting for all, beside the published potentials.

    python benchmarks/mlearn.py --choose                # settings, by validation frames inside the training files
    python benchmarks/mlearn.py --seconds 600           # the table: training files to train on, test files to be measured on once

The budget counts CPU time of one thread for each element, so that it holds on a machine that is shared. Errors are mean absolute ones:
energy in meV/atom, force components in meV/Å. Published numbers are read from the README.md beside the data.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import read

# Files here have names of packages: this folder must not come first.
sys.path.append(sys.path.pop(0))

from schemas.frames import FrameArrays
from training import FrameSplits, Potential, TrainSettings, train
from training.job import empty_arrays
from training.structures import from_atoms, take

ROOT = Path(__file__).resolve().parent.parent
ELEMENTS = ("Ni", "Cu", "Li", "Mo", "Si", "Ge")

SETTINGS = TrainSettings(
    cutoff=5.0, channels=6, l_max=4, four_body=True, hidden=(32, 32), weight_decay=0.3, optimiser="soap", learning_rate=3e-3,
    batch_atoms=512, epochs=1_000_000, validate_every=1_000_000, checkpoint_seconds=0.0, clock="cpu", committee=4,
)  # fmt: skip
"""One setting for all six; --choose compares it with others on validation frames inside the training files."""

CANDIDATES: dict[str, dict[str, object]] = {
    "as set": {},
    "one potential": {"committee": 1},
    "256 atoms a step": {"batch_atoms": 256},
    "8 channels, 10 radial functions": {"channels": 8, "radial_functions": 10},
    "4-body terms up to l = 4": {"four_body_l": 4},
    "network 64-64": {"hidden": (64, 64)},
    "weight decay 1.0": {"weight_decay": 1.0},
    "energy weight 300": {"energy_weight": 300.0},
    "energy weight 1000": {"energy_weight": 1000.0},
}


def frames_of(file: Path) -> tuple[FrameArrays, list[str]]:
    """Return labelled frames, and the group that each belongs to."""
    found = read(file, ":")
    assert isinstance(found, list)
    structures: list[Atoms] = found
    labelled = dataclasses.replace(
        from_atoms(structures),
        energy=np.array([atoms.get_potential_energy() for atoms in structures]),
        forces=np.concatenate([atoms.get_forces() for atoms in structures]),
    )
    return labelled, [str(atoms.info.get("group", "")) for atoms in structures]


def held_out(groups: list[str], share: float = 0.15) -> np.ndarray:
    """Return which frames of each group validate: the same share of every group, drawn with a fixed seed."""
    random = np.random.default_rng(5)
    chosen = np.zeros(len(groups), dtype=bool)
    for group in sorted(set(groups)):
        members = [place for place, name in enumerate(groups) if name == group]
        chosen[random.permutation(members)[: max(1, round(share * len(members)))]] = True
    return chosen


def fitted(splits: FrameSplits, settings: TrainSettings) -> tuple[Potential, dict[str, float]]:
    """Return the potential, and how far its training went."""
    with tempfile.TemporaryDirectory() as folder:
        potential = train(splits, settings, name=splits.name, work=Path(folder), progress=lambda _: None)
        assert potential.work is not None
        done = [json.loads(file.read_text()) for file in sorted(potential.work.glob("**/finished.json"))]
    steps, epochs = (sum(part[name] for part in done) for name in ("steps", "epochs"))
    return potential, {"steps": steps, "epochs": epochs, "frames/s": epochs * splits.train.count / settings.max_seconds}


def choose(folder: Path, elements: tuple[str, ...], seconds: float) -> None:
    """Print validation errors of all candidates; no test file is opened."""
    for name, changes in CANDIDATES.items():
        settings = dataclasses.replace(SETTINGS, max_seconds=seconds, **changes)  # type: ignore[arg-type]
        cells = []
        for element in elements:
            arrays, groups = frames_of(folder / f"{element}_train.extxyz")
            aside = held_out(groups)
            parts = [take(arrays, np.flatnonzero(chosen)) for chosen in (~aside, aside)]
            potential, _ = fitted(FrameSplits(parts[0], parts[1], empty_arrays(), element), settings)
            errors = potential.card.metrics["validation"].overall
            cells.append(f"{element} {1000 * errors.energy_mae:.2f} / {1000 * errors.force_mae:.1f}")
        print(f"{name}: {', '.join(cells)}", flush=True)


def published(readme: str) -> dict[str, list[tuple[float, float]]]:
    """Return (energy, force) errors of each published potential, in the order of ELEMENTS."""
    section = readme[readme.index("## Test-set accuracy") :]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(ELEMENTS) + 1 and all(re.fullmatch(r"[\d.]+ / [\d.]+", cell) for cell in cells[1:]):
            pairs = [cell.split(" / ") for cell in cells[1:]]
            found[cells[0]] = [(float(energy), float(force)) for energy, force in pairs]
    return found


def measure(folder: Path, elements: tuple[str, ...], seconds: float, out: Path | None) -> None:
    """Train on all training frames of each element, measure on the test frames, and write the table."""
    ours: dict[str, tuple[float, float]] = {}
    notes = []
    for element in elements:
        splits = FrameSplits(
            frames_of(folder / f"{element}_train.extxyz")[0], empty_arrays(), frames_of(folder / f"{element}_test.extxyz")[0], element
        )
        potential, done = fitted(splits, dataclasses.replace(SETTINGS, max_seconds=seconds))
        test, learned = potential.card.metrics["test"].overall, potential.card.metrics["train"].overall
        ours[element] = (1000 * test.energy_mae, 1000 * test.force_mae)
        notes.append(
            f"{element}: {done['steps']:.0f} steps, {done['epochs']:.0f} epochs, {done['frames/s']:.0f} frames/s; "
            f"train {1000 * learned.energy_mae:.2f} / {1000 * learned.force_mae:.1f}; test RMSE {1000 * test.energy_rmse:.2f} / "
            f"{1000 * test.force_rmse:.1f}; {potential.card.n_parameters} weights"
        )
        print(element, f"test {ours[element][0]:.2f} / {ours[element][1]:.1f}", notes[-1], flush=True)
    text = table(ours, published((folder / "README.md").read_text()), seconds, notes)
    print(text)
    if out:
        out.parent.mkdir(exist_ok=True)
        out.write_text(text)


def table(ours: dict[str, tuple[float, float]], others: dict[str, list[tuple[float, float]]], seconds: float, notes: list[str]) -> str:
    """Return the result as Markdown: ours, the published ones, and the ratios that are aimed at."""
    elements = list(ours)
    rows = {f"**ours**, {seconds:.0f} CPU s each": [ours[element] for element in elements]}
    rows |= {name: [values[ELEMENTS.index(element)] for element in elements] for name, values in others.items()}
    lines = ["| test MAE: meV/atom / meV/Å | " + " | ".join(elements) + " |", "| --- |" + " --- |" * len(elements)]
    lines += [
        f"| {name} | " + " | ".join(f"{energy:.2f} / {force:.1f}" for energy, force in values) + " |" for name, values in rows.items()
    ]
    best = [min(values[place][0] for name, values in rows.items() if "ours" not in name) for place in range(len(elements))]
    for title, kind, index in (("force / published NNP", "NNP", 1), ("force / MTP measured", "MTP", 1), ("energy / best published", "", 0)):
        peer = next(values for name, values in rows.items() if name.startswith(kind) and "ours" not in name)
        against = best if not kind else [value[1] for value in peer]
        lines.append(
            f"| {title} | "
            + " | ".join(f"{ours[element][index] / value:.2f}" for element, value in zip(elements, against, strict=True))
            + " |"
        )
    chosen = SETTINGS.to_mapping()
    names = """cutoff radial_functions channels l_max four_body four_body_l hidden weight_decay optimiser learning_rate
        batch_atoms committee
        energy_weight force_weight ema""".split()
    settings = ", ".join(f"{name} {chosen[name]}" for name in names)
    where = f"torch {torch.__version__}, {platform.machine()}, one thread"
    return "\n".join(["# mlearn", "", *lines, "", f"Settings: {settings}. {where}.", "", *(f"- {note}" for note in notes), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT.parent / "shared" / "benchmarks" / "mlearn")
    parser.add_argument("--elements", nargs="+", default=list(ELEMENTS), choices=ELEMENTS)
    parser.add_argument("--seconds", type=float, default=600.0, help="CPU time for each element")
    parser.add_argument("--choose", action="store_true", help="compare candidates on validation frames inside the training files")
    parser.add_argument("--out", type=Path, help="Markdown file for the table")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.choose:
        choose(given.folder, tuple(given.elements), given.seconds)
    else:
        measure(given.folder, tuple(given.elements), given.seconds, given.out)


if __name__ == "__main__":
    main()
