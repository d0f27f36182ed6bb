"""ABINIT: datasets, steps of a relaxation, convergence judged by residuals, refusals, cuts and damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import Made, abinit_text, make_steps

from lake.readers import find_reader
from lake.readers.abinit.text import ABINIT_OUTPUT, AbinitReader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR, HARTREE_PER_BOHR3


def read(data: bytes, chunk: int = 1 << 20) -> tuple[Run, ...]:
    reader = AbinitReader()
    for start in range(0, len(data), chunk):
        reader.feed(data[start : start + chunk])
    return reader.close()


def assert_step(run: Run, k: int, step: Made) -> None:
    frames = run.frames
    assert frames.energy[k] == step.energy * HARTREE
    np.testing.assert_allclose(frames.positions[k], step.positions * BOHR, atol=1e-11)
    np.testing.assert_allclose(frames.forces[k], step.forces * HARTREE_PER_BOHR, rtol=1e-13)
    np.testing.assert_allclose(frames.stress[k], step.stress * 1e-4 * HARTREE_PER_BOHR3, rtol=1e-8)
    np.testing.assert_allclose(frames.cell[k], np.eye(3) * step.edge * BOHR, rtol=1e-12)


def test_reads_what_is_printed() -> None:
    (step,) = make_steps(1, edge=8.0313361)
    text = abinit_text([[step]])
    (run,) = read(text)
    assert_step(run, 0, step)
    assert (run.code, run.code_version, run.kind, run.complete, run.flags, run.frames.flags) == (
        "abinit",
        "9.6.2",
        "static",
        True,
        (),
        ((),),
    )
    assert (run.frames.numbers.tolist(), run.frames.energy_source) == ([12, 8], "ABINIT etotal")
    level = run.level_of_theory
    assert (level.functional, level.cutoff, level.kpoints, level.smearing) == ("PBE", 18 * HARTREE, (2, 2, 2), "none")
    assert level.pseudopotentials == (("Mg", "Mg.xml"), ("O", "O.xml"))
    assert find_reader("run.abo", text) is ABINIT_OUTPUT


def test_each_dataset_is_a_run() -> None:
    first, second = make_steps(2)
    runs = read(abinit_text([[first], [second]], extra="           nsppol1           1\n           nsppol2           2"))
    assert len(runs) == 2
    assert_step(runs[0], 0, first)
    assert_step(runs[1], 0, second)
    assert [run.level_of_theory.spin for run in runs] == ["none", "collinear"]
    assert [run.notes for run in runs] == [("dataset 1",), ("dataset 2",)]


def test_a_relaxation_gives_all_its_steps_once() -> None:
    steps = make_steps(3)
    steps[2] = Made(steps[2].energy, steps[2].positions, steps[2].forces, steps[2].stress, 4.3)
    (run,) = read(abinit_text([steps], moving=True))
    assert (run.kind, run.frames.count, run.n_malformed_steps) == ("relax", 3, 0)
    for k, step in enumerate(steps):
        assert_step(run, k, step)
    assert run.frames.flags == ((), (), ("pulay_suspect",))


@pytest.mark.parametrize(("residual", "converged"), [(1e-12, 1), (1.02e-10, 1), (2.108, 0)])
def test_convergence_is_judged_by_the_tolerance_of_the_input(residual: float, converged: int) -> None:
    (run,) = read(abinit_text([make_steps(1)], residual=residual))
    assert (run.frames.scf_converged.tolist(), run.frames.n_scf_steps.tolist()) == ([converged], [2])


def test_convergence_without_a_known_tolerance_is_not_known() -> None:
    (run,) = read(abinit_text([make_steps(1)]).replace(b"tolvrs", b"tolxyz"))
    assert run.frames.scf_converged.tolist() == [-1]


def test_a_small_difference_of_energy_must_come_twice() -> None:
    (run,) = read(abinit_text([make_steps(1)]).replace(b"tolvrs      1.00000000E-10", b"toldfe      1.00000000E-08"))
    assert run.frames.scf_converged.tolist() == [0]


@pytest.mark.parametrize("extra", ["        optdriver           3", "             iscf          -2", "         macro_uj           4"])
def test_datasets_that_give_no_ground_state_are_refused(extra: str) -> None:
    with pytest.raises(UnreadableOutput) as refusal:
        read(abinit_text([make_steps(1)], extra=extra))
    assert refusal.value.reason == "not_energies"


def test_a_ground_state_before_a_band_structure_is_taken() -> None:
    runs = read(abinit_text([make_steps(1), make_steps(1)], extra="            iscf1          17\n            iscf2          -2"))
    assert [run.notes for run in runs] == [("dataset 1",)]


def test_a_dataset_without_its_end_is_no_step() -> None:
    with pytest.raises(UnreadableOutput) as refusal:
        read(abinit_text([make_steps(1)], ended=False))
    assert refusal.value.reason == "no_complete_step"


def test_chunks_and_line_ends_do_not_matter() -> None:
    text = abinit_text([make_steps(3)], moving=True)
    (whole,) = read(text)
    for data, chunk in ((text, 1), (text, 333), (text.replace(b"\n", b"\r\n"), 1000)):
        (run,) = read(data, chunk)
        for name in ("positions", "energy", "forces", "stress", "cell"):
            np.testing.assert_array_equal(getattr(run.frames, name), getattr(whole.frames, name))


@given(cut=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_cut_output_gives_the_first_steps(cut: int) -> None:
    text = abinit_text([make_steps(3)], moving=True)
    (whole,) = read(text)
    try:
        (part,) = read(text[: cut % text.index(b"\n Calculation completed.")])
    except UnreadableOutput:
        return
    n = part.frames.count
    assert "truncated" in part.flags
    for name in ("positions", "energy", "forces", "stress", "cell", "scf_converged"):
        np.testing.assert_array_equal(getattr(part.frames, name), getattr(whole.frames, name)[:n])


@given(place=st.integers(0, 100_000), byte=st.integers(0, 255), count=st.integers(1, 4), moving=st.booleans())
@settings(max_examples=80, deadline=None)
def test_damage_never_escapes(place: int, byte: int, count: int, moving: bool) -> None:
    text = bytearray(abinit_text([make_steps(2)], moving=moving))
    for k in range(count):
        text[(place + 97 * k) % len(text)] = byte
    try:
        runs = read(bytes(text))
    except UnreadableOutput:
        return
    assert all(run.frames.count for run in runs)


@pytest.mark.parametrize(
    ("extra", "note"),
    [
        ("         magconon           1", "a penalty on magnetic moments (magconon)"),
        ("         positron           1", "a positron (positron)"),
        ("         jellslab           1", "a slab of jellium (jellslab)"),
    ],
)
def test_what_is_in_the_energy_beside_the_functional_is_flagged(extra: str, note: str) -> None:
    (run,) = read(abinit_text([make_steps(2)], moving=True, extra=extra))
    assert run.frames.flags == (("altered_potential",),) * 2
    assert run.notes == (note,)


@pytest.mark.parametrize(
    ("extra", "motion", "kept"),
    [
        ("           natfix           1\n           iatfix      0  0  0  1  1  1", 2, True),
        ("           natfix           1\n           iatfix      0  0  0  1  1  1", 4, False),
        ("           nconeq           1", 2, False),
    ],
)
def test_forces_that_constraints_changed_are_left_out(extra: str, motion: int, kept: bool) -> None:
    text = abinit_text([make_steps(2)], moving=True, extra=extra).replace(b"ionmov           2", b"ionmov           %d" % motion)
    (run,) = read(text)
    assert (bool(np.isfinite(run.frames.forces).all()), any("left out" in note for note in run.notes)) == (kept, not kept)
    assert np.isfinite(run.frames.energy).all()


def test_fields_and_a_fixed_moment_are_in_the_level() -> None:
    extra = "         berryopt           4\n           efield      0.0  0.0  1.0E-03\n      zeemanfield      0.0  0.0  2.0E-03"
    (run,) = read(abinit_text([make_steps(1)], extra=f"{extra}\n   spinmagntarget      2.00000000E+00"))
    assert run.level_of_theory.extra == (
        ("electric_field", "berryopt 4, efield 0 0 0.001"),
        ("magnetic_field", "0 0 0.002"),
        ("total_moment", "2"),
    )


@pytest.mark.parametrize(
    ("occopt", "bands", "spins", "occupations", "told"),
    [
        (1, "6", 1, "2.0 2.0 2.0 1.0 1.0 0.0", ()),
        (0, "6", 1, "2.0 2.0\n                       2.0 2.0 0.0 0.0", ()),
        (2, "6", 1, "2.0 2.0\n                       2.0 1.0 1.0 0.0", (("occupations", "occopt 2: 3*2 2*1"),)),
        (2, "3  3", 2, "1.0 1.0 1.0 1.0 0.0 0.0", (("total_moment", "2"),)),
        (2, "3  3", 2, "1.0 0.0 1.0 1.0 1.0 0.0", (("occupations", "occopt 2: 1 0 1; 2*1"),)),
        (2, "6", 1, "2.0 2.0 2.0", (("occupations", "occopt 2, of the input"),)),
    ],
)
def test_occupations_of_an_excited_state_are_another_level(
    occopt: int, bands: str, spins: int, occupations: str, told: tuple[tuple[str, str], ...]
) -> None:
    words = {"occopt": occopt, "nband": bands, "nsppol": spins, "occ": occupations}
    (run,) = read(abinit_text([make_steps(1)], extra="\n".join(f"{name:>17}      {value}" for name, value in words.items())))
    assert run.level_of_theory.extra == told
