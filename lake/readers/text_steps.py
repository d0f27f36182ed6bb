"""What readers of printed logs share: cutting a text at anchors, tables with named columns of numbers, and steps made into frames."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.rows import RowBatch, number, plain_numbers
from lake.readers.words import Words
from schemas.errors import UnreadableOutput
from schemas.frames import Floats, FrameBlock

NAN: Final = float("nan")
_DRAIN_BYTES: Final = 1 << 20
_POINT_AND_DIGITS: Final = re.compile(rb"(?<=\.)\d+")
_BLANK_ENDS: Final = (b" \n", b"\t\n", b"\r\n", b"\v\n", b"\f\n")
_FEW_ROWS: Final = 60
"""Rows up to which numbers are made one by one sooner than by a cast of the whole table."""
ASYMMETRY: Final = 0.2
"""Part of the largest component that two equal components of a printed stress may differ by."""
_MOST_OPEN: Final = 256 << 20
"""Bytes of one piece beyond which a file is not believed."""


class Cutter:
    """Cuts a text that arrives in chunks into pieces, each but the first beginning with an anchor; carriage returns are dropped.

    Every anchor begins with a newline. Memory is that of the longest piece, and at least 1 MiB.
    """

    def __init__(self, anchors: tuple[bytes, ...]) -> None:
        self._anchors = _words(anchors)
        self._keep = max(len(anchor) for anchor in anchors)
        self._buffer = bytearray(b"\n")
        self._scanned = 0

    def add(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes and return the pieces that are whole; raises UnreadableOutput where 256 MiB hold no anchor."""
        self._buffer += chunk.replace(b"\r", b"") if b"\r" in chunk else chunk
        return self._cut() if len(self._buffer) - self._scanned > _DRAIN_BYTES else []

    def rest(self) -> list[bytes]:
        """Return what is left, cut in the same way."""
        pieces = [*self._cut(), bytes(self._buffer)]
        self._buffer.clear()
        return pieces

    def _cut(self) -> list[bytes]:
        places = self._anchors.sorted_places(self._buffer, max(1, self._scanned), len(self._buffer))
        self._scanned = max(1, len(self._buffer) - self._keep)
        start, pieces = 0, []
        for place in places:
            pieces.append(bytes(memoryview(self._buffer)[start:place]))
            start = place
        del self._buffer[:start]
        self._scanned = max(1, self._scanned - start)
        if len(self._buffer) > _MOST_OPEN:
            raise UnreadableOutput(
                "unreadable_output", f"{len(self._buffer)} bytes without one step of a run", "deposit the output as the code wrote it"
            )
        return pieces


@lru_cache(maxsize=64)
def _words(anchors: tuple[bytes, ...]) -> Words:
    """Return what looks for anchors: its tables are made once, and readers of the same code share it."""
    return Words(*anchors)


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a run, in eV, Å, eV/Å and eV/Å³ (tension positive)."""

    number: int
    cell: Floats
    """(3, 3)"""
    positions: Floats
    """(natoms, 3)"""
    energy: float
    forces: Floats | None = None
    """(natoms, 3)"""
    stress: Floats | None = None
    """(3, 3)"""
    internal: float = NAN
    sigma0: float = NAN
    converged: int = -1
    """1, 0, or -1 where the text does not tell."""
    n_scf: int = -1
    flags: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    """What the text of the step prints twice with different values (`cross_checks`)."""


def lines_after(text: bytes, start: int, count: int) -> bytes | None:
    """Return count whole lines from start on, newlines included, or None where there are fewer, or one more that is like the last."""
    last, end = _even_end(text, start, count) or (start, start)
    for _ in range(count if end == start else 0):
        last, end = end, text.find(b"\n", end) + 1
        if end == 0:
            return None
    following = text.find(b"\n", end)
    if count and following >= 0 and _alike(text[last:end].split(), text[end:following].split()):
        return None
    return text[start:end]


def _even_end(text: bytes, start: int, count: int) -> tuple[int, int] | None:
    """Return where the last of count lines begins and ends, where all are as long as the first; None where they are not."""
    length = text.find(b"\n", start) + 1 - start
    end = start + length * count
    block = text[start:end]
    even = count > 0 and 0 < length * count == len(block) and block.count(b"\n") == count
    return (end - length, end) if even and block[length - 1 :: length].count(b"\n") == count else None


def _alike(first: list[bytes], second: list[bytes]) -> bool:
    """Return whether two lines are rows of one table: as many fields, decimals of one length at the same places."""
    decimals = [_decimals(field) for field in first]
    return any(decimals) and decimals == [_decimals(field) for field in second]


def _decimals(field: bytes) -> int:
    """Return the number of digits behind the decimal point of a field, 0 where it has no point."""
    match = _POINT_AND_DIGITS.search(field)
    return len(match.group()) if match else 0


def numbered(lines: bytes, count: int, place: int = 0, first: int = 1) -> bool:
    """Return whether the fields at a place of the rows of a table count its rows: no row is lost, there twice, or another's."""
    fields = [line.split()[place : place + 1] for line in lines.split(b"\n")[:count]]
    return fields == [[b"%d" % k] for k in range(first, first + count)]


def fixed_table(lines: bytes, rows: int, count: int = 3) -> Floats:
    """Return the last count numbers of each line of a table in fixed-point columns, (rows, count); NaN where a field holds none.

    All are NaN where a line is shorter or longer than the others of three or more: a byte was lost or added.
    """
    found = lines.split(b"\n")[:rows]
    lengths = _lengths(lines, found)
    if len(lengths) == 2 and rows > 2 and min(lengths.values()) == 1:
        return np.full((rows, count), NAN)
    if 2 < rows <= _FEW_ROWS and len(lengths) == 1 and len({line.rfind(b".") for line in found}) == 1:
        fields = [line.split() for line in found]
        plain = plain_numbers([field for each in fields for field in each[-count:]])
        if plain is not None and len(plain) == rows * count and len({len(each) for each in fields}) == 1:
            return np.array(plain).reshape(rows, count)
    batch = RowBatch(rows, count)
    batch.add(lines)
    return np.asarray(batch.values()[0])


def _lengths(text: bytes, lines: Sequence[bytes]) -> Counter[int]:
    """Return how many lines there are of each length, blanks at their ends not counted; the text is that of the lines."""
    if text.endswith(b"\n") and not any(ends in text for ends in _BLANK_ENDS):
        return Counter(map(len, lines))
    return Counter(len(line.rstrip()) for line in lines)


def token_table(lines: bytes, rows: int, first: int, width: int = 0, *, even: bool = True) -> Floats:
    """Return three numbers of each line, from its blank-separated field number `first` on, (rows, 3).

    A line with another number of fields than width (0: than the first line has, or too few) is NaN. All are, if even, where not all
    numbers have the same number of decimals: a digit was lost or added. For tables whose columns the decimal points do not show.
    """
    found = [line.split() for line in lines.split(b"\n")[:rows]]
    width = width or max(first + 3, len(found[0]))
    whole = [len(fields) == width for fields in found]
    if even and not even_decimals([field for fields in found for field in fields[first : first + 3]]):
        return np.full((rows, 3), NAN)
    if all(whole):
        return as_floats([field for fields in found for field in fields[first : first + 3]]).reshape(rows, 3)
    none = np.full(3, NAN)
    return np.array([as_floats(fields[first : first + 3]) if good else none for fields, good in zip(found, whole, strict=True)])


def even_decimals(fields: Sequence[bytes]) -> bool:
    """Return whether all numbers among fields, as one format wrote them, have the same number of decimals."""
    usual = _decimals(fields[0]) if fields else 0
    if usual and _with_decimals(usual).fullmatch(b" ".join(fields)) is not None:
        return True
    return len({_decimals(field) for field in fields if field[-1:].isdigit()}) < 2


@lru_cache(maxsize=32)
def _with_decimals(count: int) -> re.Pattern[bytes]:
    """Return what nothing but numbers with so many decimals matches, a blank between two of them."""
    one = rb"[-+]?\d*\.\d{%d}(?:[eEdD][-+]?\d+)?" % count
    return re.compile(one + rb"(?: " + one + rb")*")


def as_floats(fields: Sequence[bytes]) -> Floats:
    """Return the numbers that fields hold, NaN for anything else."""
    plain = plain_numbers(fields)
    return np.array([number(field) for field in fields] if plain is None else plain, dtype=np.float64)


def symmetric(tensor: Floats) -> Floats:
    """Return a printed tensor made symmetric to the last bit: its upper triangle, mirrored.

    All NaN where a number is missing, or where it is so far from symmetric that its rows cannot belong together.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = tensor.tolist()
    apart, largest = max(abs(xy - yx), abs(xz - zx), abs(yz - zy)), max(map(abs, (xx, xy, xz, yx, yy, yz, zx, zy, zz)))
    if not isfinite(sum((xx, xy, xz, yx, yy, yz, zx, zy, zz))) or apart > ASYMMETRY * largest:
        return np.full((3, 3), NAN)
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) + 0.0


def make_frames(
    numbers: NDArray[np.int16],
    pbc: NDArray[np.bool_],
    steps: Sequence[Step],
    sources: tuple[str, str],
    fixed: NDArray[np.bool_] | None = None,
) -> FrameBlock:
    """Return the frames of at least one step; sources are the printed quantities that energy and stress are."""
    no_forces, no_stress = np.full((len(numbers), 3), NAN), np.full((3, 3), NAN)
    forces = [_whole(step.forces, no_forces) for step in steps]
    stress = [_whole(step.stress, no_stress) for step in steps]
    torn = [
        (step.forces is not None and own_forces is no_forces) or (step.stress is not None and own_stress is no_stress)
        for step, own_forces, own_stress in zip(steps, forces, stress, strict=True)
    ]
    return FrameBlock(
        numbers=numbers,
        pbc=pbc,
        cell=np.array([step.cell for step in steps]),
        positions=np.array([step.positions for step in steps]),
        energy=np.array([step.energy for step in steps]),
        forces=np.array(forces),
        stress=np.array(stress),
        energy_sigma0=np.array([step.sigma0 for step in steps]),
        energy_internal=np.array([step.internal for step in steps]),
        scf_converged=np.array([step.converged for step in steps], dtype=np.int8),
        n_scf_steps=np.array([step.n_scf for step in steps], dtype=np.int32),
        step=np.array([step.number for step in steps], dtype=np.int32),
        flags=tuple(_flags(step, torn_table) for step, torn_table in zip(steps, torn, strict=True)),
        energy_source=sources[0],
        stress_source=sources[1] if any(step.stress is not None and bool(np.isfinite(step.stress).any()) for step in steps) else "",
        fixed=fixed if fixed is not None and bool(fixed.any()) else None,
    )


def _whole(values: Floats | None, none: Floats) -> Floats:
    """Return a table, or all NaN where one of its numbers is missing: a frame has all forces or none."""
    return none if values is None or not bool(np.isfinite(values).all()) else values


def _flags(step: Step, torn_table: bool) -> tuple[str, ...]:
    flags = set(step.flags)
    if step.converged <= 0:
        flags.add("scf_not_converged" if step.converged == 0 else "scf_unknown")
    if torn_table or not isfinite(step.energy):
        flags.add("malformed_values")
    if step.contradictions:
        flags.add("contradictory_values")
    return tuple(sorted(flags))
