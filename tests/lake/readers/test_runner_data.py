"""The reader of RuNNer's input.data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_collections import made_frames, runner_of

from lake.collections.proposals import NeedsUnits
from lake.collections.records import Collection
from lake.readers import find_reader
from lake.readers.collections.runner_data import RunnerDataReader
from schemas.errors import UnreadableOutput

FRAMES = made_frames(5)
TEXTS = [runner_of(frame).encode() for frame in FRAMES]
TEXT = b"".join(TEXTS)


def collect(data: bytes, piece: int = 1 << 20) -> Collection:
    reader = RunnerDataReader()
    for start in range(0, len(data), piece):
        reader.feed(data[start : start + piece])
    return reader.collected()


@pytest.mark.parametrize("piece", [1, 11, 4096])
def test_every_number_is_the_one_that_is_written(piece: int) -> None:
    collection = collect(TEXT, piece)
    (series,) = collection.series
    assert np.array_equal(series.positions, [frame.positions for frame in FRAMES])
    assert np.array_equal(series.vectors["forces"], [frame.forces for frame in FRAMES])
    assert np.array_equal(series.cell, [frame.cell for frame in FRAMES])
    assert np.array_equal(collection.columns["energy"].values[:, 0], [frame.energy for frame in FRAMES])
    assert series.pbc.all()


def test_tabs_words_of_other_versions_and_a_spin_behind_the_forces() -> None:
    rows = "".join(f"atom\t{x}\t0.0\t0.0\tMg\t0.1\t0.0\t0.5\t0.0\t0.0\t1.5\n" for x in (0.0, 2.5))
    text = f"begin\ncomment\tmade up\nstress\t1.0 2.0 3.0\n{rows}energy\t-0.5\ncharge\t0.0\nend\n".encode()
    assert find_reader("input.data", text).name == "RuNNer input.data"  # type: ignore[union-attr]
    collection = collect(text + TEXTS[0])
    assert [series.numbers.tolist() for series in collection.series] == [[12, 12], collect(TEXT).series[0].numbers.tolist()]
    assert collection.series[0].vectors["forces"][0, :, 0].tolist() == [0.5, 0.5]
    assert (collection.columns["energy"].values[0, 0], collection.n_malformed) == (-0.5, 0)


def test_indented_words_no_lattice_and_other_atoms() -> None:
    text = b" begin\n comment x\n atom 0.0 0.0 0.0 H 0.1 0.0 1.0D-2 0.0 0.0\n energy -0.5\n charge 1.0\n end\n"
    collection = collect(text + TEXTS[0])
    first, second = collection.series
    assert (first.numbers.tolist(), first.pbc.any(), first.places.tolist()) == ([1], False, [0])
    assert first.vectors["forces"][0, 0, 0] == 0.01
    assert second.places.tolist() == [1]
    assert collection.columns["charge"].values[:, 0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ((b"energy", b"enrgy"), "no energy"),
        ((b"lattice", b"lattic"), "a lattice of 6 numbers"),
        ((b" Mg ", b" Xx "), "an element is unknown"),
        ((b" O 0.0 0.0 ", b" O 0.0 "), "has not 10 words"),
        ((b"begin\n", b"begi\n"), "an end without a begin"),
        ((b"end\n", b"ed\n"), "another structure begins before its end"),
    ],
)
def test_a_malformed_structure_costs_only_itself(damage: tuple[bytes, bytes], words: str) -> None:
    collection = collect(TEXTS[0] + TEXTS[1].replace(*damage, 1) + TEXTS[2])
    assert collection.series[0].places.tolist() == [0, 2]
    assert collection.n_malformed == 1
    assert words in collection.malformed[0]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, len(TEXT)))
def test_any_prefix_gives_the_exact_prefix_of_the_structures(cut: int) -> None:
    ends = np.cumsum([len(text) for text in TEXTS])
    whole = int((ends - 1 <= cut).sum())
    try:
        collection = collect(TEXT[:cut])
    except UnreadableOutput:
        assert whole == 0
        return
    assert collection.count == whole
    assert collection.n_malformed == 0
    assert collection.truncated == (cut not in ends and cut + 1 not in ends)
    assert np.array_equal(collection.series[0].positions, [frame.positions for frame in FRAMES[:whole]])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(TEXT) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_bytes_never_raise_anything_else(damage: list[tuple[int, int]]) -> None:
    data = bytearray(TEXT)
    for place, byte in damage:
        data[place] = byte
    try:
        collect(bytes(data))
    except UnreadableOutput:
        return


def test_recognised_by_content_and_waits_for_units() -> None:
    spec = find_reader("anything", TEXT[:65536])
    assert spec is not None
    assert spec.name == "RuNNer input.data"
    reader = spec.open()
    reader.feed(TEXT)
    with pytest.raises(NeedsUnits, match="energy=eV,length=Angstrom"):
        reader.close()
