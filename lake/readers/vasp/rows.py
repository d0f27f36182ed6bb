"""Row blocks of many VASP steps decoded together: shapes are checked for a whole batch at once, not step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake import native
from lake.readers.rows import Columns, cast_fields, decode_rows, find_columns, number, plain_numbers
from schemas.frames import Floats

_BATCH_BYTES: Final = 1 << 18
"""A batch and its numbers stay in the cache of a core."""
_CELL_ROWS: Final = 3
"""Tables of as many rows often stay as they are from step to step: cells, and stress where it is not made anew."""
_FEW: Final = 200
"""Numbers up to which it is faster to read them one by one."""
_TRIED: Final = 20
"""Blocks that are looked at for one whose columns are those of all."""
_POINT: Final = ord(".")
_LONGEST_ROW: Final = 1024
SAMPLE_BYTES: Final = 2 * _LONGEST_ROW
"""Bytes of a table that show how its rows are laid out."""
_DIGITS: Final = bytes.maketrans(b"123456789-", b"000000000 ")
"""Rows that differ in their digits and signs alone have the same columns."""


@dataclass(frozen=True)
class Layout:
    """Where the numbers of a row stand: (first column, column behind the last, how many) of each group of one format."""

    groups: tuple[tuple[int, int, int], ...]
    tagged: bool = False
    """Rows are `<v> x y z </v>`, with any indentation between them."""

    @property
    def count(self) -> int:
        """Numbers in a row."""
        return sum(count for _, _, count in self.groups)


VARRAY: Final = Layout(((0, 1 << 16, 3),), tagged=True)
"""Rows of a varray in vasprun.xml."""
FORCE_TABLE: Final = Layout(((0, 39, 3), (39, 84, 3)))
"""POSITION and TOTAL-FORCE of OUTCAR, 3F13.5,3X,3F14.6; with van der Waals forces three more columns follow that are not read."""
LATTICE: Final = Layout(((0, 42, 3), (42, 84, 3)))
"""Direct and reciprocal lattice vectors of OUTCAR, 3X,3F13.9,3X,3F13.9."""
SIX: Final = Layout(((7, 1 << 16, 6),))
"""`  in kB` and six numbers, XX YY ZZ XY YZ ZX."""


@dataclass(frozen=True)
class Blocks:
    """One table of all steps of a run."""

    values: Floats
    """(steps, rows, count), NaN where a field holds no number."""
    absent: NDArray[np.bool_]
    """(steps,) the step does not print this table."""
    torn: NDArray[np.bool_]
    """(steps,) the table has another number of rows."""

    @property
    def unreadable(self) -> NDArray[np.bool_]:
        """(steps,) the table is absent, torn or has a field without a number."""
        unreadable = self.absent | self.torn
        missing = np.isnan(self.values)
        return unreadable | missing.any(axis=(1, 2)) if missing.any() else unreadable

    @property
    def malformed(self) -> NDArray[np.bool_]:
        """(steps,) the table is there, but torn or with a field without a number."""
        return self.unreadable & ~self.absent


class BlockBatch:
    """Blocks of equally many rows of one layout, one block a step; waiting text is decoded when it passes 256 KiB."""

    def __init__(self, rows: int, layout: Layout) -> None:
        self.rows = rows
        self.layout = layout
        self.count = layout.count
        self._known = b""
        """The text of a table that was read, by which the columns of others are told."""
        self._waiting: list[bytes | native.Gathered] = []
        self._bytes = 0
        self._values: list[Floats] = []
        self._absent: list[NDArray[np.bool_]] = []
        self._torn: list[NDArray[np.bool_]] = []

    def add(self, block: bytes) -> None:
        """Take the rows of the next step; an empty block stands for a step without this table."""
        self._waiting.append(block)
        self._bytes += len(block)
        if self._bytes > _BATCH_BYTES:
            self._flush()

    def add_read(self, values: Floats, sample: bytes) -> None:
        """Take the tables of several steps that are read already, (steps, rows, count), before any others; sample is how one begins."""
        self._taken(values, np.zeros(len(values), dtype=bool), sample)

    @property
    def waits(self) -> bool:
        """Whether rows of earlier steps are still to be read."""
        return bool(self._waiting)

    def add_all(self, buffer: bytes | bytearray, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        """Take the rows of several steps, which stand in a buffer between places; as if each were added."""
        if not self._waiting and self._take_in_place(buffer, starts, ends):
            return
        room = _BATCH_BYTES - self._bytes
        reached = np.cumsum(ends - starts)
        if reached[-1] <= room:
            self._waiting.append(native.gather(buffer, starts, ends))
            self._bytes += int(reached[-1])
            return
        n = int(np.searchsorted(reached, room, side="right")) + 1
        self._waiting.append(native.gather(buffer, starts[:n], ends[:n]))
        self._flush()
        if n < len(starts):
            self.add_all(buffer, starts[n:], ends[n:])

    def blocks(self) -> Blocks:
        """Return the table of all steps."""
        self._flush()
        if not self._values:
            nothing = np.empty(0, dtype=bool)
            return Blocks(np.empty((0, self.rows, self.count)), nothing, nothing)
        values, self._values = self._values, []
        if len(values) == 1:
            return Blocks(values[0], self._absent[0], self._torn[0])
        return Blocks(np.concatenate(values), np.concatenate(self._absent), np.concatenate(self._torn))

    def _flush(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not waiting:
            return
        gathered = native.joined(waiting)
        if self._take_gathered(gathered):
            return
        blocks = gathered.blocks()
        distinct = list(dict.fromkeys(blocks)) if self.rows <= _CELL_ROWS else blocks
        values, torn = self._decode(distinct)
        absent = np.array([not block for block in distinct])
        if len(distinct) < len(blocks):
            place = {block: k for k, block in enumerate(distinct)}
            which = [place[block] for block in blocks]
            values, torn, absent = values[which], torn[which], absent[which]
        self._values.append(values)
        self._absent.append(absent)
        self._torn.append(torn)

    def _decode(self, blocks: Sequence[bytes]) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the numbers of blocks, and which of them are torn."""
        values = np.full((len(blocks), self.rows, self.count), np.nan)
        torn = np.zeros(len(blocks), dtype=bool)
        if values.size <= _FEW:
            if self._decode_few(blocks, values):
                return values, torn
            values[:] = np.nan
        regular = self._decode_alike(self._sample(blocks), blocks, values)
        for place in map(int, np.flatnonzero(~regular)):
            if blocks[place]:
                torn[place] = not self._decode_other(blocks[place], values[place])
        return values, torn

    def _take_gathered(self, waiting: native.Gathered) -> bool:
        """Take the numbers of blocks that are all as Fortran writes them; return False where one is not."""
        form = self._form(waiting.first())
        values = np.full((len(waiting.lengths), self.rows, self.count), np.nan)
        if form is None or not native.gathered_rows(waiting, form, values):
            return False
        self._taken(values, waiting.lengths == 0, waiting.first())
        return True

    def _take_in_place(self, buffer: bytes | bytearray, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> bool:
        """Take the numbers of blocks between places of a buffer, as `_take_gathered` does."""
        absent = starts == ends
        first = int(absent.argmin())
        sample = bytes(buffer[starts[first] : ends[first]])
        form = self._form(sample)
        values = np.empty((len(starts), self.rows, self.count))
        values[absent] = np.nan
        if form is None or not native.block_rows(buffer, starts, ends, form, values):
            return False
        self._taken(values, absent, sample)
        return True

    def _taken(self, values: Floats, absent: NDArray[np.bool_], sample: bytes) -> None:
        self._known = self._known or sample[:SAMPLE_BYTES]
        self._values.append(values)
        self._absent.append(absent)
        self._torn.append(np.zeros(len(values), dtype=bool))

    def _form(self, sample: bytes) -> native.RowForm | None:
        """Return how the rows of a block are laid out, None where they are not in fixed columns."""
        stride = self._stride(sample)
        return _form_of(self.layout, sample[:stride].translate(_DIGITS)) if 0 < stride <= _LONGEST_ROW else None

    def _decode_few(self, blocks: Sequence[bytes], values: Floats) -> bool:
        """Fill in the numbers of whole, plain rows one by one; return False where a row is not like that."""
        for block, here in zip(blocks, values, strict=True):
            rows = self._rows(block)
            fields = [row[start:end].split() for row in rows for start, end, _ in self.layout.groups]
            counts = [count for _, _, count in self.layout.groups] * self.rows
            if not block:
                continue
            numbers = plain_numbers([field for found in fields for field in found]) if [len(found) for found in fields] == counts else None
            if numbers is None:
                return False
            here.flat = numbers
        return True

    def _rows(self, block: bytes) -> list[bytes]:
        """Return the rows of a block that are not blank, without their tags."""
        if self.layout.tagged:
            block = block.replace(b"<v>", b"   ").replace(b"</v>", b"")
        return [row for row in block.split(b"\n") if row.strip()]

    def _sample(self, blocks: Sequence[bytes]) -> bytes:
        """Return the first block of the run whose own columns hold a number each: a damaged one does not tell the columns of all."""
        if self._known:
            return self._known
        filled = [block for block in blocks if block]
        for block in filled[:_TRIED]:
            values = np.full((1, self.rows, self.count), np.nan)
            if self._decode_alike(block, [block], values)[0] and not np.isnan(values).any():
                self._known = block[:SAMPLE_BYTES]
                return block
        return filled[0] if filled else b""

    def _decode_alike(self, sample: bytes, blocks: Sequence[bytes], values: Floats) -> NDArray[np.bool_]:
        """Fill in the numbers of all blocks that are laid out like a sample; return which those are."""
        regular = np.zeros(len(blocks), dtype=bool)
        stride = self._stride(sample)
        groups = _columns(self.layout, sample[:stride])
        if stride <= 0 or not groups:
            return regular
        least, most = (self.rows - 1) * stride + max(group.end for group in groups), self.rows * stride
        fitting = [place for place, block in enumerate(blocks) if least <= len(block) <= most]
        if not fitting:
            return regular
        joined = b"".join([blocks[place].ljust(most) for place in fitting])
        table = np.frombuffer(joined, dtype=np.uint8).reshape(len(fitting), self.rows, stride)
        alike = np.ones(len(fitting), dtype=bool)
        for place in (place for group in groups for place in _points(sample, group)):
            alike &= (table[:, :, place] == _POINT).all(axis=1)
        if self.layout.tagged:
            alike &= (table[:, :, 0] == ord("<")).all(axis=1)
        else:
            alike &= (table[:, :, stride - 1] == ord("\n")).all(axis=1)
        places = np.asarray(fitting)[alike]
        chosen = table if bool(alike.all()) else table[alike]
        column = 0
        for group in groups:
            fields = chosen[:, :, group.start : group.end].reshape(-1, group.width)
            values[places, :, column : column + group.count] = cast_fields(fields).reshape(len(places), self.rows, group.count)
            column += group.count
        regular[places] = True
        return regular

    def _decode_other(self, block: bytes, values: Floats) -> bool:
        """Fill in the numbers of one block row by row; return False where it has not `rows` rows."""
        rows = self._rows(block)
        if len(rows) != self.rows:
            return False
        column = 0
        for start, end, count in self.layout.groups:
            values[:, column : column + count] = _tokens_or_columns([row[start:end] for row in rows], count)
            column += count
        return True

    def _stride(self, block: bytes) -> int:
        if self.layout.tagged:
            following = block.find(b"<v>", 1)
            return following if following > 0 else len(block)
        return block.find(b"\n") + 1


def _columns(layout: Layout, row: bytes) -> list[Columns]:
    """Return the columns of each group in a row, nothing where a group is not in fixed columns."""
    found = []
    for start, end, count in layout.groups:
        columns = find_columns(row[start:end], count)
        if columns is None or (layout.tagged and columns.start < len(b"<v>")):
            return []
        found.append(Columns(columns.start + start, columns.width, count))
    return found


@lru_cache(maxsize=256)
def _form_of(layout: Layout, row: bytes) -> native.RowForm | None:
    """Return how rows with decimal points and digits where this one has them are laid out, None where not in fixed columns."""
    groups = [
        (group.start, group.width, group.start + group.width - 1 - row.find(b".", group.start), group.count, end)
        for group, (_, end, _) in zip(_columns(layout, row), layout.groups, strict=False)
    ]
    return native.RowForm(len(row), np.array(groups, dtype=np.int64), layout.tagged) if groups else None


def _points(row: bytes, group: Columns) -> list[int]:
    first = row.find(b".", group.start, group.end)
    return [first + k * group.width for k in range(group.count)]


def _tokens_or_columns(rows: Sequence[bytes], count: int) -> Floats:
    """Return the numbers of each row, by blanks where these part as many tokens, else by the columns of the decimal points."""
    values = decode_rows(rows, count)
    for place, row in enumerate(rows):
        tokens = row.split()
        if len(tokens) == count:
            values[place] = [number(token) for token in tokens]
    return values
