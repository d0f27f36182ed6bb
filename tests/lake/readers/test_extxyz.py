"""The reader of extended and plain XYZ: every number as written, every frame at its place, whatever is wrong with the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_collections import MadeFrame, extxyz_of, fixed_extxyz_of, made_frames

from lake.collections.labels import choose, label
from lake.collections.records import Collection
from lake.readers import find_reader
from lake.readers.collections.extxyz import ExtxyzReader
from schemas.errors import UnreadableOutput

FRAMES = made_frames(6)
TEXT = "".join(extxyz_of(frame) for frame in FRAMES).encode()


def collect(data: bytes, piece: int = 1 << 20) -> Collection:
    reader = ExtxyzReader()
    for start in range(0, len(data), piece):
        reader.feed(data[start : start + piece])
    return reader.collected()


def same(collection: Collection, frames: list[MadeFrame]) -> None:
    (series,) = collection.series
    assert np.array_equal(series.positions, [frame.positions for frame in frames])
    assert np.array_equal(series.vectors["forces"], [frame.forces for frame in frames])
    assert np.array_equal(series.cell, [frame.cell for frame in frames])
    assert np.array_equal(collection.columns["energy"].values[:, 0], [frame.energy for frame in frames])


def test_every_number_is_the_one_that_is_written() -> None:
    collection = collect(TEXT)
    same(collection, FRAMES)
    assert collection.series[0].numbers.tolist() == [12, 8, 12, 8, 8]
    assert collection.series[0].pbc.all()
    assert (collection.n_malformed, collection.truncated) == (0, False)


def test_fixed_columns_of_ase_give_the_printed_decimals() -> None:
    collection = collect("".join(fixed_extxyz_of(frame) for frame in FRAMES).encode())
    assert collection.series[0].positions[3, 1, 0] == float(f"{FRAMES[3].positions[1, 0]:.8f}")
    assert collection.series[0].vectors["forces"][5, 4, 2] == float(f"{FRAMES[5].forces[4, 2]:.8f}")


@pytest.mark.parametrize("piece", [1, 7, 100, 65536])
def test_pieces_of_any_size_give_the_same(piece: int) -> None:
    same(collect(TEXT, piece), FRAMES)


def test_carriage_returns_and_blank_lines_between_frames() -> None:
    same(collect(TEXT.replace(b"\n", b"\r\n")), FRAMES)
    same(collect("\n".join(extxyz_of(frame) for frame in FRAMES).encode() + b"\n\n"), FRAMES)


def test_t32_exponents_of_fortran_and_numbers_that_are_none() -> None:
    text = b"2\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.5D+01\nH 0.0D0 0.0 1.0d-1 1.0 2.0 nan\nH 0.0 0.0 0.9 1.0 2.0 3.0\n"
    collection = collect(text)
    assert collection.series[0].positions[0, 0].tolist() == [0.0, 0.0, 0.1]
    assert collection.columns["energy"].values.tolist() == [[-15.0]]
    assert np.isnan(collection.series[0].vectors["forces"][0, 0, 2])
    assert collection.torn == {0}


def test_t32_a_row_longer_than_the_columns_is_no_frame_and_is_told() -> None:
    parts = [extxyz_of(frame) for frame in FRAMES[:3]]
    parts[1] = parts[1].rstrip("\n") + " 1.0\n"
    collection = collect("".join(parts).encode())
    assert collection.series[0].places.tolist() == [0, 2]
    assert collection.n_malformed == 1
    assert collection.malformed == ("frame 1: a row has another number of words than the 7 of its columns",)


def test_keys_quotes_brackets_and_cases_of_real_files() -> None:
    head = 'LATTICE={9 0 0 0 9 0 0 0 9} pbc="1 1 0" Properties="species:S:1:pos:R:3" '
    head += 'Energy=" -5.302666" stress=[[1, 2, 3],[2, 4, 5],[3, 5, 6]]'
    collection = collect(f"1\n{head} note=\"a b=3\" e_list='1 2 3' flag spaced = 4 config_type=bulk\nMo 0.05 -0.01 16.7\n".encode())
    columns = {name: column.values[0].tolist() for name, column in collection.columns.items()}
    assert columns == {"Energy": [-5.302666], "stress": [1, 2, 3, 2, 4, 5, 3, 5, 6], "e_list": [1, 2, 3], "spaced": [4]}
    assert collection.words == {"note": ("a b=3",), "config_type": ("bulk",)}
    assert collection.series[0].pbc.tolist() == [True, True, False]
    assert collection.series[0].cell[0].tolist() == [[9, 0, 0], [0, 9, 0], [0, 0, 9]]


def test_keys_columns_and_atoms_that_change_between_frames() -> None:
    text = "".join(
        (
            extxyz_of(FRAMES[0], prefix="dft_", more='stress="1 2 3 4 5 6"'),
            extxyz_of(FRAMES[1], prefix="mace_"),
            "1\nProperties=species:S:1:pos:R:3:magmom:R:1 dft_energy=-3.5\nMg 0.0 0.0 0.0 1.0\n",
            extxyz_of(FRAMES[2], prefix="dft_"),
        )
    )
    collection = collect(text.encode())
    first, atom = collection.series
    assert (first.places.tolist(), atom.places.tolist()) == ([0, 1, 3], [2])
    assert np.isnan(first.vectors["dft_forces"][1]).all()
    assert np.array_equal(first.vectors["dft_forces"][2], FRAMES[2].forces)
    assert not atom.pbc.any()
    assert not atom.cell.any()
    assert collection.columns["dft_energy"].places.tolist() == [0, 2, 3]
    assert collection.columns["stress"].values.tolist() == [[1, 2, 3, 4, 5, 6]]


def test_species_and_atomic_numbers() -> None:
    rows = "Fe1 0 0 0\nO_a 0 0 2.0\n8 0 0 4.0\n"
    assert collect(f"3\nProperties=species:S:1:pos:R:3 energy=-1\n{rows}".encode()).series[0].numbers.tolist() == [26, 8, 8]
    assert collect(b"1\nProperties=Z:I:1:pos:R:3 energy=-1\n13 0 0 0\n").series[0].numbers.tolist() == [13]


def test_a_label_that_contradicts_the_atomic_number_is_no_frame() -> None:
    text = (
        b"1\nProperties=species:S:1:pos:R:3:Z:I:1 energy=-1\nAl 0 0 0 13\n1\nProperties=species:S:1:pos:R:3:Z:I:1 energy=-1\nAl 0 0 0 14\n"
    )
    collection = collect(text)
    assert collection.count == 1
    assert collection.malformed == ("frame 1: label and atomic number (column Z) of an atom disagree",)


def test_plain_xyz_with_values_in_its_comment() -> None:
    collection = collect(b"2\nenergy=-31.7 step=4\nH 0 0 0 0.1 0.2 0.3\nH 0 0 0.74 -0.1 -0.2 -0.3\n")
    assert collection.columns["energy"].values.tolist() == [[-31.7]]
    assert collection.series[0].vectors["columns5to7"][0, 1].tolist() == [-0.1, -0.2, -0.3]


@pytest.mark.parametrize(
    ("damage", "places", "words"),
    [
        ((b"\n5\n", b"\n7\n"), [0, 2], "is not where the next frame begins"),
        ((b"\n5\n", b"\n4\n"), [0, 2], "is not where the next frame begins"),
        ((b"\n5\n", b"\n999999\n"), [0, 2], "another frame begins before as many rows"),
        ((b"\nMg ", b"\nXx "), [0, 2], "'Xx' is no element"),
        ((b'Lattice="', b'Lattice="x '), [0, 2], "its Lattice cannot be read"),
        ((b'pbc="T T T"', b'pbc="T T T'), [0, 2], "a quote of its comment is left open"),
    ],
)
def test_a_malformed_frame_costs_only_itself(damage: tuple[bytes, bytes], places: list[int], words: str) -> None:
    first, second, third = (extxyz_of(frame).encode() for frame in FRAMES[:3])
    broken = b"\n".join([first.rstrip(b"\n"), (b"\n" + second).replace(*damage, 1).lstrip(b"\n") + third])
    collection = collect(broken)
    assert collection.series[0].places.tolist() == places
    assert collection.n_malformed == 1
    assert words in collection.malformed[0]
    assert np.array_equal(collection.series[0].positions[-1], FRAMES[2].positions)


def test_a_frame_that_lacks_a_row_costs_only_itself() -> None:
    parts = [extxyz_of(frame) for frame in FRAMES[:4]]
    parts[1] = "\n".join(parts[1].split("\n")[:-2]) + "\n"
    assert collect("".join(parts).encode()).series[0].places.tolist() == [0, 2, 3]


def test_a_file_whose_last_line_has_no_end() -> None:
    fixed = "".join(fixed_extxyz_of(frame) for frame in FRAMES).encode()
    assert collect(fixed.rstrip(b"\n")).count == len(FRAMES)
    free = collect(TEXT.rstrip(b"\n"))
    assert (free.count, free.truncated) == (len(FRAMES) - 1, True)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_prefix_gives_the_exact_prefix_of_the_frames(data: st.DataObject) -> None:
    texts = [(extxyz_of if data.draw(st.booleans()) else fixed_extxyz_of)(frame).encode() for frame in FRAMES]
    ends = np.cumsum([len(text) for text in texts]).tolist()
    cut = data.draw(st.integers(1, ends[-1]))
    whole = sum(end <= cut for end in ends)
    try:
        collection = collect(b"".join(texts)[:cut])
    except UnreadableOutput:
        assert whole == 0
        return
    # A last row in fixed columns is whole without its newline, for it is as long as the others.
    assert collection.count in (whole, whole + 1)
    if collection.count > whole:
        assert cut == ends[whole] - 1
    assert collection.n_malformed == 0
    assert collection.truncated == (cut not in ends and collection.count == whole)
    full = collect(b"".join(texts))
    assert np.array_equal(collection.series[0].positions, full.series[0].positions[: collection.count])
    assert np.array_equal(collection.series[0].vectors["forces"], full.series[0].vectors["forces"][: collection.count])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(TEXT) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_bytes_never_raise_anything_else(damage: list[tuple[int, int]]) -> None:
    data = bytearray(TEXT)
    for place, byte in damage:
        data[place] = byte
    try:
        collection = collect(bytes(data))
    except UnreadableOutput:
        return
    assert collection.count <= len(FRAMES) + len(damage)


@pytest.mark.parametrize("end", ["0.30000000 0.12345678", "0.3 0.1 "], ids=["decimals", "blank"])
def test_a_last_row_of_free_width_without_its_end(end: str) -> None:
    rows = [f"Mg {i}.5 0.30000000 10.00000000" for i in range(12)]
    text = "12\nProperties=species:S:1:pos:R:3 energy=1\n" + "\n".join(rows)
    both = f"{text}\n1\nProperties=species:S:1:pos:R:3 energy=2\nMg 0.5 {end}".encode()
    assert collect(both).count == 2
    assert not collect(both).truncated
    cut = collect(both.rstrip()[:-3])
    assert (cut.count, cut.truncated) == (1, True)


def test_a_last_row_that_ends_with_the_word_of_all_rows() -> None:
    rows = "\n".join(f"Mg {i}.5 0.{i} 10.0 12" for i in range(12))
    text = f"12\nProperties=species:S:1:pos:R:3:Z:I:1 energy=1\n{rows}".encode()
    assert (collect(text).count, collect(text).truncated) == (1, False)
    with pytest.raises(UnreadableOutput):
        collect(text[:-1])


def test_a_comment_longer_than_the_head_is_recognised() -> None:
    long = " ".join(map(str, range(20000)))
    text = f'1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3 eigenvalues="{long}" energy=-1.5\nMg 0 0 0\n'.encode()
    assert find_reader("a.xyz", text[:65536]).name == "extxyz"  # type: ignore[union-attr]
    assert collect(text).columns["energy"].values.tolist() == [[-1.5]]


def test_a_lattice_of_three_numbers_is_a_diagonal() -> None:
    collection = collect(b'1\nLattice="3 4 5" Properties=species:S:1:pos:R:3 energy=1\nMg 0 0 0\n')
    assert collection.series[0].cell[0].tolist() == [[3, 0, 0], [0, 4, 0], [0, 0, 5]]
    assert collection.series[0].pbc.all()


def test_recognition_by_content() -> None:
    assert find_reader("a", TEXT[:65536]).name == "extxyz"  # type: ignore[union-attr]
    assert find_reader("POSCAR", b"Mg O\n1.0\n4.2 0 0\n0 4.2 0\n0 0 4.2\nMg O\n1 1\n") is None
    assert find_reader("numbers.txt", b"12\n1 2 3\n4 5 6 7\n") is None
    assert find_reader("a.xyz", b"3\n\nno row of an atom\n") is None


def frame_with_mask(mask: str, columns: int, forces: str = "0.5 0.0 -0.5") -> str:
    """Return a frame of two atoms as ASE's writer makes it of constraints; the first atom has the mask, the second none."""
    comment = f"Properties=species:S:1:pos:R:3:move_mask:L:{columns}:forces:R:3 energy=-1.0 units=energy=eV,length=Angstrom"
    free = " ".join("T" * columns)
    return f"2\n{comment}\nH 0.0 0.0 0.0 {mask} {forces}\nH 0.0 0.0 0.75 {free} 0.25 0.0 0.5\n"


@pytest.mark.parametrize(
    ("mask", "columns", "forces", "fixed", "flagged"),
    [
        ("F", 1, "0.0 0.0 0.0", [True, True, True], True),
        ("F", 1, "0.5 0.0 -0.5", [True, True, True], False),
        ("F T T", 3, "0.0 0.1 -0.5", [True, False, False], True),
        ("F T T", 3, "0.3 0.1 -0.5", [True, False, False], False),
        ("T T T", 3, "0.0 0.1 -0.5", None, False),
    ],
)
def test_coordinates_that_ases_move_mask_holds_are_fixed(
    mask: str, columns: int, forces: str, fixed: list[bool] | None, flagged: bool
) -> None:
    collection = collect(frame_with_mask(mask, columns, forces).encode())
    (run,) = label(collection, collection.said, choose(collection, collection.said))
    assert (None if run.frames.fixed is None else run.frames.fixed.tolist()) == (None if fixed is None else [fixed, [False] * 3])
    assert ("constrained_forces" in run.frames.flags[0]) == flagged


def test_frames_with_other_held_atoms_are_other_calculations() -> None:
    parts = [frame_with_mask(*each) for each in (("F", 1), ("T", 1), ("F", 1))]
    collection = collect("".join(parts).encode())
    assert [series.places.tolist() for series in collection.series] == [[0, 2], [1]]
    assert list(collection.fixed) == [0]
