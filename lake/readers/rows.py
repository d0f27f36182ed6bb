"""Blocks of rows with fixed-width numbers, of many frames at once, to float64 by one Arrow cast.

A Fortran field is a column range, not a token: `-0.123-45.678` and `************` are read as the program wrote them.
The columns are found from the decimal points of a row, for Fw.d puts each point w columns behind the one before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lake import native

Floats = NDArray[np.float64]

_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?\Z")
_PLAIN: Final = b"0123456789+-.eE "
_POINT: Final = ord(".")
_NEWLINE: Final = ord("\n")
_BATCH_BYTES: Final = 4 << 20
LIMIT: Final = 1e100
"""No physical number is above it; a damaged exponent is."""


@dataclass(frozen=True)
class Columns:
    """Equal fixed-width columns that follow each other without a gap."""

    start: int
    width: int
    count: int

    @property
    def end(self) -> int:
        """Return the column behind the last one."""
        return self.start + self.width * self.count


def number(text: bytes) -> float:
    """Return the number that a field holds, NaN for anything else (blank, stars, words, above 1e100); D exponents are read."""
    text = text.strip()
    if _NUMBER.match(text) is None:
        return float("nan")
    try:
        value = float(text)
    except ValueError:
        value = float(text.replace(b"d", b"e").replace(b"D", b"e"))
    return value if abs(value) < LIMIT else float("nan")


def plain_numbers(fields: Sequence[bytes]) -> list[float] | None:
    """Return the numbers of fields that hold digits, points, signs and exponents only; None where one of them is no number below 1e100."""
    if b" ".join(fields).translate(None, _PLAIN):
        return None
    try:
        values = [float(text) for text in fields]
    except ValueError:
        return None
    return values if not values or (min(values) > -LIMIT and max(values) < LIMIT) else None


def find_columns(row: bytes, count: int) -> Columns | None:
    """Return the columns of the last count numbers of a row that was written with one Fw.d, or None where it was not."""
    points = [place for place, byte in enumerate(row) if byte == _POINT][-count:]
    if len(points) < count:
        return None
    decimals = 0
    while row[points[-1] + 1 + decimals : points[-1] + 2 + decimals].isdigit():
        decimals += 1
    if count == 1:
        width = points[0] + 1 + decimals
    else:
        width = points[1] - points[0]
        if any(b - a != width for a, b in pairwise(points)):
            return None
    columns = Columns(points[0] + decimals - width + 1, width, count)
    return columns if decimals and columns.start >= 0 and decimals < width else None


def cast_fields(fields: NDArray[np.uint8]) -> Floats:
    """Return the numbers in fields, shape (n, width) of ASCII; NaN where a field holds no number below 1e100."""
    n, width = fields.shape
    if n == 0:
        return np.empty(0)
    flat = np.ascontiguousarray(fields)
    compiled = native.equal_fields(flat)
    if compiled is not None:
        return compiled
    if bool((flat < 128).all()) and n * width < 2**31:
        offsets = np.arange(0, (n + 1) * width, width, dtype=np.int32)
        strings = pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(flat))
        try:
            numbers = pc.cast(pc.ascii_trim_whitespace(strings), pa.float64())
        except pa.ArrowInvalid:
            pass
        else:
            values = np.frombuffer(numbers.buffers()[1], dtype=np.float64, count=n).copy()
            values[~(np.abs(values) < LIMIT)] = np.nan
            return values
    raw = flat.tobytes()
    return np.array([number(raw[i * width : (i + 1) * width]) for i in range(n)])


def decode_rows(rows: Sequence[bytes], count: int) -> Floats:
    """Return the last count numbers of each row, shape (rows, count), row by row: for rows that are not all alike."""
    tokens = [row.split() for row in rows]
    if all(len(found) == count for found in tokens):
        plain = plain_numbers([token for found in tokens for token in found])
        if plain is not None:
            return np.array(plain).reshape(len(rows), count)
    shared = next((found for found in (find_columns(row, count) for row in rows) if found is not None), None)
    return np.array([_decode_row(row, count, shared) for row in rows]).reshape(len(rows), count)


def _decode_row(row: bytes, count: int, shared: Columns | None) -> list[float]:
    columns = find_columns(row, count) or shared
    if columns is None:
        tokens = row.split()[-count:]
        return [number(token) for token in tokens] if len(tokens) == count else [float("nan")] * count
    fields = [row[columns.start + k * columns.width : columns.start + (k + 1) * columns.width] for k in range(count)]
    return [number(part) for part in fields]


@dataclass
class RowBatch:
    """Row blocks of many frames, each with the same number of rows, decoded together.

    Blocks of one length wait for one cast; those whose rows are not alike (points in other columns) are then read row by row.
    Memory is bounded: after 4 MiB of waiting text the numbers are made.
    """

    rows: int
    count: int = 3
    _done: list[Floats] = field(default_factory=list)
    _waiting: list[bytes] = field(default_factory=list)
    _bytes: int = 0

    def add(self, lines: bytes) -> None:
        """Take the rows of one frame, each ending with a newline; their number must be `rows`."""
        if self._waiting and len(self._waiting[0]) != len(lines):
            self._flush()
        self._waiting.append(lines)
        self._bytes += len(lines)
        if self._bytes > _BATCH_BYTES:
            self._flush()

    def skip(self) -> None:
        """Take a frame that has no rows: its numbers are NaN."""
        self._flush()
        self._done.append(np.full((self.rows, self.count), np.nan))

    def values(self) -> Floats:
        """Return all numbers, shape (frames, rows, count)."""
        self._flush()
        if not self._done:
            return np.empty((0, self.rows, self.count))
        return np.concatenate(self._done).reshape(-1, self.rows, self.count)

    def _flush(self) -> None:
        if not self._waiting:
            return
        values = self._regular(self._waiting)
        if values is None:
            singles = [(self._regular([lines]), lines) for lines in self._waiting]
            values = np.concatenate(
                [decode_rows(lines.split(b"\n")[: self.rows], self.count) if found is None else found for found, lines in singles]
            )
        self._done.append(values)
        self._waiting = []
        self._bytes = 0

    def _regular(self, blocks: list[bytes]) -> Floats | None:
        """Return the numbers of blocks of rows that are all alike, shape (blocks * rows, count); None for others."""
        first = blocks[0]
        length = first.find(b"\n") + 1
        columns = find_columns(first[:length], self.count)
        if columns is None or len(first) != length * self.rows:
            return None
        table = np.frombuffer(b"".join(blocks), dtype=np.uint8).reshape(-1, length)
        points = np.flatnonzero(table[0, columns.start :] == _POINT)[: self.count] + columns.start
        if not bool((table[:, -1] == _NEWLINE).all()) or not bool((table[:, points] == _POINT).all()):
            return None
        return cast_fields(table[:, columns.start : columns.end].reshape(-1, columns.width)).reshape(-1, self.count)
