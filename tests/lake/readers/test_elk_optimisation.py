"""Optimisations of Elk: the steps that files beside INFO.OUT tell, of real runs, cut, damaged and of other runs; Elk 1 in one INFO.OUT."""

from __future__ import annotations

import functools
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import make_steps
from made_up_outputs import tar_of
from made_up_rare_logs import read
from made_up_solids import elk_text

from lake.reading import read_stream
from schemas.calculations import Run
from schemas.settings import LimitSettings
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR

DATA = Path(__file__).parents[2] / "data/elk"
GEOMETRY, ENERGY, FORCES = "GEOMETRY_OPT.OUT", "TOTENERGY_OPT.OUT", "FORCES_OPT.OUT"


@functools.cache
def unpacked(name: str) -> dict[str, bytes]:
    with tarfile.open(DATA / f"{name}.tar.xz") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def files(name: str, *, without: tuple[str, ...] = ("elk.in",)) -> dict[str, bytes]:
    return {member: text for member, text in unpacked(name).items() if member not in without}


def run_of(given_files: dict[str, bytes]) -> Run:
    found = read_stream("a.tar", lambda: io.BytesIO(tar_of(given_files)), LimitSettings())
    assert found.rejections == ()
    (calculation,) = found.calculations
    return calculation.run


def test_energy_and_forces_belong_to_the_geometry_of_the_record_before() -> None:
    run = run_of(files("h2-relax"))
    frames = run.frames
    assert (run.kind, run.complete, frames.step.tolist()) == ("relax", True, [1, 2, 3, 4, 5])
    energies = [-1.28505639680, -1.28573651322, -1.28627836052, -1.28652203083, -1.28658439138]
    np.testing.assert_array_equal(frames.energy, np.array(energies) * HARTREE)
    places = np.array([0.35914053, 0.35583762, 0.35179330, 0.34831197, 0.34602912]) * 6.0 * BOHR
    np.testing.assert_allclose(frames.positions[:, 0, 0], places, rtol=1e-12)
    pulls = np.array([-0.01900758, -0.01334696, -0.00754101, -0.00341666, -0.00109259]) * HARTREE_PER_BOHR
    np.testing.assert_allclose(frames.forces[:, 0, 0], pulls, rtol=1e-6)
    assert frames.scf_converged.tolist() == [-1, -1, -1, -1, 1]
    assert any("first step" in note for note in run.notes)


def test_the_input_has_the_geometry_of_the_first_step() -> None:
    bare, whole = (run_of(files("h2-relax", without=without)) for without in (("elk.in",), ()))
    frames = whole.frames
    assert (whole.flags, whole.n_malformed_steps, whole.notes, frames.step.tolist()) == ((), 0, (), [0, 1, 2, 3, 4, 5])
    assert (bare.flags, bare.n_malformed_steps) == (("malformed_steps",), 1)
    np.testing.assert_allclose(frames.positions[0], np.array([[-0.84, 0, 0], [0.84, 0, 0]]) * BOHR, rtol=1e-12)
    assert frames.energy[0] == -1.28484037620 * HARTREE
    np.testing.assert_array_equal(frames.positions[1:], bare.frames.positions)
    assert run_of(files("h2-vc-relax", without=())).frames.step.tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"0.14 0.0 0.0", b"0.15 0.0 0.0"), (b"0.14 0.0 0.0", b"0.1539 0.0 0.0"), (b"  6.0 0.0", b"  6.1 0.0"),
        (b"atoms", b"tau0atp\n 0.3\n\natoms"),
        (b"atoms", b"primcell\n .true.\n\natoms"), (b"atoms", b"scale\n 1.1\n\natoms"), (b"avec", b"!avec"),
        (b"  2\n  -0.14", b"  3\n  -0.14"),
    ],
)  # fmt: skip
def test_an_input_that_does_not_lead_to_the_second_step_is_not_used(old: bytes, new: bytes) -> None:
    given_files = files("h2-relax", without=())
    assert old in given_files["elk.in"]
    run = run_of({**given_files, "elk.in": given_files["elk.in"].replace(old, new)})
    assert (run.frames.step.tolist(), run.flags) == ([1, 2, 3, 4, 5], ("malformed_steps",))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"  6.0 0.0 0.0", b"  3.d0 0 0 ! half"), (b"-0.14 0.0 0.0", b"-0.04 0.3 0.0"), (b"atoms", b"tau0atp\n 0.25\n\natoms"),
    ],
)  # fmt: skip
def test_other_ways_to_write_the_same_input(old: bytes, new: bytes) -> None:
    given_files = files("h2-relax", without=())
    text = given_files["elk.in"].replace(old, new)
    text = (
        text.replace(b"avec", b"scale1\n 2.0\n\navec")
        if b"half" in new
        else text.replace(b" 0.14 0.0 0.0", b" 0.24 0.3 0.0")
        if b"0.3" in new
        else text
    )
    assert run_of({**given_files, "elk.in": text}).frames.step.tolist() == [0, 1, 2, 3, 4, 5]


def test_forces_are_minus_the_derivative_of_the_energy_along_a_relaxation() -> None:
    run = run_of(files("lih-relax", without=()))
    frames = run.frames
    assert (frames.step.tolist(), frames.numbers.tolist(), run.flags) == ([0, 1, 2, 3, 4], [3, 1], ())
    moves = np.diff(frames.positions, axis=0) @ np.linalg.inv(frames.cell[0])
    moves = (moves - np.round(moves)) @ frames.cell[0]
    work = -((frames.forces[1:] + frames.forces[:-1]) / 2 * moves).sum(axis=(1, 2))
    np.testing.assert_allclose(np.diff(frames.energy), work, rtol=0.05)


def test_energies_of_cells_strained_for_the_stress_are_no_steps() -> None:
    run = run_of(files("h2-vc-relax"))
    frames = run.frames
    assert frames.step.tolist() == [1, 2, 3, 4, 5, 6]
    energies = [-1.28505639680, -1.28573651322, -1.28678408189, -1.28703849013, -1.28710730357, -1.29024580842]
    np.testing.assert_array_equal(frames.energy, np.array(energies) * HARTREE)
    edges = np.array([6.0, 6.0, 5.996579558, 5.996579558, 5.996579558, 5.978626783]) * BOHR
    np.testing.assert_allclose(frames.cell[:, 0, 0], edges, rtol=1e-12)


def test_info_out_alone_is_the_last_step_and_says_so() -> None:
    run = run_of(files("h2-relax", without=("elk.in", GEOMETRY, ENERGY, FORCES)))
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (1, 0, ())
    assert any(GEOMETRY in note for note in run.notes)


@pytest.mark.parametrize("lost", [GEOMETRY, ENERGY])
def test_without_geometries_or_energies_the_last_step_remains(lost: str) -> None:
    assert run_of(files("h2-relax", without=("elk.in", lost))).frames.count == 1


def test_without_forces_the_steps_have_none() -> None:
    frames = run_of(files("h2-relax", without=("elk.in", FORCES))).frames
    assert np.isfinite(frames.forces).all(axis=(1, 2)).tolist() == [False] * 4 + [True]


def test_files_of_another_run_are_not_used() -> None:
    mixed = {**files("h2-vc-relax"), "INFO.OUT": files("h2-relax")["INFO.OUT"]}
    run = run_of(mixed)
    assert (run.frames.count, run.flags) == (1, ("companion_of_other_run",))


def test_energies_that_do_not_count_the_geometries_are_not_used() -> None:
    given_files = files("h2-relax")
    for wrong in (given_files[ENERGY].split(b"\n", 1)[1], given_files[ENERGY] * 2):
        assert run_of({**given_files, ENERGY: wrong}).frames.count == 1


def test_a_run_that_goes_on_has_the_steps_before() -> None:
    given_files = files("h2-relax")
    info = given_files["INFO.OUT"][: given_files["INFO.OUT"].index(b"Self-consistent loop stopped")]
    run = run_of({**given_files, "INFO.OUT": info})
    assert (run.frames.step.tolist(), run.complete) == ([1, 2, 3, 4, 5], False)
    assert "truncated" in run.flags


@given(name=st.sampled_from([GEOMETRY, ENERGY, FORCES]), cut=st.integers(0, 5000))
@settings(max_examples=40, deadline=None)
def test_a_cut_companion_gives_some_of_the_same_steps(name: str, cut: int) -> None:
    given_files = files("h2-relax")
    whole = run_of(given_files).frames
    part = run_of({**given_files, name: given_files[name][: cut % len(given_files[name])]}).frames
    at = [whole.step.tolist().index(step) for step in part.step] if part.count > 1 else [whole.count - 1]
    np.testing.assert_array_equal(part.energy, whole.energy[at])
    np.testing.assert_array_equal(part.positions, whole.positions[at])
    told = np.isfinite(part.forces)
    np.testing.assert_array_equal(part.forces[told], whole.forces[at][told])


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [(GEOMETRY, b"0.35179330", b"0.3517933"), (ENERGY, b"-1.28627836052", b"-1.2862783605"), (FORCES, b"0.00754101", b"0.0075401")],
)
def test_a_lost_digit_is_told(name: str, old: bytes, new: bytes) -> None:
    given_files = files("h2-relax")
    assert old in given_files[name]
    run = run_of({**given_files, name: given_files[name].replace(old, new, 1)})
    told = run.frames.count == 1 or "malformed_values" in run.frames.flags[2]
    assert told


def test_dynamics_of_which_one_step_is_read_say_so() -> None:
    """Tasks 420 and 421; the files of their steps are not read."""
    text = elk_text(make_steps(1))
    given = b"tasks\n  0  ! ground state\n  420\n\navec\n  4.0 0.0 0.0\n"
    run = run_of({"INFO.OUT": text, "elk.in": given})
    assert (run.kind, run.frames.count) == ("md", 1)
    assert "molecular dynamics" in run.notes[-1]
    still = run_of({"INFO.OUT": text, "elk.in": given.replace(b"420\n", b"\n420\n")})
    assert (still.kind, still.notes) == ("static", ())


def updated(text: bytes, places: list[list[list[float]]]) -> bytes:
    """Return an INFO.OUT as Elk 1 wrote it: positions are printed before each loop but the first."""
    pieces = text.split(b"| Self-consistent loop started |")
    blocks = [
        "\n| Updated atomic positions |\n+---+\n"
        + "".join(
            f"\nSpecies : {n + 1:4d} ({symbol})\n atomic positions (lattice) :\n   1 : {' '.join(f'{x:14.8f}' for x in row)}\n"
            for n, (symbol, row) in enumerate(zip(("Mg", "O"), rows, strict=True))
        )
        + "\n"
        for rows in places
    ]
    joined = pieces[0] + b"| Self-consistent loop started |" + pieces[1]
    for block, piece in zip(blocks, pieces[2:], strict=True):
        joined += block.encode() + b"| Self-consistent loop started |" + piece
    return joined


def test_positions_that_info_out_prints_between_loops_belong_to_the_next_one() -> None:
    steps = make_steps(3)
    places = [[[0.0, 0.0, 0.01 * k], [0.5, 0.5, 0.5 + 0.01 * k]] for k in (1, 2)]
    (run,) = read(updated(elk_text(steps), places))
    assert (run.kind, run.frames.step.tolist(), run.n_malformed_steps) == ("relax", [0, 1, 2], 0)
    np.testing.assert_allclose(run.frames.positions[1:], np.array(places) * steps[0].edge, rtol=1e-9)
    np.testing.assert_array_equal(run.frames.energy, [round(step.energy, 9) * HARTREE for step in steps])
    (part,) = read(updated(elk_text(steps), [places[0], [[0.0, 0.0, float("nan")], [0.5, 0.5, 0.5]]]))
    assert (part.frames.step.tolist(), part.n_malformed_steps, part.flags) == ([0, 1], 1, ("malformed_steps",))
