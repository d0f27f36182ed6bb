"""Heads of OUTCAR: of their lines those that are read are taken out, and heads that say the same are read once."""

from __future__ import annotations

import random
from dataclasses import astuple, replace
from math import nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_vasp import make_run, outcar_head

from lake import native
from lake.members import sum_of
from lake.readers.vasp.outcar_header import Head, head_of, read_header
from schemas.errors import UnreadableOutput

ATOM = b" energy of atom  1       EATOM=-1000.0000\n kinetic energy error for atom=    0.0042 (will be added to EATOM!!)\n"


def said(head: Head) -> Any:
    """Return all that is read from a head, or in which words it is refused."""
    try:
        header = read_header(head, nan)
        others = [repr(getattr(header, name)) for name in ("version", "mesh", "notes", "elements", "fixed")]
    except UnreadableOutput as refusal:
        return str(refusal)
    return dict(header.tags.values), [astuple(kind) for kind in header.kinds], header.types.tolist(), others


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), changes=st.integers(0, 12))
def test_the_lines_that_are_taken_out_say_what_the_whole_head_says(seed: int, changes: int) -> None:
    draw = random.Random(seed)
    text = bytearray(outcar_head(make_run(1, natoms=5)).encode().replace(b" Startparameter", ATOM + b" Startparameter"))
    for _ in range(changes):
        place, byte = draw.randrange(len(text)), bytes([draw.randrange(256)])
        text[place : place + draw.choice((0, 1, 40))] = draw.choice((b"", b"\n", b"=", b"7", b"\n  12\n", b"NIONS =  5\n", byte))
    taken = head_of(bytes(text))
    np.testing.assert_equal(said(taken), said(Head(bytes(text))))


def test_a_list_of_ions_that_goes_on_in_the_next_line_is_taken_whole() -> None:
    made = make_run(1, natoms=3)
    text = outcar_head(made).encode()
    start = text.index(b"ions per type =") + len(b"ions per type =")
    end = text.index(b"\n", start)
    text = text[:start] + b"\n   " + text[start:end] + b"\n\n" + text[end:]
    assert len(read_header(head_of(text), nan).types) == sum(made.counts)
    assert said(head_of(text)) == said(Head(text))


def test_heads_that_differ_in_positions_alone_are_read_once() -> None:
    if native.loops() is None:
        pytest.skip("there is no C compiler on this machine: heads are kept whole")
    made = make_run(1)
    moved = replace(made, steps=(replace(made.steps[0], positions=made.steps[0].positions + 0.01),))
    one, other = (
        outcar_head(made).encode(),
        outcar_head(moved).encode() + b" position of ions in cartesian coordinates  (Angst):\n   0.1 0.2 0.3\n",
    )
    assert one != other
    assert read_header(head_of(one), nan) is read_header(head_of(other), nan)
    newer = one.replace(b"vasp.6.3.0", b"vasp.6.4.1")
    assert newer != one
    assert read_header(head_of(newer), nan) is not read_header(head_of(one), nan)


@given(st.binary(max_size=512) | st.text(st.characters(max_codepoint=127), max_size=512).map(str.encode))
def test_sums_of_tar_headers_are_exact(block: bytes) -> None:
    assert sum_of(block) == sum(block)
