"""Damage of an output: never an exception out of a reader, and no other number without a flag where the rows of a table can tell.

What can tell, for a row of numbers with decimals: a field that is no number, a number cut in two, a row that is lost, doubled or cut,
and in tables that one format wrote a digit or the point that is lost or added behind the point. What cannot: a digit that became
another digit, and a sign that was lost; what is printed twice is the matter of `test_cross_checks`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
from damaged_texts import SAMPLES, changed, read

from lake.readers import READERS
from schemas.errors import UnreadableOutput

NUMBER = re.compile(rb"-?\d+\.\d+(?:[EeDd][+-]?\d+)?")
EVEN = {"GPAW text", "Gaussian log", "ORCA output", "NWChem log", "CASTEP output", "ABINIT, moving"}
"""Where a digit lost or added behind the point is told in all tables; elsewhere in some."""
HEADINGS = ("celldm", "total   stress", "STRESS|", "time=", "znucl", "Utot", "_fr_energy", "e_wo_", "e_0_", "typat")


def test_each_reader_of_text_has_a_sample() -> None:
    """Readers of binary files and of collections have tests of their own."""
    printed = {"pw.x stdout", "pw.x XML", "vasprun.xml", "OUTCAR", "CP2K log"} | {
        spec.name for spec in READERS if spec.name.endswith((" output", " log", " text", "INFO.OUT", "OpenMX .md"))
    }
    assert printed - {"ABINIT log"} == {name for name, _ in SAMPLES.values()}


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
