"""Extended and plain XYZ, streamed: frames of equal layout are decoded together, no Python object an atom.

A frame that cannot be read is counted and told; reading goes on at the next line that can begin a frame. A number may have a D exponent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lake.collections.answers import Answers, read_answers
from lake.collections.records import Collection
from lake.readers.base import ReaderSpec
from lake.readers.collections.extxyz_columns import elements, held, units_of_columns, unknown_label
from lake.readers.collections.extxyz_comment import (
    Layout,
    atomic,
    cell_of,
    is_cell,
    layout_of,
    pairs_of,
    periodicity,
    plain_layout,
    unit_key,
)
from lake.readers.key_store import KeyStore
from lake.readers.series_store import Periodic, SeriesStore
from lake.readers.species import number_of
from lake.readers.tokens import Table, read_table
from lake.readers.unlabelled import Unlabelled
from schemas.errors import QueryError, UnreadableOutput

_DRAIN_BYTES: Final = 1 << 20
_MOST_OPEN: Final = 256 << 20
"""Bytes without a whole frame beyond which a file is not believed."""
_COUNT: Final = re.compile(rb"[ \t]*(\d{1,9})[ \t]*\Z")
_TOLD: Final = 20
"""Malformed frames that are told one by one."""
_NUMBER: Final = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?")
_ROWS_COMPARED: Final = 100
"""Rows that the last row of a file is compared to, where no end of line is behind it."""
_DIGIT: Final = re.compile(rb"\d")
_HEAD: Final = re.compile(rb"[ \t]*(\d{1,9})[ \t]*\r?\n([^\n]*)\n([^\n]+)(\n|\Z)")
_LONG: Final = re.compile(rb"[ \t]*[1-9]\d{0,8}[ \t]*\r?\n(?=[^\n]*\bLattice=)(?=[^\n]*\bProperties=)[^\n]{4096,}\Z")
"""A comment that is longer than the head of a file that is looked at."""


@dataclass(frozen=True)
class _Frame:
    """One frame whose rows are not yet read."""

    place: int
    natoms: int
    layout: Layout
    pbc: Periodic
    rows: bytes


class ExtxyzReader(Unlabelled):
    """Reads one file; frames are numbered from 0 by their place in it, malformed ones included."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._frames: list[_Frame] = []
        self._store = SeriesStore()
        self._keys = KeyStore()
        self._place = 0
        self._n_frames = 0
        self._malformed: list[str] = []
        self._n_malformed = 0
        self._torn: set[int] = set()
        self._truncated = False
        self._next_drain = _DRAIN_BYTES

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        self._buffer += chunk.replace(b"\r", b"") if b"\r" in chunk else chunk
        if len(self._buffer) > self._next_drain:
            self._drain(last=False)
            self._next_drain = max(_DRAIN_BYTES, 2 * len(self._buffer))

    def collected(self) -> Collection:
        """Return the frames; raises UnreadableOutput where there is none."""
        self._drain(last=True)
        columns, words = self._keys.columns(), self._keys.words()
        lattice = columns.pop("Lattice", None)
        series = self._store.series(lattice)
        if not series:
            raise UnreadableOutput(
                "no_complete_step", f"no whole frame; {self._n_malformed} malformed{', cut off' if self._truncated else ''}",
                "deposit the file as it was written",
            )  # fmt: skip
        return Collection(
            format="extxyz",
            code="extxyz",
            series=series,
            columns=columns,
            words=words,
            said=self._said(words),
            malformed=tuple(self._malformed),
            n_malformed=self._n_malformed,
            torn=frozenset(self._torn | self._keys.torn),
            truncated=self._truncated,
            fixed=self._store.fixed(),
        )

    def _said(self, words: dict[str, tuple[str, ...]]) -> Answers:
        """Return what the key `units` says, or such as `energy-unit` and `forces_unit`, where every frame says the same."""
        found = {}
        for key, texts in words.items():
            name = unit_key(key)
            if name and len(texts) == 1 and self._keys.count_of(key, texts[0]) == self._n_frames:
                found[name] = texts[0]
        whole = found.pop("units", "")
        try:
            return read_answers({"units": whole or ",".join(f"{name}={text}" for name, text in atomic(found).items())})
        except QueryError:
            return Answers()

    def _drain(self, *, last: bool) -> None:
        """Take all frames that are whole; a frame counts only when the line behind it is there too, or the file ends."""
        text = bytes(self._buffer)
        if last and text and not text.endswith(b"\n"):
            text = self._with_last_line(text)
        ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == 10).tolist()
        line = self._scan(text, ends, last=last)
        begin = ends[line - 1] + 1 if line else 0
        self._decode()
        self._keys.flush()
        self._buffer = bytearray(text[begin:])
        if len(self._buffer) > _MOST_OPEN:
            raise UnreadableOutput(
                "unreadable_output", f"{len(self._buffer)} bytes without one frame", "deposit the file as it was written"
            )
        if last:
            self._truncated = self._truncated or bool(self._buffer.strip())
            self._buffer.clear()

    def _with_last_line(self, text: bytes) -> bytes:
        """Return the text with its unfinished last line made whole, where it ends like the rows before; else without that line.

        Of a number that is cut, nothing shows that digits are missing: a last row is believed where it is as long as the two before it,
        or ends with a blank, or its last number has the decimals that those of all rows before it have.
        """
        before = text.rsplit(b"\n", 3)
        lengths = {len(line) for line in before[-3:]}
        if len(before) == 4 and _COUNT.match(before[-1]) is None and (len(lengths) == 1 or _ends_alike(text)):
            return text + b"\n"
        self._truncated = True
        return text[: text.rfind(b"\n") + 1]

    def _scan(self, text: bytes, ends: list[int], *, last: bool) -> int:
        """Cut whole frames out of the lines of a text and return the number of the first line that is left."""
        line, n_lines = 0, len(ends)
        while line < n_lines:
            begin = ends[line - 1] + 1 if line else 0
            count = _COUNT.match(text, begin, ends[line])
            if count is None:
                if text[begin : ends[line]].strip():
                    line = self._lost(text, ends, line, "no number of atoms")
                    continue
                line += 1
                continue
            natoms = int(count.group(1))
            behind = line + 2 + natoms
            if behind > n_lines or (behind == n_lines and not last):
                inside = _next_count(text, ends, line) if last or len(text) > 4 * _DRAIN_BYTES else n_lines
                if inside == n_lines:
                    self._truncated = self._truncated or last
                    return line
                self._tell(f"frame {self._place}: {natoms} atoms are announced, and another frame begins before as many rows")
                self._place += 1
                line = inside
                continue
            if behind < n_lines and not _may_begin(text[ends[behind - 1] + 1 : ends[behind]]):
                line = self._lost(text, ends, line, f"{natoms} atoms are announced, which is not where the next frame begins")
                continue
            self._frame(natoms, text[ends[line] + 1 : ends[line + 1]], text[ends[line + 1] + 1 : ends[behind - 1] + 1])
            line = behind
        return line

    def _lost(self, text: bytes, ends: list[int], line: int, why: str) -> int:
        """Count a malformed frame and return the line that the next one may begin at."""
        self._tell(f"frame {self._place}: {why}")
        self._place += 1
        return _next_count(text, ends, line)

    def _frame(self, natoms: int, comment: bytes, rows: bytes) -> None:
        """Take one frame whose rows are there."""
        place = self._place
        self._place += 1
        pairs = pairs_of(comment)
        if pairs is None or not natoms:
            self._tell(f"frame {place}: {'it has no atoms' if pairs is not None else 'a quote of its comment is left open'}")
            return
        pairs = pairs or ([(b"comment", comment.strip())] if _NUMBER.fullmatch(comment.strip()) else [])
        special = {name.lower(): value for name, value in pairs if name.lower() in (b"properties", b"lattice", b"pbc")}
        properties, lattice = special.get(b"properties"), special.get(b"lattice")
        layout = layout_of(properties) if properties is not None else plain_layout(len(rows[: rows.find(b"\n")].split()))
        lattice = cell_of(lattice) if lattice is not None else None
        pbc = periodicity(special[b"pbc"]) if b"pbc" in special else (lattice is not None,) * 3
        if layout is None or pbc is None or (lattice is not None and not is_cell(lattice)):
            what = "columns" if layout is None else "pbc" if pbc is None else "Lattice"
            self._tell(f"frame {place}: its {what} cannot be read: {comment[:200].decode('utf-8', 'replace')}")
            return
        frame = _Frame(place, natoms, layout, pbc if lattice is not None else (False, False, False), rows)
        if self._frames and self._frames[-1].layout != layout:
            self._decode()
        self._frames.append(frame)
        others = [(name, value) for name, value in pairs if name.lower() not in (b"properties", b"lattice", b"pbc")]
        others += units_of_columns(layout, natoms, rows) if layout.units else []
        self._keys.add(place, others if lattice is None else [*others, (b"Lattice", lattice)])

    def _decode(self) -> None:
        """Make numbers of the frames that wait, all of one layout."""
        frames, self._frames = self._frames, []
        if not frames:
            return
        layout = frames[0].layout
        table = read_table(b"".join(frame.rows for frame in frames), layout.columns, layout.words)
        if table is not None:
            self._take_all(frames, table)
            return
        for frame in frames:
            single = read_table(frame.rows, layout.columns, layout.words)
            if single is None:
                self._tell(f"frame {frame.place}: a row has another number of words than the {layout.columns} of its columns")
            else:
                self._take([frame], single)

    def _take_all(self, frames: Sequence[_Frame], table: Table) -> None:
        """Take frames whose rows stand one after another in a table, those of equal size together."""
        row = start = 0
        while start < len(frames):
            natoms, end = frames[start].natoms, start
            while end < len(frames) and frames[end].natoms == natoms:
                end += 1
            rows = slice(row, row + natoms * (end - start))
            self._take(frames[start:end], Table(table.numbers[rows], table.labels[rows]))
            row, start = rows.stop, end

    def _take(self, frames: Sequence[_Frame], table: Table) -> None:
        layout, n, natoms = frames[0].layout, len(frames), frames[0].natoms
        values = table.numbers.reshape(n, natoms, layout.columns)
        numbers = elements(layout, table, values)
        positions = values[:, :, layout.position : layout.position + 3]
        good = np.isfinite(positions).all(axis=(1, 2)) & (numbers > 0).all(axis=1)
        for i in np.flatnonzero(~good).tolist():
            what = "a position is no number" if not np.isfinite(positions[i]).all() else unknown_label(layout, table, i, natoms)
            self._tell(f"frame {frames[i].place}: {what}")
        kept = np.flatnonzero(good).tolist()
        vectors = {name: values[kept, :, first : first + 3] for name, first in layout.vectors}
        for each in vectors.values():
            torn = ~np.isfinite(each).all(axis=(1, 2))
            self._torn.update(frames[kept[i]].place for i in np.flatnonzero(torn).tolist())
        places = np.array([frames[i].place for i in kept], dtype=np.int64)
        self._n_frames += len(kept)
        fixed = held(layout, table, n)
        pbc = [frames[i].pbc for i in kept]
        self._store.add(places, numbers[kept], pbc, positions[kept], vectors, fixed=None if fixed is None else fixed[kept])

    def _tell(self, words: str) -> None:
        self._n_malformed += 1
        if len(self._malformed) < _TOLD:
            self._malformed.append(words)


def _ends_alike(text: bytes) -> bool:
    """Return whether the last row ends with a blank, or with the word or as many decimals as all rows of as many words before it."""
    lines = text.rsplit(b"\n", _ROWS_COMPARED)[1:]
    width = len(lines[-1].split())
    rows = [line.split() for line in lines if b"=" not in line and len(line.split()) == width]
    if width < 4 or len(rows) < 2:
        return False
    decimals = {_decimals(row[-1]) for row in rows}
    alike = len({row[-1] for row in rows}) == 1 or (len(decimals) == 1 and decimals != {b""})
    return text[-1:] in b" \t" or (len(rows) > 2 and alike)


def _decimals(word: bytes) -> bytes:
    """Return what follows the whole part of a number, each digit as 0: '.00000' or '.000e-00'; b"" for a whole number."""
    return _DIGIT.sub(b"0", word[word.find(b".") :]).replace(b"+", b"-") if b"." in word else b""


def _may_begin(line: bytes) -> bool:
    return not line.strip() or _COUNT.match(line) is not None


def _next_count(text: bytes, ends: list[int], line: int) -> int:
    """Return the number of the next line behind `line` that holds a number alone and has a row of an atom two lines on."""
    for i in range(line + 1, len(ends)):
        if ends[i] - ends[i - 1] > 12 or _COUNT.match(text, ends[i - 1] + 1, ends[i]) is None:
            continue
        if i + 2 >= len(ends) or len(text[ends[i + 1] + 1 : ends[i + 2]].split()) >= 4:
            return i
    return len(ends)


def recognises(_name: str, head: bytes) -> bool:
    """Return whether a file begins like XYZ: a number of atoms, a comment, and the row of an atom."""
    found = _HEAD.match(head)
    if found is None:
        return _LONG.match(head) is not None
    if not int(found.group(1)):
        return False
    if b"Properties=" in found.group(2) and pairs_of(found.group(2)) is not None:
        return True
    words = found.group(3).split()
    numbers = words[1:4]
    if len(words) < 4 or number_of(words[0]) == 0 or (words[0].isdigit() and b"=" not in found.group(2)):
        return False
    return all(_NUMBER.fullmatch(word) for word in numbers)


EXTXYZ: Final = ReaderSpec("extxyz", "extxyz", recognises, ExtxyzReader, rank=90)
