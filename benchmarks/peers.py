"""Other codes beside hdnnp, turn by turn in one run on the same structures; CPU time of one thread each.

    python benchmarks/peers.py --nep PYTHON --ani PYTHON --mace PYTHON --out benchmarks/results/peers.md

NEP needs calorine, the others torchani and mace-torch, each in the environment of the named Python; n2p2 takes part where `nnp-predict` is
on the PATH. What is not there is left out by name. Each turn lets every code do one step, so that a machine that is shared slows all of
them alike; medians of the ratios of the same turn are printed. n2p2 begins anew for each structure: the time of eight atoms is taken off.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.io import write

# Files here have names of packages: this folder must not come first.
sys.path.append(sys.path.pop(0))

from training.data import GraphCache
from training.optimisers import make_optimiser
from training.potentials import find_potential
from training.settings import TrainSettings
from training.structures import from_atoms
from training.task import error_sums

ROOT = Path(__file__).resolve().parent.parent
SIZES = (5, 11)
"""Cubes of the cell of eight atoms: 1,000 and 10,648 atoms."""

SHAPES = {
    "hdnnp, 3-body, 4 channels, l to 3": TrainSettings(channels=4, l_max=3, optimiser="soap"),
    "hdnnp, 3-body, 6 channels, l to 4": TrainSettings(channels=6, l_max=4, optimiser="soap"),
    "hdnnp, 4-body, 6 channels, l to 4": TrainSettings(channels=6, l_max=4, four_body=True, optimiser="soap"),
}

NEP = """
import sys, time, numpy
from ase.io import read
from calorine.calculators import CPUNEP
atoms = read(sys.argv[2]); atoms.calc = CPUNEP(sys.argv[1]); random = numpy.random.default_rng(0)
for line in sys.stdin:
    atoms.positions += random.normal(scale=1e-4, size=atoms.positions.shape)
    start = time.process_time(); atoms.get_forces(); print(time.process_time() - start, flush=True)
"""

ANI = """
import sys, time, numpy, torch
from ase.io import read
from torchani.aev import AEVComputer
torch.set_num_threads(1); torch.manual_seed(0)
frames = read(sys.argv[1], ":8")
aev = AEVComputer.like_2x(num_species=1)
linear, silu = torch.nn.Linear, torch.nn.SiLU
net = torch.nn.Sequential(linear(aev.out_dim, 32), silu(), linear(32, 32), silu(), linear(32, 1))
optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
data = [(torch.tensor(a.positions, dtype=torch.float32)[None], torch.tensor(a.cell.array, dtype=torch.float32)) for a in frames]
species, pbc = torch.zeros((1, len(frames[0])), dtype=torch.long), torch.ones(3, dtype=torch.bool)
for line in sys.stdin:
    start = time.process_time(); optimiser.zero_grad()
    for positions, cell in data:
        positions = positions.clone().requires_grad_(True)
        energy = net(aev(species, positions, cell, pbc)).sum()
        forces = -torch.autograd.grad(energy, positions, create_graph=True)[0]
        ((energy / len(frames[0])).square() + forces.square().mean()).backward()
    optimiser.step(); print(time.process_time() - start, flush=True)
"""

MACE = """
import os, sys, time
os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # as its own programs set it, for constants of e3nn
import numpy, torch
out, sys.stdout = sys.stdout, sys.stderr
from ase.io import read
from e3nn import o3
from mace import data, modules, tools
from mace.tools import torch_geometric
torch.set_num_threads(1); torch.manual_seed(0); torch.set_default_dtype(torch.float32)
table, frames = tools.AtomicNumberTable([14]), read(sys.argv[1], ":8")
known = {"energy": 0.0}
configs = [data.Configuration(atomic_numbers=a.numbers, positions=a.positions, properties={**known, "forces": a.positions * 0},
           property_weights={"energy": 1.0, "forces": 1.0}, cell=a.cell.array, pbc=(True,) * 3) for a in frames]
graphs = [data.AtomicData.from_config(each, z_table=table, cutoff=5.0) for each in configs]
block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
model = modules.MACE(r_max=5.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, interaction_cls=block, interaction_cls_first=block,
                     num_interactions=2, num_elements=1, hidden_irreps=o3.Irreps("32x0e"), MLP_irreps=o3.Irreps("16x0e"),
                     atomic_energies=numpy.zeros(1), avg_num_neighbors=28.0, atomic_numbers=[14], correlation=3,
                     gate=torch.nn.functional.silu)
optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
for line in sys.stdin:
    start = time.process_time(); optimiser.zero_grad()
    batch = next(iter(torch_geometric.dataloader.DataLoader(graphs, batch_size=8)))
    found = model(batch.to_dict(), training=True)
    ((found["energy"] / 64).square().mean() + found["forces"].square().mean()).backward()
    optimiser.step(); print(time.process_time() - start, file=out, flush=True)
"""


def silicon(repeats: int, scale: float = 0.05, seed: int = 1) -> Atoms:
    """Return rattled diamond, 28 neighbours within 5 Å."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(repeats)
    atoms.rattle(scale, seed=seed)
    return atoms


class Peer:
    """Another code in its own process: each call lets it do one step and returns the CPU seconds of that."""

    def __init__(self, python: str, script: str, *arguments: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": ""}
        command = [python, "-W", "ignore", "-c", script, *arguments]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (lives as long as the process)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=environment
        )

    def __call__(self) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("step\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.errors.seek(0)
            raise SystemExit(f"a peer ended:\n{self.errors.read()[-2000:]}")
        return float(answer)


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """Return work as a step that tells its CPU seconds."""

    def step() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return step


def turns(steps: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each code in each turn; a first turn is not counted."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            seconds = step()
            if turn:
                found[name].append(seconds)
    return found


def nep_file(folder: Path) -> Path:
    """Write a NEP of random weights: 4-body, 5 Å, 30 neurons (format: GPUMD manual, nep.txt)."""
    descriptors, neurons = 5 + 5 * 5, 30
    count = (descriptors + 2) * neurons + 1 + 5 * 9 + 5 * 9
    random = np.random.default_rng(0)
    head = "nep4 1 Si\ncutoff 5 5 100 100\nn_max 4 4\nbasis_size 8 8\nl_max 4 2 0\nANN 30 0\n"
    file = folder / "nep.txt"
    file.write_text(head + "".join(f"{value:.7e}\n" for value in random.normal(scale=0.1, size=count)) + "1.0\n" * descriptors)
    return file


def n2p2(folder: Path, atoms: Atoms) -> Callable[[], float]:
    """Return a step of nnp-predict with the published potential of Si, which counts in Bohr."""
    shutil.copytree(ROOT.parent / "shared" / "benchmarks" / "hdnnp-reference" / "mlearn-si", folder)
    lines = ["begin", *(f"lattice {' '.join(f'{x / units.Bohr:.9f}' for x in row)}" for row in atoms.cell.array)]
    lines += [f"atom {' '.join(f'{x / units.Bohr:.9f}' for x in row)} Si 0 0 0 0 0" for row in atoms.positions]
    (folder / "input.data").unlink()
    (folder / "input.data").write_text("\n".join([*lines, "energy 0", "charge 0", "end", ""]))

    def step() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(["nnp-predict", "0"], cwd=folder, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return step


def our_step(settings: TrainSettings, atoms: Atoms, dtype: str) -> Callable[[], float]:
    """Return energies and forces by the ASE calculator with a new list each step; weights are random, time does not depend on them."""
    from schemas.potentials import PotentialCard
    from training.stored import Potential

    spec = find_potential(settings.potential)
    torch.manual_seed(0)
    model = spec.build(("Si",), settings.cutoff, spec.configure(settings))
    model.standardise([GraphCache(from_atoms([silicon(2)]), ("Si",), settings.cutoff).batch([0])])
    card = PotentialCard("s", 1, "hdnnp", "candidate", ("Si",), 5.0, "", "", {}, (), {}, {}, {"Si": 0.0}, (), {}, "", 0.0, 0)
    calculator, random, moving = Potential(model, card).calculator(dtype=dtype), np.random.default_rng(0), atoms.copy()

    def work() -> None:
        moving.positions += random.normal(scale=1e-4, size=moving.positions.shape)
        calculator.calculate(moving, ["energy", "forces"])

    return timed(work)


def inference(given: argparse.Namespace) -> list[str]:
    """Return tables of atom-steps each second and of ratios, list included, for both sizes."""
    lines = []
    for repeats in SIZES:
        atoms = silicon(repeats)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            steps: dict[str, Callable[[], float]] = {}
            for shape, settings in SHAPES.items():
                steps |= {f"{shape}, {dtype}": our_step(settings, atoms, dtype) for dtype in ("float32", "float64")}
            if shutil.which("nnp-predict"):
                steps |= {"n2p2": n2p2(folder / "n2p2", atoms), "(n2p2, 8 atoms)": n2p2(folder / "small", silicon(1))}
            if given.nep:
                write(folder / "si.xyz", atoms)
                steps["NEP"] = Peer(given.nep, NEP, str(nep_file(folder)), str(folder / "si.xyz"))
            found = turns(steps, given.rounds if repeats == SIZES[0] else max(given.rounds // 3, 3))
        start = found.pop("(n2p2, 8 atoms)", None)
        if start:
            found["n2p2"] = [whole - statistics.median(start) for whole in found["n2p2"]]
        lines += ["", *table(f"energies and forces, {len(atoms):,} atoms", "atom-steps/s", len(atoms), found, ("n2p2", "NEP"))]
    return lines


def our_training(settings: TrainSettings, frames: list[Atoms]) -> Callable[[], float]:
    """Return a step of eight frames: batch from cached neighbour lists, forces with their graph, gradient by the weights, optimiser."""
    spec = find_potential(settings.potential)
    torch.manual_seed(0)
    model = spec.build(("Si",), settings.cutoff, spec.configure(settings))
    arrays = from_atoms(frames)
    arrays.energy[:], arrays.forces[:] = 0.0, 0.0
    cache, optimiser = GraphCache(arrays, ("Si",), settings.cutoff), make_optimiser(model, settings)
    model.standardise([cache.batch(range(8))])

    def work() -> None:
        optimiser.zero_grad()
        batch = cache.batch(range(8))
        error_sums(model(batch, create_graph=True), batch)[:, 0].sum().backward()
        optimiser.step()

    return timed(work)


def training(given: argparse.Namespace) -> list[str]:
    """Return a table of training steps on eight frames of 64 atoms."""
    frames = [silicon(2, 0.1, seed) for seed in range(8)]
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "frames.xyz"
        write(file, frames)
        steps: dict[str, Callable[[], float]] = {shape: our_training(settings, frames) for shape, settings in SHAPES.items()}
        if given.ani:
            steps["TorchANI"] = Peer(given.ani, ANI, str(file))
        if given.mace:
            steps["MACE"] = Peer(given.mace, MACE, str(file))
        found = turns(steps, given.rounds)
    return table("training step, 8 frames of 64 atoms", "frames/s", 8, found, ("TorchANI", "MACE"))


def table(title: str, unit: str, work: int, found: Mapping[str, list[float]], against: tuple[str, ...]) -> list[str]:
    """Return rows of speeds and of the medians of ratios within turns."""
    there = [peer for peer in against if peer in found]
    lines = [f"| {title} | {unit} | " + " | ".join(f"times {peer}" for peer in there) + " |", "| --- |" + " --- |" * (1 + len(there))]
    for name, seconds in found.items():
        ratios = [statistics.median(other / own for own, other in zip(seconds, found[peer], strict=True)) for peer in there]
        lines.append(f"| {name} | {work / statistics.median(seconds):,.0f} | " + " | ".join(f"{ratio:.1f}" for ratio in ratios) + " |")
    return [*lines, *(f"\n{peer}: not there, not measured." for peer in against if peer not in found)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    for name, package in (("nep", "calorine"), ("ani", "torchani"), ("mace", "mace-torch")):
        parser.add_argument(f"--{name}", help=f"Python of an environment that has {package}")
    parser.add_argument("--out", type=Path, help="Markdown file for the figures")
    given = parser.parse_args()
    torch.set_num_threads(1)
    loads = [os.getloadavg()[0]]
    parts = ["# Other codes beside hdnnp", "", "## Training", "", *training(given), ""]
    print("\n".join(parts), flush=True)
    use = ["## Use, neighbour list included", *inference(given), ""]
    print("\n".join(use), flush=True)
    parts += use
    loads.append(os.getloadavg()[0])
    what = {"torch": torch.__version__, "machine": platform.machine(), "cores": os.cpu_count(), "rounds": given.rounds}
    parts.append(
        f"{json.dumps(what)}, CPU time of one thread, turn by turn, medians; "
        f"load of the machine (processes that want a core) {loads[0]:.0f} before and {loads[1]:.0f} after."
    )
    print(parts[-1])
    if given.out:
        given.out.write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
