"""CPU time until the published n2p2 potential's force error on Si (mlearn) is reached: n2p2's own training, and ours.

    python benchmarks/silicon.py --out benchmarks/results/silicon.md

n2p2 (`nnp-scaling`, `nnp-train` on the PATH) trains with the published input.nn as it is, symmetry functions and Kalman filter included;
the weights that it writes after each epoch are measured by us on the test frames. Ours is trained anew for one, two, four ... CPU
seconds, the whole schedule of learning rate each time, one potential of the setting of `benchmarks/mlearn.py`. Both: one thread, CPU
time, neighbour lists and descriptors included; the error is the mean absolute one of force components over all test frames.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

# Files here have names of packages: this folder must not come first.
sys.path.append(sys.path.pop(0))

from mlearn import SETTINGS, frames_of, published

from schemas.elements import symbols_of
from schemas.frames import FrameArrays
from schemas.units import BOHR, HARTREE
from training import FrameSplits, train
from training.evaluation import evaluate
from training.job import empty_arrays
from training.runner_potential import read_runner

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "benchmarks"
SEED = 0
LOOK_SECONDS = 1.0
"""Between two looks at what n2p2 has written."""


def write_input_data(arrays: FrameArrays, file: Path) -> None:
    """Write labelled frames as input.data, in Bohr, Hartree and Hartree/Bohr."""
    with file.open("w") as stream:
        for frame in range(arrays.count):
            atoms = slice(int(arrays.offsets[frame]), int(arrays.offsets[frame + 1]))
            stream.write("begin\n")
            stream.writelines(f"lattice {_row(vector / BOHR)}\n" for vector in arrays.cell[frame])
            rows = zip(
                symbols_of(arrays.numbers[atoms]), arrays.positions[atoms] / BOHR, arrays.forces[atoms] * BOHR / HARTREE, strict=True
            )
            stream.writelines(f"atom {_row(place)} {symbol} 0 0 {_row(force)}\n" for symbol, place, force in rows)
            stream.write(f"energy {float(arrays.energy[frame]) / HARTREE!r}\ncharge 0\nend\n")


def _row(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in values)


def n2p2(reference: Path, frames: FrameArrays, test: FrameArrays, goal: float, most: float) -> Iterator[tuple[int, float, float]]:
    """Yield epoch, CPU seconds from the start of nnp-scaling, and force error (eV/Å) of what n2p2 trains, until goal or most seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(reference / "input.nn", folder)
        write_input_data(frames, folder / "input.data")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        begun = os.times()
        subprocess.run(["nnp-scaling", "100"], cwd=folder, check=True, capture_output=True, env=environment)
        after = os.times()
        before = after.children_user + after.children_system - begun.children_user - begun.children_system
        with subprocess.Popen(["nnp-train"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, env=environment) as process:
            try:
                for epoch, used, weights in written(process, folder, before, most):
                    error = force_error(reference, folder, weights, test)
                    yield epoch, used, error
                    if error <= goal:
                        return
            finally:
                process.kill()


def written(process: subprocess.Popen[bytes], folder: Path, before: float, most: float) -> Iterator[tuple[int, float, Path]]:
    """Yield epoch, CPU seconds (before included) and file of the weights that n2p2 writes while it runs, until most seconds."""
    epoch, used = 1, before
    while process.poll() is None and used < most:
        time.sleep(LOOK_SECONDS)
        used = before + cpu_seconds(process.pid)
        weights = folder / f"weights.014.{epoch:06d}.out"
        if weights.is_file():
            # Written in a moment, which is given to it.
            time.sleep(LOOK_SECONDS)
            yield epoch, used, weights
            epoch += 1


def cpu_seconds(process: int) -> float:
    """Return the CPU time of a running process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def force_error(reference: Path, folder: Path, weights: Path, test: FrameArrays) -> float:
    """Return the mean absolute error of force components (eV/Å) of the weights that n2p2 wrote."""
    with tempfile.TemporaryDirectory() as name:
        shutil.copy(reference / "input.nn", name)
        shutil.copy(folder / "scaling.data", name)
        shutil.copy(weights, Path(name) / "weights.014.data")
        return evaluate(read_runner(Path(name)), test, "Si").overall.force_mae


def ours(frames: FrameArrays, test: FrameArrays, goal: float, most: float) -> Iterator[tuple[float, float, float]]:
    """Yield budget, CPU seconds of a whole training, and force error (eV/Å), the budget doubled until goal or most seconds."""
    budget = 1.0
    while budget <= most:
        settings = dataclasses.replace(SETTINGS, max_seconds=budget, seed=SEED)
        splits = FrameSplits(frames, empty_arrays(), empty_arrays(), "Si")
        with tempfile.TemporaryDirectory() as work:
            begun = time.process_time()
            potential = train(splits, settings, name="Si", work=Path(work), progress=lambda _: None)
            used = time.process_time() - begun
            error = evaluate(potential, test, "Si").overall.force_mae
        yield budget, used, error
        if error <= goal:
            return
        budget *= 2


def report(goal: float, theirs: list[tuple[int, float, float]], own: list[tuple[float, float, float]], load: float) -> str:
    """Return the result as Markdown."""
    lines = [
        "# CPU time to the published n2p2 error on Si", "",
        f"`python benchmarks/silicon.py`; {platform.machine()}, torch {torch.__version__}, one thread each, one after the other, "
        f"load {load:.1f} at the start. Goal: {1000 * goal:.1f} meV/Å, the published potential's force error on the test file.", "",
        "| n2p2, epoch | CPU s | force error, meV/Å |", "| --- | --- | --- |",
        *(f"| {epoch} | {used:,.0f} | {1000 * error:.1f} |" for epoch, used, error in theirs), "",
        "| ours, CPU s of training steps | CPU s in all | force error, meV/Å |", "| --- | --- | --- |",
        *(f"| {budget:g} | {used:.1f} | {1000 * error:.1f} |" for budget, used, error in own), "",
    ]  # fmt: skip
    reached = own[-1][2] <= goal
    if not reached:
        return "\n".join([*lines, "Ours did not reach the goal."]) + "\n"
    if theirs and theirs[-1][2] <= goal:
        ratio = f"n2p2 took {theirs[-1][1] / own[-1][1]:.0f} times the CPU time of ours"
    elif theirs:
        ratio = f"n2p2 had not reached it after {theirs[-1][1] / own[-1][1]:.0f} times the CPU time of ours"
    else:
        ratio = "nnp-train is not on the PATH, or wrote no epoch in the time given"
    return "\n".join([*lines, f"{ratio} (aim: at least 20).", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=SHARED / "mlearn")
    parser.add_argument("--reference", type=Path, default=SHARED / "hdnnp-reference" / "mlearn-si")
    parser.add_argument("--seconds", type=float, default=3600.0, help="most CPU time of n2p2")
    parser.add_argument("--out", type=Path, help="Markdown file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    rows = published((given.folder / "README.md").read_text())
    place = ("Ni", "Cu", "Li", "Mo", "Si", "Ge").index("Si")
    goal = next(values for name, values in rows.items() if name.startswith("NNP"))[place][1] / 1000
    frames, test = (frames_of(given.folder / f"Si_{split}.extxyz")[0] for split in ("train", "test"))
    own, theirs = [], []
    for budget, used, error in ours(frames, test, goal, given.seconds):
        own.append((budget, used, error))
        print(f"ours: {budget:g} s, {used:.1f} CPU s, {1000 * error:.1f} meV/Å", flush=True)
    if shutil.which("nnp-train") and shutil.which("nnp-scaling"):
        for epoch, used, error in n2p2(given.reference, frames, test, goal, given.seconds):
            theirs.append((epoch, used, error))
            print(f"n2p2: epoch {epoch}, {used:.0f} CPU s, {1000 * error:.1f} meV/Å", flush=True)
    text = report(goal, theirs, own, load)
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
