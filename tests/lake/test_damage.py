"""Damage of an output: never an exception out of a reader, and no other number without a flag where the rows of a table can tell.

What can tell, for a row of numbers with decimals: a field that is no number, a number cut in two, a row that is lost, doubled or cut,
and in tables that one format wrote a digit or the point that is lost or added behind the point. What cannot: a digit that became
another digit, a sign that was lost, and a line that alone announces a step and is lost as a whole.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import made_up_logs as logs
import made_up_molecules as molecules
import made_up_orbitals as orbitals
import made_up_rare_logs as rare
import made_up_solids as solids
import made_up_vasp as vasp
import numpy as np
import pytest

from lake.feeding import closed
from lake.readers import READERS, find_reader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.sources import Rejection

DATA = Path(__file__).resolve().parent.parent / "data" / "qe"
NUMBER = re.compile(rb"-?\d+\.\d+(?:[EeDd][+-]?\d+)?")
LABELS = ("cell", "positions", "energy", "forces", "stress")
STEPS = logs.make_steps(3)
SAMPLES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "pw.x stdout": ("pw.x stdout", lambda: gzip.decompress((DATA / "md-unconverged.out.gz").read_bytes())),
    "pw.x XML": ("pw.x XML", lambda: gzip.decompress((DATA / "md-unconverged.xml.gz").read_bytes())),
    "vasprun.xml": ("vasprun.xml", lambda: vasp.xml_text(vasp.make_run(3, natoms=4))),
    "OUTCAR": ("OUTCAR", lambda: vasp.outcar_text(vasp.make_run(3, natoms=4))),
    "CP2K log": ("CP2K log", lambda: logs.cp2k_text(logs.make_steps(1))),
    "ABINIT, moving": ("ABINIT output", lambda: logs.abinit_text([STEPS], moving=True)),
    "ABINIT, static": ("ABINIT output", lambda: logs.abinit_text([logs.make_steps(1)])),
    "SIESTA, moving": ("SIESTA output", lambda: orbitals.siesta_text(STEPS, single=False)),
    "SIESTA, static": ("SIESTA output", lambda: orbitals.siesta_text(logs.make_steps(1))),
    "OpenMX output": ("OpenMX output", lambda: orbitals.openmx_text(STEPS, kind="opt")),
    "OpenMX .md": ("OpenMX .md", lambda: orbitals.openmx_md_text(STEPS, [0.0, 1.0, 2.0])),
    "FHI-aims output": ("FHI-aims output", lambda: rare.fhi_aims_text(STEPS)),
    "CASTEP output": ("CASTEP output", lambda: solids.castep_text(STEPS)),
    "GPAW text": ("GPAW text", lambda: rare.gpaw_text(STEPS)),
    "Gaussian log": ("Gaussian log", lambda: molecules.gaussian_text(STEPS)),
    "ORCA output": ("ORCA output", lambda: molecules.orca_text(STEPS)),
    "ABACUS log": ("ABACUS log", lambda: solids.abacus_text(STEPS)),
    "Elk INFO.OUT": ("Elk INFO.OUT", lambda: solids.elk_text(logs.make_steps(1))),
    "NWChem log": ("NWChem log", lambda: molecules.nwchem_text(STEPS)),
}
"""Made-up outputs: what they are, the reader, the text."""
EVEN = {"GPAW text", "Gaussian log", "ORCA output", "NWChem log", "CASTEP output", "ABINIT, moving"}
"""Where a digit lost or added behind the point is told in all tables; elsewhere in some."""
HEADINGS = ("celldm", "total   stress", "STRESS|", "time=", "znucl", "Utot", "_fr_energy", "e_wo_", "e_0_", "typat")


def test_each_reader_of_text_has_a_sample() -> None:
    """Readers of binary files and of collections have tests of their own."""
    printed = {"pw.x stdout", "pw.x XML", "vasprun.xml", "OUTCAR", "CP2K log"} | {
        spec.name for spec in READERS if spec.name.endswith((" output", " log", " text", "INFO.OUT", "OpenMX .md"))
    }
    assert printed - {"ABINIT log"} == {name for name, _ in SAMPLES.values()}


def read(text: bytes) -> tuple[Run, ...]:
    """Return the runs of a text as the lake takes them; raises UnreadableOutput."""
    spec = find_reader("output", text[:65536])
    if spec is None:
        raise UnreadableOutput("unknown_format", "no reader", "none")
    reader = spec.open()
    reader.feed(text)
    found = closed("output", spec, reader)
    if isinstance(found, Rejection):
        assert found.reason != "reader_failed", found.detail
        raise UnreadableOutput(found.reason, found.detail, found.remedy)
    return found


def changed(text: bytes, whole: tuple[Run, ...]) -> str:
    """Return what a damaged text gives otherwise without a word, or nothing; 2e-3 is what the same number printed elsewhere may differ."""
    try:
        runs = read(text)
    except UnreadableOutput:
        return ""
    for run, sound in zip(runs, whole, strict=False):
        if set(run.flags) - set(sound.flags) or run.n_malformed_steps > sound.n_malformed_steps:
            continue
        if run.frames.numbers.tolist() != sound.frames.numbers.tolist():
            return "numbers"
        places = {int(step): place for place, step in enumerate(sound.frames.step)}
        for k, step in enumerate(run.frames.step):
            place = places.get(int(step), 0)
            if set(run.frames.flags[k]) - set(sound.frames.flags[place]):
                continue
            for name in LABELS:
                found, right = getattr(run.frames, name)[k], getattr(sound.frames, name)[place]
                if bool((np.isfinite(found) & (np.abs(found - right) > 2e-3)).any()):
                    return name
    return ""


def damages(line: bytes, kinds: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield a row of a table damaged in each way."""
    for number in (next(NUMBER.finditer(line)), list(NUMBER.finditer(line))[-1]):
        start, end = number.span()
        point = line.index(b".", start)
        yield "stars", line[:start] + b"*" * (end - start) + line[end:]
        for name, byte in (("a letter", b"x"), ("a zero byte", b"\0"), ("a blank", b" ")):
            yield name, line[: point + 1] + byte + line[point + 2 :]
        if "digits" in kinds:
            yield "a digit lost", line[: point + 1] + line[point + 2 :]
            yield "a digit added", line[: point + 1] + b"7" + line[point + 1 :]
    yield "the row lost", b""
    yield "the row doubled", line + line
    yield "the row cut", line[: len(line) // 2] + b"\n"


def rows(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the rows of tables, with at least three numbers, of the text and where they begin."""
    place = 0
    for line in text.splitlines(keepends=True):
        if len(NUMBER.findall(line)) >= 3 and len(line) < 400 and not any(words.encode() in line for words in HEADINGS):
            yield place, line
        place += len(line)


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_rows_are_told(name: str) -> None:
    text = SAMPLES[name][1]()
    whole = read(text)
    table = list(rows(text))
    chosen = random.Random(name).sample(table, min(12, len(table)))
    silent = []
    for place, line in chosen:
        for kind, wrong in damages(line, {"digits"} if name in EVEN else set()):
            found = changed(text[:place] + wrong + text[place + len(line) :], whole)
            if found:
                silent.append((kind, found, line))
    assert not silent


@pytest.mark.parametrize("name", SAMPLES)
def test_no_damage_raises(name: str) -> None:
    text, chance = SAMPLES[name][1](), random.Random(name)
    for _ in range(40):
        damaged = bytearray(text)
        for _ in range(chance.randint(1, 8)):
            place = chance.randrange(len(damaged))
            match chance.randrange(4):
                case 0:
                    damaged[place] = chance.randrange(256)
                case 1:
                    del damaged[place : place + chance.randint(1, 90)]
                case 2:
                    damaged[place:place] = chance.randbytes(chance.randint(1, 30))
                case _:
                    other = chance.randrange(len(damaged))
                    damaged[place:place] = damaged[other : other + 200]
        with suppress(UnreadableOutput):
            read(bytes(damaged))
