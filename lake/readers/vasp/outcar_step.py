"""The parts of one step of OUTCAR between two places, as printed."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from lake.readers.anchors import seek
from lake.readers.rows import number
from lake.readers.vasp.frames import NAN, StepEnergies
from schemas.frames import Floats

ENERGY_BLOCK: Final = 2048
"""Bytes within which the energies of a step stand together."""
_ENERGIES: Final = re.compile(
    rb"free  energy[^=]*=[ \t]*([^\s]*)[ \t]*eV.*?without entropy=[ \t]*([^\s]*)(?=\s)(?![ \t]+\d)"
    rb".*?energy\(sigma->0\) =[ \t]*([^\s]*)(?=\s)(?![ \t]+\d)",
    re.DOTALL,
)
_COMPONENTS: Final = 6
"""Numbers of a row of lattice vectors: of the cell and of its reciprocal."""
_VOIGT: Final = ((0, 3, 5), (3, 1, 4), (5, 4, 2))
"""Place of each component of a 3x3 tensor in XX YY ZZ XY YZ ZX."""


def table_bounds(buffer: bytes | bytearray, table: int, end: int) -> tuple[int, int] | None:
    """Return where the rows of a force table start and end (at the closing line of dashes), None where it is not whole."""
    dashes = buffer.find(b"\n", table, end)
    first = buffer.find(b"\n", dashes + 1, end) + 1 if dashes >= 0 else 0
    closing = buffer.find(b"\n ---", first - 1, end) + 1 if first > 0 else 0
    return (first, closing) if closing > first > 0 else None


def lattice(buffer: bytes | bytearray, start: int, end: int) -> bytes:
    """Return the last rows of lattice vectors between two places, b'' for none: three, or four where a row too many stands there."""
    place = buffer.rfind(b"direct lattice vectors", start, end)
    first = buffer.find(b"\n", place, end) + 1 if place >= 0 else 0
    last = first
    for _ in range(3 if first > 0 else 0):
        last = buffer.find(b"\n", last, end) + 1
        if last <= 0:
            return b""
    after = buffer.find(b"\n", last, min(end, last + 200)) + 1 if last > 0 else 0
    return bytes(buffer[first : after if buffer.count(b".", last, max(last, after)) >= _COMPONENTS else last])


def stress_line(buffer: bytes | bytearray, start: int, end: int) -> bytes:
    """Return the last `  in kB` line between two places, b'' for none."""
    place = buffer.rfind(b"\n  in kB", start, end)
    return bytes(buffer[place + 1 : buffer.find(b"\n", place + 1, end) + 1]) if place >= 0 else b""


def tensor(printed: Floats) -> Floats:
    """Return (n, 3, 3) tensors of (n, 6) components in the order XX YY ZZ XY YZ ZX."""
    return np.asarray(printed[:, np.array(_VOIGT)])


def energies(buffer: bytes | bytearray, energy: int) -> StepEnergies:
    """Return the energies of the step whose `free  energy` stands at a place, NaN where they are not whole."""
    match = _ENERGIES.match(buffer, energy, energy + ENERGY_BLOCK)
    if match is None:
        return StepEnergies(NAN, NAN, NAN)
    return StepEnergies(number(match[1]), number(match[3]), number(match[2]))


def number_after(buffer: bytes | bytearray, name: bytes, rare: bytes, start: int, end: int) -> float:
    """Return the number behind `name ... =`, NaN for none; rare is a letter of the name that other text seldom has."""
    place = seek(buffer, name, rare, start, end)
    place = buffer.find(b"=", place, end) if place >= 0 else -1
    words = bytes(buffer[place + 1 : min(end, place + 40)]).split(None, 1) if place >= 0 else []
    return number(words[0]) if words else NAN
