"""The demonstration, `make demo`: A = MgO, B = CaO, AB = (Mg,Ca)O, from dropped archives to molecular dynamics.

Every step is a command that a user could type, run against the local stack; this file only tells the story and checks the numbers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

import lake
from pipelines.commands.console import print_rows
from pipelines.demo_page import error_table, write_page
from pipelines.health import ui_url
from pipelines.ports import with_free_ports
from pipelines.reference import Comparison, compare, largest
from schemas.errors import AtomlakeError, ServiceFailed
from schemas.settings import Settings, environment_of_child, load

ROOT = Path(__file__).resolve().parent.parent
PARENTS, MIXED = "oxides-parents", "oxides"
FEW = 10
"""(Mg,Ca)O frames outside the test that the second potential may see."""
TRAINING = {"devices": 2, "epochs": 400, "max_seconds": 75, "optimiser": "soap"}
ENVIRONMENT = {"ATOMLAKE_INGEST_INTERVAL_SECONDS": "15", "ATOMLAKE_INGEST_QUIET_SECONDS": "1", "ATOMLAKE_RETRAIN_POTENTIAL": MIXED}


def shortened(words: Sequence[str]) -> str:
    """Return a command as a person would write it: paths below the project's folder, of many files the first and how many."""
    files = [word for word in words if word.startswith(str(ROOT))]
    kept = [word.removeprefix(f"{ROOT}/") for word in words if word not in files[1:]]
    if len(files) > 1:
        place = kept.index(files[0].removeprefix(f"{ROOT}/"))
        kept.insert(place + 1, f"... ({len(files)} files)")
    return " ".join(kept)


@dataclass
class Demo:
    """Where the demonstration works, and what it found on the way."""

    archives: Path
    expected: Path
    output: Path
    started: float
    step: int = 0
    ports: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the commands: this stack's home, and settings that make it quick."""
        own = {"ATOMLAKE_HOME": str(self.output / "home"), "PYTHONUNBUFFERED": "1", **ENVIRONMENT, **self.ports}
        return environment_of_child(own)

    def avoid_taken_ports(self) -> None:
        """Give every service whose port another program holds a free one, where the stack does not run already."""
        before = self.settings
        if not before.stack_file.exists():
            after = with_free_ports(before)
            changed = {name: port for name, port in asdict(after.stack).items() if port != getattr(before.stack, name)}
            self.ports = {f"ATOMLAKE_STACK_{name.upper()}": str(port) for name, port in changed.items()}
            for name, port in changed.items():
                print(f"  {name} {getattr(before.stack, name)} is taken by another program: {port} is used instead")

    @property
    def settings(self) -> Settings:
        """Settings as the commands see them."""
        return load(self.environment)

    def say(self, text: str) -> None:
        """Print a step of the story with the time since the start."""
        self.step += 1
        print(f"\n\033[1m[{time.monotonic() - self.started:4.0f} s] {self.step}. {text}\033[0m", flush=True)

    def run(self, *words: str) -> None:
        """Show and run an atomlake command; raises ServiceFailed where it fails."""
        print(f"$ atomlake {shortened(words)}", flush=True)
        done = subprocess.run([sys.executable, "-m", "pipelines.cli", *words], env=self.environment, check=False)
        if done.returncode:
            raise ServiceFailed(f"`atomlake {shortened(words)}` ended with code {done.returncode}; its message stands above")

    def ask(self, *words: str) -> Any:
        """Run an atomlake command with --json and return what it prints."""
        print(f"$ atomlake {' '.join(words)} --json", flush=True)
        command = [sys.executable, "-m", "pipelines.cli", *words, "--json"]
        done = subprocess.run(command, env=self.environment, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise ServiceFailed(f"`atomlake {shortened(words)}` ended with code {done.returncode}; its message stands above")
        return json.loads(done.stdout)


def drop(demo: Demo, files: Sequence[Path], project: str) -> dict[str, str]:
    """Put archives into the inbox and wait until the scheduled flow has seen them; returns {archive name: key}."""
    opened = lake.open(settings=demo.settings).create()
    frames = int(opened.systems()["n_frames"].sum() or 0)
    demo.run("put", *map(str, files), "--project", project, "--licence", "Apache-2.0")
    keys = {file.name: f"{project}/{file.name}" for file in files}
    deadline = time.monotonic() + 240
    before = -1
    while time.monotonic() < deadline:
        seen = opened.sources().filter(pl.col("key").is_in(list(keys.values())))
        count = int(seen.select(pl.col("key").n_unique()).collect().item())
        if count != before:
            print(f"  the scheduled flow has taken {count} of {len(keys)} archives", flush=True)
            before = count
        if count == len(keys):
            after = int(opened.systems()["n_frames"].sum() or 0)
            print(f"  {after} frames in the lake, {after - frames} of them new{'' if after > frames else ': nothing was taken twice'}")
            return keys
        time.sleep(2)
    raise ServiceFailed(f"the watcher took only {before} of {len(keys)} archives in four minutes; see {demo.output}/home/logs/flows.log")


def check_against_expected(demo: Demo, keys: dict[str, str]) -> list[Comparison]:
    """Compare frames, energies, forces and stress with the expected values; raises ServiceFailed where any differs."""
    found = compare(lake.open(settings=demo.settings), demo.expected, keys)
    wrong = [c for c in found if not c.agrees]
    worst = [largest(found, name) for name in Comparison.ERRORS]
    print(
        f"  {len(found)} calculations, {sum(c.frames for c in found)} frames (expected {sum(c.expected_frames for c in found)}); "
        f"largest differences: energy {worst[0]:.1e} eV, force {worst[1]:.1e} eV/Å, stress {worst[2]:.1e} GPa; {len(wrong)} differ"
    )
    if wrong:
        raise ServiceFailed("the lake differs from the expected values:\n" + "\n".join(str(c) for c in wrong))
    return found


def train(demo: Demo, dataset: str) -> None:
    """Train the potential of the dataset's name, or say that it has been trained on exactly these frames before."""
    known = {row["dataset"]: row for row in demo.ask("potentials", "list")}
    if dataset in known:
        row = known[dataset]
        print(f"  {row['name']} version {row['version']} was trained on this dataset before: nothing to do")
        return
    demo.run("train", dataset, "--name", dataset, *(word for field, value in TRAINING.items() for word in ("--set", f"{field}={value}")))


def show_errors(errors: dict[str, Any]) -> None:
    """Print the errors of each potential on each system, beside those of the trivial predictor."""
    header, rows = error_table(errors)
    print_rows([dict(zip(header, row, strict=True)) for row in rows], as_json=False)


def show_use(gradient: dict[str, Any], dynamics: list[dict[str, Any]]) -> None:
    """Print the gradient check and the dynamics; raises ServiceFailed where forces are not minus the gradient."""
    if not gradient["passed"]:
        raise ServiceFailed(f"forces are not minus the gradient of the energy: {gradient}")
    errors = gradient["max_force_error"], gradient["max_stress_error"]
    print(f"  force = -gradient to {errors[0]:.1e} eV/Å, stress = strain derivative to {errors[1]:.1e} eV/Å³")
    for run in dynamics:
        drift = "" if run["energy_drift"] is None else f", energy drift {run['energy_drift']:.3f} meV/atom/ps"
        print(
            f"  {run['ensemble']}: {run['n_atoms']} atoms, {run['steps']} steps of {run['timestep']} fs, "
            f"{run['temperature_mean']:.0f} ± {run['temperature_spread']:.0f} K{drift}{'; ' + run['stopped'] if run['stopped'] else ''}"
        )


def what_was_bought(errors: dict[str, Any]) -> str:
    """Return in one sentence how the errors on AB fell from the first potential to the second."""
    before, after = (errors[name]["by_system"]["Ca-Mg-O"] for name in (PARENTS, MIXED))
    return (
        f"  On (Mg,Ca)O frames that neither has seen, at most {FEW} frames of (Mg,Ca)O brought the energy error from "
        f"{1000 * before['energy_mae']:.1f} to {1000 * after['energy_mae']:.1f} meV/atom ({before['energy_mae'] / after['energy_mae']:.1f} "
        f"times less) and the force error from {1000 * before['force_mae']:.0f} to {1000 * after['force_mae']:.0f} meV/Å "
        f"({before['force_mae'] / after['force_mae']:.1f} times less)."
    )


def tell(demo: Demo) -> None:
    """Run the demonstration from the first step to the page."""
    files = sorted(file for file in demo.archives.iterdir() if file.suffix in {".gz", ".bz2", ".xz", ".zip"})
    mixed = [file for file in files if any(name in file.name for name in ("mg1ca3", "mg2ca2", "mg3ca1"))]
    parents = [file for file in files if file not in mixed]
    demo.say("Start the local stack: object store, Prefect server and UI, Dask workers, flows")
    demo.avoid_taken_ports()
    demo.run("up")
    demo.run("doctor")
    demo.say("Drop the archives of A = MgO and B = CaO (PBE and LDA, three broken ones among them) into the inbox")
    keys = drop(demo, parents, "oxides")
    demo.run("status")
    demo.run("rejections")
    demo.run("search", "CaO")
    demo.run("frames", "--elements", "Mg,Ca,O", "--subsystems")
    demo.say("Train a potential on A + B alone: PBE only, split by calculation, two processes")
    demo.run("dataset", "create", PARENTS, "--system", "Mg-O", "--system", "Ca-O", "--theory", "PBE", "--test", "0.2")
    train(demo, PARENTS)
    demo.say("Drop the archives of AB = (Mg,Ca)O, and compare everything in the lake with the expected values")
    keys |= drop(demo, mixed, "oxides")
    comparisons = check_against_expected(demo, keys)
    demo.run("frames", "--elements", "Mg,Ca,O", "--subsystems")
    demo.say(f"Train a potential on A + B and {FEW} frames of AB")
    query = ("--elements", "Mg,Ca,O", "--subsystems", "--theory", "PBE", "--limit", f"Ca-Mg-O={FEW}", "--test", "0.2")
    demo.run("dataset", "create", MIXED, *query)
    demo.run("dataset", "verify", MIXED)
    train(demo, MIXED)
    demo.say("Test both on AB frames that neither has seen")
    errors = {name: demo.ask("evaluate", name, MIXED) for name in (PARENTS, MIXED)}
    show_errors(errors)
    demo.say("Use it: force = -gradient, and molecular dynamics on a cell of 216 atoms (trained on 8)")
    gradient = demo.ask("validate", MIXED)
    dynamics = demo.ask("md", MIXED, "--repeat", "3", "--steps", "250", "--temperature", "600")
    show_use(gradient[0], dynamics)
    demo.say("Ask the retraining schedule whether there is something new to learn")
    demo.run("retrain", MIXED)
    page = write_page(demo.output, demo.settings, comparisons, errors, (gradient, dynamics))
    demo.say("What the few AB frames bought")
    show_errors(errors)
    print(what_was_bought(errors))
    print(f"\nThe page:       {page}\nThe Prefect UI: {ui_url(demo.settings.prefect.api_url)}   (stop everything: make demo-stop)")
    print(f"Done in {time.monotonic() - demo.started:.0f} s.")


def main() -> None:
    """Run the demonstration, or stop its services with --stop."""
    parser = argparse.ArgumentParser(description="From dropped archives to molecular dynamics, on real DFT output.")
    parser.add_argument("--archives", type=Path, default=ROOT / "examples/mgcao", help="folder of archives")
    parser.add_argument("--expected", type=Path, default=ROOT / "examples/mgcao-expected.csv", help="what the lake must hold then")
    parser.add_argument("--output", type=Path, default=ROOT / "demo-output", help="folder for the page and the stack's data")
    parser.add_argument("--stop", action="store_true", help="stop the services that the demonstration started")
    given = parser.parse_args()
    demo = Demo(given.archives, given.expected, given.output.absolute(), time.monotonic())
    try:
        if given.stop:
            demo.run("down")
        else:
            tell(demo)
    except AtomlakeError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
