"""`input.data` of RuNNer and n2p2, streamed: blocks from `begin` to `end` with lattice, atoms, energy and charge; no unit stands in it.

Words as in the RuNNer manual (section "The file input.data"): an atom's line holds position, element, charge, energy and force.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from lake.collections.answers import NO_ANSWERS, Answers, read_answers
from lake.collections.records import Collection
from lake.readers.base import ReaderSpec
from lake.readers.key_store import KeyStore
from lake.readers.rows import number
from lake.readers.series_store import SeriesStore
from lake.readers.species import numbers_of
from lake.readers.tokens import Table, read_table
from lake.readers.unlabelled import Unlabelled
from schemas.errors import UnreadableOutput

_DRAIN_BYTES: Final = 1 << 20
_MOST_OPEN: Final = 256 << 20
_TOLD: Final = 20
_COLUMNS: Final = 10
"""Words of an atom's line: atom x y z element charge energy fx fy fz; what follows them (a spin) is passed over."""
_BEGIN: Final = re.compile(rb"^[ \t]*begin\b", re.MULTILINE)
_END: Final = re.compile(rb"^[ \t]*end[ \t]*\n", re.MULTILINE)
_HEAD: Final = re.compile(
    rb"\A\s*begin\b[^\n]*\n(?:[ \t]*(?:(?!atom|begin|end)[a-z_]+(?:[ \t][^\n]*)?|#[^\n]*)?\n)*"
    rb"[ \t]*atom[ \t]+\S+[ \t]+\S+[ \t]+\S+[ \t]+[A-Z]"
)
_SAID: Final = re.compile(rb"\bunits eV Angstrom eV/Angstrom\b")
"""What our own exports say in the comment."""


class RunnerDataReader(Unlabelled):
    """Reads one file; structures are numbered from 0 by their place in it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._next_drain = _DRAIN_BYTES
        self._store = SeriesStore()
        self._keys = KeyStore()
        self._place = 0
        self._waiting: list[tuple[int, bool, bytes]] = []
        self._malformed: list[str] = []
        self._n_malformed = self._n_frames = self._n_said = 0
        self._torn: set[int] = set()
        self._truncated = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        self._buffer += chunk.replace(b"\r", b"") if b"\r" in chunk else chunk
        if len(self._buffer) > self._next_drain:
            self._drain()
            self._next_drain = max(_DRAIN_BYTES, 2 * len(self._buffer))

    def collected(self) -> Collection:
        """Return the structures; raises UnreadableOutput where there is none."""
        if self._buffer.rstrip(b" \t").endswith(b"end"):
            self._buffer += b"\n"  # "end" is whole without a newline behind it: nothing could follow in the same line
        self._drain()
        self._truncated = bool(self._buffer.strip())
        columns, words = self._keys.columns(), self._keys.words()
        series = self._store.series(columns.pop("lattice", None))
        if not series:
            found = f"no whole structure; {self._n_malformed} malformed{', cut off' if self._truncated else ''}"
            raise UnreadableOutput("no_complete_step", found, "deposit the file as it was written")
        return Collection(
            format="RuNNer input.data",
            code="runner",
            series=series,
            columns=columns,
            words=words,
            said=self._said(),
            malformed=tuple(self._malformed),
            n_malformed=self._n_malformed,
            torn=frozenset(self._torn | self._keys.torn),
            truncated=self._truncated,
        )

    def _said(self) -> Answers:
        """Return the units, where the comment of every structure names them."""
        if not self._n_frames or self._n_said != self._n_frames:
            return NO_ANSWERS
        return read_answers({"units": "energy=eV,length=Angstrom"})

    def _drain(self) -> None:
        """Take all structures that have their `end`."""
        text, start = bytes(self._buffer), 0
        for end in _END.finditer(text):
            self._structure(text[start : end.start()])
            start = end.end()
        self._decode()
        self._keys.flush()
        self._buffer = bytearray(text[start:])
        if len(self._buffer) > _MOST_OPEN:
            words = f"{len(self._buffer)} bytes without the end of a structure"
            raise UnreadableOutput("unreadable_output", words, "deposit the file as it was written")

    def _structure(self, text: bytes) -> None:
        """Take the text from behind an `end` to the next one."""
        begins = [found.start() for found in _BEGIN.finditer(text)]
        for _ in begins[1:]:
            self._tell(self._place, "another structure begins before its end")
            self._place += 1
        if not begins:
            self._tell(self._place, "an end without a begin")
            self._place += 1
            return
        place = self._place
        self._place += 1
        lines = [line.strip() for line in text[begins[-1] :].split(b"\n")[1:]]
        atoms = [line for line in lines if line.startswith(b"atom") and line[4:5] in (b" ", b"\t")]
        lattice = [line.split()[1:] for line in lines if line.startswith(b"lattice")]
        flat = [word for vector in lattice for word in vector]
        if not atoms or len(flat) not in (0, 9) or not np.isfinite([number(word) for word in flat]).all():
            self._tell(place, "no atoms" if not atoms else f"a lattice of {len(flat)} numbers")
            return
        pairs = [(b"lattice", b" ".join(flat))] if flat else []
        for line in lines:
            key, value = [*line.split(None, 1), b"", b""][:2]
            if key in (b"energy", b"charge"):
                pairs.append((key, value))
            elif key == b"comment" and _SAID.search(value) is not None:
                self._n_said += 1
        if not any(key == b"energy" for key, _ in pairs):
            self._tell(place, "no energy")
            return
        self._keys.add(place, pairs)
        self._waiting.append((place, bool(flat), b"\n".join(atoms) + b"\n"))

    def _decode(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        table = read_table(b"".join(rows for _, _, rows in waiting), _width(waiting[0][2]), (0, 4))
        counts = [rows.count(b"\n") for _, _, rows in waiting]
        starts = np.concatenate([[0], np.cumsum(counts)]).tolist()
        for i, (place, periodic, rows) in enumerate(waiting):
            single = read_table(rows, _width(rows), (0, 4)) if table is None else _part(table, starts[i : i + 2])
            self._take(place, periodic, single)

    def _take(self, place: int, periodic: bool, table: Table | None) -> None:
        if table is None:
            self._tell(place, f"a line of an atom has not {_COLUMNS} words")
            return
        numbers, positions, forces = numbers_of(table.labels[:, 1]), table.numbers[:, 1:4], table.numbers[:, 7:10]
        if not bool((numbers > 0).all()) or not bool(np.isfinite(positions).all()):
            self._tell(place, "an element is unknown or a position is no number")
            return
        if not bool(np.isfinite(forces).all()):
            self._torn.add(place)
        self._n_frames += 1
        self._store.add(np.array([place]), numbers[None], [(periodic,) * 3], positions[None], {"forces": forces[None]})

    def _tell(self, place: int, words: str) -> None:
        self._n_malformed += 1
        if len(self._malformed) < _TOLD:
            self._malformed.append(f"structure {place}: {words}")


def _width(rows: bytes) -> int:
    """Return the words of the first row, those of an atom's line at least."""
    return max(_COLUMNS, len(rows[: rows.find(b"\n")].split()))


def _part(table: Table, rows: Sequence[int]) -> Table:
    return Table(table.numbers[rows[0] : rows[1]], table.labels[rows[0] : rows[1]])


def recognises(_name: str, head: bytes) -> bool:
    """Return whether a file begins like input.data: begin, comments and lattice, the line of an atom."""
    return _HEAD.match(head.replace(b"\r", b"")[:8192]) is not None


RUNNER_DATA: Final = ReaderSpec("RuNNer input.data", "runner", recognises, RunnerDataReader, rank=90)
