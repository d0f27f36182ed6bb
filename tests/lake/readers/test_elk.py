"""Elk: entropy in the total energy, convergence, steps without positions, cuts and damage."""

from __future__ import annotations

import re

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
from made_up_solids import elk_text

from lake.readers import find_reader
from lake.readers.elk.info import ELK_INFO
from schemas.errors import UnreadableOutput
from schemas.units import HARTREE, HARTREE_PER_BOHR


def test_reads_what_is_printed() -> None:
    (step,) = make_steps(1)
    text = elk_text([step])
    (run,) = read(text)
    frames, level = run.frames, run.level_of_theory
    assert (run.code_version, run.kind, run.complete, run.flags, frames.flags) == ("8.4.30", "static", True, (), ((),))
    assert frames.energy.tolist() == [round(step.energy, 9) * HARTREE]
    assert frames.energy_internal[0] == pytest.approx((round(step.energy, 9) + 0.001) * HARTREE, abs=1e-9)
    np.testing.assert_allclose(frames.positions[0], step.positions, atol=1e-10)
    np.testing.assert_allclose(frames.forces[0], step.forces * HARTREE_PER_BOHR, atol=1e-12)
    assert (level.functional, level.basis, level.kpoints, level.n_kpoints) == ("PBE", "LAPW", (3, 3, 3), 12)
    assert level.pseudopotentials == (("Mg", "Mg.in R_MT 2.200000000"), ("O", "O.in R_MT 2.200000000"))
    assert find_reader("INFO.OUT", text) is ELK_INFO


def test_the_last_change_of_energy_tells_convergence() -> None:
    for change, converged in ((1e-6, 1), (1e-2, 0)):
        (run,) = read(elk_text(make_steps(1), change=change))
        assert (run.frames.scf_converged.tolist(), run.frames.n_scf_steps.tolist()) == ([converged], [15])


def test_later_steps_have_no_positions() -> None:
    (run,) = read(elk_text(make_steps(3)))
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (1, 2, ("malformed_steps",))


def test_a_run_cut_in_its_first_step_has_none() -> None:
    text = elk_text(make_steps(1))
    with pytest.raises(UnreadableOutput) as refusal:
        read(text[: text.index(b"total energy") + 20])
    assert refusal.value.reason == "no_complete_step"


def test_chunks_and_line_ends_do_not_matter() -> None:
    assert_chunks_and_line_ends_do_not_matter(elk_text(make_steps(1)))


@given(cut=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_cut_output_gives_the_first_steps(cut: int) -> None:
    assert_cut_gives_first_steps(elk_text(make_steps(1)), cut, b"Timings (CPU")


@given(place=st.integers(0, 100_000), byte=st.integers(0, 255))
@settings(max_examples=80, deadline=None)
def test_damage_never_escapes(place: int, byte: int) -> None:
    assert_damage_never_escapes(elk_text(make_steps(1)), place, byte)


def test_fields_and_fixed_moments_are_in_the_level() -> None:
    printed = b"""Constant electric field applied across unit cell
 field strength :   0.000000000       0.000000000      0.1000000000E-02

 global magnetic field (Cartesian) :   0.000000000       0.000000000       0.000000000
 fixed spin moment (FSM) calculation, type :    1

k-point grid"""
    (run,) = read(elk_text(make_steps(1)).replace(b"k-point grid", printed, 1))
    assert run.level_of_theory.extra == (("electric_field", "0.000000000 0.000000000 0.1000000000E-02"), ("fixed_moment", "1"))


def test_fields_on_atoms_and_the_moments_that_are_fixed_are_in_the_level() -> None:
    """Rows as routine writeinfo of Elk 8.4 prints them."""
    plain = elk_text(make_steps(1))
    row = re.search(rb"magnetic fields \(Cartesian\) :\n +1 : [^\n]*?( +0\.0+ +0\.0+ +0\.0+)\n", plain)
    assert row is not None
    field = plain[: row.start(1)] + b"    0.00000000  0.00000000 -0.50000000" + plain[row.end(1) :]
    (held,) = read(field)
    assert held.level_of_theory.extra == (("local_fields_or_moments", "0.00000000 0.00000000 -0.50000000"),)
    printed = b""" fixed spin moment (FSM) calculation, type :    3
  fixing total moment to (Cartesian) :
     0.000000000       0.000000000       1.500000000
  fixing local muffin-tin moments to (Cartesian) :
  species :    1 (Fe)
      1   0.000000000       0.000000000       2.000000000
 scaled spin exchange-correlation (SSXC) enabled
  scaling factor :  0.9000000000

k-point grid"""
    (run,) = read(plain.replace(b"k-point grid", printed, 1))
    assert run.level_of_theory.extra == (
        ("fixed_moment", "3"),
        ("fixed_total_moment", "0.000000000 0.000000000 1.500000000"),
        ("scaled_exchange_of_spins", "0.9000000000"),
        ("local_fields_or_moments", "0.000000000 0.000000000 2.000000000"),
    )
