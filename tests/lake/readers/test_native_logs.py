"""Compiled loops of the readers of logs change no bit: words found in one pass, atoms of CP2K, labels of pw.x."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import made_up_logs as logs
import numpy as np
import pytest
from both_ways import both, damaged, runs_of
from hypothesis import given, settings
from hypothesis import strategies as st

from lake import native
from lake.readers.cp2k import evaluation
from lake.readers.cp2k.header import _atom_table
from lake.readers.qe.text_step import read_labels
from lake.readers.words import Found, Words, plain_places

pytestmark = pytest.mark.skipif(
    all(shutil.which(name) is None for name in ("cc", "gcc", "clang")), reason="there is no C compiler on this machine"
)
QE = Path(__file__).resolve().parents[2] / "data" / "qe"
LETTERS = st.sampled_from(b"ab \n")
WORD = st.lists(LETTERS, min_size=2, max_size=9).map(bytes)


@settings(max_examples=100, deadline=None)
@given(st.lists(WORD, min_size=1, max_size=9), st.lists(LETTERS, max_size=400).map(bytes), st.data())
def test_all_places_of_all_words(given_words: list[bytes], text: bytes, data: st.DataObject) -> None:
    words, text = Words(*given_words), text * 5
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    for buffer in (text, bytearray(text)):
        found = both(lambda: words.places(buffer, start, end))  # noqa: B023
        assert {word: found.get(word, []) for word in words.words} == {word: plain_places(text, word, start, end) for word in words.words}
        assert both(lambda: words.sorted_places(buffer, start, end)) == sorted(place for each in found.values() for place in each)  # noqa: B023
    part = both(lambda: [Found(text, words).part(start, end).all(word) for word in words.words])
    assert part == [plain_places(text[start:end], word, 0, end - start) for word in words.words]


def texts() -> Iterator[bytes]:
    yield from (gzip.decompress(file.read_bytes()) for file in sorted(QE.glob("*.out.gz")))
    for layout in ("7", "2023", "2025"):
        yield logs.cp2k_text(logs.make_steps(3), layout=layout)


TEXTS = tuple(texts())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_logs_cut_and_damaged_anywhere(data: st.DataObject) -> None:
    text = damaged(data.draw, data.draw(st.sampled_from(TEXTS)), 1500)
    chunk = data.draw(st.sampled_from([1 << 20, 4096, 977]))
    both(lambda: runs_of(text, chunk))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_step_of_pw_x(data: st.DataObject) -> None:
    text = TEXTS[[file.name for file in sorted(QE.glob("*.out.gz"))].index("mgo-vc-relax.out.gz")]
    piece = text[text.index(b"\nATOMIC_POSITIONS") : text.index(b"\nCELL_PARAMETERS", text.index(b"\nATOMIC_POSITIONS"))]
    damaged_piece = damaged(data.draw, piece[piece.index(b"!    total energy") - 200 :], 0)
    both(lambda: read_labels(damaged_piece, 8, 1e-6, hybrid=False, plain=True))


FORCES = Words(*evaluation.WORDS)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.data())
def test_a_damaged_table_of_forces_of_cp2k(rows: int, data: st.DataObject) -> None:
    lines = [b"%7d      1      H  %15.8f%15.8f%15.8f\n" % (k + 1, 0.01 * k, -12.5 / (k + 1), 1e-8) for k in range(rows)]
    head = b"\n ATOMIC FORCES in [a.u.]\n\n # Atom   Kind   Element          X              Y              Z\n"
    text = head + b"".join(lines) + b" SUM OF ATOMIC FORCES  0.0 0.0 0.0 0.0\n"
    forces, _ = both(lambda: evaluation._forces(Found(text, FORCES), rows))
    assert np.isfinite(forces).all()
    odd = damaged(data.draw, text, len(head))
    both(lambda: evaluation._forces(Found(odd, FORCES), rows))


def test_the_loops_read_what_is_usual() -> None:
    made = native.loops()
    assert made is not None
    text = TEXTS[[file.name for file in sorted(QE.glob("*.out.gz"))].index("mgo-vc-relax.out.gz")]
    piece = text[text.index(b"\nATOMIC_POSITIONS") : text.rindex(b"\nCELL_PARAMETERS")]
    places, numbers = np.empty(8, dtype=np.int64), np.empty(5)
    first = piece[: piece.index(b"\nCELL_PARAMETERS")]
    assert made.pw_labels(first, len(first), 8, native.address(places), native.address(numbers)) == 1
    table = b" title\n\n" + b"".join(b"%4d  1 H 1 %12.6f 0.5 -0.25   1.00  1.0079\n" % (k + 1, 0.1 * k) for k in range(5)) + b"\n"
    assert both(lambda: _atom_table(table, 0))[0] == [1] * 5
    damage = ((b"   4 ", b"   5 "), (b"0.3", b"0.3D0"), (b" H ", b"\tH "))
    for odd in (table[:-1] + b"x\n", table[:-1], *(table.replace(old, new) for old, new in damage)):
        both(lambda: _atom_table(odd, 0))  # noqa: B023
