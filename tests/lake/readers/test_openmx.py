"""OpenMX: the output alone and with its trajectory, trajectories that several runs wrote, cuts and damage."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import make_steps
from made_up_orbitals import openmx_md_text, openmx_text

from lake.readers import find_reader
from lake.readers.openmx.md import OpenmxMdReader
from lake.readers.openmx.output import OPENMX_MD, OPENMX_OUTPUT, OpenmxReader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.units import BOLTZMANN, HARTREE, HARTREE_PER_BOHR, RYDBERG


def read(data: bytes, chunk: int = 1 << 20, trajectory: bytes = b"") -> Run:
    reader = OpenmxReader()
    for start in range(0, len(data), chunk):
        reader.feed(data[start : start + chunk])
    if trajectory:
        assert reader.take_companion("X.md", trajectory)
    (run,) = reader.close()
    return run


def read_md(data: bytes) -> tuple[Run, ...]:
    reader = OpenmxMdReader()
    reader.feed(data)
    return reader.close()


def test_reads_what_is_printed() -> None:
    (step,) = make_steps(1)
    text = openmx_text([step])
    run = read(text)
    frames = run.frames
    assert (run.code, run.code_version, run.kind, run.complete, run.flags, frames.flags) == ("openmx", "3.9.2", "static", True, (), ((),))
    assert frames.numbers.tolist() == [12, 8]
    assert frames.energy[0] == step.energy * HARTREE
    np.testing.assert_allclose(frames.positions[0], step.positions, atol=1e-12)
    np.testing.assert_allclose(frames.forces[0], step.forces * HARTREE_PER_BOHR, rtol=1e-13)
    assert np.isnan(frames.stress).all()
    assert (frames.scf_converged.tolist(), frames.n_scf_steps.tolist()) == ([1], [3])
    level = run.level_of_theory
    assert (level.functional, level.basis, level.kpoints) == ("PBE", "LCAO", (3, 3, 3))
    assert (level.density_cutoff, level.smearing_width) == (200 * RYDBERG, 300 * BOLTZMANN)
    assert level.pseudopotentials == (("Mg", "Mg_PBE19 / Mg9.0-s3p2d1"), ("O", "O_PBE19 / O6.0-s2p2d1"))
    assert find_reader("X.out", text) is OPENMX_OUTPUT


def test_convergence_is_judged_by_the_change_of_the_band_energy() -> None:
    run = read(openmx_text(make_steps(1), change=1e-5))
    assert (run.frames.scf_converged.tolist(), run.frames.flags) == ([0], (("scf_not_converged",),))


def test_a_relaxation_alone_has_its_first_and_last_step() -> None:
    steps = make_steps(4)
    run = read(openmx_text(steps, kind="opt"))
    assert (run.kind, run.frames.step.tolist(), run.n_malformed_steps) == ("relax", [0, 3], 2)
    assert np.isnan(run.frames.forces[0]).all()
    np.testing.assert_allclose(run.frames.positions[1], steps[3].positions, atol=1e-12)
    assert ".md" in run.notes[0]


def test_the_end_of_a_dynamics_is_not_taken_for_its_last_step() -> None:
    run = read(openmx_text(make_steps(3), kind="NVT_NH"))
    assert (run.kind, run.frames.step.tolist(), run.n_malformed_steps) == ("md", [0], 2)


def test_a_trajectory_gives_the_steps_between() -> None:
    steps = make_steps(4)
    run = read(openmx_text(steps, kind="NVT_NH"), trajectory=openmx_md_text(steps, [0.0, 1.0, 2.0, 3.0]))
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (4, 0, ())
    np.testing.assert_array_equal(run.frames.energy, [step.energy * HARTREE for step in steps])
    np.testing.assert_allclose(run.frames.positions, [step.positions for step in steps], atol=6e-6)
    np.testing.assert_allclose(run.frames.forces, np.array([step.forces for step in steps]) * HARTREE_PER_BOHR, atol=3e-4)


def test_a_trajectory_that_several_runs_wrote() -> None:
    older, steps = make_steps(2, seed=5), make_steps(3)
    track = openmx_md_text([*older, *steps], [0.0, 1.0, 0.0, 1.0, 2.0])
    assert [run.frames.count for run in read_md(track)] == [2, 3]
    run = read(openmx_text(steps, kind="NVE"), trajectory=track)
    assert (run.frames.count, run.flags) == (3, ())
    run = read(openmx_text(steps, kind="NVE"), trajectory=openmx_md_text(older, [0.0, 1.0]))
    assert (run.frames.count, run.flags) == (1, ("companion_of_other_run", "malformed_steps"))


def test_a_trajectory_alone_says_what_it_lacks() -> None:
    steps = make_steps(3)
    text = openmx_md_text(steps, [0.0, 1.0, 2.0])
    (run,) = read_md(text)
    assert (run.frames.count, run.complete, run.level_of_theory.functional) == (3, True, "")
    assert run.frames.flags == (("scf_unknown",),) * 3
    assert find_reader("X.md", text) is OPENMX_MD
    (part,) = read_md(text[:-10])
    assert (part.frames.count, part.flags) == (2, ("truncated",))


def test_no_energy_is_no_step() -> None:
    text = openmx_text(make_steps(1), ended=False)
    with pytest.raises(UnreadableOutput) as refusal:
        read(text[: text.index(b"  Utot. ")])
    assert refusal.value.reason == "no_complete_step"


def test_chunks_and_line_ends_do_not_matter() -> None:
    text = openmx_text(make_steps(3), kind="opt")
    whole = read(text)
    for data, chunk in ((text, 1), (text, 333), (text.replace(b"\n", b"\r\n"), 1000)):
        run = read(data, chunk)
        for name in ("positions", "energy", "forces", "cell"):
            np.testing.assert_array_equal(getattr(run.frames, name), getattr(whole.frames, name))


@given(cut=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_cut_output_gives_the_first_steps(cut: int) -> None:
    steps = make_steps(3)
    text, track = openmx_text(steps, kind="NVE"), openmx_md_text(steps, [0.0, 1.0, 2.0])
    whole = read(text, trajectory=track)
    try:
        part = read(text[: cut % text.index(b"\n   Elapsed.Time.")], trajectory=track)
    except UnreadableOutput:
        return
    n = part.frames.count
    assert "truncated" in part.flags
    for name in ("positions", "energy", "forces", "cell", "scf_converged"):
        np.testing.assert_array_equal(getattr(part.frames, name), getattr(whole.frames, name)[:n])


@given(place=st.integers(0, 100_000), byte=st.integers(0, 255), count=st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_damage_never_escapes(place: int, byte: int, count: int) -> None:
    steps = make_steps(2)
    for text, reader in (
        (bytearray(openmx_text(steps, kind="opt")), OpenmxReader()),
        (bytearray(openmx_md_text(steps, [0.0, 1.0])), OpenmxMdReader()),
    ):
        for k in range(count):
            text[(place + 97 * k) % len(text)] = byte
        reader.feed(bytes(text))
        try:
            runs = reader.close()
        except UnreadableOutput:
            continue
        assert all(run.frames.count for run in runs)


def test_a_molecule_without_vectors_is_read_without_a_cell() -> None:
    (step,) = make_steps(1)
    text = re.sub(rb"<Atoms\.UnitVectors\n.*?Atoms\.UnitVectors>\n", b"", openmx_text([step]), flags=re.S)
    assert b"UnitVectors>" not in text
    run = read(text)
    assert (run.frames.pbc.tolist(), run.frames.cell.any()) == ([False] * 3, False)
    np.testing.assert_allclose(run.frames.positions[0], step.positions, atol=1e-4)
    np.testing.assert_array_equal(run.frames.energy, read(openmx_text([step])).frames.energy)


def test_vectors_in_a_comment_are_none() -> None:
    text = openmx_text(make_steps(1))
    block = re.search(rb"<Atoms\.UnitVectors\n.*?Atoms\.UnitVectors>\n", text, flags=re.S)
    assert block is not None
    commented = b"".join(b"#" + line for line in block.group().splitlines(keepends=True))
    assert not read(text.replace(block.group(), commented)).frames.cell.any()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"ESM.switch  on3", ("esm.switch", "on3")),
        (b"scf.coulomb.cutoff  on", ("coulomb.cutoff", "on")),
        (b"orbitalOpt.Method  atoms", ("orbitalopt.method", "atoms")),
        (b"scf.Hubbard.U  on\nscf.DFTU.Type  2", ("dftu.type", "2")),
    ],
)
def test_switches_that_change_energies_are_in_the_level(line: bytes, told: tuple[str, str]) -> None:
    run = read(openmx_text(make_steps(1)).replace(b"scf.Kgrid", line + b"\nscf.Kgrid"))
    assert run.level_of_theory.extra == (told,)


def test_a_core_hole_is_flagged_and_leads_are_refused() -> None:
    text = openmx_text(make_steps(1))
    hole = read(text.replace(b"scf.Kgrid", b"scf.core.hole  on\nscf.Kgrid"))
    assert all("altered_potential" in flags for flags in hole.frames.flags)
    with pytest.raises(UnreadableOutput, match="leads"):
        read(text.replace(b"scf.EigenvalueSolver  band", b"scf.EigenvalueSolver  NEGF"))


def test_a_penalty_on_spins_is_flagged_and_magnetic_fields_are_in_the_level() -> None:
    text = openmx_text(make_steps(1))
    held = read(text.replace(b"scf.Kgrid", b"scf.Constraint.NC.Spin  on\nscf.Kgrid"))
    assert all("altered_potential" in flags for flags in held.frames.flags)
    assert any("spins" in note for note in held.notes)
    magnetic = read(text.replace(b"scf.Kgrid", b"scf.NC.Zeeman.Spin  on\nscf.NC.Mag.Field.Spin  100.0\nscf.Kgrid"))
    assert (magnetic.level_of_theory.extra, magnetic.notes) == ((("magnetic_field_spin", "100.0"),), ())
