"""Speed of potentials: molecular dynamics, training, reading. CPU time of one thread throughout; ours alone.

    python benchmarks/training.py                          # everything
    python benchmarks/training.py --out benchmarks/results/training.md

Weights are random: neither the time of a step nor that of a batch depends on them. Other codes: `benchmarks/peers.py`.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from ase import Atoms
from ase.build import bulk

# Files here have names of packages: this folder must not come first.
sys.path.append(sys.path.pop(0))

from made_frames import RUN, commit_runs

from lake.arrays import ARRAY_COLUMNS
from lake.lake import open as open_lake
from schemas.datasets import FrameQuery, Split
from schemas.frames import FrameArrays
from schemas.potentials import PotentialCard
from training.calculator import PotentialCalculator
from training.data import GraphCache
from training.job import mapped
from training.optimisers import make_optimiser
from training.potentials import find_potential
from training.settings import TrainSettings
from training.stored import Potential
from training.structures import from_atoms
from training.task import error_sums

SIZES = (5, 11)
"""Cubes of the cell of eight atoms: 1,000 and 10,648 atoms."""

SHAPES = {
    "4-body, 6 channels, l to 4": TrainSettings(channels=6, l_max=4, four_body=True, optimiser="soap", batch_atoms=512),
    "3-body, 6 channels, l to 4": TrainSettings(channels=6, l_max=4, optimiser="soap", batch_atoms=512),
    "3-body, 4 channels, l to 3": TrainSettings(channels=4, l_max=3, optimiser="soap", batch_atoms=512),
}


def silicon(repeats: int) -> Atoms:
    """Return rattled diamond, 28 neighbours within 5 Å."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(repeats)
    atoms.rattle(0.05, seed=1)
    return atoms


def cpu_seconds(work: Callable[[], object], rounds: int) -> float:
    """Return the median CPU time of work, the first time not counted."""
    work()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def potential_of(settings: TrainSettings, *, compiled: str = "auto") -> Potential:
    """Return a potential of random weights in single precision."""
    spec = find_potential(settings.potential)
    torch.manual_seed(0)
    model = spec.build(("Si",), settings.cutoff, spec.configure(settings))
    model.compiled = compiled
    model.standardise([GraphCache(from_atoms([silicon(2)]), ("Si",), settings.cutoff).batch([0])])
    card = PotentialCard(
        "speed", 1, "hdnnp", "candidate", ("Si",), settings.cutoff, "", "", {}, (), {}, {}, {"Si": 0.0}, (), {}, "", 0.0, 0
    )
    return Potential(model, card)


def inference(rounds: int) -> list[str]:
    """Return a table of atom-steps each second of energies and forces by the ASE calculator."""
    lines = ["| energies and forces, atom-steps/s | " + " | ".join(f"{8 * n**3:,} atoms" for n in SIZES) + " |", "| --- | --- | --- |"]
    for name, settings in SHAPES.items():
        for dtype in ("float32", "float64"):
            for skin, words in ((0.0, "new list each step"), (0.5, "list kept (skin 0.5 Å)")):
                calculator = potential_of(settings).calculator(dtype=dtype, skin=skin)
                speeds = []
                for repeats in SIZES:
                    atoms = silicon(repeats)
                    random = np.random.default_rng(0)

                    def step(
                        atoms: Atoms = atoms, random: np.random.Generator = random, calculator: PotentialCalculator = calculator
                    ) -> None:
                        atoms.positions += random.normal(scale=1e-4, size=atoms.positions.shape)
                        calculator.calculate(atoms, ["energy", "forces"])

                    speeds.append(len(atoms) / cpu_seconds(step, max(rounds if repeats == SIZES[0] else rounds // 3, 2)))
                lines.append(f"| {name}, {dtype}, {words} | " + " | ".join(f"{speed:,.0f}" for speed in speeds) + " |")
    plain = potential_of(SHAPES["4-body, 6 channels, l to 4"], compiled="off").calculator(dtype="float32")
    atoms = silicon(SIZES[0])
    speed = len(atoms) / cpu_seconds(lambda: plain.calculate(atoms, ["energy", "forces"]), 3)
    return [*lines, f"| 4-body, float32, compile off | {speed:,.0f} | |"]


def training_steps(rounds: int) -> list[str]:
    """Return a table of training steps: frames of 64 atoms, eight of them a step."""
    structures = []
    for seed in range(64):
        atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(2)
        atoms.rattle(0.1, seed=seed)
        structures.append(atoms)
    bare = from_atoms(structures)
    arrays = FrameArrays(bare.offsets, bare.numbers, bare.positions, bare.cell, bare.pbc, np.zeros(64), np.zeros((64 * 64, 3)), bare.stress)
    lines = [
        "| training, 512 atoms a step | frames/s | batch ms | forward and backward ms | optimiser ms | batch's share |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, settings in SHAPES.items():
        model = potential_of(settings).model
        cache, optimiser = GraphCache(arrays, ("Si",), settings.cutoff), make_optimiser(model, settings)
        cache.batch(range(64))
        batch = cache.batch(range(8))

        def gradients(model: torch.nn.Module = model, batch: object = batch) -> None:
            model.zero_grad()
            error_sums(model(batch, create_graph=True), batch)[:, 0].sum().backward()  # type: ignore[arg-type]

        load, compute = cpu_seconds(lambda cache=cache: cache.batch(range(8, 16)), rounds), cpu_seconds(gradients, rounds)  # type: ignore[misc]
        step = cpu_seconds(optimiser.step, 10 * rounds)
        total = load + compute + step
        lines.append(
            f"| {name} | {8 / total:,.0f} | {1e3 * load:.2f} | {1e3 * compute:.1f} | {1e3 * step:.1f} | {100 * load / total:.1f} % |"
        )
    return lines


def reading(rounds: int, frames: int = 20_000) -> list[str]:
    """Return frames of 64 atoms each second: out of the files of a lake by columns, as a dataset, and out of its local copy at random."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        place = open_lake(str(Path(name) / "lake")).create()
        commit_runs(place, {"Mg-O": range(frames // RUN)}, 64, 1)
        dataset = place.publish("speed", FrameQuery(), Split(0.0, 0.0))
        files = sorted(Path(name).glob("lake/frames/*/*.parquet"))
        columns = [column for column in ARRAY_COLUMNS if column not in ("frame_id", "element_system")]

        def by_columns() -> None:
            for file in files:
                with pa.memory_map(str(file)) as stream:
                    for batch in pq.ParquetFile(stream).iter_batches(2048, columns=columns, use_threads=False):
                        for key in ("positions", "forces", "cell", "numbers", "stress"):
                            torch.from_numpy(batch[key].flatten().to_numpy()), torch.from_numpy(batch[key].offsets.to_numpy())

        few = max(rounds // 3, 2)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            parquet = frames / cpu_seconds(by_columns, few)
        arrays = frames / cpu_seconds(dataset.arrays, few)
        copy = dataset.local_copy(Path(name) / "copies")
        order = random.permutation(frames)
        gathered = frames / cpu_seconds(lambda: [copy.gather(order[start : start + 64]) for start in range(0, frames, 64)], few)
        assert mapped(copy).count == frames
        size = sum(file.stat().st_size for file in files)
    return [
        f"Files of a lake (Parquet, zstd, BYTE_STREAM_SPLIT, float64; {size / frames:,.0f} bytes a frame) to tensors by columns, as they "
        f"stand: {parquet:,.0f} frames/s of 64 atoms.",
        f"The same to arrays in the order of a dataset, ids compared, copies made: {arrays:,.0f} frames/s.",
        f"Local copy to batches of 64 frames in random order: {gathered:,.0f} frames/s of 64 atoms.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="Markdown file for the figures")
    given = parser.parse_args()
    torch.set_num_threads(1)
    parts = ["# Speed of potentials", ""]
    for title, work in (
        ("Use", lambda: inference(given.rounds)),
        ("Training", lambda: training_steps(given.rounds)),
        ("Reading", lambda: [f"- {line}" for line in reading(given.rounds)]),
    ):
        lines = work()
        print("\n".join((title, *lines)), flush=True)
        parts += [f"## {title}", "", *lines, ""]
    parts.append(
        f"{json.dumps({'torch': torch.__version__, 'machine': platform.machine(), 'rounds': given.rounds})}, CPU time of one thread."
    )
    if given.out:
        given.out.parent.mkdir(exist_ok=True)
        given.out.write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
