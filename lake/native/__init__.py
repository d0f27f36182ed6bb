"""The lake's innermost loops in C, compiled when they are first needed; where there is no compiler, numpy and Arrow do the same.

Nothing here changes a result: what C finds written in an unusual way is left to the path without it, and the numbers are those of that
path to the last bit.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.compiled import library
from schemas.frames import Floats

FLAGS: Final = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-std=gnu11", "-fPIC", "-shared")
"""Each operation is rounded, in the order in which it is written: as numpy does them."""
SOURCES: Final = ("decimals.c", "distances.c", "structure_factors.c", "search.c", "words.c", "vasp_steps.c", "vasp_xml.c", "cp2k.c", "qe.c")
MOST_STEPS: Final = 256
"""Steps that are looked for at once."""

_LOG = logging.getLogger(__name__)
_VOID, _LONG = ctypes.c_void_p, ctypes.c_long


@cache
def loops() -> ctypes.CDLL | None:
    """Return the compiled loops, or None where they cannot be made."""
    folder = Path(__file__).parent
    source = "#define _GNU_SOURCE\n" + "\n".join((folder / name).read_text() for name in SOURCES)
    made = library("the loops of reading", source, FLAGS)
    if isinstance(made, str):
        _LOG.info("files are read without compiled loops, more slowly: %s", made)
        return None
    arguments = {
        "gather": (_VOID, _VOID, _VOID, _LONG, _VOID),
        "block_rows": (_VOID, _VOID, _VOID, _LONG, _LONG, _LONG, _LONG, _LONG, _VOID, _VOID),
        "equal_fields": (_VOID, _LONG, _LONG, _VOID),
        "word_rows": (ctypes.c_char_p, _LONG, _LONG, _LONG, _VOID, _VOID, _VOID),
        "find_words": (_VOID, _LONG, _LONG, ctypes.c_char_p, _LONG, _LONG),
        "word_places": (_VOID, *(_LONG,) * 3, *(_VOID,) * 4, _LONG, _VOID),
        "telling_lines": (_VOID, _LONG, _VOID, _LONG, _VOID, _VOID),
        "cp2k_atoms": (_VOID, *(_LONG,) * 3, _VOID, _VOID),
        "cp2k_forces": (_VOID, *(_LONG,) * 3, _VOID),
        "pw_labels": (_VOID, _LONG, _LONG, _VOID, _VOID),
        "pair_squares": (*(_VOID,) * 5, *(_LONG,) * 3, _VOID),
        "smallest_distances": (*(_VOID,) * 4, ctypes.c_double, *(_LONG,) * 3, _VOID),
        "vectors_apart": (_VOID, _LONG, _LONG, _VOID, *(_LONG,) * 4, _VOID),
        "label_numbers": (_VOID, _VOID, _LONG, _LONG, _VOID),
        "structure_sums": (*(_VOID,) * 8, *(_LONG,) * 4, _VOID),
        "outcar_tables": (*(_VOID,) * 2, *(_LONG,) * 2, *(_VOID,) * 3),
        "outcar_contradictions": (_VOID, _LONG, _LONG, _VOID, _LONG, _VOID, _LONG, *(ctypes.c_double,) * 3),
        "outcar_steps": (_VOID, _LONG, _LONG, _LONG, _VOID, _VOID),
        "xml_steps": (_VOID, _VOID, _LONG, _LONG, _LONG, _VOID, _VOID, _VOID, _VOID),
        "xml_begin": (_VOID, _VOID, _LONG, _LONG, _VOID, _VOID, _VOID),
        "xml_tables": (_VOID, _VOID, _LONG, _VOID, _LONG, *(_VOID,) * 4),
    }
    for name, types in arguments.items():
        getattr(made, name).argtypes, getattr(made, name).restype = types, _LONG
    return made


def address(values: NDArray[np.generic]) -> int:
    """Return where the numbers of a contiguous array begin."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(values))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # read-only, or empty
        return address_in(values)


def address_in(values: NDArray[np.generic]) -> int:
    """Return where the numbers of an array begin that may be a part of another; slower."""
    place: int = values.__array_interface__["data"][0]
    return place


def beginning(buffer: bytes | bytearray) -> bytes | int:
    """Return what stands for a buffer where a function of C takes a pointer."""
    return buffer if isinstance(buffer, bytes) else ctypes.addressof(ctypes.c_char.from_buffer(buffer))


@dataclass(frozen=True, eq=False)
class Gathered:
    """Blocks of text one after another."""

    text: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    """(blocks,) bytes of each."""

    def blocks(self) -> list[bytes]:
        """Return the blocks one by one."""
        ends = np.cumsum(self.lengths).tolist()
        text = self.text.tobytes()
        return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def first(self) -> bytes:
        """Return the first block that is not empty, b'' for none."""
        filled = self.lengths[self.lengths > 0]
        return self.text[: int(filled[0])].tobytes() if len(filled) else b""


def gather(buffer: bytes | bytearray, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Gathered:
    """Return the blocks of a buffer between places; only where there are loops."""
    made = loops()
    assert made is not None
    starts, ends = np.ascontiguousarray(starts), np.ascontiguousarray(ends)
    lengths = ends - starts
    text = np.empty(int(lengths.sum()), dtype=np.uint8)
    made.gather(beginning(buffer), address(starts), address(ends), len(starts), address(text))
    return Gathered(text, lengths)


def joined(parts: Sequence[bytes | Gathered]) -> Gathered:
    """Return blocks, some of them gathered already, as one."""
    if len(parts) == 1 and isinstance(parts[0], Gathered):
        return parts[0]
    lengths = [length for part in parts for length in (part.lengths.tolist() if isinstance(part, Gathered) else (len(part),))]
    text = b"".join([part.text.data if isinstance(part, Gathered) else part for part in parts])
    return Gathered(np.frombuffer(text, dtype=np.uint8), np.array(lengths, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class RowForm:
    """How rows in fixed columns are laid out."""

    stride: int
    """Length of a row."""
    groups: NDArray[np.int64]
    """(groups, 5) of each group of equal columns: where it begins, width, decimals and number of them, where its part of a row ends."""
    tagged: bool
    """Rows begin with '<', and do not end with a newline."""


def block_rows(buffer: bytes | bytearray, starts: NDArray[np.int64], ends: NDArray[np.int64], form: RowForm, out: Floats) -> bool:
    """Put the numbers of blocks of rows between places of a buffer into out (blocks, rows, count); False where that is left to another way.

    An empty block is left alone.
    """
    made = loops()
    return made is not None and _block_rows(made, beginning(buffer), (starts, ends), form, out)


def gathered_rows(blocks: Gathered, form: RowForm, out: Floats) -> bool:
    """Put the numbers of blocks of rows into out (blocks, rows, count), as `block_rows` does."""
    made = loops()
    if made is None:
        return False
    ends = np.cumsum(blocks.lengths)
    return _block_rows(made, address(blocks.text), (ends - blocks.lengths, ends), form, out)


def _block_rows(
    made: ctypes.CDLL, text: bytes | int, places: tuple[NDArray[np.int64], NDArray[np.int64]], form: RowForm, out: Floats
) -> bool:
    starts, ends = map(np.ascontiguousarray, places)
    n, rows, _ = out.shape
    sizes = (n, rows, form.stride, form.tagged, len(form.groups))
    return bool(made.block_rows(text, address(starts), address(ends), *sizes, address(form.groups), address(out)))


def equal_fields(fields: NDArray[np.uint8]) -> Floats | None:
    """Return the numbers in fields (n, width) of ASCII, contiguous; None where that is left to another way."""
    made = loops()
    if made is None:
        return None
    out = np.empty(len(fields))
    return out if made.equal_fields(address(fields), *fields.shape, address(out)) else None


def word_rows(text: bytes, columns: int, words: Sequence[int], labels: NDArray[np.bytes_]) -> Floats | None:
    """Return the numbers (rows, columns) of lines of blank-separated words; labels (rows, words), of type S8, gets the columns of text.

    None where that is left to another way. There must be as many labels as newlines.
    """
    made = loops()
    if made is None:
        return None
    is_text = np.zeros(columns, dtype=np.uint8)
    is_text[list(words)] = 1
    out = np.empty((len(labels), columns))
    rows = made.word_rows(text, len(text), len(labels), columns, address(is_text), address(labels), address(out))
    return out if rows == len(labels) else None


def find_words(text: bytearray | bytes, words: bytes, rare: int, start: int, end: int) -> int | None:
    """Return `text.find(words, start, end)`, rare being the place in the words of a letter that is rare; None where there are no loops."""
    made = loops()
    if made is None:
        return None
    start, end = max(0, start), min(end, len(text))
    if start >= end:
        return -1
    return int(made.find_words(beginning(text), start, end, words, len(words), rare))


def telling_lines(text: bytes, places: Sequence[int], ranges: tuple[tuple[int, int], tuple[int, int]]) -> bytes:
    """Return the lines of a text that hold one of some places, which are in order, or a '=' in one of two ranges, as words.c has it.

    The whole text without a compiler.
    """
    made = loops()
    if made is None:
        return text
    held, bounds = np.array(places, dtype=np.int64), np.array(ranges, dtype=np.int64)
    out = np.empty(2 * len(text) + 2, dtype=np.uint8)
    return out[: made.telling_lines(text, len(text), address(held), len(held), address(bounds), address(out))].tobytes()


def pair_squares(positions: Floats, cell: Floats, inverse: Floats, periodic: NDArray[np.bool_], shifts: Floats) -> Floats | None:
    """Return (n,) squares of the smallest distances of two different atoms; None where that is left to another way."""
    made = loops()
    if made is None:
        return None
    out = np.empty(len(positions))
    inputs = [np.ascontiguousarray(each, dtype=np.float64) for each in (positions, cell, inverse, periodic, shifts)]
    n, natoms = positions.shape[:2]
    return out if made.pair_squares(*map(address, inputs), n, natoms, len(shifts), address(out)) else None


def smallest_distances(
    positions: Floats, cell: Floats, inverse: Floats, pbc: NDArray[np.bool_], within: tuple[float, int]
) -> Floats | None:
    """Return (n,) the smallest distances within a limit and so many cells to each side; None where that is left to another way."""
    made = loops()
    if made is None:
        return None
    out = np.empty(len(positions))
    inputs = [np.ascontiguousarray(each, dtype=np.float64) for each in (positions, cell, inverse, pbc)]
    n, natoms = positions.shape[:2]
    return out if made.smallest_distances(*map(address, inputs), *within, n, natoms, address(out)) else None


def vectors_apart(a: Floats, b: Floats) -> Floats | None:
    """Return (2, n) how far vectors (n, rows, 3) lie apart, as distances.c has it; None where that is left to another way."""
    made = loops()
    if made is None or a.shape != b.shape or a.strides[2:] != (8,) or b.strides[2:] != (8,) or not a.size:
        return None
    out = np.empty((2, len(a)))
    made.vectors_apart(*_strided(a), *_strided(b), *a.shape[:2], address(out))
    return out


def _strided(values: Floats) -> tuple[int, int, int]:
    """Return where the numbers of an array begin, and how many there are from one block and from one row to the next."""
    block, row, _ = values.strides
    return address(values[0, 0]), block // 8, row // 8


def label_numbers(forces: Floats, stress: Floats) -> Floats | None:
    """Return (5, n) what forces (n, natoms, 3) and stress (n, 3, 3) tell, as distances.c has it; None without a compiler."""
    made = loops()
    if made is None:
        return None
    n, natoms = forces.shape[:2]
    out = np.empty((5, n))
    inputs = [np.ascontiguousarray(each, dtype=np.float64) for each in (forces, stress)]
    made.label_numbers(*map(address, inputs), n, natoms, address(out))
    return out


@dataclass(frozen=True)
class Plan:
    """What sums over structure factors are made of."""

    waves: NDArray[np.int64]
    """(waves, 3) orders along the axes."""
    triples: NDArray[np.int64]
    """(triples, 3) indices into waves."""
    weights: Floats
    """(9 + waves + 2 triples, sums)"""
    quanta: Floats
    """(2,) of a cell (Å) and of an invariant."""


def structure_sums(positions: Floats, cell: Floats, inverse: Floats, atoms: NDArray[np.complex128], plan: Plan) -> Floats | None:
    """Return (n, sums) weighted sums over cells, moduli and triple products of structure factors; None where that is left to numpy."""
    made = loops()
    if made is None:
        return None
    n, natoms = positions.shape[:2]
    out = np.empty((n, plan.weights.shape[1]))
    weights = np.array([atoms.real, atoms.imag])
    inputs = (np.ascontiguousarray(positions), np.ascontiguousarray(cell), np.ascontiguousarray(inverse), weights)
    shared = (plan.waves, plan.triples, plan.weights, plan.quanta)
    sizes = (n, natoms, len(plan.waves), len(plan.triples))
    return out if made.structure_sums(*map(address, (*inputs, *shared)), *sizes, address(out)) else None


def outcar_steps(buffer: bytes | bytearray, at: int) -> tuple[NDArray[np.int64], Floats]:
    """Return places and numbers of the steps of an OUTCAR from at on that are as newer versions of VASP print them, up to the first other.

    As vasp_steps.c has them; nothing without a compiler.
    """
    made = loops()
    if made is None:
        return np.empty((0, 12), dtype=np.int64), np.empty((0, 7))
    places, numbers = np.empty((MOST_STEPS, 12), dtype=np.int64), np.empty((MOST_STEPS, 7))
    n = made.outcar_steps(beginning(buffer), at, len(buffer), MOST_STEPS, address(places), address(numbers))
    return places[:n], numbers[:n]


def outcar_contradicts(cell: Floats, stress: Floats, beside: Floats, less: float, most: tuple[float, float]) -> bool | None:
    """Return whether a step prints another volume or pressure, beside (n, 2), than its cell (n, 3, 3) and stress (n, 6) make.

    They may differ by the first of most and the second of it times the number; None where that is left to another way.
    """
    made = loops()
    if made is None or cell.strides[2] != 8 or stress.strides[1] != 8 or not len(cell):
        return None
    steps = (*_strided(cell), address(stress[0]), stress.strides[0] // 8, address(beside))
    return bool(made.outcar_contradictions(*steps, len(cell), less, *most))


def outcar_tables(buffer: bytes | bytearray, places: NDArray[np.int64], natoms: int) -> tuple[Floats, Floats, Floats] | None:
    """Return force table (n, natoms, 6), lattice (n, 3, 6) and stress (n, 1, 6) of the steps of an OUTCAR at the places of `outcar_steps`.

    None where one is missing or left to another way.
    """
    made = loops()
    if made is None:
        return None
    n = len(places)
    read = (np.empty((n, natoms, 6)), np.empty((n, 3, 6)), np.empty((n, 1, 6)))
    return read if made.outcar_tables(beginning(buffer), address(places), n, natoms, *map(address, read)) else None
