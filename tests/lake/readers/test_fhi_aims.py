"""FHI-aims: which energy, forces under relaxation constraints, convergence, cuts and damage."""

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
    fhi_aims_text,
    read,
)

from lake.readers import find_reader
from lake.readers.fhi_aims.output import FHI_AIMS_OUTPUT
from schemas.errors import UnreadableOutput
from schemas.theory import LevelOfTheory


def test_reads_what_is_printed() -> None:
    steps = make_steps(3)
    control = (
        "xc pbe0",
        "spin collinear",
        "k_grid 4 4 4",
        "occupation_type gaussian 0.01",
        "charge 1.",
        "vdw_correction_hirshfeld",
        "relativistic atomic_zora scalar",
    )
    text = fhi_aims_text(steps, control=(*control, "relax_geometry bfgs 1e-2"))
    (run,) = read(text)
    frames, level = run.frames, run.level_of_theory
    assert (run.code_version, run.kind, run.complete, run.flags, frames.flags) == ("210226", "relax", True, (), ((), (), ()))
    assert frames.energy.tolist() == [step.energy for step in steps]
    assert frames.energy_internal[0] == float(f"{steps[0].energy + 0.002:.14E}")
    assert frames.energy_sigma0[0] == float(f"{steps[0].energy + 0.001:.14E}")
    for k, step in enumerate(steps):
        np.testing.assert_array_equal(frames.positions[k], step.positions)
        np.testing.assert_array_equal(frames.forces[k], step.forces)
        np.testing.assert_array_equal(frames.stress[k], step.stress)
    assert (level.functional, level.exact_exchange, level.dispersion, level.spin, level.charge) == ("PBE0", 0.25, "TS", "collinear", 1.0)
    assert (level.kpoints, level.n_kpoints, level.smearing, level.smearing_width, level.relativity) == (
        (4, 4, 4),
        260,
        "gaussian",
        0.01,
        "scalar",
    )
    assert [element for element, name in level.pseudopotentials if name.startswith("light ")] == ["Mg", "O"]
    assert find_reader("aims.out", text) is FHI_AIMS_OUTPUT


def test_forces_under_constraints_are_those_before_them() -> None:
    (step,) = make_steps(1)
    note = "unitary forces were cleaned, then relaxation constraints were applied"
    (run,) = read(fhi_aims_text([step], held=True, note=note))
    assert run.frames.fixed is not None
    assert run.frames.fixed.tolist() == [[True] * 3, [False] * 3]
    np.testing.assert_allclose(run.frames.forces[0], step.forces, rtol=1e-6)
    text = fhi_aims_text([step], held=True, note=note).replace(b"Total forces(", b"Total_forces(")
    (run,) = read(text)
    assert np.isnan(run.frames.forces).all()
    assert "constraints" in run.notes[0]


def test_forces_under_constraints_of_a_geometry_that_is_not_repeated() -> None:
    (step,) = make_steps(1)
    note = "unitary forces were cleaned, then relaxation constraints were applied"
    whole = fhi_aims_text([step], held=True, note=note)
    start, end = (
        whole.index(b"\n  Parsing geometry.in"),
        whole.index(b"geometry.in", whole.index(b"Completed first pass over input file geometry.in")),
    )
    silent = whole[:start] + whole[whole.index(b"\n", end) :]
    (run,) = read(silent)
    np.testing.assert_allclose(run.frames.forces[0], step.forces, rtol=1e-6)
    (none,) = read(silent.replace(b"Total forces(", b"Total_forces("))
    assert np.isnan(none.frames.forces).all()
    told = silent.replace(
        b"\n          Begin self-cons",
        b"\n  Found relaxation constraint for atom      2: y coordinate fixed.\n\n          Begin self-cons",
        1,
    )
    (run,) = read(told)
    assert run.frames.fixed is not None
    assert run.frames.fixed.tolist() == [[False] * 3, [False, True, False]]


def test_a_cycle_above_its_criterion_is_not_converged() -> None:
    for change, converged in ((1e-7, 1), (1e-2, 0)):
        (run,) = read(fhi_aims_text(make_steps(1), control=("xc pbe", "sc_accuracy_rho 1e-5"), change=change))
        assert (run.frames.scf_converged.tolist(), run.frames.n_scf_steps.tolist()) == ([converged], [9])


def test_a_step_of_a_relaxation_without_new_positions_is_left_out() -> None:
    text = fhi_aims_text(make_steps(3)).replace(b"  Updated atomic structure", b"  Some atomic structure", 1)
    (run,) = read(text)
    assert (run.frames.step.tolist(), run.n_malformed_steps) == ([0, 2], 1)


def test_cycles_of_strained_cells_for_a_numerical_stress_are_no_steps() -> None:
    text = fhi_aims_text(make_steps(2))
    begin = b"          Begin self-consistency loop: Re-initialization.\n"
    cycle = text[text.index(b"  End self-consistency iteration") : text.index(b"  Updated atomic structure")]
    start = b"  Components of the stress tensor (for mathematical background see comments in numerical_stress.f90).\n"
    strained = start + (begin + cycle) * 12 + b"  Calculation of numerical stress completed\n"
    place = text.index(b"  Updated atomic structure")
    (run,), (plain,) = read(text[:place] + strained + text[place:]), read(text)
    assert (run.frames.count, run.n_malformed_steps) == (2, 0)
    np.testing.assert_array_equal(run.frames.positions, plain.frames.positions)
    np.testing.assert_array_equal(run.frames.energy, plain.frames.energy)


def test_a_cycle_that_starts_anew_is_no_step() -> None:
    text = fhi_aims_text(make_steps(2))
    place = text.index(b"          Begin self-consistency loop: Re-init")
    (run,) = read(text[:place] + b"          Begin self-consistency loop: Re-initialization.\n  no result\n" + text[place:])
    assert (run.frames.count, run.n_malformed_steps) == (2, 0)
    np.testing.assert_array_equal(run.frames.positions, read(text)[0].frames.positions)


def test_a_run_cut_in_its_first_step_has_none() -> None:
    text = fhi_aims_text(make_steps(1))
    with pytest.raises(UnreadableOutput) as refusal:
        read(text[: text.index(b"Energy and forces") + 20])
    assert refusal.value.reason == "no_complete_step"


def test_chunks_and_line_ends_do_not_matter() -> None:
    assert_chunks_and_line_ends_do_not_matter(fhi_aims_text(make_steps(3)))


@given(cut=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_cut_output_gives_the_first_steps(cut: int) -> None:
    assert_cut_gives_first_steps(fhi_aims_text(make_steps(3)), cut, b"          Have a nice day.")


@given(place=st.integers(0, 100_000), byte=st.integers(0, 255))
@settings(max_examples=80, deadline=None)
def test_damage_never_escapes(place: int, byte: int) -> None:
    assert_damage_never_escapes(fhi_aims_text(make_steps(2)), place, byte)


def test_a_molecule_moves_though_nothing_stands_behind_its_last_atom() -> None:
    steps = make_steps(3)
    text = re.sub(rb"  lattice_vector [^\n]*\n|  Fractional coordinates:\n(?:  atom_frac [^\n]*\n)*", b"", fhi_aims_text(steps))
    (run,) = read(text)
    assert (run.frames.step.tolist(), run.n_malformed_steps) == ([0, 1, 2], 0)


def test_the_last_step_of_a_dynamics_has_its_places_under_another_title() -> None:
    steps = make_steps(2)
    rows = ["  atom " + "".join(f"{x:18.8f}" for x in row) + f"  {s}" for s, row in zip(("Mg", "O"), steps[1].positions, strict=True)]
    title = "  Final atomic structure (and velocities) as used in the preceding time step:"
    text = fhi_aims_text(steps, control=("xc pbe", "md_run 0.1 NVE")).replace(b"Updated atomic", b"Some other atomic")
    text = text.replace(b"          Leaving FHI-aims.", "\n".join([title, *rows, "-" * 60, "          Leaving FHI-aims."]).encode())
    (run,) = read(text)
    assert (run.frames.step.tolist(), run.n_malformed_steps) == ([0, 1], 0)
    np.testing.assert_allclose(run.frames.positions[1], steps[1].positions, atol=1e-8)


def test_what_else_changes_the_physics_is_in_the_level() -> None:
    def level(*control: str, printed: str = "") -> LevelOfTheory:
        text = fhi_aims_text(make_steps(1), control=control).replace(b"  Input geometry:", printed.encode() + b"\n  Input geometry:")
        return read(text)[0].level_of_theory

    assert level("xc dfauto scan").functional == "SCAN"
    assert level("xc pbe", "solvent mpb").extra == (("solvent", "mpb"),)
    screened = "  HSE06 screening parameters: omega_HF  =      {} bohr^-1, and"
    assert level("xc hse06 0.11", printed=screened.format("0.11000000")).extra == ()
    assert level("xc hse06 0.3", printed=screened.format("0.30000000")).extra == (("omega", "0.3"),)
    defaults = "  No occupation type (smearing scheme) given. Defaulting to Gaussian broadening, width =  0.1000E-01 eV."
    told = level("xc pbe", printed=defaults)
    assert (told.smearing, told.smearing_width) == ("gaussian", 0.01)


def test_charges_around_the_atoms_are_refused() -> None:
    printed = b"  | External embedding multipoles     :        1\n  Input geometry:"
    text = fhi_aims_text(make_steps(1)).replace(b"  Input geometry:", printed)
    with pytest.raises(UnreadableOutput, match="external multipoles") as caught:
        read(text)
    assert caught.value.reason == "not_dft"


def test_old_versions_name_the_free_energy_and_the_level_otherwise() -> None:
    """Versions of 2010 repeat no control.in, and have no 'Electronic' in front of 'free energy'."""
    text = fhi_aims_text(make_steps(1))
    start, end = text.index(b"  Parsing control.in"), text.index(b"  Parsing geometry.in")
    told = (
        "Parsing control.in ...",
        "XC: Using Perdew-Wang parametrisation of Ceperley-Alder LDA.",
        "Charge =   0.100000E+01: Charged system requested explicitly.",
        "Spin treatment: Spin density functional theory - collinear spins.",
        "Scalar relativistic treatment of kinetic energy: on-site free-atom approximation to ZORA.",
        "Reading configuration options for species Mg.",
        "| Found request for '+U' treatment for  3 d shell, U =     5.000000 eV.",
        "Species Mg                  : Missing cutoff potential type.",
        "Species O                   : Missing cutoff potential type.",
    )
    old = (
        text[:start] + "".join(f"  {line}\n" for line in told).encode() + text[end:].replace(b"| Electronic free energy", b"| Free energy")
    )
    (run,), (new,) = read(old), read(text)
    level = run.level_of_theory
    assert run.frames.energy.tolist() == new.frames.energy.tolist()
    assert (level.functional, level.hubbard_u, level.spin, level.relativity, level.charge) == (
        "LDA-PW92",
        (("Mg", "d", 5.0),),
        "collinear",
        "scalar",
        1.0,
    )


def test_a_multiplicity_is_in_the_level() -> None:
    """It holds the spin, and with it the energy, of a molecule."""
    (run,) = read(fhi_aims_text(make_steps(1), control=("xc pbe", "spin collinear", "  multiplicity 3")))
    assert run.level_of_theory.extra == (("multiplicity", "3"),)


@pytest.mark.parametrize("line", ["constraint_electrons 1 5.0 4.0", "force_occupation_basis 1 1 2 1 1 1.0", "potential_well 0 5 1.0"])
def test_constrained_electrons_and_wells_are_flagged(line: str) -> None:
    (run,) = read(fhi_aims_text(make_steps(2), control=("xc pbe", line)))
    assert all("altered_potential" in flags for flags in run.frames.flags)
    assert any(line.split(maxsplit=1)[0] in note for note in run.notes)


def test_a_field_of_the_geometry_is_in_the_level() -> None:
    text = fhi_aims_text(make_steps(1))
    place = text.index(b"  atom ", text.index(b"Parsing geometry.in"))
    (run,) = read(text[:place] + b"  homogeneous_field 0 0 0.1 # V/A\n" + text[place:])
    assert run.level_of_theory.extra == (("homogeneous_field", "0 0 0.1"),)
