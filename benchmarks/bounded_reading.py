"""Read a local copy shuffled with less memory than it is large: `python benchmarks/bounded_reading.py FOLDER`; prints JSON.

The kernel's limit on what a process may allocate (RLIMIT_DATA, which leaves out maps of files) is set to what the process has at the
start and SHARE of the copy more, then every frame is read once in random order. Then again with all pages of the copy thrown out of
memory after each MB_KEPT read, as if the machine had no more for it: what is not kept has to come from the disk.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

# This file lies beside one that has the name of a package: its folder must not come first.
sys.path.append(sys.path.pop(0))

from lake.local_copy import LocalCopy, open_copy

SHARE = 1 / 8
LEAST_MB = 64
MB_KEPT = 64
BATCH = 256
SECONDS_COLD = 30


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


def main() -> None:
    copy = open_copy(Path(sys.argv[1]))
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
    figures = {
        "copy MB": size / 2**20, "allowed above the start MB": allowed / 2**20, "copy, times allowed": size / allowed,
        "own memory at the start MB": anonymous, "own memory at most MB": most, "frames/s": whole,
        "cold frames": done, "cold frames/s": cold, "cold, resident at most MB": resident,
    }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
