"""OUTCAR: one test for each trap that its versions, tables and crashes set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_vasp import OUTCAR_END, Made, make_run, outcar_head, outcar_step, outcar_text

from lake.readers import find_reader
from lake.readers.vasp.outcar import OUTCAR, OutcarReader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import FrameBlock
from schemas.units import KBAR


def read_all(data: bytes, chunk: int = 1 << 20) -> tuple[Run, ...]:
    reader = OutcarReader()
    for start in range(0, len(data), chunk):
        reader.feed(data[start : start + chunk])
    return reader.close()


def read(data: bytes, chunk: int = 1 << 20) -> Run:
    (run,) = read_all(data, chunk)
    return run


def assert_steps(frames: FrameBlock, run: Made) -> None:
    assert frames.count == len(run.steps)
    for k, step in enumerate(run.steps):
        np.testing.assert_allclose(frames.cell[k], step.cell, atol=1e-12)
        np.testing.assert_array_equal(frames.positions[k], np.round(step.positions @ step.cell, 5))
        np.testing.assert_array_equal(frames.forces[k], step.forces)
        assert step.stress is not None
        np.testing.assert_array_equal(frames.stress[k], step.stress * -KBAR)
        assert frames.energy[k] == step.free
        assert frames.energy_sigma0[k] == round(step.sigma0, 8)
        assert frames.energy_internal[k] == round(step.internal, 8)


def test_reads_what_is_printed() -> None:
    made = make_run(3)
    run = read(outcar_text(made))
    assert_steps(run.frames, made)
    assert (run.code, run.code_version, run.format, run.kind, run.complete) == ("vasp", "6.3.0", "OUTCAR", "md", True)
    assert run.frames.numbers.tolist() == [12, 8]
    assert (run.flags, run.notes, run.frames.flags) == ((), (), ((), (), ()))
    assert (run.frames.n_scf_steps.tolist(), run.frames.scf_converged.tolist()) == ([4, 4, 4], [1, 1, 1])
    level = run.level_of_theory
    assert (level.functional, level.cutoff, level.kpoints, level.n_kpoints, level.charge) == ("PBE", 400.0, (2, 3, 4), 2, 0.0)
    assert level.pseudopotentials == (("Mg", "PAW_PBE Mg_pv 13Apr2007"), ("O", "PAW_PBE O 08Apr2002"))


def test_is_found_by_its_bytes() -> None:
    data = outcar_text(make_run(1))
    assert find_reader("anything.dat", data[:65536]) is OUTCAR
    assert find_reader("OUTCAR", b" running on    4 total cores\n vasp.5.4.4.18Apr17 (build Jan 1 2018)\n POSCAR found\n") is None


def test_t4_pressure_is_not_in_the_energy() -> None:
    made = make_run(2).with_tags(PSTRESS="100.0 pullay stress")
    assert_steps(read(outcar_text(made)).frames, made)


def test_t5_cycle_of_nelm_steps_is_not_converged_though_the_text_says_so() -> None:
    made = make_run(2).with_tags(NELM="5;   NELMIN=  2; NELMDL= -5     # of ELM steps")
    frames = read(outcar_text(replace(made, steps=(replace(made.steps[0], cycle=5), made.steps[1])))).frames
    assert (frames.scf_converged.tolist(), frames.flags) == ([0, 1], (("scf_not_converged",), ()))


def test_t5_cycle_that_was_broken_off() -> None:
    made = make_run(2)
    frames = read(outcar_text(replace(made, steps=(made.steps[0], replace(made.steps[1], change=0.02))))).frames
    assert frames.scf_converged.tolist() == [1, 0]
    data = outcar_text(made).replace(b"aborting loop because EDIFF is reached", b"aborting loop EDIFF was not reached (unconverged)", 1)
    assert read(data).frames.scf_converged.tolist() == [0, 1]


def test_t5_one_exact_step_is_no_failure() -> None:
    made = make_run(1).with_tags(NELM="1;", IALGO="90    algorithm")
    frames = read(outcar_text(replace(made, steps=(replace(made.steps[0], cycle=1),)))).frames
    assert (frames.scf_converged.tolist(), frames.flags) == ([-1], (("scf_unknown",),))


def test_t8_learned_steps_between() -> None:
    made = make_run(4)
    bodies = [outcar_step(step, k + 1, ml=k != 1) for k, step in enumerate(made.steps)]
    run = read(outcar_text(made, bodies))
    assert_steps(run.frames, made)
    assert run.frames.flags == (("machine_learned",), (), ("machine_learned",), ("machine_learned",))
    assert run.frames.scf_converged.tolist() == [-1, 1, -1, -1]


def test_t9_old_versions_print_the_energies_first() -> None:
    made = make_run(3, version="5.2.12")
    run = read(outcar_text(made, [outcar_step(step, k + 1, old=True) for k, step in enumerate(made.steps)]))
    assert_steps(run.frames, made)
    assert (run.n_malformed_steps, run.complete, run.frames.n_scf_steps.tolist()) == (0, True, [4, 4, 4])


def test_t9_cut_file_of_an_old_version() -> None:
    made = make_run(3, version="5.2.12")
    data = outcar_text(made, [outcar_step(step, k + 1, old=True) for k, step in enumerate(made.steps)])
    run = read(data[: data.rfind(b"    total drift") - 90])
    assert (run.frames.count, run.flags) == (2, ("truncated",))
    np.testing.assert_array_equal(run.frames.energy, [-12.0, -12.01])


@pytest.mark.parametrize("old", [False, True])
def test_t10_steps_without_a_force_table(old: bool) -> None:
    made = make_run(4, version="5.2.12" if old else "6.3.0")
    bodies = [outcar_step(step, k + 1, old=old) for k, step in enumerate(made.steps)]
    for k in (1, 2):
        start = bodies[k].index("  FORCE on cell")
        end = bodies[k].index("  FREE ENERGIE") if not old else bodies[k].index("% ion-electron")
        bodies[k] = bodies[k][:start] + bodies[k][end:]
    run = read(outcar_text(made, bodies))
    assert (run.frames.step.tolist(), run.n_malformed_steps, run.flags) == ([0, 3], 2, ("malformed_steps",))
    np.testing.assert_array_equal(run.frames.energy, [-12.0, -12.03])
    np.testing.assert_array_equal(run.frames.forces[1], made.steps[3].forces)
    assert "no force table" in run.notes[0]


def test_t11_table_with_forces_without_dispersion() -> None:
    made = make_run(2)
    assert_steps(read(outcar_text(made, [outcar_step(step, k + 1, vdw=True) for k, step in enumerate(made.steps)])).frames, made)


def test_t14_overflowed_field_is_null_and_flagged() -> None:
    made = make_run(3)
    forces = made.steps[1].forces.copy()
    forces[0, 1] = np.nan
    run = read(outcar_text(replace(made, steps=(made.steps[0], replace(made.steps[1], forces=forces), made.steps[2]))))
    assert run.frames.flags == ((), ("malformed_values",), ())
    np.testing.assert_array_equal(run.frames.forces[1], forces)


def test_t14_overflowed_energy_is_null_and_flagged() -> None:
    frames = read(
        outcar_text(make_run(2)).replace(b"free  energy   TOTEN  =         -12.0000", b"free  energy   TOTEN  =    ***************", 1)
    ).frames
    assert np.isnan(frames.energy[0])
    assert frames.flags == (("malformed_values",), ())


def test_t14_table_with_a_lost_row_is_left_out() -> None:
    data = outcar_text(make_run(3))
    place = data.find(b"\n", data.find(b"\n", data.find(b"TOTAL-FORCE")) + 1) + 1
    run = read(data[:place] + data[data.find(b"\n", place) + 1 :])
    assert (run.frames.step.tolist(), run.n_malformed_steps) == ([1, 2], 1)


def test_t15_t16_elements_follow_the_titles() -> None:
    titles = ("PAW_PBE Xe 07Sep2000", "PAW_PBE O 08Apr2002", "PAW_PBE Xe 07Sep2000")
    made = make_run(1, natoms=4, titles=titles, symbols=("X", "O", "X"), masses=(131.294, 16.0, 131.294))
    run = read(outcar_text(replace(made, counts=(1, 2, 1), valences=(8.0, 6.0, 8.0))))
    assert run.frames.numbers.tolist() == [54, 8, 8, 54]
    assert any("'X'" in note for note in run.notes)


def test_list_of_ions_cut_after_ten_types_is_completed() -> None:
    symbols = ("Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Y", "Zr", "Nb", "Mo", "Rh", "Pd")
    counts = (1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 3)
    made = make_run(1, natoms=sum(counts), titles=tuple(f"PAW_PBE {s} 01Jan2000" for s in symbols), symbols=symbols)
    made = replace(made, masses=(1.0,) * 13, valences=(6.0,) * 13, counts=counts)
    energies = [100.0 + 37.123 * k**1.5 for k in range(13)]
    atoms = "".join(
        f" energy of atom {k + 1:2d}       EATOM={-energy:9.4f}\n kinetic energy error for atom=    0.0042 (will be added to EATOM!!)\n"
        for k, energy in enumerate(energies)
    )
    total = sum(count * (round(energy, 4) - 0.0042) for count, energy in zip(counts, energies, strict=True))
    data = outcar_text(made).replace(b" Startparameter", atoms.encode() + b" Startparameter")
    data = data.replace(b"".join(b"%4d" % count for count in counts), b"".join(b"%4d" % count for count in counts[:10]))
    first = data.index(b"  Free energy of the ion-electron")
    run = read(data[:first] + f"  atomic energy  EATOM  = {total:18.8f}\n".encode() + data[first:])
    assert np.unique(run.frames.numbers, return_counts=True)[1].tolist() == [1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 3]
    assert "ions per type is cut" in run.notes[0]
    with pytest.raises(UnreadableOutput, match="ions per type"):
        read(data)


def test_glued_numbers_of_ions_per_type() -> None:
    made = make_run(1, natoms=2200)
    assert read(outcar_text(made)).frames.natoms == 2200
    assert b"11001100" in outcar_text(made)


def test_t18_order_and_sign_of_stress_and_glued_columns() -> None:
    made = make_run(1)
    stress = np.array([[-12353.08821, 4.0, -6.0], [4.0, -12353.08821, 5.0], [-6.0, 5.0, -12353.08822]])
    data = outcar_text(replace(made, steps=(replace(made.steps[0], stress=stress),)))
    assert b"-12353.08821-12353.08821-12353.08822" in data
    np.testing.assert_array_equal(read(data).frames.stress[0], stress * -KBAR)


def test_t18_static_stress_not_that_with_the_kinetic_part() -> None:
    """`Total+kin.` follows `in kB` in the text of every step."""
    made = make_run(2)
    assert b"Total+kin." in outcar_text(made)
    assert np.abs(read(outcar_text(made)).frames.stress / KBAR).max() < 90.0


def test_t19_glued_lattice_rows() -> None:
    made = make_run(1)
    cell = np.array([[120.5, 0.0, 0.0], [-90.25, 110.125, 0.0], [-80.5, -70.25, 170.5]])
    run = read(outcar_text(replace(made, steps=(replace(made.steps[0], cell=cell),))))
    np.testing.assert_array_equal(run.frames.cell[0], cell)


def test_stress_may_be_absent() -> None:
    made = make_run(2)
    run = read(outcar_text(replace(made, steps=tuple(replace(step, stress=None) for step in made.steps))))
    assert np.isnan(run.frames.stress).all()
    assert run.frames.flags == ((), ())


def test_t29_bytes_that_are_no_text() -> None:
    made = make_run(2)
    data = outcar_text(made).replace(b" Startparameter", b" SYSTEM =  \xe9\x00\xff\n Startparameter")
    assert_steps(read(data).frames, made)


def test_line_ends_of_windows() -> None:
    made = make_run(3)
    assert_steps(read(outcar_text(made).replace(b"\n", b"\r\n")).frames, made)


@pytest.mark.parametrize("part", np.linspace(0.3, 0.95, 24).tolist())
def test_two_runs_in_one_file(part: float) -> None:
    first, second = make_run(2), make_run(3).with_tags(ENCUT="500.0 eV")
    whole = outcar_text(first)
    runs = read_all(whole[: int(part * len(whole))] + b"\n" + outcar_text(second))
    assert_steps(runs[-1].frames, second)
    assert runs[-1].level_of_theory.cutoff == 500.0
    assert [run.complete for run in runs[:-1]] == [False] * (len(runs) - 1)


def test_run_after_a_complete_one() -> None:
    runs = read_all(outcar_text(make_run(2)) + outcar_text(make_run(3)))
    assert [(run.frames.count, run.complete) for run in runs] == [(2, True), (3, True)]


def test_no_complete_step() -> None:
    data = outcar_text(make_run(1))
    for end in (data.find(b"Iteration"), data.find(b"total drift"), data.find(b"energy(sigma->0)")):
        with pytest.raises(UnreadableOutput) as refusal:
            read(data[:end])
        assert refusal.value.reason == "no_complete_step"


@pytest.mark.parametrize("text", [b"", b"nothing of VASP", b" vasp.6.3.0\n executed on\n"])
def test_other_files_are_refused(text: bytes) -> None:
    with pytest.raises(UnreadableOutput):
        read(text)


def test_the_meta_gga_stands_before_the_list_of_parameters() -> None:
    """In the list METAGGA is another tag (LMETAGGA), F in runs with SCAN; older versions have no copy of INCAR."""
    text = outcar_text(make_run(1))
    place = text.index(b"\n", text.index(b"executed on") + 1)
    chosen = text[:place] + b"\n METAGGA = R2SCA    LMAXTAU =  6    LMIXTAU =  T" + text[place:]
    assert (read(text).level_of_theory.functional, read(chosen).level_of_theory.functional) == ("PBE", "r2SCAN")


def test_tags_of_the_copy_of_incar() -> None:
    made = make_run(1, incar={"METAGGA": "R2scan", "SIGMA": "0.0525", "IVDW": "12", "LHFCALC": "Maybe"})
    level = read(outcar_text(made)).level_of_theory
    assert (level.functional, level.dispersion, level.smearing_width) == ("r2SCAN", "D3(BJ)", 0.0525)


def test_spin_hubbard_and_neb() -> None:
    made = make_run(1).with_tags(ISPIN="2    spin polarized calculation?", LSORBIT="T    spin-orbit coupling")
    head = outcar_head(made) + " LDA+U is selected, type is set to LDAUTYPE =  2\n"
    head += "   angular momentum for each species LDAUL =     2   -1\n   U (eV)           for each species LDAUU =   6.2  0.0\n"
    head += "   J (eV)           for each species LDAUJ =   1.0  0.0\n CHAIN: Running the NEB\n"
    run = read((head + outcar_step(made.steps[0], 1) + OUTCAR_END).encode())
    assert run.level_of_theory.hubbard_u == (("Mg", "d", 5.2),)
    assert (run.level_of_theory.spin, run.kind) == ("spin-orbit", "neb")


@pytest.mark.parametrize(("natoms", "chunk"), [(2, 1), (1, 1000), (5, 17), (5, 4096)])
def test_chunk_size_does_not_matter(natoms: int, chunk: int) -> None:
    made = make_run(3, natoms=natoms)
    assert_steps(read(outcar_text(made), chunk).frames, made)


@pytest.fixture(scope="module", params=[False, True], ids=["new", "old"])
def text(request: pytest.FixtureRequest) -> tuple[bytes, list[int]]:
    made = make_run(4, version="5.2.12" if request.param else "6.3.0")
    data = outcar_text(made, [outcar_step(step, k + 1, old=request.param) for k, step in enumerate(made.steps)])
    anchor = b"    total drift" if request.param else b"\n\n% ion-electron"
    ends = [place for place in range(len(data)) if data.startswith(anchor, place)]
    return data, [end - 81 if request.param else end + 1 for end in ends]


def test_any_prefix_gives_the_prefix_of_frames(text: tuple[bytes, list[int]]) -> None:
    data, ends = text
    whole = read(data)
    for cut in np.random.default_rng(3).integers(0, len(data), 60).tolist() + ends + [end - 1 for end in ends]:
        expected = sum(end <= cut for end in ends)
        if expected == 0:
            with pytest.raises(UnreadableOutput):
                read(data[:cut])
            continue
        run = read(data[:cut])
        assert run.frames.count == expected
        for name in ("cell", "positions", "forces", "stress", "energy", "energy_sigma0", "energy_internal", "n_scf_steps"):
            np.testing.assert_array_equal(getattr(run.frames, name), getattr(whole.frames, name)[:expected])
        assert ("truncated" in run.flags) != run.complete
        assert run.n_malformed_steps == 0


TEXT = outcar_text(make_run(3))


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.binary(min_size=0, max_size=12), st.integers(0, 400))
def test_damage_is_refused_or_read(place: int, wrong: bytes, lost: int) -> None:
    try:
        runs = read_all(TEXT[:place] + wrong + TEXT[place + lost :], 5000)
    except UnreadableOutput:
        return
    assert all(np.isfinite(run.frames.positions).all() for run in runs)
