"""Molecules and liquid water by the commands that every user types: acetylacetone (C, H, O, no cell) and liquid water (H, O, periodic).

    python benchmarks/molecules.py --out benchmarks/results/molecules.md

Files that say no units are put with them, ingested, published and trained on; one setting for both sets, test files are measured on once.
The budget counts CPU time of one thread. Published numbers are read from the README.md beside the data.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

# Files here have names of packages: this folder must not come first.
sys.path.append(sys.path.pop(0))

from own_server import server

ROOT = Path(__file__).resolve().parent.parent
UNITS = "energy=eV,length=Angstrom"

SETTINGS: dict[str, Any] = {
    "cutoff": 5.0, "channels": 8, "l_max": 4, "four_body": True, "hidden": [64, 64], "optimiser": "soap", "learning_rate": 3e-3,
    "batch_atoms": 256, "weight_decay": 0.01,
}  # fmt: skip
"""One setting for both sets, tuned on neither: that of benchmarks/mlearn.py with a larger network, smaller steps and less decay."""

RUN = {"epochs": 1_000_000, "validate_every": 1_000_000, "checkpoint_seconds": 0.0, "clock": "cpu"}


@dataclasses.dataclass(frozen=True)
class Files:
    """What is put under one project: files or folders below the folder of benchmarks, and what they do not say."""

    project: str
    paths: tuple[str, ...]
    keys: str
    theory: str


PBE_D3 = "code=orca,functional=PBE,dispersion=D3,basis=GTO"
DEEPMD = "energy=energy,forces=force"
WATER = "functional=that of the water example of DeePMD-kit"
"""Which one it is the data do not say; that it is one is what lets the systems go together."""
LABELS = "energy=energy,forces=forces"
SETS = {
    "acac": (
        Files("acac", ("acac/train_300K.xyz",), LABELS, PBE_D3),
        {
            "300 K": Files("acac-300K", ("acac/test_MD_300K.xyz",), LABELS, PBE_D3),
            "600 K": Files("acac-600K", ("acac/test_MD_600K.xyz",), LABELS, PBE_D3),
            "dihedral scan": Files("acac-dihedral", ("acac/test_dihedral.xyz",), "energy=energy", PBE_D3),
            "proton transfer": Files("acac-transfer", ("acac/test_H_transfer.xyz",), "energy=energy", PBE_D3),
        },
    ),
    "water": (
        Files("water", ("dpmd-water/data_0", "dpmd-water/data_1", "dpmd-water/data_2"), DEEPMD, WATER),
        {"data_3": Files("water-3", ("dpmd-water/data_3",), DEEPMD, WATER)},
    ),
}


@dataclasses.dataclass
class Commands:
    """Runs atomlake as a user does, and keeps what was typed."""

    home: Path
    shown: Path
    """Folder that paths are shown relative to."""
    typed: list[str] = dataclasses.field(default_factory=list)

    def __call__(self, *words: str) -> str:
        """Run one command and return what it prints; raises SystemExit with its message where it fails."""
        self.typed.append(" ".join(self._as_typed(word) for word in ("atomlake", *words)))
        environment = {**os.environ, "ATOMLAKE_HOME": str(self.home), "ATOMLAKE_INGEST_QUIET_SECONDS": "0"}
        done = subprocess.run([sys.executable, "-m", "pipelines.cli", *words], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{self.typed[-1]} ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _as_typed(self, word: str) -> str:
        text = word.removeprefix(f"{self.shown}/")
        return f"'{text}'" if re.search(r"[\s\[\]]", text) else text


def put(atomlake: Commands, folder: Path, files: Files) -> None:
    """Put the files of a project with what they do not say."""
    said = ["--project", files.project, "--units", UNITS, "--keys", files.keys, "--theory", files.theory]
    atomlake("put", *(str(folder / path) for path in files.paths), *said)


def publish(atomlake: Commands, name: str, test: float) -> dict[str, Any]:
    """Publish the frames of a project, all for the training or all for the test."""
    said = atomlake("dataset", "create", name, "--project", name, "--test", str(test), "--validation", "0", "--json")
    rows: list[dict[str, Any]] = json.loads(said)
    return rows[0]


def fill(atomlake: Commands, folder: Path, sets: Mapping[str, tuple[Files, Mapping[str, Files]]]) -> None:
    """Put, ingest and publish training files and test files."""
    for training_files, test_files in sets.values():
        for files in (training_files, *test_files.values()):
            put(atomlake, folder, files)
    atomlake("ingest")
    for training_files, test_files in sets.values():
        publish(atomlake, training_files.project, 0.0)
        for files in test_files.values():
            publish(atomlake, files.project, 0.999)


Result = tuple[dict[str, Any], dict[str, dict[str, Any]]]
"""Card of a potential, and its errors by test set."""


def measure(atomlake: Commands, name: str, seconds: float) -> Result:
    """Train on the training files and evaluate on each test file; returns the card and the errors by test file."""
    training_files, test_files = SETS[name]
    options = {**SETTINGS, **RUN, "max_seconds": seconds}
    said = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in options.items()]
    words = [word for text in said for word in ("--set", text)]
    card = json.loads(atomlake("train", training_files.project, "--name", name, *words, "--json"))
    found = {}
    for what, files in test_files.items():
        found[what] = json.loads(atomlake("evaluate", name, files.project, "--json"))
        print(name, what, found[what]["overall"], flush=True)
    print(json.dumps({"card": card, "found": found}), flush=True)
    return card, found


def published(readme: str) -> dict[str, dict[str, tuple[float, float]]]:
    """Return (energy, force) RMSE in meV and meV/Å by test set and potential, as the table of the README.md has them."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in readme.splitlines() if line.startswith("|")]
    names = rows[0][1:]
    found = {}
    for cells in rows[2:]:
        pairs = [cell.split(" / ") for cell in cells[1:]]
        found[cells[0]] = {name: (float(energy), float(force)) for name, (energy, force) in zip(names, pairs, strict=True)}
    return found


Others = Mapping[str, Mapping[str, tuple[float, float]]]
HEAD = ("frames", "energy RMSE meV", "energy RMSE meV/atom", "force RMSE meV/Å", "MAE meV/atom / meV/Å", "mean energy, zero forces: RMSE")


def table(card: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]], others: Others) -> list[str]:
    """Return errors by test set: root mean square ones of the whole energy and of forces, mean absolute ones, and the published."""
    names = sorted({name for row in others.values() for name in row})
    head = [*HEAD, *(f"{name}: RMSE meV / meV/Å" for name in names)]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    rows = {"train": card["metrics"]["train"], **found}
    for what, metrics in rows.items():
        own, trivial = metrics["overall"], metrics["trivial"]
        size = own["n_atoms"] / own["n_frames"]
        cells = [f"{what} ({own['n_frames']})", shown(own["energy_rmse"], size), shown(own["energy_rmse"]), shown(own["force_rmse"]),
                 f"{shown(own['energy_mae'])} / {shown(own['force_mae'])}",
                 f"{shown(trivial['energy_rmse'])} / {shown(trivial['force_rmse'])}"]  # fmt: skip
        cells += [f"{others[what][name][0]:g} / {others[what][name][1]:g}" if what in others else "–" for name in names]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def ratios(found: Mapping[str, Mapping[str, Any]], others: Others) -> str:
    """Return our errors over the best published ones, test set by test set."""
    told = []
    for what, row in others.items():
        own, best = found[what]["overall"], [min(pair[place] for pair in row.values()) for place in (0, 1)]
        size = own["n_atoms"] / own["n_frames"]
        told.append(f"{what} {1000 * size * own['energy_rmse'] / best[0]:.1f} / {1000 * own['force_rmse'] / best[1]:.1f}")
    return f"Our errors over the best published, energy / force: {', '.join(told)}." if told else ""


def shown(value: float | None, times: float = 1.0) -> str:
    """Return eV as meV, or a dash where there are no labels."""
    return "–" if value is None or math.isnan(value) else f"{1000 * times * value:.2f}"


def page(typed: list[str], parts: Mapping[str, list[str]], seconds: float, notes: list[str]) -> str:
    """Return the result as Markdown."""
    lines = [
        "# Molecules and liquid water", "",
        f"`python benchmarks/molecules.py --seconds {seconds:g}`: {seconds:g} CPU seconds of one thread for each set, one setting for",
        "both, tuned on neither. Files without units go through `atomlake put --units`, and from there by the commands that",
        "everything else goes by; test files were measured on once.", "",
    ]  # fmt: skip
    for title, rows in parts.items():
        lines += [f"## {title}", "", *rows, ""]
    lines += [f"torch {torch.__version__}, {platform.machine()}, one thread.", "", *(f"- {note}" for note in notes), "",
              "## What was typed", "", "```sh", *typed, "```", ""]  # fmt: skip
    return "\n".join(lines)


TITLES = {
    "acac": "Acetylacetone: 15 atoms, no cell, trained on 500 frames at 300 K",
    "water": "Liquid water: 192 atoms, trained on data_0 to data_2, tested on data_3",
}
REMARKS = {
    "acac": "Published: errors after training on the same 500 frames, from the README.md beside the data, which quotes the paper of MACE "
    "(arXiv 2206.07697) from memory.",
    "water": "No published accuracy belongs to this excerpt.",
}


def measure_all(atomlake: Commands, folder: Path, names: list[str], seconds: float) -> dict[str, Result]:
    """Fill the lake, train and measure each set."""
    fill(atomlake, folder, {name: SETS[name] for name in names})
    return {name: measure(atomlake, name, seconds) for name in names}


def told(results: Mapping[str, Result], folder: Path, seconds: float, typed: list[str], load: float) -> str:
    """Return the page of results; load is the load average of the machine at the end."""
    parts, notes = {}, [f"load average of the {os.cpu_count()} cores: {load:.0f}; a CPU second does less while others use the caches"]
    for name, (card, found) in results.items():
        readme = folder / SETS[name][0].paths[0].split("/")[0] / "README.md"
        others = published(readme.read_text()) if name == "acac" else {}
        parts[TITLES[name]] = [*table(card, found, others), "", REMARKS[name], ratios(found, others)]
        notes += [f"{name}: {card['n_parameters']} weights, {card['state']}", *(f"{name}: {note}" for note in card["notes"])]
        for check in (card["decision"] or {}).get("checks", ()):
            notes.append(f"{name}, gate, {check['name']}: {'passed' if check['passed'] else 'NOT passed'}, {check['detail']}")
    return page(typed, parts, seconds, notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT.parent / "shared" / "benchmarks")
    parser.add_argument("--only", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seconds", type=float, default=90.0, help="CPU time for each set")
    parser.add_argument("--out", type=Path, help="Markdown file for the page")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, server(Path(name)):
        atomlake = Commands(Path(name), given.folder)
        results = measure_all(atomlake, given.folder, given.only, given.seconds)
    text = told(results, given.folder, given.seconds, atomlake.typed, os.getloadavg()[0])
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
