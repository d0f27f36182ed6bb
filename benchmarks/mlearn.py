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
import time
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import read

# Files here have names of packages: this folder must not come first.
if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.append(sys.path.pop(0))

from schemas.frames import FrameArrays
from schemas.potentials import ErrorSummary
from training import FrameSplits, Potential, TrainSettings, train
from training.committee import Committee
from training.evaluation import evaluate
from training.job import empty_arrays
from training.plan import count_steps
from training.structures import from_atoms, take

ROOT = Path(__file__).resolve().parent.parent
ELEMENTS = ("Ni", "Cu", "Li", "Mo", "Si", "Ge")

SETTINGS = TrainSettings(
    channels=6, l_max=4, four_body=True, four_body_l=3, hidden=(32, 32), weight_decay=0.3, optimiser="soap", learning_rate=3e-3,
    energy_weight=1.0, energy_weight_end=40.0, force_huber=0.02, batch_atoms=512, epochs=1_000_000, validate_every=1_000_000,
    checkpoint_seconds=30.0, clock="cpu", loggers=(),
)  # fmt: skip
"""One setting for all six; --choose compares it with others on validation frames inside the training files."""

CUTOFFS = {"Ni": 5.5, "Cu": 5.0, "Li": 7.0, "Mo": 5.0, "Si": 6.0, "Ge": 6.5}
"""Å; chosen on validation frames, the only setting that differs."""

MEMBER_SECONDS = 50.0
"""CPU time of each potential of a committee: its members are as many as the time allows."""

STEPS = 1500
"""Steps that candidates are compared after."""

KEPT: dict[str, object] = {"energy_weight_end": 0.0, "four_body_l": 2}
RISING: dict[str, object] = {"force_huber": 0.05, "energy_weight": 3.0, "energy_weight_end": 100.0}
CANDIDATES: dict[str, dict[str, object]] = {
    "as set": {},
    "squares, energy weight 30": {**KEPT, "force_huber": 0.0, "energy_weight": 30.0},
    "lines beyond 0.01 eV/Å and 1 meV/atom": {**KEPT, "force_huber": 0.01, "energy_huber": 0.001, "energy_weight": 30.0},
    "the same, cutoff 4.2": {**KEPT, "force_huber": 0.01, "energy_huber": 0.001, "energy_weight": 30.0, "cutoff": 4.2},
    "energy weight 3": {**KEPT, "force_huber": 0.05, "energy_weight": 3.0},
    "energy weight 30": {**KEPT, "force_huber": 0.03, "energy_weight": 30.0},
    "energy weight 100": {**KEPT, "force_huber": 0.03, "energy_weight": 100.0},
    "energy weight 3 to 100": {**RISING, "four_body_l": 2},
    "energy weight 3 to 100, 4-body terms up to l = 3": RISING,
    "energy weight 1 to 20": {"energy_weight_end": 20.0},
    "energy weight 1 to 20, 4-body terms up to l = 4": {"energy_weight_end": 20.0, "four_body_l": 4},
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


def choose(folder: Path, elements: tuple[str, ...], names: list[str]) -> None:
    """Print validation errors of candidates after equally many steps of one potential; no test file is opened."""
    for name in names:
        cells = []
        for element in elements:
            arrays, groups = frames_of(folder / f"{element}_train.extxyz")
            aside = held_out(groups)
            parts = [take(arrays, np.flatnonzero(chosen)) for chosen in (~aside, aside)]
            settings = dataclasses.replace(SETTINGS, cutoff=CUTOFFS[element])
            settings = dataclasses.replace(settings, **CANDIDATES[name])  # type: ignore[arg-type]
            settings = dataclasses.replace(settings, epochs=round(STEPS / count_steps(parts[0].natoms, settings.batch_atoms)))
            begun = time.process_time()
            with tempfile.TemporaryDirectory() as work:
                splits = FrameSplits(parts[0], parts[1], empty_arrays(), element)
                potential = train(splits, settings, name=element, work=Path(work), progress=lambda _: None)
            errors, learned = (potential.card.metrics[split].overall for split in ("validation", "train"))
            cells.append(f"{element} {shown(errors)} (train {shown(learned)}, {time.process_time() - begun:.0f} CPU s)")
        print(f"{name}: {', '.join(cells)}", flush=True)


def shown(errors: ErrorSummary) -> str:
    """Return energy and force errors as meV/atom / meV/Å."""
    return f"{1000 * errors.energy_mae:.2f} / {1000 * errors.force_mae:.1f}"


def committees(folder: Path, elements: tuple[str, ...], count: int, work: Path) -> dict[str, list[Potential]]:
    """Return count members for each element, each trained for MEMBER_SECONDS, one of every element before the next of any.

    What is finished in the folder work is taken from there, so a run that was cut off goes on.
    """
    members: dict[str, list[Potential]] = {element: [] for element in elements}
    for number in range(count):
        for element in elements:
            splits = FrameSplits(frames_of(folder / f"{element}_train.extxyz")[0], empty_arrays(), empty_arrays(), element)
            settings = dataclasses.replace(SETTINGS, cutoff=CUTOFFS[element], seed=number, max_seconds=MEMBER_SECONDS)
            members[element].append(train(splits, settings, name=element, work=work, progress=lambda _: None))
            learned = members[element][-1].card.metrics["train"].overall
            print(f"{element}, member {number + 1} of {count}: train {shown(learned)}", flush=True)
    return members


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


def measure(folder: Path, members: dict[str, list[Potential]]) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """Return test errors of each element's committee, and what else is worth knowing of it."""
    ours: dict[str, tuple[float, float]] = {}
    notes = []
    for element, own in members.items():
        potential = dataclasses.replace(own[0], model=Committee([member.model for member in own]))
        train_frames, test_frames = (frames_of(folder / f"{element}_{split}.extxyz")[0] for split in ("train", "test"))
        learned, test = (evaluate(potential, arrays, element).overall for arrays in (train_frames, test_frames))
        alone = [evaluate(member, test_frames, element).overall for member in own]
        ours[element] = (1000 * test.energy_mae, 1000 * test.force_mae)
        done = [json.loads((member.work / "finished.json").read_text()) for member in own if member.work]
        steps, epochs = (sum(part[name] for part in done) for name in ("steps", "epochs"))
        notes.append(
            f"{element}: {steps} steps, {epochs} epochs, {epochs * train_frames.count / MEMBER_SECONDS / len(own):.0f} frames/s; "
            f"train {shown(learned)}; test RMSE {1000 * test.energy_rmse:.2f} / {1000 * test.force_rmse:.1f}; one member alone, mean: "
            f"{1000 * np.mean([one.energy_mae for one in alone]):.2f} / {1000 * np.mean([one.force_mae for one in alone]):.1f}"
        )
    return ours, notes


def table(ours: dict[str, tuple[float, float]], others: dict[str, list[tuple[float, float]]], count: int, notes: list[str]) -> str:
    """Return the result as Markdown: ours, the published ones, and the ratios that are aimed at."""
    elements = list(ours)
    rows = {f"**ours**, {count * MEMBER_SECONDS:.0f} CPU s each": [ours[element] for element in elements]}
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
    names = """radial_functions channels l_max four_body four_body_l hidden weight_decay optimiser learning_rate
        batch_atoms energy_weight energy_weight_end force_weight energy_huber force_huber ema""".split()
    settings = ", ".join(f"{name} {chosen[name]}" for name in names)
    cutoffs = ", ".join(f"{element} {CUTOFFS[element]}" for element in elements)
    where = f"torch {torch.__version__}, {platform.machine()}, one thread"
    every = f"Settings: a committee of {count}, {MEMBER_SECONDS:.0f} CPU s each; cutoff {cutoffs} Å; {settings}. {where}."
    return "\n".join(["# mlearn", "", *lines, "", every, "", *(f"- {note}" for note in notes), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT.parent / "shared" / "benchmarks" / "mlearn")
    parser.add_argument("--elements", nargs="+", default=list(ELEMENTS), choices=ELEMENTS)
    parser.add_argument("--seconds", type=float, default=600.0, help="CPU time for each element")
    parser.add_argument("--work", type=Path, help="folder that keeps members, so that the same command goes on after a cut")
    parser.add_argument("--choose", nargs="*", metavar="NAME", help="compare candidates on validation frames inside the training files")
    parser.add_argument("--out", type=Path, help="Markdown file for the table")
    given = parser.parse_args()
    torch.set_num_threads(1)
    elements = tuple(given.elements)
    if given.choose is not None:
        choose(given.folder, elements, given.choose or list(CANDIDATES))
        return
    count = max(1, int(given.seconds / MEMBER_SECONDS))
    with tempfile.TemporaryDirectory() as passing:
        ours, notes = measure(given.folder, committees(given.folder, elements, count, given.work or Path(passing)))
    text = table(ours, published((given.folder / "README.md").read_text()), count, notes)
    print(text)
    if given.out:
        given.out.parent.mkdir(exist_ok=True)
        given.out.write_text(text)


if __name__ == "__main__":
    main()
