"""CP2K: one test for each trap that its layouts, its trajectories and its crashes set."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import CONVERGED, cp2k_text, make_steps, xyz_text

from lake.readers import find_reader
from lake.readers.cp2k.log import CP2K_LOG, Cp2kReader, is_companion
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.units import GPA, HARTREE, HARTREE_PER_BOHR


def read(data: bytes, chunk: int = 1 << 20, **companions: bytes) -> Run:
    reader = Cp2kReader()
    for start in range(0, len(data), chunk):
        reader.feed(data[start : start + chunk])
    for kind, text in companions.items():
        assert reader.take_companion({"positions": "X-pos-1.xyz", "forces": "X-frc-1.xyz", "cells": "X-1.cell"}[kind], text)
    (run,) = reader.close()
    return run


def same(a: Run, b: Run) -> None:
    for name in ("positions", "energy", "forces", "stress", "cell", "scf_converged", "n_scf_steps", "step"):
        np.testing.assert_array_equal(getattr(a.frames, name), getattr(b.frames, name))
    assert (a.flags, a.frames.flags, a.n_malformed_steps) == (b.flags, b.frames.flags, b.n_malformed_steps)


@pytest.mark.parametrize("layout", ["7", "2023", "2025"])
def test_reads_what_is_printed(layout: str) -> None:
    (step,) = make_steps(1)
    run = read(cp2k_text([step], layout=layout))
    frames = run.frames
    assert (run.code, run.code_version, run.kind, run.complete, run.flags, frames.flags) == ("cp2k", "2023.1", "static", True, (), ((),))
    assert frames.numbers.tolist() == [12, 8]
    assert frames.energy[0] == step.energy * HARTREE
    np.testing.assert_array_equal(frames.positions[0], step.positions)
    np.testing.assert_allclose(frames.forces[0], step.forces * HARTREE_PER_BOHR, rtol=1e-14)
    np.testing.assert_allclose(frames.stress[0], -step.stress * GPA, rtol=1e-14)
    np.testing.assert_array_equal(frames.cell[0], np.eye(3) * 4.25)
    assert (frames.scf_converged.tolist(), frames.n_scf_steps.tolist()) == ([1], [13])
    level = run.level_of_theory
    assert (level.functional, level.basis, level.kpoints, level.smearing) == ("PBE", "GTO", (1, 1, 1), "none")
    assert level.pseudopotentials == (("Mg", "GTH-PBE-q6 / DZVP-MOLOPT-SR-GTH"), ("O", "GTH-PBE-q10 / DZVP-MOLOPT-SR-GTH"))
    assert find_reader("anything", cp2k_text([step])) is CP2K_LOG


@pytest.mark.parametrize(
    ("cycle", "converged", "steps"),
    [
        (CONVERGED, 1, 13),
        (CONVERGED.replace("0.00000009", "0.02028625"), -1, 13),
        (
            CONVERGED.replace(
                "*** SCF run converged in    13 steps ***", "Leaving inner SCF loop after reaching    60 steps.\n SCF run NOT converged"
            ),
            0,
            60,
        ),
        (
            CONVERGED
            + "  outer SCF iter =    2 RMS gradient =   0.39E-06 energy =   -1.0\n"
            + "  outer SCF loop FAILED to converge after   16 iterations or  800 steps\n",
            0,
            800,
        ),
        (
            CONVERGED
            + "  outer SCF iter =    2 RMS gradient =   0.39E-07 energy =   -1.0\n"
            + "  outer SCF loop converged in   2 iterations or   47 steps\n",
            1,
            47,
        ),
        ("\n", -1, -1),
    ],
)
def test_convergence_is_judged_by_the_last_accuracy(cycle: str, converged: int, steps: int) -> None:
    run = read(cp2k_text(make_steps(1), cycle=cycle))
    assert (run.frames.scf_converged.tolist(), run.frames.n_scf_steps.tolist()) == ([converged], [steps])
    assert run.frames.flags == ({1: (), 0: ("scf_not_converged",), -1: ("scf_unknown",)}[converged],)


def test_energy_holds_the_entropy() -> None:
    cycle = CONVERGED + "  Electronic entropic energy:                                  -0.00123400000000\n"
    run = read(cp2k_text(make_steps(1), cycle=cycle))
    assert run.frames.energy_internal[0] - run.frames.energy[0] == pytest.approx(0.001234 * HARTREE, abs=1e-9)
    assert np.isnan(read(cp2k_text(make_steps(1))).frames.energy_internal[0])


def test_steps_without_positions_are_counted_not_invented() -> None:
    run = read(cp2k_text(make_steps(4), run="MD"))
    assert (run.kind, run.frames.count, run.n_malformed_steps, run.flags) == ("md", 1, 3, ("malformed_steps",))
    assert "-pos-1.xyz" in run.notes[0]


def test_a_log_without_coordinates_is_refused() -> None:
    text = cp2k_text(make_steps(2), run="MD").replace(b" MODULE QUICKSTEP:", b" MODULE SLOWSTEP:")
    with pytest.raises(UnreadableOutput) as refusal:
        read(text)
    assert refusal.value.reason == "no_complete_step"


def test_trajectories_give_positions_and_forces() -> None:
    steps = make_steps(4)
    text = cp2k_text(steps, run="MD")
    run = read(text, positions=xyz_text(steps, range(4)))
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (4, 0, ())
    np.testing.assert_array_equal(run.frames.positions, [step.positions for step in steps])
    bare = text.replace(b" ATOMIC FORCES in", b" ATOMIC WORDS in")
    run = read(bare, positions=xyz_text(steps, range(4)), forces=xyz_text(steps, range(4), forces=True))
    np.testing.assert_allclose(run.frames.forces, np.array([step.forces for step in steps]) * HARTREE_PER_BOHR, rtol=1e-12)


def test_a_restart_evaluates_a_step_that_the_trajectory_lacks() -> None:
    steps = make_steps(4)
    run = read(cp2k_text(steps, run="MD"), positions=xyz_text(steps[1:], [21, 22, 23]))
    np.testing.assert_array_equal(run.frames.positions, [step.positions for step in steps])
    np.testing.assert_array_equal(run.frames.energy, [step.energy * HARTREE for step in steps])


def test_a_trajectory_of_another_run_is_not_used() -> None:
    run = read(cp2k_text(make_steps(3), run="MD"), positions=xyz_text(make_steps(3, seed=2), range(3)))
    assert (run.frames.count, run.flags) == (1, ("companion_of_other_run", "malformed_steps"))


@pytest.mark.parametrize(
    ("name", "text", "biased"),
    [
        ("X-COLVAR.metadynLog", b" 0.0 3.1\n", True),
        ("md.inp", b"&MOTION\n  &FREE_ENERGY\n    &METADYN\n      DO_HILLS\n", True),
        ("md.inp", b"&MOTION\n  ! &METADYN was tried before\n  &MD\n", False),
        ("plumed.dat", b"d: DISTANCE ATOMS=1,2\nMETAD ARG=d SIGMA=0.1 HEIGHT=1 PACE=10\n", True),
        ("plumed.dat", b"d: DISTANCE ATOMS=1,2\nPRINT ARG=d\n", False),
    ],
)
def test_forces_of_a_biased_dynamics_hold_the_bias(name: str, text: bytes, biased: bool) -> None:
    steps = make_steps(3)
    log = re.sub(rb" ATOMIC FORCES in.*?SUM OF ATOMIC FORCES[^\n]*\n", b"", cp2k_text(steps, run="MD"), flags=re.DOTALL)
    reader = Cp2kReader()
    reader.feed(log)
    reader.take_companion("X-pos-1.xyz", xyz_text(steps, range(3)))
    reader.take_companion("X-frc-1.xyz", xyz_text(steps, range(3), forces=True))
    assert is_companion(name)
    reader.take_companion(name, text)
    (run,) = reader.close()
    assert run.frames.count == 3
    assert np.isfinite(run.frames.energy).all()
    assert bool(np.isnan(run.frames.forces).all()) == biased
    assert any("biased dynamics" in note for note in run.notes) == biased


def test_cells_come_from_the_cell_file() -> None:
    steps = make_steps(2)
    rows = [f"{n} 0.0 " + " ".join(f"{value:.10f}" for value in (np.eye(3) * edge).ravel()) + " 76.0" for n, edge in enumerate((4.25, 4.3))]
    run = read(cp2k_text(steps, run="MD"), positions=xyz_text(steps, range(2)), cells="\n".join(["# Step", *rows, ""]).encode())
    np.testing.assert_array_equal(run.frames.cell[:, 0, 0], [4.25, 4.3])


def test_forces_of_fixed_atoms_are_printed_as_zero() -> None:
    (step,) = make_steps(1)
    step.forces[0] = 0.0
    run = read(cp2k_text([step]))
    assert np.isnan(run.frames.forces).all()
    assert run.frames.fixed is not None
    assert run.frames.fixed.tolist() == [[True] * 3, [False] * 3]
    step.forces[1] = 0.0
    assert read(cp2k_text([step])).frames.fixed is None


def test_a_torn_table_is_flagged() -> None:
    text = cp2k_text(make_steps(1))
    for words, other in ((b" SUM OF ATOMIC FORCES", b" SUN OF ATOMIC FORCES"), (b" STRESS|      y", b" STRESS|      y *")):
        run = read(text.replace(words, other, 1))
        assert run.frames.flags == (("malformed_values",),)
    assert np.isnan(run.frames.stress).all()


@pytest.mark.parametrize(("old", "new"), [(b"( QS )", b"( FIST )"), (b" GPW", b" xTB"), (b" QS| Method: ", b" xTB| Parameter file ")])
def test_energies_that_are_not_of_dft_are_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(UnreadableOutput) as refusal:
        read(cp2k_text(make_steps(1)).replace(old, new))
    assert refusal.value.reason == "not_dft"


def test_plane_waves_of_sirius_are_refused() -> None:
    with pytest.raises(UnreadableOutput) as refusal:
        read(cp2k_text(make_steps(1)).replace(b"( QS )", b"( SIRIUS )"))
    assert "SIRIUS" in refusal.value.detail


def test_an_unknown_unit_is_no_number() -> None:
    run = read(cp2k_text(make_steps(1)).replace(b"stress tensor [GPa]", b"stress tensor [psi]"))
    assert np.isnan(run.frames.stress).all()
    assert run.notes == ("the unit of stress 'psi' is not known",)


def test_two_runs_in_one_log() -> None:
    first, second = make_steps(1), make_steps(1, seed=2)
    reader = Cp2kReader()
    reader.feed(cp2k_text(first) + cp2k_text(second))
    runs = reader.close()
    assert [run.frames.energy[0] for run in runs] == [first[0].energy * HARTREE, second[0].energy * HARTREE]


def test_chunks_and_line_ends_do_not_matter() -> None:
    steps = make_steps(3)
    text = cp2k_text(steps, run="MD")
    whole = read(text, positions=xyz_text(steps, range(3)))
    for chunk in (1, 7, 333):
        same(read(text, chunk, positions=xyz_text(steps, range(3))), whole)
    same(read(text.replace(b"\n", b"\r\n"), positions=xyz_text(steps, range(3)).replace(b"\n", b"\r\n")), whole)


@given(cut=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_cut_log_gives_the_first_steps(cut: int) -> None:
    steps = make_steps(3)
    text, beside = cp2k_text(steps, run="MD"), xyz_text(steps, range(3))
    whole = read(text, positions=beside)
    cut = cut % text.index(b"PROGRAM ENDED")
    try:
        part = read(text[:cut], positions=beside)
    except UnreadableOutput:
        return
    n = part.frames.count
    assert "truncated" in part.flags
    np.testing.assert_array_equal(part.frames.energy, whole.frames.energy[:n])
    np.testing.assert_array_equal(part.frames.forces, whole.frames.forces[:n])
    np.testing.assert_array_equal(part.frames.stress, whole.frames.stress[:n])


@given(place=st.integers(0, 100_000), byte=st.integers(0, 255), count=st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_damage_never_escapes(place: int, byte: int, count: int) -> None:
    text = bytearray(cp2k_text(make_steps(2), run="MD"))
    for k in range(count):
        text[(place + 97 * k) % len(text)] = byte
    reader = Cp2kReader()
    reader.feed(bytes(text))
    try:
        runs = reader.close()
    except UnreadableOutput:
        return
    assert all(run.frames.count for run in runs)


def test_a_functional_taken_in_part_is_not_that_functional() -> None:
    """The fraction of exact exchange may be printed later, or not at all."""
    text = cp2k_text(make_steps(1))
    assert read(text).level_of_theory.functional == "PBE"
    place = text.index(b"\n FUNCTIONAL| PBE")
    end = text.index(b"\n", place + 1)
    part = read(text[:end] + b"\n FUNCTIONAL|  pp. 3865-3868, (1996)sx=0.750sc=1.000{spin unpolarized}" + text[end:])
    assert (part.level_of_theory.functional, part.level_of_theory.exact_exchange) == ("PBE(sx=0.750)", None)
    whole = read(text[:end] + b"\n FUNCTIONAL|  pp. 3865-3868, (1996)sx=1.000sc=1.000{spin unpolarized}" + text[end:])
    assert whole.level_of_theory.functional == "PBE"
