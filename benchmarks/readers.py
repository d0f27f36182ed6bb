"""Readers against peers, side by side in one run: `python benchmarks/readers.py [--rounds N] [--only WORDS] [--list] [--shared ../shared]`.

For each file all read all frames; the candidates take turns, CPU time of one thread is counted, and the median of the ratios of the
rounds is printed, with the largest difference of positions and forces to ASE. A turn is one reading, with the caches that another
candidate has left, and then readings in a row for 50 ms, as of an archive with many files: below a millisecond the two differ by a
factor of three or four, and both are printed. dpdata and pymatgen take part where they can be imported;
of theirs the number of frames, the energies and the norms of the forces are compared, for dpdata turns cells and sorts atoms.
The peak memory of a vasprun.xml of 50 MB is that of a child process of its own, above its imports. `--list` names the cases, of which
`--only` runs those with some words in their title; `--out FILE` writes all as JSON, `--table FILE` as a table in Markdown.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A file beside this one has the name of a package: the folder must not come first.
sys.path.append(sys.path.pop(0))

import numpy as np
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io import ParseError, read
from reader_cases import ROOT, Case, all_cases, made_run, made_up_vasp, repeated_steps

from lake.readers import find_reader
from lake.readers.base import takes_companions
from lake.readers.unlabelled import Unlabelled

CHUNK = 1 << 20
ROW_SECONDS = 0.05
MEMORY_MB = 50
PEERS = tuple(name for name in ("dpdata", "pymatgen") if importlib.util.find_spec(name) is not None)
NAMES = {"vasp-xml": "vasprun.xml", "vasp-out": "OUTCAR", "cp2k": "output.log"}
Frames = list[tuple[Any, Any]]
"""Positions and forces of each frame, (natoms, 3) in Å and eV/Å."""


Labels = tuple[list[float], list[Any]]
"""Energies (eV; NaN where there is none) and forces (natoms, 3) of each frame."""


def ours(case: Case) -> Frames:
    """Return the frames by our reader, fed in chunks of 1 MiB."""
    return _read(case)[0]


def _read(case: Case) -> tuple[Frames, list[float]]:
    """Return the frames and their energies (NaN where they are not known)."""
    spec = find_reader(case.name, case.data[: 64 * 1024])
    assert spec is not None, f"no reader knows {case.title}"
    reader = spec.open()
    for start in range(0, len(case.data), CHUNK):
        reader.feed(case.data[start : start + CHUNK])
    if takes_companions(reader):
        for name, text in case.beside:
            reader.take_companion(name, text)
    if isinstance(reader, Unlabelled):
        pairs = [pair for each in reader.collected().series for pair in zip(each.positions, each.vectors["forces"], strict=True)]
        return pairs, [float("nan")] * len(pairs)
    frames = reader.close()[0].frames
    return list(zip(frames.positions, frames.forces, strict=True)), frames.energy.tolist()


def by_ase(form: str, file: Path) -> Frames:
    """Return the frames by ASE; forces are those before constraints."""
    return [(atoms.positions, atoms.get_forces(apply_constraint=False)) for atoms in read(file, index=":", format=form)]


def peer(name: str, form: str, file: Path) -> Callable[[], object] | None:
    """Return what a peer does with a file, None where it does not read its kind."""
    if name == "dpdata" and form in ("vasp-xml", "vasp-out"):
        import dpdata

        return lambda: dpdata.LabeledSystem(str(file), fmt="vasp/xml" if form == "vasp-xml" else "vasp/outcar")
    if name == "dpdata" and form == "extxyz":
        import dpdata

        return lambda: dpdata.MultiSystems.from_file(str(file), fmt="quip/gap/xyz")
    if name == "dpdata" and form == "cp2k":
        import dpdata

        return lambda: dpdata.LabeledSystem(str(file.parent), fmt="cp2k/aimd_output")
    if name == "pymatgen" and form == "vasp-xml":
        from pymatgen.io.vasp.outputs import Vasprun

        return lambda: Vasprun(str(file), parse_dos=False, parse_eigen=False, parse_potcar_file=False)
    if name == "pymatgen" and form == "cp2k":
        from pymatgen.io.cp2k.outputs import Cp2kOutput

        return lambda: Cp2kOutput(str(file), auto_load=True)
    return None


def labels_of_peer(name: str, form: str, found: Any) -> Labels | None:
    """Return what a peer made of a file, None where it holds no forces of each frame."""
    if name == "dpdata":
        systems = list(getattr(found, "systems", {"": found}).values())
        return [float(e) for each in systems for e in each.data["energies"]], [f for each in systems for f in each.data["forces"]]
    if form == "vasp-xml":
        return [float(step["e_fr_energy"]) for step in found.ionic_steps], [np.array(step["forces"]) for step in found.ionic_steps]
    return None


def difference_to_peer(name: str, own: Labels, other: Labels | None) -> dict[str, float]:
    """Return how many frames a peer has, and where it has as many as we: the largest differences of energies and of norms of forces."""
    if other is None or len(own[0]) != len(other[0]):
        return {} if other is None else {f"frames_of_{name}": len(other[0])}
    norms = [[np.sort(np.linalg.norm(forces, axis=1)) for forces in labels[1]] for labels in (own, other)]
    return {
        f"frames_of_{name}": len(other[0]),
        f"{name}_energies_differ_by": float(np.abs(np.array(own[0]) - np.array(other[0])).max()),
        f"{name}_forces_differ_by": max(float(np.abs(a - b).max()) for a, b in zip(*norms, strict=True)),
    }


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def cpu_seconds_in_a_row(work: Callable[[], object], first: float) -> float:
    """Return the mean CPU time of calls that follow one of `first` seconds, which stands for them where it is long."""
    count = round(ROW_SECONDS / first)
    return cpu_seconds(lambda: [work() for _ in range(count)]) / count if count > 1 else first


def difference(own: Frames, other: Frames) -> dict[str, float]:
    """Return how many frames both have, and the largest differences."""
    pairs = list(zip(own, other, strict=False))
    return {
        "frames": len(own),
        "frames_of_ase": len(other),
        "positions_differ_by": max(float(np.abs(a[0] - b[0]).max()) for a, b in pairs),
        "forces_differ_by": max(float(np.abs(a[1] - b[1]).max()) for a, b in pairs),
    }


def compare(case: Case, rounds: int) -> dict[str, Any]:
    """Return what one file gave: medians and ranges of the ratios."""
    result: dict[str, Any] = {"title": case.title, "mb": round((len(case.data) + sum(len(text) for _, text in case.beside)) / 1e6, 2)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / NAMES.get(case.form, case.name)
        file.write_bytes(case.data)
        for name, text in case.beside:
            (file.parent / name).write_bytes(text)
        work: dict[str, Callable[[], object]] = {"ours": lambda: ours(case)}
        frames, energies = _read(case)
        result["n_frames"] = len(frames)
        if case.form not in ("", "cp2k"):
            try:
                result |= difference(frames, by_ase(case.form, file))
                work["ase"] = lambda: by_ase(case.form, file)
            except (ValueError, AttributeError, IndexError, KeyError, PropertyNotImplementedError, ParseError) as error:
                result["ase_fails"] = f"{type(error).__name__}: {str(error)[:80]}"
        for name in PEERS:
            run = peer(name, case.form, file)
            if run is not None:
                try:
                    found = labels_of_peer(name, case.form, run())
                    work[name] = run
                    result |= difference_to_peer(name, (energies, [pair[1] for pair in frames]), found)
                except Exception as error:  # noqa: BLE001 a peer may fail in any way; that is what is told
                    result[f"{name}_fails"] = f"{type(error).__name__}: {str(error)[:80]}"
        seconds: dict[str, list[float]] = {name: [] for name in work}
        in_a_row: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(rounds):
            for name, run in work.items():
                seconds[name].append(cpu_seconds(run))
                in_a_row[name].append(cpu_seconds_in_a_row(run, seconds[name][-1]))
    result["ms"] = {name: round(1e3 * statistics.median(found), 2) for name, found in seconds.items()}
    result["mb_per_s"] = round(result["mb"] / statistics.median(seconds["ours"]), 1)
    result["mb_per_s_in_a_row"] = round(result["mb"] / statistics.median(in_a_row["ours"]), 1)
    for name in [name for name in work if name != "ours"]:
        result[f"times_{name}"] = ratios(seconds[name], seconds["ours"])
        result[f"in_a_row_{name}"] = ratios(in_a_row[name], in_a_row["ours"])
    return result


def ratios(theirs: list[float], ours: list[float]) -> list[float]:
    """Return the median, the least and the largest of the ratios of the rounds."""
    found = [a / b for a, b in zip(theirs, ours, strict=True)]
    return [round(value, 1) for value in (statistics.median(found), min(found), max(found))]


def line(result: dict[str, Any]) -> str:
    """Return a result in words."""
    words = [f"{result['title']}: {result['mb']} MB, {result['mb_per_s']} MB/s, {result['mb_per_s_in_a_row']} MB/s in a row"]
    words += [f"{m[0]} times {key[6:]} ({m[1]} to {m[2]})" for key, m in result.items() if key.startswith("times_")]
    words += [f"in a row {m[0]} times {key[9:]} ({m[1]} to {m[2]})" for key, m in result.items() if key.startswith("in_a_row_")]
    words += [f"{key[:-6]} fails: {value}" for key, value in result.items() if key.endswith("_fails")]
    if "frames_of_ase" in result:
        words.append(f"{result['frames']} and {result['frames_of_ase']} frames")
        words.append(f"positions differ by {result['positions_differ_by']:.0e} Å, forces by {result['forces_differ_by']:.0e} eV/Å")
    for name in PEERS:
        if f"frames_of_{name}" in result:
            words.append(f"{name}: {result[f'frames_of_{name}']} frames")
        if f"{name}_energies_differ_by" in result:
            words[-1] += f", energies differ by {result[f'{name}_energies_differ_by']:.0e} eV"
            words[-1] += f", norms of forces by {result[f'{name}_forces_differ_by']:.0e} eV/Å"
    return "; ".join(words)


_CHILD = """
import re, sys
def peak():
    # not ru_maxrss, which a child has from its parent
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
file, who = sys.argv[1:]
if who == "ours":
    from lake.readers import find_reader
    import pyarrow.compute
elif who == "dpdata":
    import dpdata
elif who == "pymatgen":
    from pymatgen.io.vasp.outputs import Vasprun
else:
    import ase.io, ase.io.vasp
before = peak()
if who == "ours":
    with open(file, "rb") as stream:
        chunk = stream.read(1 << 20)
        reader = find_reader("vasprun.xml", chunk[: 1 << 16]).open()
        while chunk:
            reader.feed(chunk)
            chunk = stream.read(1 << 20)
    frames = reader.close()[0].frames
elif who == "dpdata":
    frames = dpdata.LabeledSystem(file, fmt="vasp/xml")
elif who == "pymatgen":
    frames = Vasprun(file, parse_dos=False, parse_eigen=False, parse_potcar_file=False)
else:
    frames = ase.io.read(file, index=":", format="vasp-xml")
print((peak() - before) / 1024)
"""


def peak_memory(shared: Path) -> dict[str, Any]:
    """Return the peak memory (MB above the imports) of a vasprun.xml of 50 MB, ours and that of peers, each in a fresh process."""
    real = shared / "dft/vasp/ti32-aimd-nwrite0-v6.3.0/vasprun.xml"
    text = real.read_bytes() if real.is_file() else made_up_vasp.xml_text(made_run(20, 50))
    once = len(repeated_steps(text, 2)) - len(text)
    text = repeated_steps(text, max(1, round(MEMORY_MB * 1e6 / once)))
    found: dict[str, Any] = {"mb": round(len(text) / 1e6, 1)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vasprun.xml"
        file.write_bytes(text)
        for who in ("ours", "ase", *PEERS):
            command = [sys.executable, "-W", "ignore", "-c", _CHILD, str(file), who]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
            found[f"peak_mb_{who}"] = round(float(done.stdout.split()[-1]), 1)
    return found


def table(results: list[dict[str, Any]], memory: dict[str, Any]) -> str:
    """Return the results as a table in Markdown: the ratios are medians (least to most), those in a row medians alone."""
    names = ["ase", *PEERS]
    titles = ["file", "MB", "frames", "MB/s", "in a row", *(words for name in names for words in (f"times {name}", "in a row"))]
    rows = [titles, ["---"] * len(titles)]
    for result in results:
        cells = []
        for name in names:
            ratio = result.get(f"times_{name}")
            cells.append(f"{ratio[0]} ({ratio[1]} to {ratio[2]})" if ratio else "fails" if f"{name}_fails" in result else "")
            cells.append(str(result[f"in_a_row_{name}"][0]) if ratio else "")
        rows.append([str(result[key]) for key in ("title", "mb", "n_frames", "mb_per_s", "mb_per_s_in_a_row")] + cells)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if memory:
        peaks = ", ".join(f"{key.removeprefix('peak_mb_')} {value} MB" for key, value in memory.items() if key != "mb")
        lines += ["", f"Peak memory above the imports for a vasprun.xml of {memory['mb']} MB: {peaks}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose title has these words; 'memory' for the peak memory alone")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--list", action="store_true", help="name the cases and run none")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.list:
        print("\n".join(case.title for case in all_cases(given.shared)))
        return
    results = []
    for name in ("dpdata", "pymatgen"):
        if name not in PEERS:
            print(f"{name} is not installed and is left out (pip install {name})", flush=True)
    for case in all_cases(given.shared):
        if given.only in case.title:
            results.append(compare(case, given.rounds))
            print(line(results[-1]), flush=True)
    memory = peak_memory(given.shared) if given.only in ("", "memory") else {}
    if memory:
        print(table([], memory).split("\n\n")[-1], flush=True)
    if given.table is not None:
        given.table.write_text(table(results, memory))
    if given.out is not None:
        given.out.write_text(
            json.dumps({"rounds": given.rounds, "peers": ["ase", *PEERS], "cases": results, "memory": memory}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
