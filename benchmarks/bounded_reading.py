"""Read a local copy shuffled with less memory than it is large: `python benchmarks/bounded_reading.py FOLDER [--frames N]`; prints JSON.

The kernel's limit on what a process may allocate (RLIMIT_DATA, which leaves out maps of files) is set to what the process has at the
start and SHARE of the copy more, then every frame is read once in random order. Then again with all pages of the copy thrown out of
memory after each MB_KEPT read, as if the machine had no more for it: what is not kept has to come from the disk.

With --frames a copy of so many made-up frames of 64 atoms is written into the folder first (3.4 kB each) and read by `LocalCopy.shuffled`,
from a cold start: for copies that are larger than the machine's memory.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# This file lies beside one that has the name of a package: its folder must not come first.
sys.path.append(sys.path.pop(0))

from lake.local_copy import CopyPlan, LocalCopy, make_copy, open_copy
from schemas.frames import FrameArrays

SHARE = 1 / 8
LEAST_MB = 64
MB_KEPT = 64
BATCH = 256
SECONDS_COLD = 30
ATOMS = 64


def status(name: str) -> float:
    """Return a figure of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def maps_of(copy: LocalCopy) -> list[tuple[Any, Path]]:
    """Return the maps of a copy's files."""
    found = []
    for name in copy.card.sizes:
        array: Any = copy.column(name)
        while array is not None and not hasattr(array, "madvise"):
            array = array.base if hasattr(array, "base") else array.obj
        found.append((array, copy.folder / f"{name}.npy"))
    return found


def thrown_out(maps: list[tuple[Any, Path]]) -> None:
    """Let go of all pages of the maps, and take them out of the page cache."""
    for each, file in maps:
        each.madvise(mmap.MADV_DONTNEED)
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def made(folder: Path, frames: int) -> LocalCopy:
    """Return a copy of made-up frames of 64 atoms with random numbers, written where it is not there yet."""
    random = np.random.default_rng(0)
    each = min(frames, 100_000)
    positions, forces = random.random((each * ATOMS, 3)), random.normal(size=(each * ATOMS, 3))

    def parts() -> Iterator[FrameArrays]:
        for first in range(0, frames, each):
            count = min(each, frames - first)
            yield FrameArrays(
                offsets=np.arange(count + 1) * ATOMS,
                numbers=np.tile(np.array([12, 8], np.int16), count * ATOMS // 2),
                positions=positions[: count * ATOMS] + first,
                cell=np.tile(np.eye(3) * 8.4, (count, 1, 1)),
                pbc=np.ones((count, 3), dtype=bool),
                energy=np.arange(first, first + count, dtype=np.float64),
                forces=forces[: count * ATOMS] * (first + 1),
                stress=random.normal(size=(count, 3, 3)),
                element_systems=["Mg-O"] * count,
            )

    return make_copy(folder, CopyPlan("made up", "0" * 64, "", frames, frames * ATOMS, key=f"made-{frames}"), parts)


def larger_than_memory(folder: Path, frames: int) -> dict[str, float]:
    """Return how fast every frame of a copy is read once in shuffled order, and the memory that it takes."""
    start = time.perf_counter()
    copy = made(folder, frames)
    making = time.perf_counter() - start
    thrown_out(maps_of(copy))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    start, cpu, count, total = time.perf_counter(), time.process_time(), 0, 0.0
    for batch in copy.shuffled(7, batch=BATCH):
        count, total = count + batch.count, total + float(batch.energy.sum())
    wall, spent = time.perf_counter() - start, time.process_time() - cpu
    assert (count, total) == (frames, frames * (frames - 1) / 2), "every frame once"
    return {
        "copy GB": sum(copy.card.sizes.values()) / 1e9, "memory of the machine GB": pages / 1e9, "making s": making, "frames": count,
        "frames/s": count / wall, "frames/CPU s": count / spent, "own memory at most MB": status("VmHWM") - status("RssFile"),
        "load": os.getloadavg()[0],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, help="write a copy of so many made-up frames into the folder, and read that")
    given = parser.parse_args()
    if given.frames:
        print(json.dumps(larger_than_memory(given.folder, given.frames)))
    else:
        print(json.dumps(limited(open_copy(given.folder))))


def limited(copy: LocalCopy) -> dict[str, float]:
    """Return how fast a copy is read in random order by a process that may allocate a share of its size, warm and cold."""
    size = sum(copy.card.sizes.values())
    order = np.random.default_rng(7).permutation(copy.count)
    batches = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
    copy.gather(batches[0])
    allowed = max(int(SHARE * size), LEAST_MB * 2**20)
    limit = int(status("VmData") * 2**20) + allowed
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    anonymous = status("RssAnon")
    start, most = time.perf_counter(), 0.0
    for n, batch in enumerate(batches):
        copy.gather(batch)
        if n % 50 == 0:
            most = max(most, status("RssAnon"))
    whole = copy.count / (time.perf_counter() - start)
    maps, kept, resident = maps_of(copy), 0.0, 0.0
    thrown_out(maps)
    start, done = time.perf_counter(), 0
    for batch in batches:
        copy.gather(batch)
        done, kept = done + len(batch), kept + len(batch) * size / copy.count
        if kept > MB_KEPT * 2**20:
            resident, kept = max(resident, status("VmRSS")), 0.0
            thrown_out(maps)
        if time.perf_counter() - start > SECONDS_COLD:
            break
    cold = done / (time.perf_counter() - start)
    return {
        "copy MB": size / 2**20, "allowed above the start MB": allowed / 2**20, "copy, times allowed": size / allowed,
        "own memory at the start MB": anonymous, "own memory at most MB": most, "frames/s": whole,
        "cold frames": done, "cold frames/s": cold, "cold, resident at most MB": resident,
    }  # fmt: skip


if __name__ == "__main__":
    main()
