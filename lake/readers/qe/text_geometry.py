"""The geometry of one configuration of a pw.x stdout: cell, positions, coordinates that are held."""

from __future__ import annotations

import re
from math import isfinite, nan
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lake.readers.rows import decode_rows, find_columns, number, plain_numbers
from schemas.units import BOHR

Floats = NDArray[np.float64]

_LABEL: Final = range(6)
"""Columns of the label in a row of positions."""
_BLOCK: Final = re.compile(rb"\n(?:ATOMIC_POSITIONS|CELL_PARAMETERS) *[({]? *(alat|bohr|angstrom|crystal)?(?: *= *([\d.]+))? *[)}]? *\n")


class CellTitle(NamedTuple):
    """The first line of a CELL_PARAMETERS block, with the newlines around it."""

    line: bytes = b""
    factor: float = nan
    """Å per printed unit"""


class Positions(NamedTuple):
    """Rows of an ATOMIC_POSITIONS block, or of the header's table."""

    rows: bytes
    unit: str
    """'alat', 'bohr', 'angstrom' or 'crystal'."""
    factor: float
    """Å per printed unit; 1 for crystal."""
    title: bytes = b""
    """The line before the rows, with the newlines around it; empty for the header's table."""
    pattern: tuple[bytes, ...] = ()
    """The columns of the labels, and that of the line ends."""


def read_cell(text: bytes, alat: float, before: CellTitle) -> tuple[Floats | None, CellTitle]:
    """Return the cell, shape (3, 3) in Å, of text that begins with '\\nCELL_PARAMETERS', or None where it is torn, and its first line.

    alat (Å) is the run's own; the block may state the starting one as '(alat= x)'. before is the first line of an earlier block of the run.
    """
    title = before if before.line and text.startswith(before.line) else _cell_title(text, alat)
    if not title.line:
        return None, before
    rows, factor = text[len(title.line) :].split(b"\n", 3), title.factor
    fields = [row.split() for row in rows[:3]]
    plain = plain_numbers([*fields[0], *fields[1], *fields[2]]) if list(map(len, fields)) == [3, 3, 3] else None
    values = [value * factor for value in plain] if plain is not None else (decode_rows(rows[:3], 3) * factor).ravel().tolist()
    if len(rows) < 4 or not isfinite(sum(values)):
        return None, title
    a, b, c, d, e, f, g, h, i = values
    torn = abs(a * (e * i - f * h) + b * (f * g - d * i) + c * (d * h - e * g)) <= 1e-6
    return None if torn else np.array(values).reshape(3, 3), title


def _cell_title(text: bytes, alat: float) -> CellTitle:
    match = _BLOCK.match(text)
    return CellTitle() if match is None else CellTitle(match.group(), unit_factor(match, alat))


def unit_factor(match: re.Match[bytes], alat: float) -> float:
    """Return Å per printed unit of a geometry block; 1 for crystal coordinates."""
    stated = number(match.group(2)) if match.group(2) else nan
    own = stated * BOHR if isfinite(stated) and stated > 0 else alat
    return {b"bohr": BOHR, b"angstrom": 1.0, b"crystal": 1.0}.get(match.group(1) or b"alat", own)


def read_positions(text: bytes, labels: tuple[str, ...], alat: float, before: Positions | None = None) -> Positions | None:
    """Return the rows of text that begins with '\\nATOMIC_POSITIONS', or None where they are not those of the run's atoms.

    before is an earlier block of the same run that was found right: rows with its columns of labels and line ends are, too.
    """
    if before is not None and before.pattern and text.startswith(before.title):
        rows = text[len(before.title) : len(before.title) + len(before.rows)]
        if len(rows) == len(before.rows) and _pattern(rows, before.rows.find(b"\n") + 1) == before.pattern:
            return Positions(rows, before.unit, before.factor, before.title, before.pattern)
    match = _BLOCK.match(text)
    if match is None:
        return None
    unit, factor = (match.group(1) or b"alat").decode(), unit_factor(match, alat)
    length = text.find(b"\n", match.end()) + 1 - match.end()
    rows = text[match.end() : match.end() + length * len(labels)]
    if before is not None and len(rows) == len(before.rows) and _pattern(rows, length) == _pattern(before.rows, length):
        return Positions(rows, unit, factor, match.group(), _pattern(rows, length))
    lines = text[match.end() :].split(b"\n", len(labels))
    if len(lines) <= len(labels):
        return None
    found = tuple(line.split(None, 1)[0].decode("latin-1") if line.strip() else "" for line in lines[:-1])
    rows = b"".join(line + b"\n" for line in lines[:-1])
    return Positions(rows, unit, factor, match.group(), _pattern(rows, rows.find(b"\n") + 1)) if found == labels else None


def _pattern(rows: bytes, length: int) -> tuple[bytes, ...]:
    if length <= 0:
        return ()
    a, b, c, d, e, f = _LABEL
    return rows[a::length], rows[b::length], rows[c::length], rows[d::length], rows[e::length], rows[f::length], rows[length - 1 :: length]


def read_fixed(rows: bytes, natoms: int) -> NDArray[np.bool_]:
    """Return which coordinates the trailing flags ('0 0 1') of position rows hold fixed, shape (natoms, 3)."""
    fixed = np.zeros((natoms, 3), dtype=bool)
    for place, row in enumerate(rows.split(b"\n")[:natoms]):
        columns = find_columns(row, 3)
        tail = row[columns.end :].split() if columns else []
        if len(tail) == 3:
            fixed[place] = [flag == b"0" for flag in tail]
    return fixed
