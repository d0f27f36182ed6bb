"""Archives to Parquet, by the lake's own path and by the usual code: `python benchmarks/archives.py [--count 200] [--rounds 3]`.

Each tar.gz holds a run of molecular dynamics (20 steps of 50 atoms): vasprun.xml, an OUTCAR with eigenvalues, and small files; some have
no OUTCAR, and fat ones a CHGCAR of 50 MB as their first member. Ours reads all outputs, cross-checks them, checks the frames, names
configurations and writes Parquet with statistics, as an ingest does. The usual code is tarfile `r:gz`, ASE for vasprun.xml alone, rows as
dicts, and pandas (left out where pandas is not installed). CPU time of one thread; the two take turns in a process that keeps the memory it
frees, as workers do.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import io
import json
import statistics
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# A file beside this one has the name of a package: the folder must not come first.
sys.path.append(sys.path.pop(0))

import numpy as np
from ase.io import read
from reader_cases import made_run, made_up_vasp, outcar_with_states

from lake.frame_table import Labelled, frame_table
from lake.reading import read_stream
from lake.recycling import recycle_memory
from lake.tables import statistics as table_statistics
from lake.tables import to_parquet
from schemas.settings import LimitSettings

STEPS, ATOMS = 20, 50
FAT_EDGE = 140
"""Points along each edge of the grid of a CHGCAR."""


def make_archives(folder: Path, count: int, *, fat: bool, alone: bool = False) -> list[Path]:
    """Write archives that differ in all their numbers and return their paths; alone leaves vasprun.xml as their only output."""
    found = []
    charges = charge_file() if fat else b""
    for number in range(count):
        run = made_run(STEPS, ATOMS, seed=number)
        members = [("CHGCAR", charges)] if fat else []
        members += [
            ("INCAR", b"ENCUT = 520\nIBRION = 0\nNSW = 20\n"),
            ("KPOINTS", b"mesh\n0\nGamma\n2 3 4\n"),
            ("OSZICAR", b"DAV: 1 -1.0\n" * 200),
        ]
        members += [] if alone else [("OUTCAR", outcar_with_states(run))]
        members += [("vasprun.xml", made_up_vasp.xml_text(run))]
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, data in members:
                info = tarfile.TarInfo(f"run{number}/{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        found.append(folder / f"{'fat' if fat else 'alone' if alone else 'run'}{number:04d}.tar.gz")
        found[-1].write_bytes(gzip.compress(packed.getvalue(), 6))
    return found


def charge_file() -> bytes:
    """Return a CHGCAR of about 50 MB with random densities."""
    values = np.random.default_rng(0).random((FAT_EDGE**3 // 5, 5))
    rows = [" ".join(f"{value:.11E}" for value in row) for row in values[: len(values) // 8]]
    return ("made up\n   1.0\n" + "\n".join(rows * 8) + "\n").encode()


def by_lake(archives: Sequence[Path]) -> bytes:
    """Return the Parquet file of the frames of archives by the lake's own path."""
    found = []
    for path in archives:
        contents = read_stream(path.name, lambda path=path: path.open("rb"), LimitSettings())
        assert len(contents.calculations) == 1, (path, contents.rejections)
        found.append(Labelled(contents.calculations[0], project="", licence=""))
    rows = frame_table(found)
    table_statistics(rows)
    return to_parquet(rows, row_group=100_000)


def by_hand(archives: Sequence[Path]) -> bytes:
    """Return the Parquet file that the usual code makes of the vasprun.xml of each archive."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for path in archives:
        with tarfile.open(path, "r:gz") as tar:
            member = next(each for each in tar.getmembers() if each.name.endswith("vasprun.xml"))
            file = tar.extractfile(member)
            assert file is not None
            for step, atoms in enumerate(read(io.TextIOWrapper(file, "latin-1"), index=":", format="vasp-xml")):
                row = {"source": path.name, "step": step, "energy": atoms.get_potential_energy(force_consistent=True)}
                row |= {
                    "numbers": atoms.numbers.tolist(),
                    "positions": atoms.positions.ravel().tolist(),
                    "cell": atoms.cell.array.ravel().tolist(),
                }
                rows.append(row | {"forces": atoms.get_forces().ravel().tolist(), "stress": atoms.get_stress().tolist()})
    sink = io.BytesIO()
    pd.DataFrame(rows).to_parquet(sink)
    return sink.getvalue()


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(title: str, archives: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Return the cost of archives by both ways, the medians of the rounds."""
    by_lake(archives[:2])
    work = {"ours": lambda: by_lake(archives)}
    if importlib.util.find_spec("pandas") is not None:
        work["by_hand"] = lambda: by_hand(archives)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            seconds[name].append(cpu_seconds(run) / len(archives))
    result: dict[str, Any] = {"title": title, "archives": len(archives), "stored_mb_each": round(archives[0].stat().st_size / 1e6, 2)}
    for name, found in seconds.items():
        each = statistics.median(found)
        result |= {f"ms_each_{name}": round(1e3 * each, 2), f"core_hours_per_million_{name}": round(1e6 * each / 3600, 2)}
    if "by_hand" in seconds:
        ratios = [a / b for a, b in zip(seconds["by_hand"], seconds["ours"], strict=True)]
        result["times_by_hand"] = [round(value, 1) for value in (statistics.median(ratios), min(ratios), max(ratios))]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--fat", type=int, default=4, help="number of archives with a CHGCAR")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    recycle_memory()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        kinds = (
            ("20 steps of 50 atoms", given.count, False, False),
            ("the same without an OUTCAR", given.count, False, True),
            ("the same with a CHGCAR in front", given.fat, True, False),
        )
        for title, count, fat, alone in kinds:
            if count:
                results.append(measure(title, make_archives(Path(folder), count, fat=fat, alone=alone), given.rounds))
                print(json.dumps(results[-1]), flush=True)
    if given.out is not None:
        given.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
