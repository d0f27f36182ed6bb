"""What a device makes of training steps: torch operations and compiled graphs, precision of products, batches. Runs on a CPU too.

    python benchmarks/gpu.py --device cuda --atoms 512,4096,32768
    python benchmarks/gpu.py --device cpu --atoms 128 --rounds 3

Weights are random: the time of a step does not depend on them. Times are wall times, with the device waited for.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase.build import bulk

# Files here have names of packages: this folder must not come first.
sys.path.append(sys.path.pop(0))

from training.accelerators import find_device
from training.batch import Batch
from training.data import GraphCache
from training.device_frames import DeviceFrames
from training.optimisers import make_optimiser
from training.potentials import find_potential
from training.potentials.base import EnergyModel
from training.precision import TOLERANCE, force_error
from training.settings import TrainSettings
from training.structures import from_atoms
from training.task import error_sums

ELEMENTS = ("Ca", "Mg", "O")
SETTINGS = TrainSettings(channels=6, l_max=4, four_body=True, optimiser="soap")
FRAME = 64
"""Atoms of a frame."""


def model_on(device: torch.device, compiled: str) -> EnergyModel:
    """Return a potential of random weights in single precision."""
    spec = find_potential("hdnnp")
    torch.manual_seed(0)
    model = spec.build(ELEMENTS, SETTINGS.cutoff, spec.configure(SETTINGS))
    model.compiled = compiled
    model.standardise([frames_of(2).batch([0, 1])])
    return model.to(device)


def frames_of(count: int) -> GraphCache:
    """Return rattled mixed oxides with labels."""
    random = np.random.default_rng(0)
    structures = []
    for _ in range(count):
        atoms = bulk("MgO", "rocksalt", a=4.25, cubic=True).repeat(2)
        atoms.symbols[random.permutation(np.flatnonzero(atoms.symbols == "Mg"))[:12]] = "Ca"
        atoms.positions += random.normal(scale=0.1, size=atoms.positions.shape)
        structures.append(atoms)
    bare = from_atoms(structures)
    forces, stress = random.normal(size=bare.forces.shape), random.normal(scale=0.01, size=bare.stress.shape)
    return GraphCache(dataclasses.replace(bare, energy=np.zeros(count), forces=forces, stress=stress), ELEMENTS, SETTINGS.cutoff)


def milliseconds(work: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Return the median wall time of work, the first three times not counted."""
    times = []
    for _ in range(rounds + 3):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[3:])


def wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def stepper(model: EnergyModel, batch: Batch) -> Callable[[], None]:
    """Return a function that makes one training step."""
    optimiser = make_optimiser(model, SETTINGS)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        error_sums(model(batch, create_graph=True), batch)[:, 0].sum().backward()
        optimiser.step()

    return step


def waits(step: Callable[[], None], device: torch.device) -> str:
    """Return how often the host waits for the device in a step."""
    if device.type != "cuda":
        return "-"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        step()
        torch.cuda.set_sync_debug_mode("default")
    return str(sum("synchroniz" in str(each.message) for each in caught))


def steps(device: torch.device, sizes: list[int], rounds: int) -> list[str]:
    """Return a table of training steps by torch operations and by a compiled graph."""
    ways = ["off", "on"] if device.type != "cpu" else ["off", "auto"]
    lines = ["| atoms a step | way | first step s | step ms | atoms/s | waits for the device | largest memory MB |", "| --- " * 7 + "|"]
    for size in sizes:
        cache = frames_of(max(size // FRAME, 1))
        batch = cache.batch(range(cache.arrays.count)).to(device)
        for way in ways:
            model = model_on(device, way)
            step = stepper(model, batch)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            begun = time.perf_counter()
            step()
            wait(device)
            first = time.perf_counter() - begun
            taken = milliseconds(step, rounds, device)
            memory = f"{torch.cuda.max_memory_allocated(device) / 2**20:.0f}" if device.type == "cuda" else "-"
            lines.append(
                f"| {batch.n_atoms:,} | {model.path()} | {first:.1f} | {taken:.2f} | {1e3 * batch.n_atoms / taken:,.0f} |"
                f" {waits(step, device)} | {memory} |"
            )
    return lines


def precision(device: torch.device, rounds: int) -> list[str]:
    """Return a table of the errors of forces and the times of steps in each precision of products, by torch operations."""
    cache = frames_of(16)
    batch = cache.batch(range(16)).to(device)
    lines = [f"| matmul | error of forces, relative | allowed ({TOLERANCE:g}) | step ms |", "| --- " * 4 + "|"]
    for name in ("highest", "high", "bf16"):
        model = model_on(device, "off")
        error = force_error(model, name, batch)
        model.matmul = name
        torch.set_float32_matmul_precision("high" if name == "high" else "highest")
        taken = milliseconds(stepper(model, batch), rounds, device)
        torch.set_float32_matmul_precision("highest")
        lines.append(f"| {name} | {error:.1e} | {'yes' if error <= TOLERANCE else 'no'} | {taken:.2f} |")
    return lines


def batches(device: torch.device, rounds: int) -> list[str]:
    """Return a table of the time that a batch of 512 atoms takes: put together here and copied, and gathered on the device."""
    cache = frames_of(64)
    held = DeviceFrames(device)
    held.add([cache.graph(frame) for frame in range(64)])
    held.close()
    order = np.random.default_rng(0).permutation(64)[:8].tolist()
    ways = {
        "put together on the host, copied": lambda: cache.batch(order).to(device),
        "gathered on the device": lambda: held.batch(order),
    }
    return ["| batch of 512 atoms | ms |", "| --- | --- |"] + [
        f"| {name} | {milliseconds(work, rounds, device):.3f} |" for name, work in ways.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--atoms", default="512,4096,32768", help="atoms of a step, with commas between")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, help="write the tables there")
    options = parser.parse_args()
    device = find_device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    sizes = [int(text) for text in options.atoms.split(",")]
    parts = [
        [f"{name}, torch {torch.__version__}; hdnnp with 6 channels, l to 4, 4-body, SOAP, float32; frames of {FRAME} atoms"],
        steps(device, sizes, options.rounds),
        precision(device, options.rounds),
        batches(device, options.rounds),
    ]
    text = "\n\n".join("\n".join(part) for part in parts) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
