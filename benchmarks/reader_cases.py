"""Outputs that the benchmarks of readers read: the examples, made-up runs in VASP's layout, and real outputs where ../shared is there."""

from __future__ import annotations

import gzip
import re
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests/made_up"))

import made_up_vasp  # noqa: E402


@dataclass(frozen=True)
class Case:
    """One output: what it is, the name it is recognised by, its bytes, and what ASE calls its format ('' where ASE has none)."""

    title: str
    name: str
    data: bytes
    form: str
    beside: tuple[tuple[str, bytes], ...] = ()
    """Names and bytes of files that the code wrote beside it."""


def made_run(steps: int, natoms: int, seed: int = 1) -> made_up_vasp.Made:
    """Return a run of molecular dynamics with random numbers in the places of real ones; the forces add up to zero, as VASP prints them."""
    rng = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(*[np.arange(4) / 4 + 0.05] * 3), axis=-1).reshape(-1, 3)[:natoms]
    cell = np.diag([8.5, 8.6, 8.7])
    found = []
    for _ in range(steps):
        stress, forces = rng.normal(0, 5, (3, 3)).round(6), rng.normal(0, 0.5, sites.shape)
        found.append(
            made_up_vasp.Step(
                positions=(sites + rng.normal(0, 0.01, sites.shape)).round(8),
                forces=(forces - forces.mean(axis=0)).round(6),
                cell=cell,
                stress=np.triu(stress) + np.triu(stress, 1).T,
                free=float(np.round(-5.6 * natoms - rng.random(), 8)),
                cycle=int(rng.integers(8, 14)),
            )
        )
    tags = {"ENCUT": "520.0", "NELM": "60", "EDIFF": "1e-5", "ISMEAR": "0", "SIGMA": "0.05", "IBRION": "0", "NSW": str(steps)}
    return made_up_vasp.Made(tuple(found), counts=(natoms // 2, natoms - natoms // 2), tags=tags, incar={"ENCUT": "520", "IBRION": "0"})


def states_xml(points: int = 40) -> str:
    """Return densities of states as VASP prints them behind a step, about 2 MB for 40 atoms."""
    rows = "".join(f"       <r>{-10 + 0.02 * k:11.4f} {0.1234 * (k % 7):11.4f} {0.5 * k:11.4f} </r>\n" for k in range(1000))
    sets = "".join(f'      <set comment="ion {k + 1}">\n{rows}      </set>\n' for k in range(points))
    return f"  <dos>\n   <partial>\n    <array>\n     <set>\n{sets}     </set>\n    </array>\n   </partial>\n  </dos>\n"


def outcar_with_states(run: made_up_vasp.Made, *, bands: int = 200) -> bytes:
    """Return an OUTCAR that prints eigenvalues of two k points in each step, about 40 kB a step."""
    table = "".join(f"  {b + 1:5d}   {-20 + 0.13 * b:10.4f}   {2.0:10.5f}\n" for b in range(bands))
    states = "".join(
        f"\n k-point {k + 1:5d} :       0.0000    0.0000    0.0000\n  band No.  band energies     occupation \n{table}" for k in (0, 1)
    )
    bodies = []
    for number, step in enumerate(run.steps):
        body = made_up_vasp.outcar_step(step, number + 1)
        place = body.index("  FORCE on cell")
        bodies.append(body[:place] + states + "\n" + body[place:])
    return made_up_vasp.outcar_text(run, bodies)


def repeated_steps(text: bytes, times: int) -> bytes:
    """Return a vasprun.xml whose ionic steps are repeated, as one long run."""
    first, last = text.index(b" <calculation>"), text.rindex(b"</calculation>") + len(b"</calculation>\n")
    return text[:first] + text[first:last] * times + text[last:]


def repeated_run(text: bytes, times: int) -> bytes:
    """Return a pw.x log whose ionic steps are repeated, as one long run."""
    first = text.index(b"!    total energy")
    second, last = text.index(b"!    total energy", first + 1), text.rindex(b"!    total energy")
    return text[:second] + text[second:last] * times + text[last:]


def extxyz(steps: int, natoms: int) -> bytes:
    """Return a made-up extxyz that says its own units."""
    rng = np.random.default_rng(2)
    frames = []
    for _ in range(steps):
        rows = "".join("Si " + " ".join(f"{value:14.8f}" for value in row) + "\n" for row in rng.normal(0, 3, (natoms, 6)))
        comment = 'Lattice="9.1 0.0 0.0 0.0 9.1 0.0 0.0 0.0 9.1" Properties=species:S:1:pos:R:3:forces:R:3'
        frames.append(f'{natoms}\n{comment} energy={-5.4 * natoms + rng.random():.8f} pbc="T T T"\n{rows}')
    return "".join(frames).encode()


def all_cases(shared: Path) -> Iterator[Case]:
    """Yield the cases, those that need ../shared only where it is."""
    with tarfile.open(ROOT / "examples/mgcao/qe-pbe_mgo_md-300K.tar.gz") as tar:
        file = tar.extractfile("mgo_md-300K/pw.out")
        assert file is not None
        yield Case("pw.x MD, 8 atoms, real steps repeated", "pw.out", repeated_run(file.read(), 20), "espresso-out")
    run = made_run(300, 50)
    yield Case("vasprun.xml MD, 50 atoms, made up", "vasprun.xml", made_up_vasp.xml_text(run), "vasp-xml")
    bodies = [made_up_vasp.xml_step(step, tail=states_xml()) for step in run.steps[:3]]
    yield Case("vasprun.xml with DOS, 50 atoms, made up", "vasprun.xml", made_up_vasp.xml_text(run, bodies), "vasp-xml")
    yield Case("OUTCAR MD, 50 atoms, made up", "OUTCAR", outcar_with_states(made_run(60, 50)), "vasp-out")
    yield Case("extxyz, 64 atoms, made up", "frames.extxyz", extxyz(1000, 64), "extxyz")
    if (shared / "dft").is_dir():
        yield from real_cases(shared / "dft")


def real_cases(dft: Path) -> Iterator[Case]:
    """Yield real outputs of ../shared, short runs of dynamics with their steps repeated."""
    long = repeated_steps(_read(dft / "vasp/ti32-aimd-nwrite0-v6.3.0/vasprun.xml"), 60)
    yield Case("vasprun.xml MD, 32 atoms, real steps repeated", "vasprun.xml", long, "vasp-xml")
    for file in sorted((dft / "vasp").glob("**/*")):
        form = "vasp-xml" if "vasprun.xml" in file.name else "vasp-out" if file.name.startswith("OUTCAR") else ""
        if form and file.suffix != ".xz" and len(data := _read(file)) > 500_000:
            title = f"{file.name.removesuffix('.gz')}, {'/'.join(file.relative_to(dft / 'vasp').parts[:-1])}"
            yield Case(title, file.name.removesuffix(".gz"), data, form)
    vc = repeated_run(_read(dft / "qe/qe-suite-vc-relax2/pw.out"), 10)
    yield Case("pw.x vc-relax, 2 atoms, real steps repeated", "pw.out", vc, "espresso-out")
    for folder in sorted((dft / "cp2k").iterdir()):
        logs = [file for file in folder.iterdir() if file.name.startswith("output") or ".out" in file.name]
        beside = tuple((file.name, file.read_bytes()) for file in sorted(folder.iterdir()) if file not in logs)
        yield from (Case(f"CP2K log, {folder.name}", file.name.removesuffix(".gz"), _read(file), "cp2k", beside) for file in logs)
    yield repeated_dynamics(dft / "cp2k/water-md-virial-v7.1", 60)


def repeated_dynamics(folder: Path, times: int) -> Case:
    """Return a real run of CP2K with its trajectories, its steps repeated as one long run; steps of the trajectories are counted on."""
    anchor = b"\n ENERGY| Total FORCE_EVAL"
    head, *steps = (folder / "output").read_bytes().split(anchor)
    log = anchor.join([head, *steps[:-1] * times, steps[-1]])
    beside = []
    for file in sorted(folder.glob("*.xyz")):
        lines = file.read_bytes().split(b"\n")
        size = int(lines[0]) + 2
        blocks = [lines[k : k + size] for k in range(0, len(lines) - 1, size)]
        long = [*blocks[:-1] * times, blocks[-1]]
        counted = [[block[0], re.sub(rb"i = +\d+", b"i = %8d" % n, block[1]), *block[2:]] for n, block in enumerate(long)]
        beside.append((file.name, b"\n".join(line for block in counted for line in block) + b"\n"))
    return Case("CP2K MD with its trajectories, 192 atoms, real steps repeated", "output", log, "cp2k", tuple(beside))


def _read(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
