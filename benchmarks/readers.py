"""Readers against ASE, side by side in one run: `python benchmarks/readers.py [--rounds N] [--shared ../shared]`.

For each file both read all frames; the candidates take turns, CPU time of one thread is counted, and the median of the ratios of the
rounds is printed, with the largest difference of positions and forces. Files: the example archives, made longer by repeating the run,
and, where the reference data are there, real VASP outputs.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io import read

from lake.readers import find_reader
from schemas.frames import FrameBlock

ROOT = Path(__file__).resolve().parent.parent
CHUNK = 1 << 20


def ours(name: str, data: bytes) -> FrameBlock:
    spec = find_reader(name, data[: 64 * 1024])
    assert spec is not None, f"no reader knows {name}"
    reader = spec.open()
    for start in range(0, len(data), CHUNK):
        reader.feed(data[start : start + CHUNK])
    return reader.close()[0].frames


def peer(form: str, data: bytes) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ("OUTCAR" if form == "vasp-out" else "output")
        file.write_bytes(data)
        return read(file, index=":", format=form)


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def largest_difference(frames: FrameBlock, atoms: list[Any]) -> str:
    count = min(frames.count, len(atoms))
    positions = max(float(np.abs(frames.positions[i] - atoms[i].positions).max()) for i in range(count))
    forces = max(float(np.abs(frames.forces[i] - atoms[i].get_forces(apply_constraint=False)).max()) for i in range(count))
    return f"{frames.count} and {len(atoms)} frames, positions differ by {positions:.0e} Å, forces by {forces:.0e} eV/Å"


def example(archive: str, member: str) -> bytes:
    with tarfile.open(ROOT / "examples/mgcao" / archive) as tar:
        file = tar.extractfile(member)
        assert file is not None
        return file.read()


def repeated_run(text: bytes, times: int) -> bytes:
    """Return a pw.x log whose ionic steps are repeated, as one long run."""
    first = text.index(b"!    total energy")
    second = text.index(b"!    total energy", first + 1)
    last = text.rindex(b"!    total energy")
    return text[:second] + text[second:last] * times + text[last:]


def cases(shared: Path) -> list[tuple[str, str, bytes, str]]:
    dynamics = example("qe-pbe_mgo_md-300K.tar.gz", "mgo_md-300K/pw.out")
    found = [("pw.x MD, 8 atoms", "pw.out", repeated_run(dynamics, 20), "espresso-out")]
    for file in sorted((shared / "dft/vasp").glob("**/*")):
        form = "vasp-xml" if "vasprun.xml" in file.name else "vasp-out" if file.name.startswith("OUTCAR") else ""
        if not form or file.suffix == ".xz":
            continue
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        if len(data) > 1_000_000:
            found.append((f"{file.relative_to(shared)}, {len(data) / 1e6:.1f} MB", file.name.removesuffix(".gz"), data, form))
    return found


def compare(case: tuple[str, str, bytes, str], rounds: int) -> str:
    """Return what one file gave: the median of the ratios, their range, and how far the numbers are apart."""
    title, name, data, form = case
    try:
        atoms = peer(form, data)
        difference = largest_difference(ours(name, data), atoms)
    except (ValueError, AttributeError, IndexError, KeyError, PropertyNotImplementedError) as error:
        return f"{title}: ASE does not read it or has no forces ({type(error).__name__}: {str(error)[:80]})"
    ratios = [cpu_seconds(lambda: peer(form, data)) / cpu_seconds(lambda: ours(name, data)) for _ in range(rounds)]
    return f"{title}: {statistics.median(ratios):.1f} times ASE ({min(ratios):.1f} to {max(ratios):.1f}); {difference}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    given = parser.parse_args()
    for case in cases(given.shared):
        print(compare(case, given.rounds), flush=True)


if __name__ == "__main__":
    main()
