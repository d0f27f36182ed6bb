"""ABACUS: positions in units of the lattice constant, sign of the stress, cycles that fail, cuts and damage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import Made, make_steps
from made_up_rare_logs import (
    assert_chunks_and_line_ends_do_not_matter,
    assert_cut_gives_first_steps,
    assert_damage_never_escapes,
    read,
)
from made_up_solids import abacus_311_text, abacus_text

from lake.readers import find_reader
from lake.readers.abacus.log import ABACUS_LOG, AbacusReader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.units import BOHR, KBAR, RYDBERG


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


@pytest.mark.parametrize(("what", "kind"), [("cell-relax", "vc-relax"), ("relax", "relax"), ("md", "md")])
def test_reads_what_version_3_11_prints(what: str, kind: str) -> None:
    steps = make_steps(3)
    text = abacus_311_text(steps, what=what)
    (run,) = read(text)
    frames, level = run.frames, run.level_of_theory
    assert (run.code_version, run.kind, run.complete, run.flags, frames.flags) == ("3.11.0", kind, True, (), ((), (), ()))
    assert frames.energy.tolist() == [step.energy for step in steps]
    assert (frames.scf_converged.tolist(), frames.n_scf_steps.tolist()) == ([1, 1, 1], [8, 8, 8])
    for k, step in enumerate(steps):
        np.testing.assert_allclose(frames.cell[k], np.eye(3) * step.edge, atol=1e-9)
        np.testing.assert_allclose(frames.positions[k], step.positions, atol=1e-9)
        np.testing.assert_allclose(frames.forces[k], step.forces, atol=1e-10)
        np.testing.assert_allclose(frames.stress[k], -step.stress * KBAR, atol=1e-12)
    assert (level.functional, level.basis, level.cutoff, level.n_kpoints) == ("PBE", "plane waves", 50 * RYDBERG, 4)
    assert level.pseudopotentials == (("Mg", "Mg.upf"), ("O", "O.upf"))
    assert find_reader("running_relax.log", text) is ABACUS_LOG
    for cut in range(500, len(text), 211):
        assert_cut_gives_first_steps(text, cut, b" Finish Time")


@pytest.mark.parametrize("words", [b" !!SCF IS NOT CONVERGED!!", b" !! convergence has not been achieved @_@"])
def test_an_unconverged_cycle_of_3_11_is_kept(words: bytes) -> None:
    steps = make_steps(3)
    (run,) = read(abacus_311_text(steps, failed=True).replace(b" !!SCF IS NOT CONVERGED!!", words))
    assert run.frames.energy.tolist() == [step.energy for step in steps]
    assert run.frames.flags == ((), (), ("scf_not_converged",))
    np.testing.assert_allclose(run.frames.forces[2], steps[2].forces, atol=1e-10)


def test_a_cycle_that_fails_is_not_that_of_the_next_energy() -> None:
    """Version 2 counts 'ION=+1    ELEC=+8'."""
    text = abacus_text(make_steps(3), failed=True).replace(b"ION=   1  ELEC=   8-", b"ION=+1    ELEC=+8   -")
    (run,) = read(text)
    assert (run.frames.scf_converged.tolist(), run.frames.n_scf_steps.tolist(), run.n_malformed_steps) == ([1, 1, 1], [8, 8, 8], 1)


def test_a_relaxation_of_ions_keeps_its_cell_where_stress_is_printed() -> None:
    text = abacus_311_text(steps := [replace(step, edge=4.25) for step in make_steps(2)], what="relax")
    head, tail = text.split(b" RELAX STEP: 1", 1)
    vectors = re.compile(rb" Lattice vectors:[^\n]*\n(?:[^\n]*\n){4}")
    (run,) = read(head + b" RELAX STEP: 1" + vectors.sub(b"", tail))
    np.testing.assert_allclose(run.frames.cell[1], np.eye(3) * steps[1].edge, atol=1e-9)
    assert run.frames.count == 2


def test_a_force_field_is_refused_by_the_name_of_its_solver() -> None:
    with pytest.raises(UnreadableOutput, match="force field nep_pot"):
        read(abacus_311_text(make_steps(2), solver="nep_pot"))


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


def dynamics_text(steps: Sequence[Made]) -> bytes:
    """Return running_md.log of a version that starts lines with names: places of the first step alone."""
    text = abacus_text(steps).replace(b"\n     tauc_", b"\ntauc_").replace(b"\n CARTESIAN", b"\nCARTESIAN")
    head, *rest = text.split(b" RELAX CELL : 1\n")
    rest = [re.sub(rb"\nCARTESIAN COORDINATES(?:[^\n]*\n){4}", b"\n", part) for part in rest]
    return head + b"".join(b" STEP OF MOLECULAR DYNAMICS : %d\n" % k + part for k, part in enumerate(rest))


def dump_text(steps: Sequence[Made], *, forces: Sequence[Made] | None = None) -> bytes:
    """Return MD_dump of steps with the forces of others."""
    text = ""
    for k, (step, other) in enumerate(zip(steps, forces or steps, strict=True)):
        text += f"MDSTEP:  {k}\nLATTICE_CONSTANT: 2.000000000000\nLATTICE_VECTORS\n"
        text += "".join("".join(f"{x:16.12f}" for x in row) + "\n" for row in np.eye(3) * step.edge / BOHR / 2)
        text += "INDEX    LABEL    POSITIONS    FORCE (eV/Angstrom)\n"
        for n, (name, place, force) in enumerate(zip(("Mg", "O"), step.positions / BOHR / 2, other.forces, strict=True)):
            text += f"  {n}  {name}" + "".join(f"  {x:.12f}" for x in (*place, *force)) + "\n"
        text += "\n\n"
    return text.encode()


def read_beside(log: bytes, **beside: bytes) -> Run:
    reader = AbacusReader()
    reader.feed(log)
    for name, text in beside.items():
        reader.take_companion(name, text)
    (run,) = reader.close()
    return run


def test_places_of_dynamics_come_from_the_trajectory_by_their_forces() -> None:
    steps = make_steps(4)
    log = dynamics_text(steps)
    alone, run = read_beside(log), read_beside(log, MD_dump=dump_text(steps))
    assert (alone.frames.count, alone.n_malformed_steps, run.frames.count, run.n_malformed_steps) == (1, 3, 4, 0)
    assert "neither MD_dump nor STRU_ION files (out_stru) are beside it" in alone.notes[-1]
    assert run.frames.energy.tolist() == [step.energy for step in steps]
    for k, step in enumerate(steps):
        np.testing.assert_allclose(run.frames.positions[k], step.positions, atol=1e-11)
        np.testing.assert_array_equal(run.frames.forces[k], step.forces)


def test_a_trajectory_of_other_forces_gives_no_places() -> None:
    steps = make_steps(3)
    run = read_beside(dynamics_text(steps), MD_dump=dump_text(steps, forces=make_steps(6)[3:]))
    assert (run.frames.count, run.n_malformed_steps) == (1, 2)
    cut = dump_text(steps)
    run = read_beside(dynamics_text(steps), MD_dump=cut[: cut.rindex(b"O ")])
    assert (run.frames.count, run.n_malformed_steps) == (2, 1), "a torn step of the trajectory is none"


def relaxation_text(steps: Sequence[Made]) -> bytes:
    """Return running_cell-relax.log of a version that prints the cell of each step, but places of the first alone."""
    text = abacus_text(steps).replace(b" RELAX IONS : 1", b"")
    head, *rest = text.split(b" RELAX CELL : 1\n")
    rest = [re.sub(rb" CARTESIAN COORDINATES(?:[^\n]*\n){4}", b"\n", part) for part in rest]
    cells = [b"".join(b"".join(b"%+14.6f" % x for x in row) + b"\n" for row in np.eye(3) * step.edge / BOHR / 2) for step in steps]
    words = b" Lattice vectors: (Cartesian coordinate: in unit of a_0)\n"
    return head + b"".join(
        (words + cells[k] if k else b"") + b" RELAX CELL : %d\n RELAX IONS : 1 (in total: %d)\n" % (k + 1, k + 1) + part
        for k, part in enumerate(rest)
    )


def structure_text(step: Made) -> bytes:
    """Return STRU_ION1_D of a step."""
    text = "ATOMIC_SPECIES\nMg 24.305 Mg.upf upf201\nO 15.999 O.upf\n\nLATTICE_CONSTANT\n2.0\n\nLATTICE_VECTORS\n"
    text += "".join("".join(f"{x:20.10f}" for x in row) + "\n" for row in np.eye(3) * step.edge / BOHR / 2)
    text += "\nATOMIC_POSITIONS\nDirect\n"
    for name, row in zip(("Mg", "O"), step.positions / step.edge, strict=True):
        text += f"\n{name} #label\n0.0000   #magnetism\n1 #number of atoms\n" + "".join(f"{x:20.10f}" for x in row) + " m 1 1 1\n"
    return text.encode()


def read_relaxation(log: bytes, files: Sequence[bytes], **beside: bytes) -> Run:
    return read_beside(log, **{f"STRU_ION{k + 1}_D": text for k, text in enumerate(files)}, **beside)


def test_places_of_a_relaxation_come_from_the_structures_beside_the_log() -> None:
    steps = [replace(step, edge=4.25 + 0.01 * k) for k, step in enumerate(make_steps(3))]
    log, files = relaxation_text(steps), [structure_text(step) for step in steps[1:]]
    alone, run = read_beside(log), read_relaxation(log, files)
    assert (alone.frames.count, alone.n_malformed_steps, run.frames.count, run.n_malformed_steps) == (1, 2, 3, 0)
    assert "neither MD_dump nor STRU_ION files (out_stru) are beside it" in alone.notes[-1]
    assert (run.kind, run.frames.energy.tolist()) == ("vc-relax", [step.energy for step in steps])
    for k, step in enumerate(steps):
        np.testing.assert_allclose(run.frames.positions[k], step.positions, atol=1e-9)
        np.testing.assert_allclose(run.frames.cell[k], np.eye(3) * step.edge, atol=1e-9)
        np.testing.assert_array_equal(run.frames.forces[k], step.forces)


def test_structures_of_another_run_give_no_places() -> None:
    """Of another cell, of other atoms, torn; or of a cell that does not move, where nothing tells that they are not left over."""
    steps = [replace(step, edge=4.25 + 0.01 * k) for k, step in enumerate(make_steps(2))]
    log, file = relaxation_text(steps), structure_text(steps[1])
    for other in (structure_text(steps[0]), file.replace(b"Mg #", b"Ca #"), file[:-30]):
        assert read_relaxation(log, [other]).n_malformed_steps == 1
    still = make_steps(2)
    log, file = relaxation_text(still), structure_text(still[1])
    assert "nothing tells" in read_relaxation(log, [file]).notes[-1]
    given = b"INPUT_PARAMETERS\nout_stru 1 # after each step\n"
    assert read_relaxation(log, [file], INPUT=given).frames.count == 2


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_step_whose_line_of_the_energy_is_missing_is_counted(step: int) -> None:
    text = abacus_text(make_steps(3))
    start = [match.start() for match in re.finditer(rb"\n final etot is", text)][step]
    (run,) = read(text[:start] + text[text.index(b"\n", start + 1) :])
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (2, 1, ("malformed_steps",))
    assert run.frames.energy.tolist() == [made.energy for k, made in enumerate(make_steps(3)) if k != step]


def test_a_final_energy_that_is_not_that_of_the_last_iteration_is_flagged() -> None:
    (step,) = make_steps(1)
    row, line = b" E_KohnSham   -5.9   %.10f\n", b"\n charge density convergence"
    text = abacus_text([step])
    assert read(text.replace(line, b"\n" + row % step.energy + line[1:]))[0].frames.flags == ((),)
    (run,) = read(text.replace(line, b"\n" + row % (step.energy + 0.01) + line[1:]))
    assert run.frames.flags == (("contradictory_values",),)
    end = b"\n Start  Time"
    (run,) = read(text.replace(end, b"\n !FINAL_ETOT_IS %.12f eV" % (step.energy - 1.0) + end))
    assert run.frames.flags == (("contradictory_values",),)


def test_the_input_overrides_the_functional_of_the_pseudopotentials() -> None:
    updated = b"\n XC functional updated to : hse\n SETUP PLANE"
    (run,) = read(abacus_text(make_steps(1)).replace(b"\n SETUP PLANE", updated))
    assert (run.level_of_theory.functional, run.level_of_theory.exact_exchange) == ("HSE06", 0.25)


def test_the_input_beside_the_log_tells_dispersion_smearing_and_u() -> None:
    log = abacus_text(make_steps(1)).replace(b"\n Start  Time", b"\n                   DFTU     cal_eff_pot_mat       57.19\n Start  Time")
    assert read_beside(log).level_of_theory.extra == (("hubbard_u", "on"),)
    text = b"INPUT_PARAMETERS\nvdw_method  d3_bj #none\nsmearing_method gauss\nsmearing_sigma 0.02\ndft_plus_u 1\n"
    level = read_beside(log, INPUT=text + b"orbital_corr 2 -1\nhubbard_u 4.5 0.0\n").level_of_theory
    assert (level.functional, level.dispersion, level.smearing, level.smearing_width) == ("PBE", "D3(BJ)", "gaussian", 0.02 * RYDBERG)
    assert (level.hubbard_u, level.extra) == ((("Mg", "d", 4.5),), ())
    assert read_beside(log, INPUT=text + b"orbital_corr 2\nhubbard_u 4.5\n").level_of_theory.extra == (("hubbard_u", "on"),)
    assert read_beside(log, INPUT=b"&CONTROL\n calculation = 'scf'\n").level_of_theory.dispersion == ""


def test_fields_and_a_solvent_are_in_the_level_and_constrained_moments_are_flagged() -> None:
    log = abacus_text(make_steps(1)).replace(b"\n Start  Time", b"\n E_sol_el     -0.01   -0.13\n Start  Time")
    assert read_beside(log).level_of_theory.extra == (("solvent", "of parameters that are not told"),)
    given = b"INPUT_PARAMETERS\nimp_sol 1\neb_k 78.4\nefield_flag 1\nefield_dir 2\nefield_amp 0.01\nnelec_delta 1\n"
    run = read_beside(log, INPUT=given)
    assert run.level_of_theory.extra == (("solvent", "permittivity 78.4"), ("electric_field", "0.01 along 2"), ("electrons_added", "1"))
    assert not any("altered_potential" in flags for flags in run.frames.flags)
    held = read_beside(log, INPUT=given + b"sc_mag_switch 1\n")
    assert all("altered_potential" in flags for flags in held.frames.flags)
    assert held.notes[0] == "constrained magnetic moments (sc_mag_switch)"
