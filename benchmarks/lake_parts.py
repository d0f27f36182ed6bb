"""What `benchmarks/lake.py` times, part by part; each returns its figures."""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from ase.db import connect
from ase.io import iread, read
from lake_peers import counted, peer_readers, to_ase, written
from made_frames import RUN, calculation_id, commit_runs, lay_history, system_names

import lake
from lake.arrays import ARRAY_COLUMNS, frame_arrays
from lake.compaction import compact
from lake.place import SPECS
from lake.stats import lake_stats
from lake.tables import live_files
from lake.vacuum import vacuum
from schemas.datasets import FrameQuery, Split
from schemas.settings import Settings

SCALARS = ("step", "natoms", "energy", "energy_per_atom", "max_force", "pressure", "volume", "density")
THREE = {"elements": ("Ca", "Mg", "O"), "subsystems": True}


def queries(settings: Settings, given: argparse.Namespace) -> dict[str, Any]:
    """What users ask of the whole lake, before and after its small files are joined."""
    place = at(settings, "whole")
    figures: dict[str, Any] = {"filled": fill(place.create(), given.frames, given.systems)}
    figures["small files"] = asked(place, given.rounds)
    figures["upkeep"] = upkept(place)
    figures["compacted"] = asked(place, given.rounds)
    return figures


def fill(opened: lake.Lake, n_frames: int, n_systems: int, *, rounds: int = 4, large: float = 0.05) -> dict[str, Any]:
    """Commit frames of n_systems element systems: frames of 8 atoms in several rounds, then a share of 64 atoms; 100 systems a batch."""
    names = system_names(n_systems)
    runs = max(rounds + 1, round(n_frames / n_systems / RUN))
    n_large = max(1, round(large * runs))
    cuts = [round(i * (runs - n_large) / rounds) for i in range(rounds + 1)]
    plan = [(8, range(a, b)) for a, b in itertools.pairwise(cuts)] + [(64, range(n_large))]
    start, n, seed = time.perf_counter(), 0, 0
    for natoms, wanted in plan:
        for place in range(0, n_systems, 100):
            seed += 1
            n += commit_runs(opened, dict.fromkeys(names[place : place + 100], wanted), natoms, seed).n_frames_new
    seconds = time.perf_counter() - start
    figures = {"frames": n, "systems": n_systems, "of 64 atoms": n_large * RUN * n_systems, "commits": seed}
    return {**figures, "seconds": seconds, "frames/s": n / seconds}


def asked(place: lake.Lake, rounds: int) -> dict[str, Any]:
    """Time the queries that are promised, each with the lake opened anew."""
    one = calculation_id("Ca-Mg-O", 0, 8)
    asks: dict[str, Callable[[lake.Lake], Any]] = {
        "scalar columns of one system": lambda here: here.frames(systems=["Ca-Mg-O"]).select(SCALARS).collect().height,
        "three elements and subsystems, arrays": lambda here: three_elements(here).count,
        "  transfer of the same files": transfer,
        "counts by system": lambda here: here.systems().height,
        "search by formula": lambda here: sum(each.n_frames for each in here.search("MgO").systems),
        "search by name": lambda here: sum(each.n_frames for each in here.search("periclase").systems),
        "one frame by its id": lambda here: one_frame(here, one).height,
        "mean energy of every system": lambda here: mean_energies(here.scalars()).height,
        "statistics of the lake": lambda here: sum(table.n_files for table in lake_stats(here).tables),
    }
    return {name: timed(lambda work=work: work(anew(place)), rounds) for name, work in asks.items()}


def mean_energies(frames: pl.LazyFrame) -> pl.DataFrame:
    return frames.group_by("element_system").agg(pl.col("energy_per_atom").mean()).collect()


def three_elements(place: lake.Lake) -> Any:
    return frame_arrays(place.frames(**THREE).select(ARRAY_COLUMNS).collect())


def one_frame(place: lake.Lake, name: str) -> pl.DataFrame:
    return place.frame(f"{name}:7")


def transfer(place: lake.Lake) -> int:
    """Fetch the files that three elements and their subsystems are in, whole, and return their bytes."""
    systems = [s for s in place.systems()["element_system"] if set(s.split("-")) <= {"Ca", "Mg", "O"}]
    paths = live_files(place.table("frames"), systems)["path"].to_pylist()
    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(lambda path: len(place.store.get(f"frames/{path}")), paths))


def upkept(place: lake.Lake) -> dict[str, Any]:
    """Compact, look and sweep; memory is the process's peak."""
    figures: dict[str, Any] = {}
    for name, work in {
        "compact": lambda: {table: compact(place, table).n_files_before for table in SPECS},
        "vacuum": lambda: [(s.what, s.n_files) for s in vacuum(place, older_than_days=0, dry_run=False, alone=True)],
    }.items():
        figures[name] = timed(work, 1)
    return {**figures, "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def commits(settings: Settings, given: argparse.Namespace) -> dict[str, Any]:
    """The time of a commit after so many commits, and beside so many element systems; the lakes take turns, so that load meets all alike.

    Files and log entries of the history are those of real commits, laid without looking anything up.
    """
    place = at(settings, "commits").create()
    lakes: dict[str, lake.Lake] = {}
    done = 0
    for mark in sorted(int(n) for n in given.commits.split(",")):
        lay_history(place, range(done, mark))
        done = mark
        lakes[f"after {mark}"] = copied(place, at(settings, f"after-{mark}"))
        print(f"laid {mark} commits", flush=True)
    lakes[f"with {given.many_systems} element systems"] = long_tail(settings, given.many_systems)
    return in_turns(lakes)


COMMITS_TIMED = 41


def in_turns(lakes: Mapping[str, lake.Lake]) -> dict[str, Any]:
    """Time commits of one source with one run each, as an ingest makes them, to each lake in turn; staging is not counted."""
    walls: dict[str, list[float]] = {name: [] for name in lakes}
    cpus: dict[str, list[float]] = {name: [] for name in lakes}
    for i in range(COMMITS_TIMED):
        for name, place in lakes.items():
            spent: dict[str, float] = {}
            commit_runs(place, {"Mg-O": range(10**6 + i, 10**6 + i + 1)}, 8, 10**6 + i, spent=spent)
            if i:
                walls[name].append(spent["wall"])
                cpus[name].append(spent["cpu"])
    found: dict[str, Any] = {}
    for name, place in lakes.items():
        median, quarter = statistics.median(walls[name]), statistics.quantiles(walls[name], n=4)[0]
        spread = {"wall s": median, "quarter below s": quarter, "least s": min(walls[name]), "most s": max(walls[name])}
        files = {table.name: table.n_files for table in lake_stats(place).tables}
        found[name] = {**spread, "cpu s": statistics.median(cpus[name]), "files": files}
    first = found[next(iter(lakes))]
    for each in found.values():
        each |= {"wall, times the first": each["wall s"] / first["wall s"], "cpu, times the first": each["cpu s"] / first["cpu s"]}
    return found


def copied(place: lake.Lake, target: lake.Lake) -> lake.Lake:
    """Copy every object of a lake to another address, and return the lake there."""
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda found: target.store.put(found.key, place.store.get(found.key)), list(place.store.list())):
            pass
    return target


def long_tail(settings: Settings, n_systems: int) -> lake.Lake:
    """Return a lake of so many element systems with two small files each, made where it is not there yet."""
    place = at(settings, "tail").create()
    names = system_names(n_systems)
    if place.systems().height < n_systems:
        for runs in (range(0, 1), range(1, 2)):
            for start in range(0, len(names), 500):
                commit_runs(place, dict.fromkeys(names[start : start + 500], runs), 4, 1000 + start + runs.start)
    return place


def systems(settings: Settings, given: argparse.Namespace) -> dict[str, Any]:
    """A long tail of element systems: a look at everything, before and after compaction."""
    place = long_tail(settings, given.many_systems)
    works: dict[str, Callable[[], Any]] = {
        "scalars, mean energy of every system": lambda: mean_energies(anew(place).scalars()).height,
        "counts by system": lambda: anew(place).systems().height,
    }
    figures: dict[str, Any] = {"systems": place.systems().height, "files": place.table("frames").get_add_actions().num_rows}
    figures["small files"] = {name: timed(work, given.rounds) for name, work in works.items()}
    figures["compact"] = timed(lambda: compact(place, "frames").n_files_before, 1)
    works["frames, mean energy of every system"] = lambda: mean_energies(anew(place).frames()).height
    figures["compacted"] = {name: timed(work, given.rounds) for name, work in works.items()}
    return figures


def copy(settings: Settings, given: argparse.Namespace) -> dict[str, Any]:
    """Frames of 64 atoms read in random order from a local copy, and from what others keep them in."""
    place = at(settings, "copied").create()
    names = system_names(20)
    runs = max(1, given.copy_frames // 50 // len(names))
    commit_runs(place, dict.fromkeys(names, range(runs)), 64, 1)
    dataset = place.publish("all", FrameQuery(), Split(0.0, 0.0))
    folder = settings.home / "copies"
    figures: dict[str, Any] = {"made": timed(lambda: dataset.local_copy(folder).count, 1)}
    local = dataset.local_copy(folder)
    figures["frames"], figures["GB"] = local.count, sum(local.card.sizes.values()) / 1e9
    figures["verified"] = timed(local.verify, 1)
    figures["shuffled"] = shuffled(local.gather, local.count, 256)
    command = [sys.executable, str(Path(__file__).with_name("bounded_reading.py")), str(local.folder)]
    figures["less memory than the copy"] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    few = min(local.count, given.peer_frames)
    structures = to_ase(local.gather(np.arange(few)))
    figures["peers"] = {name: shuffled(reader, few, 16) for name, reader in peer_readers(structures, settings.home / "peers").items()}
    for found in figures["peers"].values():
        found["times slower"] = figures["shuffled"]["frames/s"] / found["frames/s"]
    return figures


def shuffled(gather: Callable[[np.ndarray], Any], n: int, size: int) -> dict[str, Any]:
    """Read in random order, in batches, for five seconds or through all; the first second warms up."""
    order = np.random.default_rng(7).permutation(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batches = [order[i : i + size] for i in range(0, n, size)]
    for batch in batches[: max(1, len(batches) // 5)]:
        gather(batch)
    read_frames, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < 5:
        for batch in batches:
            gather(batch)
            read_frames += len(batch)
            if time.perf_counter() - start >= 5:
                break
    wall, spent = time.perf_counter() - start, time.process_time() - cpu
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    return {"frames/s": read_frames / wall, "frames/CPU s": read_frames / spent, "batch": size, "peak grew by MB": grown}


def peers(settings: Settings, given: argparse.Namespace) -> dict[str, Any]:
    """The same frames in a lake, in an ASE database and in a folder of extxyz: the same questions, in turns."""
    place = at(settings, "small").create()
    names = system_names(20)
    commit_runs(place, dict.fromkeys(names, range(max(1, given.peer_frames // 50 // len(names)))), 8, 1)
    compact(place, "frames")
    folder = settings.home / "small"
    structures = to_ase(frame_arrays(place.frames().select(ARRAY_COLUMNS).sort("frame_id").collect()))
    database, texts = written(structures, folder)
    one = structures[len(structures) // 2]
    chosen = [name for name in names if set(name.split("-")) <= {"Ca", "Mg", "O"}]
    asks = {
        "energies of one system": (
            lambda: place.frames(systems=["Ca-Mg-O"]).select("energy").collect().height,
            lambda: len([row.energy for row in connect(database).select(system="Ca-Mg-O")]),
            lambda: len([atoms.get_potential_energy() for atoms in iread(texts / "Ca-Mg-O.xyz", ":")]),
        ),
        "three elements and subsystems, arrays": (
            lambda: three_elements(place).count,
            lambda: sum(len([(r.positions, r.forces) for r in connect(database).select(system=name)]) for name in chosen),
            lambda: sum(len([(a.positions, a.get_forces()) for a in iread(texts / f"{name}.xyz", ":")]) for name in chosen),
        ),
        "counts by system": (
            lambda: place.systems().height,
            lambda: len(counted(database)),
            lambda: len([len(read(file, ":")) for file in texts.glob("*.xyz")]),
        ),
        "one frame by its id": (
            lambda: one_frame(place, one.info["frame_id"].partition(":")[0]).height,
            lambda: connect(database).get(frame_id=one.info["frame_id"]).natoms,
            lambda: (
                next(a for a in iread(texts / f"{one.info['system']}.xyz", ":") if a.info["frame_id"] == one.info["frame_id"]).positions
            ),
        ),
    }
    figures: dict[str, Any] = {"frames": len(structures)}
    for name, works in asks.items():
        ours, theirs, plain = (timed(work, given.rounds) for work in works)
        ratios = {"ASE database, times ours": theirs["wall s"] / ours["wall s"], "extxyz, times ours": plain["wall s"] / ours["wall s"]}
        figures[name] = {"ours s": ours["wall s"], **ratios}
    return figures


def timed(work: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """Return median, least and largest wall time and the median CPU time of some rounds, and what the work says of itself."""
    walls, cpus, result = [], [], None
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    found = {"wall s": statistics.median(walls), "from": min(walls), "to": max(walls), "cpu s": statistics.median(cpus)}
    return {**found, "result": result}


def at(settings: Settings, name: str) -> lake.Lake:
    return lake.open(f"s3://benchmark/{name}", settings)


def anew(place: lake.Lake) -> lake.Lake:
    return lake.open(place.url, replace(place.settings))
