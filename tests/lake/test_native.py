"""The compiled loops change no bit: numbers, frames, flags and rows are those of the path without a compiler."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import damaged_texts
import made_up_vasp
import numpy as np
import pytest
from both_ways import both, damaged, plain, runs_of
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_collections import extxyz_of, made_frames

from lake import compiled, native
from lake.distances import smallest_distances
from lake.identity import configuration_hashes
from lake.readers import find_reader
from lake.readers.anchors import seek
from lake.readers.collections.extxyz import ExtxyzReader
from lake.readers.rows import cast_fields, number
from lake.readers.tokens import read_table
from lake.readers.vasp.rows import FORCE_TABLE, LATTICE, SIX, VARRAY, BlockBatch, Layout
from lake.readers.vasp.xml import VASPRUN_XML
from lake.reading import read_stream
from lake.rows import calculation_rows, frame_rows
from lake.same_steps import vectors_apart
from schemas.settings import LimitSettings
from schemas.sources import SourceObject, SourceReading

pytestmark = pytest.mark.skipif(
    all(shutil.which(name) is None for name in ("cc", "gcc", "clang")), reason="there is no C compiler on this machine"
)


PLAIN = st.builds(
    lambda sign, digits, point, power: sign + digits[:point] + "." + digits[point:] + power,
    st.sampled_from(["", "-", "+"]),
    st.text("0123456789", min_size=1, max_size=22),
    st.integers(0, 22),
    st.sampled_from(["", "", "E+02", "e-17"]),
)
ODD = st.sampled_from(
    ["****", "", "nan", "inf", "1d3", "1.0E+200", "1.e", ".", "-", "5", "1.5.2", "1e-400", "0x10", "12a", "9007199254740993."]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PLAIN | st.floats(allow_nan=False).map(repr), min_size=1, max_size=8), st.lists(ODD, max_size=1))
def test_fields_and_words_become_the_nearest_numbers(usual: list[str], odd: list[str]) -> None:
    texts = [text.encode() for text in usual + odd]
    width = max(map(len, texts)) + 1
    fields_ = np.frombuffer(b"".join(text.rjust(width) for text in texts), dtype=np.uint8).reshape(-1, width)
    found = both(lambda: cast_fields(fields_))
    assert plain(found) == plain(np.array([number(text) for text in texts]))
    if all(texts):
        rows = b"".join(b" Mg " + text + b"\t1.0 \n" for text in texts)
        table = both(lambda: read_table(rows, 3, (0,)))
        assert plain(table.numbers[:, 1]) == plain(found)


@pytest.mark.parametrize("text", [b"1 2", b"1 2\n3", b"1 2\n\n3 4\n", b"1\n2 3 4\n", b"", b"\n", b"a b\nc d\n"], ids=repr)
def test_uneven_words(text: bytes) -> None:
    both(lambda: read_table(text, 2))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_rows_with_damaged_bytes_are_cut_alike(data: st.DataObject) -> None:
    draw = data.draw
    layout, form = draw(
        st.sampled_from([(VARRAY, "   <v>{:16.8f}{:16.8f}{:16.8f} </v>\n"), (FORCE_TABLE, "{:13.5f}" * 3 + "   " + "{:14.6f}" * 3 + "\n")])
    )
    rows, blocks = draw(st.integers(1, 4)), []
    for _ in range(draw(st.integers(1, 20))):
        numbers = draw(st.lists(st.floats(-2000, 2000), min_size=rows * layout.count, max_size=rows * layout.count))
        block = bytearray("".join(form.format(*numbers[r * layout.count :][: layout.count]) for r in range(rows)).encode())
        if draw(st.booleans()):
            for _ in range(draw(st.integers(1, 2))):
                block[draw(st.integers(0, len(block) - 1))] = draw(st.sampled_from(b"0123456789 .-*E<>v\n"))
        blocks.append(bytes(block.strip()) if layout.tagged else bytes(block))

    def work() -> Any:
        batch = BlockBatch(rows, layout)
        for block in blocks:
            batch.add(block)
        return batch.blocks()

    both(work)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40).map(lambda some: some * 300), st.integers(0, 13000), st.integers(0, 13000), st.booleans())
def test_words_are_found_where_they_stand(text: bytes, start: int, end: int, here: bool) -> None:
    text = text[:end] + b"free  energy " + text[end:] if here else text
    for words, rare in ((b"free  energy ", b"f"), (text[50:54] or b"none", (text[50:54] or b"none")[-1:])):
        for buffer in (text, bytearray(text)):
            assert both(lambda: seek(buffer, words, rare, start, len(text) - 3)) == text.find(words, start, len(text) - 3)  # noqa: B023


@pytest.mark.parametrize("layout", [SIX, Layout(((0, 20, 1),))], ids=["six", "one"])
def test_rows_of_few_numbers(layout: Layout) -> None:
    def work() -> Any:
        batch = BlockBatch(1, layout)
        for value in (1.0, -22.5, 333.25):
            batch.add(("  in kB" + f"{value:12.5f}" * layout.count + "\n").encode() if layout is SIX else f"{value:12.5f}\n".encode())
        batch.add(b"")
        return batch.blocks()

    assert both(work).values[1, 0, 0] == -22.5


def test_distances_and_names_of_structures() -> None:
    random = np.random.default_rng(3)
    for natoms, edge in ((1, 2.0), (2, 3.0), (8, 4.0), (67, 9.0), (199, 13.0)):
        cell = edge * (np.eye(3) + 0.2 * random.normal(size=(12, 3, 3)))
        positions = random.uniform(-2, 2, (12, natoms, 3)) @ cell
        cell[3], positions[4, 0, 0], positions[5] = 0.0, np.nan, positions[5] * 1e9
        for pbc in (np.ones(3, dtype=bool), np.array([True, False, True]), np.zeros(3, dtype=bool)):
            both(lambda: smallest_distances(positions, cell, pbc, 3.0))  # noqa: B023
        block = damaged_texts.read(made_up_vasp.xml_text(made_up_vasp.make_run(12)))[0].frames
        numbers = random.integers(1, 90, natoms).astype(np.int16)
        forces = np.zeros_like(positions)
        both(lambda: configuration_hashes(replace(block, numbers=numbers, positions=positions, cell=cell, forces=forces)))  # noqa: B023


def test_fields_of_every_width_and_number_of_decimals() -> None:
    """Fields of at most 16 characters are read all digits at once, longer ones one by one; what is no plain decimal is left alone."""
    random = np.random.default_rng(5)
    for width, decimals in ((5, 1), (9, 4), (13, 5), (14, 6), (16, 8), (16, 14), (17, 8), (20, 12)):
        whole = width - decimals - 2
        for spoilt in ("", "*", " ", "-", "+", "E", ".", "\t"):
            table = (10.0 ** random.uniform(-decimals, whole, (40, 3))) * random.choice([-1.0, 1.0], (40, 3))
            rows = ["".join(f"{value:{width}.{decimals}f}"[-width:] for value in row) for row in np.where(table < 10**whole, table, 0.0)]
            place = int(random.integers(width))
            rows[7] = rows[7][:place] + (spoilt or rows[7][place]) + rows[7][place + 1 :]
            block = "".join(f"{row}\n" for row in rows).encode()

            def work(block: bytes = block, end: int = 3 * width) -> Any:
                batch = BlockBatch(40, Layout(((0, end, 3),)))
                batch.add(block)
                return batch.blocks()

            found = both(work)
            if not spoilt:
                assert found.values[0].tolist() == [[float(row[k : k + width]) for k in range(0, 3 * width, width)] for row in rows]


def test_a_damaged_table_does_not_tell_the_columns_of_the_others() -> None:
    rows = ["".join(f"{value:13.9f}" for value in row) for row in 4.2 * np.eye(3)]
    block = "".join(f"   {row}   {row}\n" for row in rows)
    damaged_first = block[:39] + " " + block[40:]

    def work() -> Any:
        batch = BlockBatch(3, LATTICE)
        for text in (damaged_first, *(block,) * 11):
            batch.add(text.encode())
        return batch.blocks()

    values = both(work).values
    assert np.isnan(values[0]).any()
    assert np.array_equal(values[1:, :, :3], [4.2 * np.eye(3)] * 11)


def test_vectors_apart() -> None:
    random = np.random.default_rng(4)
    table = random.normal(size=(2, 6, 9, 6))
    table[0, 2, 3, 1] = np.nan
    for a, b in ((table[0, :, :, :3], table[1, :, :, 3:]), (table[0, ::2, :, :3].copy(), table[1, ::2, :, :3]), (table[0, :0, :, :3],) * 2):
        squares, largest = both(lambda: vectors_apart(a, b))  # noqa: B023
        with np.errstate(invalid="ignore"):
            assert np.allclose(squares, ((a - b) ** 2).sum(axis=2).max(axis=1, initial=0.0), equal_nan=True)
            assert np.array_equal(largest, np.nanmax(np.abs(a - b), axis=(1, 2), initial=0.0))


def test_sums_at_an_edge_of_rounding_are_left_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    block = damaged_texts.read(made_up_vasp.xml_text(made_up_vasp.make_run(3)))[0].frames
    monkeypatch.setattr("lake.identity._EDGE", 0.4)
    both(lambda: configuration_hashes(block))


def texts_of_vasp() -> Iterator[bytes]:
    run = made_up_vasp.make_run(7, natoms=3)
    yield from (made_up_vasp.xml_text(run), made_up_vasp.outcar_text(run))
    yield made_up_vasp.xml_text(run) + made_up_vasp.xml_text(made_up_vasp.make_run(2))
    yield made_up_vasp.outcar_text(run) + made_up_vasp.outcar_text(made_up_vasp.make_run(2))
    yield made_up_vasp.outcar_text(run, [made_up_vasp.outcar_step(step, k + 1, ml=k > 3) for k, step in enumerate(run.steps)])
    yield made_up_vasp.outcar_text(run, [made_up_vasp.outcar_step(step, k + 1, vdw=True) for k, step in enumerate(run.steps)])
    yield made_up_vasp.outcar_text(run, [made_up_vasp.outcar_step(step, k + 1, old=True) for k, step in enumerate(run.steps)])
    yield made_up_vasp.xml_text(run, [made_up_vasp.xml_step(step, shifted=k == 4) for k, step in enumerate(run.steps)])


TEXTS = tuple(texts_of_vasp())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_outputs_of_vasp_cut_and_damaged_anywhere(data: st.DataObject) -> None:
    text = damaged(data.draw, data.draw(st.sampled_from(TEXTS)), 3000)
    chunk = data.draw(st.sampled_from([1 << 20, 4096, 977]))
    both(lambda: runs_of(text, chunk))


HEAD = [b"<incar>", b"</incar>", b"</parameters>", b"<kpoints>", b"</kpoints>", b"</atominfo>", b'"version"', b'<varray name="selective" >']
FIRST_STEP = [
    b"<calculation>",
    b"<structure>",
    b"</structure>",
    b'"basis"',
    b'"positions"',
    b'"forces"',
    b'"stress"',
    b"<energy>",
    b"</energy>",
]


@pytest.mark.parametrize("tag", HEAD + FIRST_STEP, ids=repr)
@pytest.mark.parametrize("change", ["removed", "twice", "later", "cut in front", "cut behind", "one letter", "followed by another run"])
def test_heads_and_first_steps_in_another_form(tag: bytes, change: str) -> None:
    run = replace(made_up_vasp.make_run(3), fixed=("T T F", "F F F"))
    text = made_up_vasp.xml_text(run)
    place = text.index(tag, text.index(b"<calculation>") if tag in FIRST_STEP else 0)
    behind = place + len(tag)
    changed = {
        "removed": text[:place] + text[behind:],
        "twice": text[:behind] + b"\n" + tag + text[behind:],
        "later": text[:place] + text[behind : behind + 300] + tag + text[behind + 300 :],
        "cut in front": text[:place],
        "cut behind": text[:behind],
        "one letter": text[: place + 2] + b"*" + text[place + 3 :],
        "followed by another run": text[:behind] + b"<modeling>" + text[behind:],
    }[change]
    assert changed != text
    for chunk in (1 << 20, 500):
        both(lambda: runs_of(changed, chunk, VASPRUN_XML))  # noqa: B023


@pytest.mark.parametrize("name", damaged_texts.SAMPLES)
def test_outputs_of_every_kind(name: str) -> None:
    text = damaged_texts.SAMPLES[name][1]()
    both(lambda: runs_of(text, 1 << 20))


def test_extxyz() -> None:
    text = "".join(extxyz_of(frame) for frame in made_frames(5)).encode()

    def work() -> Any:
        reader = ExtxyzReader()
        reader.feed(text)
        return reader.collected().series

    both(work)


def test_an_archive_gives_the_same_rows(tmp_path: Path) -> None:
    run = made_up_vasp.make_run(9, natoms=5)
    with tarfile.open(tmp_path / "run.tar.gz", "w:gz") as tar:
        for name, data in (
            ("INCAR", b"ENCUT = 400\n"),
            ("OUTCAR", made_up_vasp.outcar_text(run)),
            ("vasprun.xml", made_up_vasp.xml_text(run)),
        ):
            info = tarfile.TarInfo(f"run/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

    def work() -> Any:
        contents = read_stream("run.tar.gz", lambda: (tmp_path / "run.tar.gz").open("rb"), LimitSettings())
        source = SourceObject("bucket", "run.tar.gz", "etag", 0, datetime(2026, 1, 1, tzinfo=UTC), ())
        reading = SourceReading(source, contents.calculations, contents.rejections, {}, 0, 0.0)
        return calculation_rows(reading), [frame_rows(each, project="", licence="").to_pylist() for each in contents.calculations]

    rows, frames = both(work)
    assert rows[0]["n_frames"] == 9
    assert len(frames[0]) == 9


def test_real_outputs(shared: Path) -> None:
    files = [file for name in ("vasprun.xml*", "OUTCAR*") for file in sorted((shared / "dft/vasp").rglob(name))]
    for file in [file for file in files if file.stat().st_size < 3 << 20][::4]:
        text = file.read_bytes()
        if find_reader(file.name, text[:65536]) is not None:
            both(lambda: runs_of(text, 1 << 18))  # noqa: B023


def test_without_a_compiler_the_log_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with caplog.at_level("INFO"):
        assert native.loops.__wrapped__() is None
    assert "there is no C compiler on this machine" in caplog.text


def test_a_library_is_made_once_and_found_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled, "cache_folder", lambda: tmp_path)
    made = compiled.library("one", "long one(void) { return 1; }", native.FLAGS)
    assert not isinstance(made, str)
    assert made.one() == 1
    (file,) = (tmp_path / "compiled").iterdir()
    written = file.stat().st_mtime_ns
    assert not isinstance(compiled.library("one", "long one(void) { return 1; }", native.FLAGS), str)
    assert file.stat().st_mtime_ns == written
    assert "failed" in str(compiled.library("two", "this is no C", native.FLAGS))
