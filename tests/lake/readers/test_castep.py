"""CASTEP: which energy, energies of other cutoffs, constrained forces, convergence, continued files, cuts and damage."""

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
from made_up_solids import castep_text

from lake.readers import find_reader
from lake.readers.castep.output import CASTEP_OUTPUT
from schemas.errors import UnreadableOutput
from schemas.units import GPA


def test_reads_what_is_printed() -> None:
    steps = make_steps(3)
    text = castep_text(steps)
    (run,) = read(text)
    frames, level = run.frames, run.level_of_theory
    assert (run.code_version, run.kind, run.complete, run.flags, frames.flags) == ("17.2", "md", True, (), ((), (), ()))
    assert frames.energy.tolist() == [step.energy for step in steps]
    assert frames.energy_internal[0] == round(steps[0].energy + 0.002, 10)
    for k, step in enumerate(steps):
        np.testing.assert_allclose(frames.positions[k], step.positions, atol=3e-9)
        np.testing.assert_allclose(frames.forces[k], step.forces.round(5), atol=1e-12)
        np.testing.assert_allclose(frames.stress[k], step.stress * GPA, atol=1e-12)
    assert (level.functional, level.cutoff, level.spin, level.smearing, level.smearing_width) == (
        "PBE",
        300.0,
        "collinear",
        "gaussian",
        0.2,
    )
    assert (level.kpoints, level.n_kpoints) == ((4, 4, 4), 32)
    assert level.pseudopotentials == (("Mg", "2|2.0|5|6|7|30U:31:32"), ("O", "2|1.1|15|18|20|20:21(qc=7)"))
    assert find_reader("x.castep", text) is CASTEP_OUTPUT


def test_energies_of_other_cutoffs_are_kept_and_flagged() -> None:
    (run,) = read(castep_text(make_steps(2), samples=(-80.5, -80.6)))
    assert run.frames.energy[:2].tolist() == [-80.5, -80.6]
    assert run.frames.flags == (("final_scf_other_basis",), ("final_scf_other_basis",), (), ())
    np.testing.assert_array_equal(run.frames.positions[0], run.frames.positions[2])
    assert np.isnan(run.frames.forces[:2]).all()


def test_the_last_gain_of_energy_tells_convergence() -> None:
    for gain, converged in ((-1e-6, 1), (2e-3, 0)):
        (run,) = read(castep_text(make_steps(1), gain=gain))
        assert (run.frames.scf_converged.tolist(), run.frames.n_scf_steps.tolist()) == ([converged], [2])


def test_constrained_forces_are_taken_where_only_the_centre_of_mass_is_held() -> None:
    for constraints, finite in ((3, True), (6, False)):
        text = castep_text(make_steps(1), constraints=constraints)
        (run,) = read(text.replace(b"*** Forces ***", b"*** Constrained Forces ***"))
        assert bool(np.isfinite(run.frames.forces).all()) is finite
        assert bool(run.notes) is not finite


def test_an_energy_without_a_geometry_before_it_is_left_out() -> None:
    text = castep_text(make_steps(1))
    start, end = text.index(b"SCF loop"), text.index(b"Initialisation time")
    (run,) = read(text[:end] + text[start:end] + text[end:])
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (1, 1, ("malformed_steps",))


def test_dispersion_is_in_the_energy() -> None:
    (step,) = make_steps(1)
    line = b"Dispersion corrected final free energy* (Ecor-TS) =  -81.2500000000     eV\nNB est."
    (run,) = read(castep_text([step]).replace(b"NB est.", line))
    assert run.frames.energy.tolist() == [-81.25]


def test_a_continued_run_is_a_run_of_its_own() -> None:
    first, second = read(castep_text(make_steps(2)) + castep_text(make_steps(1, seed=2)))
    assert (first.frames.count, second.frames.count) == (2, 1)


def test_a_run_cut_in_its_first_step_has_none() -> None:
    text = castep_text(make_steps(1))
    with pytest.raises(UnreadableOutput) as refusal:
        read(text[: text.index(b"Final free energy") + 20])
    assert refusal.value.reason == "no_complete_step"


def test_chunks_and_line_ends_do_not_matter() -> None:
    assert_chunks_and_line_ends_do_not_matter(castep_text(make_steps(3)))


@given(cut=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_cut_output_gives_the_first_steps(cut: int) -> None:
    assert_cut_gives_first_steps(castep_text(make_steps(3)), cut, b"Total time          =")


@given(place=st.integers(0, 100_000), byte=st.integers(0, 255))
@settings(max_examples=80, deadline=None)
def test_damage_never_escapes(place: int, byte: int) -> None:
    assert_damage_never_escapes(castep_text(make_steps(2)), place, byte)


def test_an_insulator_prints_one_energy_without_its_letter() -> None:
    made = make_steps(2)
    lines = [line for line in castep_text(made).split(b"\n") if not line.startswith((b"Final free", b"NB est."))]
    text = b"\n".join(re.sub(rb"^Final energy, E +=", b"Final energy =", line) for line in lines)
    (run,) = read(text)
    assert run.frames.energy.tolist() == [round(step.energy + 0.002, 10) for step in made]
    assert run.frames.flags == ((), ())


def test_dispersion_is_part_of_the_energy_and_of_the_level_of_theory() -> None:
    (step,) = make_steps(1)
    plain = castep_text([step])
    parameters = [b"", b"  xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", b"  x   Atomic DFT-D parameters  x", b"  x-----------------------------x"]
    parameters += [b"  x  Mg    182.2457   5.4828    x", b"  xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", b"", b" "]
    on = b" DFT+D: Semi-empirical dispersion correction    : on\n SEDC with                                      : G06 correction scheme\n"
    text = plain.replace(b" plane wave basis set cut-off", on + b" plane wave basis set cut-off")
    text = text.replace(b"                          Files used", b"\n".join(parameters) + b"                         Files used")
    corrected = f"Dispersion corrected final free energy* (Ecor-TS) =  {step.energy - 1.5:.10f}     eV\n"
    text = text.replace(b"NB est. 0K", corrected.encode() + b"NB est. 0K")
    (run,), (before,) = read(text), read(plain)
    assert (run.level_of_theory.dispersion, before.level_of_theory.dispersion) == ("D2", "")
    assert run.frames.energy.tolist() == [round(step.energy - 1.5, 10)]
    np.testing.assert_array_equal(run.frames.positions, before.frames.positions)


def test_occupations_of_delta_scf_are_flagged() -> None:
    title = b" ************************* Constrained DFT - deltaSCF **************************\n"
    (run,) = read(castep_text(make_steps(2)).replace(b" ensemble  ", title + b" ensemble  "))
    assert all("altered_potential" in flags for flags in run.frames.flags)
    assert any("deltaSCF" in note for note in run.notes)


def test_an_outer_field_is_in_the_level() -> None:
    title = b" ************** External Efield and/or dipole ***************\n *   Cartesian components (eV/A)   *\n"
    plain = castep_text(make_steps(2))
    zero = plain.replace(
        b" ***************** Stress Tensor", title + b" * Mg 1  0.00000  0.00000  0.00000 *\n ***************** Stress Tensor"
    )
    assert read(zero)[0].level_of_theory.extra == ()
    (run,) = read(zero.replace(b"0.00000 *", b"0.00100 *"))
    assert (run.frames.count, [name for name, _ in run.level_of_theory.extra]) == (2, ["electric_field"])
    assert not any("altered_potential" in flags for flags in run.frames.flags)
