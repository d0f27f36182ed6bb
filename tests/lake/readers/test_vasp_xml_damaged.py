"""vasprun.xml: torn, cut, overflowed and repeated parts, several runs in a file, any chunks and any damage."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_vasp import make_run, xml_frame, xml_head, xml_step, xml_text
from made_up_vasp_xml import assert_steps, read, read_all

from lake.readers.vasp.xml import VaspXmlReader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput


def test_t12_steps_outside_are_stray() -> None:
    made = make_run(3)
    inside = [" <calculation>\n" + xml_step(made.steps[k]) + " </calculation>\n" for k in (0, 2)]
    run = read((xml_head(made) + inside[0] + xml_frame(made.steps[1]) + " </calculation>\n" + inside[1] + "</modeling>\n").encode())
    assert_steps(run.frames, made)
    assert run.frames.flags == ((), ("scf_unknown", "stray_step"), ())


def test_t12_torn_step_is_counted_and_left_out() -> None:
    made = make_run(3)
    torn = xml_step(made.steps[1])
    bodies = [xml_step(made.steps[0]), torn[: torn.index('name="forces"') + 60], xml_step(made.steps[2])]
    run = read(xml_text(made, bodies))
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (2, 1, ("malformed_steps",))
    assert run.frames.step.tolist() == [0, 2]
    np.testing.assert_array_equal(run.frames.forces[1], made.steps[2].forces)


@pytest.mark.parametrize("damage", [b"\x00\x01\x07", b"A & B < C", b"\xff\xfe", b'KINTER">******<'])
def test_t12_head_that_is_no_xml(damage: bytes) -> None:
    made = make_run(2, incar={"SYSTEM": "@@"})
    assert_steps(read(xml_text(made).replace(b"@@", damage)).frames, made)


def test_t13_last_step_counts_when_its_energy_is_closed() -> None:
    made = make_run(3)
    data = xml_text(made)
    end = data.rfind(b"</energy>")
    whole, cut = read(data[: end + 9]), read(data[: end + 8])
    assert (whole.frames.count, cut.frames.count) == (3, 2)
    assert not whole.complete
    assert whole.flags == cut.flags == ("truncated",)


def test_t13_no_complete_step() -> None:
    data = xml_text(make_run(1))
    for end in (data.find(b"<calculation>"), data.find(b"</structure>", data.find(b"<structure>"))):
        with pytest.raises(UnreadableOutput) as refusal:
            read(data[:end])
        assert refusal.value.reason == "no_complete_step"


@pytest.mark.parametrize("text", [b"****************", b"             NaN", b"        Infinity"])
def test_t14_overflowed_field_is_null_and_flagged(text: bytes) -> None:
    made = make_run(3)
    data = xml_text(made)
    place = data.find(b"<v>", data.find(b'"forces"', data.find(b"</calculation>"))) + 4
    run = read(data[:place] + text + data[place + 16 :])
    assert run.frames.flags == ((), ("malformed_values",), ())
    assert np.isnan(run.frames.forces[1, 0, 0])
    assert np.isnan(run.frames.forces).sum() == 1
    np.testing.assert_array_equal(run.frames.forces[1].ravel()[1:], made.steps[1].forces.ravel()[1:])


def test_t14_overflowed_energy_is_null_and_flagged() -> None:
    data = xml_text(make_run(2))
    place = data.rfind(b'e_fr_energy">') + 13
    frames = read(data[:place] + b" ****************" + data[place + 17 :]).frames
    assert np.isnan(frames.energy[1])
    assert frames.flags == ((), ("malformed_values",))


def test_t14_step_without_positions_is_left_out() -> None:
    data = xml_text(make_run(2))
    place = data.find(b"<v>", data.find(b'"positions"', data.find(b"<calculation>"))) + 4
    run = read(data[:place] + b"****************" + data[place + 16 :])
    assert (run.frames.count, run.n_malformed_steps, run.frames.step.tolist()) == (1, 1, [1])


def test_d_exponents_and_other_columns() -> None:
    data = xml_text(make_run(2))
    place = data.find(b"<v>", data.find(b'"forces"')) + 3
    end = data.find(b"</v>", place)
    frames = read(data[:place] + b" 0.1D+01 -2.5D-01 3 " + data[end:]).frames
    assert frames.forces[0, 0].tolist() == [1.0, -0.25, 3.0]
    assert frames.flags[0] == ()


def test_two_runs_in_one_file() -> None:
    first, second = make_run(2), make_run(3).with_tags(ENCUT="500.0")
    runs = read_all(xml_text(first) + xml_text(second))
    assert [run.frames.count for run in runs] == [2, 3]
    assert [run.level_of_theory.cutoff for run in runs] == [400.0, 500.0]


@pytest.mark.parametrize("part", np.linspace(0.45, 0.99, 28).tolist())
def test_cut_run_before_another_in_one_file(part: float) -> None:
    """A job that was restarted with its output appended."""
    first, second = make_run(2), make_run(3).with_tags(ENCUT="500.0")
    whole = xml_text(first)
    runs = read_all(whole[: int(part * len(whole))] + xml_text(second))
    assert_steps(runs[-1].frames, second)
    assert runs[-1].n_malformed_steps == 0
    assert [run.complete for run in runs[:-1]] == [False] * (len(runs) - 1)
    assert len(runs) == 2 or "another run in the same file was not taken" in runs[0].notes[0]


def test_line_ends_of_windows() -> None:
    made = make_run(3)
    assert_steps(read(xml_text(made).replace(b"\n", b"\r\n")).frames, made)


@pytest.mark.parametrize("natoms", [1, 2, 5])
@pytest.mark.parametrize("chunk", [1, 7, 1000, 1 << 20])
def test_chunk_size_does_not_matter(natoms: int, chunk: int) -> None:
    if chunk == 1 and natoms > 1:
        return
    made = make_run(3, natoms=natoms)
    assert_steps(read(xml_text(made), chunk).frames, made)


def test_what_follows_a_step_is_passed_over() -> None:
    made = make_run(2)
    tail = "  <dos>\n" + "      <r>    -12.3456     0.0000     0.0000 </r>\n" * 150_000 + "  </dos>\n"
    reader = VaspXmlReader()
    data = xml_text(made, [xml_step(step, tail=tail) for step in made.steps])
    most = 0
    for start in range(0, len(data), 1 << 16):
        reader.feed(data[start : start + (1 << 16)])
        most = max(most, len(reader._buffer))
    (run,) = reader.close()
    assert_steps(run.frames, made)
    assert most < 1 << 18


TEXT = xml_text(make_run(4))
ENDS = [place for place in range(len(TEXT)) if TEXT.startswith(b"</energy>\n </calc", place)]


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.integers(0, len(TEXT)))
def test_any_prefix_gives_the_prefix_of_frames(cut: int) -> None:
    _check_prefix(read_all, TEXT, cut, sum(end + 9 <= cut for end in ENDS))


def _check_prefix(reader: Callable[[bytes], tuple[Run, ...]], text: bytes, cut: int, expected: int) -> None:
    if expected == 0:
        with pytest.raises(UnreadableOutput):
            reader(text[:cut])
        return
    (run,) = reader(text[:cut])
    (whole,) = reader(text)
    assert run.frames.count == expected
    for name in ("cell", "positions", "forces", "stress", "energy", "energy_sigma0", "energy_internal", "n_scf_steps"):
        np.testing.assert_array_equal(getattr(run.frames, name), getattr(whole.frames, name)[:expected])
    assert run.complete == (b"</modeling>" in text[:cut])
    assert ("truncated" in run.flags) != run.complete


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.binary(min_size=0, max_size=12), st.integers(0, 400))
def test_damage_is_refused_or_read(place: int, wrong: bytes, lost: int) -> None:
    try:
        runs = read_all(TEXT[:place] + wrong + TEXT[place + lost :], 5000)
    except UnreadableOutput:
        return
    assert all(np.isfinite(run.frames.positions).all() for run in runs)
