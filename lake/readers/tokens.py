"""Tables of words apart by blanks, of many frames at once, to float64 by one Arrow cast.

Unlike `rows`, columns need no fixed width: `-0.1 2.345e-7` and `1.0 0.25` may follow each other. Decimals become the nearest float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lake import native
from lake.readers.rows import LIMIT, number
from schemas.frames import Floats

_BLANK: Final = 32
_NEWLINE: Final = ord("\n")
MOST_LETTERS: Final = 8
"""Letters of a word that is kept as text (a label of an atom); longer ones are cut."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Table:
    """A block of rows with the same number of words in each."""

    numbers: Floats
    """(rows, columns); 0 in the columns of text, NaN where a word is no number."""
    labels: NDArray[np.bytes_]
    """(rows, text columns)"""


def read_table(text: bytes, columns: int, words: Sequence[int] = ()) -> Table | None:
    """Return the table that a text is, every row ending with a newline, or None where a row has another number of words.

    words are the columns that hold text; their first MOST_LETTERS letters are kept.
    """
    found = np.zeros((text.count(b"\n"), len(words)), dtype=f"S{MOST_LETTERS}")
    if sorted(words) == list(words) and (compiled := native.word_rows(text, columns, words, found)) is not None:
        return Table(compiled, found)
    raw = np.frombuffer(text, dtype=np.uint8)
    inside = raw > _BLANK
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    edges += 1
    if len(raw) and inside[0]:
        edges = np.concatenate([[0], edges])
    rows = len(edges) // (2 * columns)
    if rows * 2 * columns != len(edges) or not _is_even(raw, edges.reshape(rows, 2 * columns)):
        return None
    places = edges.reshape(rows, columns, 2)
    labels = np.zeros((rows, len(words)), dtype=f"S{MOST_LETTERS}")
    for k, column in enumerate(words):
        labels[:, k] = _words_at(raw, places[:, column])
    numeric = np.ones((rows, columns), dtype=bool)
    numeric[:, list(words)] = False
    return Table(_cast(raw, edges, numeric).reshape(rows, columns), labels)


def _is_even(raw: Bytes, edges: NDArray[np.intp]) -> bool:
    """Return whether rows of edges (rows, 2 columns) end where the lines do."""
    if int(np.count_nonzero(raw == _NEWLINE)) != len(edges):
        return False
    last = edges[:, -1]
    if bool((raw[last] == _NEWLINE).all()):
        return True
    newlines = np.flatnonzero(raw == _NEWLINE)
    return bool((last <= newlines).all() and (edges[1:, 0] > newlines[:-1]).all())


def _words_at(raw: Bytes, places: NDArray[np.intp]) -> NDArray[np.bytes_]:
    """Return the words from places[:, 0] to places[:, 1], (rows,)."""
    starts, lengths = places[:, 0], places[:, 1] - places[:, 0]
    letters = np.zeros((len(starts), MOST_LETTERS), dtype=np.uint8)
    for k in range(min(int(lengths.max(initial=0)), MOST_LETTERS)):
        there = lengths > k
        letters[there, k] = raw[starts[there] + k]
    return letters.view(f"S{MOST_LETTERS}").reshape(-1)


def _cast(raw: Bytes, edges: NDArray[np.intp], numeric: NDArray[np.bool_]) -> Floats:
    """Return the numbers between edges, 0 where numeric is False.

    Arrow takes the letters as they stand: the gaps between words, and words that are no numbers, are entries that count as null.
    """
    count = numeric.size
    if not count:
        return np.empty(0)
    offsets = edges.astype(np.int32)
    valid = np.zeros(2 * count, dtype=bool)
    valid[::2] = numeric.reshape(-1)
    bitmap = pa.py_buffer(np.packbits(valid, bitorder="little"))
    if bool(raw.max() < 128):
        for change in (None, _without_d):
            letters = raw if change is None else change(raw)
            strings = pa.StringArray.from_buffers(2 * count - 1, pa.py_buffer(offsets), pa.py_buffer(letters), bitmap)
            try:
                return _bounded(pc.cast(strings, pa.float64()), numeric.reshape(-1))
            except pa.ArrowInvalid:
                pass
    text = raw.tobytes()
    pairs = zip(edges[::2].tolist(), edges[1::2].tolist(), numeric.reshape(-1).tolist(), strict=True)
    return np.array([number(text[start:end]) if is_number else 0.0 for start, end, is_number in pairs])


def _without_d(letters: Bytes) -> Bytes:
    """Return letters in which the exponents of Fortran, 1.0D-3, are written with an E."""
    return np.where((letters | 0x20) == ord("d"), np.uint8(ord("e")), letters)


def _bounded(values: pa.Array, numeric: NDArray[np.bool_]) -> Floats:
    found = np.frombuffer(values.buffers()[1], dtype=np.float64, count=2 * len(numeric) - 1)[::2].copy()
    if not bool(numeric.all()):
        found[~numeric] = 0.0
    wild = ~(np.abs(found) < LIMIT)
    if bool(wild.any()):
        found[wild] = np.nan
    return found
