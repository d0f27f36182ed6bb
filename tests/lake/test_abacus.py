"""ABACUS: positions in units of the lattice constant, sign of the stress, cycles that fail, cuts and damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import make_steps
from made_up_rare_logs import (
    assert_chunks_and_line_ends_do_not_matter,
    assert_cut_gives_first_steps,
    assert_damage_never_escapes,
    read,
)
from made_up_solids import abacus_text

from lake.readers import find_reader
from lake.readers.abacus import ABACUS_LOG
from schemas.errors import UnreadableOutput
from schemas.units import KBAR, RYDBERG


def test_reads_what_is_printed() -> None:
    steps = make_steps(3)
    text = abacus_text(steps)
    (run,) = read(text)
    frames, level = run.frames, run.level_of_theory
    assert (run.code_version, run.kind, run.complete, run.flags, frames.flags) == ("3.2.1", "vc-relax", True, (), ((), (), ()))
    assert frames.energy.tolist() == [step.energy for step in steps]
    np.testing.assert_allclose(frames.cell[0], np.eye(3) * 4.25, atol=1e-12)
    for k, step in enumerate(steps):
        np.testing.assert_allclose(frames.positions[k], step.positions, atol=1e-12)
        np.testing.assert_array_equal(frames.forces[k], step.forces)
        np.testing.assert_allclose(frames.stress[k], -step.stress * KBAR, atol=1e-15)
    assert (level.functional, level.basis, level.cutoff) == ("PBE", "plane waves", 50 * RYDBERG)
    assert level.pseudopotentials == (("Mg", "Mg.upf"), ("O", "O.upf"))
    assert find_reader("running_relax.log", text) is ABACUS_LOG


def test_a_cycle_that_fails_is_counted() -> None:
    (run,) = read(abacus_text(make_steps(2), failed=True))
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (2, 1, ("malformed_steps",))
    assert "did not converge" in run.notes[0]


def test_an_energy_behind_a_failed_cycle_is_flagged() -> None:
    """Version 3 goes on and prints it."""
    text = abacus_text(make_steps(2))
    place = text.rindex(b"\n final etot is")
    last = text.rindex(b"\n charge density convergence is achieved", 0, place)
    (run,) = read(text[:last] + b"\n !! convergence has NOT been achieved !!" + text[place:])
    assert run.frames.scf_converged.tolist() == [1, 0]
    assert (run.frames.flags[1], run.n_malformed_steps) == (("scf_not_converged",), 0)


def test_energies_of_a_force_field_are_refused() -> None:
    """They are printed in the same words, without cycles and functional."""
    text = abacus_text(make_steps(2))
    lines = [line for line in text.split(b"\n") if b"ELEC=" not in line and b"exchange-correlation" not in line]
    with pytest.raises(UnreadableOutput, match="not_dft"):
        read(b"\n".join(lines))


def test_a_cell_that_moved_without_being_printed_leaves_the_step_out() -> None:
    text = abacus_text(make_steps(2))
    place = text.rindex(b" PW ALGORITHM")
    for moved in (text[:place] + b" RELAX CELL : 2\n" + text[place:], abacus_text(make_steps(2), counter=" STEP OF RELAXATION : 1")):
        (run,) = read(moved)
        assert (run.frames.count, run.n_malformed_steps) == (1, 1)
        assert "cell" in run.notes[0]


def test_a_run_cut_in_its_first_step_has_none() -> None:
    text = abacus_text(make_steps(1))
    with pytest.raises(UnreadableOutput) as refusal:
        read(text[: text.index(b"final etot is") + 20])
    assert refusal.value.reason == "no_complete_step"


def test_chunks_and_line_ends_do_not_matter() -> None:
    assert_chunks_and_line_ends_do_not_matter(abacus_text(make_steps(3)))


@given(cut=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_cut_output_gives_the_first_steps(cut: int) -> None:
    assert_cut_gives_first_steps(abacus_text(make_steps(3)), cut, b" Finish Time")


@given(place=st.integers(0, 100_000), byte=st.integers(0, 255))
@settings(max_examples=80, deadline=None)
def test_damage_never_escapes(place: int, byte: int) -> None:
    assert_damage_never_escapes(abacus_text(make_steps(2)), place, byte)
