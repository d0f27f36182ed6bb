"""vasprun.xml: one test for each trap that its writers, versions and crashes set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_vasp import Made, make_run, scstep, xml_frame, xml_head, xml_step, xml_text

from lake.readers import find_reader
from lake.readers.vasp.xml import VASPRUN_XML, VaspXmlReader
from lake.readers.vasp.xml_step import energies_of, energies_of_all
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import FrameBlock
from schemas.units import KBAR


def read_all(data: bytes, chunk: int = 1 << 20) -> tuple[Run, ...]:
    reader = VaspXmlReader()
    for start in range(0, len(data), chunk):
        reader.feed(data[start : start + chunk])
    return reader.close()


def read(data: bytes, chunk: int = 1 << 20) -> Run:
    (run,) = read_all(data, chunk)
    return run


def assert_steps(frames: FrameBlock, run: Made, chosen: slice = slice(None)) -> None:
    steps = run.steps[chosen]
    assert frames.count == len(steps)
    for k, step in enumerate(steps):
        np.testing.assert_allclose(frames.cell[k], step.cell, atol=1e-12)
        np.testing.assert_allclose(frames.positions[k], step.positions @ step.cell, atol=1e-12)
        np.testing.assert_array_equal(frames.forces[k], step.forces)
        assert step.stress is not None
        np.testing.assert_array_equal(frames.stress[k], step.stress * -KBAR)
        assert frames.energy[k] == step.free
        assert frames.energy_sigma0[k] == round(step.sigma0, 8)
        assert frames.energy_internal[k] == round(step.internal, 8)


def test_reads_what_is_printed() -> None:
    made = make_run(3)
    run = read(xml_text(made))
    assert_steps(run.frames, made)
    assert (run.code, run.code_version, run.format, run.kind, run.complete) == ("vasp", "6.3.0", "vasprun.xml", "md", True)
    assert run.frames.numbers.tolist() == [12, 8]
    assert (run.flags, run.notes, run.frames.flags) == ((), (), ((), (), ()))
    assert run.frames.energy_source == "VASP e_fr_energy"
    assert run.frames.step.tolist() == [0, 1, 2]
    assert (run.frames.n_scf_steps.tolist(), run.frames.scf_converged.tolist()) == ([4, 4, 4], [1, 1, 1])
    level = run.level_of_theory
    assert (level.functional, level.cutoff, level.kpoints, level.n_kpoints, level.charge) == ("PBE", 400.0, (2, 3, 4), 2, 0.0)
    assert level.pseudopotentials == (("Mg", "PAW_PBE Mg_pv 13Apr2007"), ("O", "PAW_PBE O 08Apr2002"))


def test_is_found_by_its_bytes() -> None:
    assert find_reader("anything.dat", xml_text(make_run(1))[:65536]) is VASPRUN_XML


@pytest.mark.parametrize("version", ["4.6.35", "5.4.4.18Apr17-6-g9f103f2a35", "6.0.8"])
def test_t1_final_energies_shifted_by_one_name(version: str) -> None:
    made = make_run(2, version=version)
    assert_steps(read(xml_text(made, [xml_step(step, shifted=True) for step in made.steps])).frames, made)


def test_t1_final_energies_without_a_cycle() -> None:
    made = make_run(1, version="5.4.4")
    frames = read(xml_text(made, [xml_frame(made.steps[0], shifted=True)])).frames
    assert (frames.energy[0], frames.energy_sigma0[0], frames.energy_internal[0]) == (-12.0, -11.99, -11.98)
    frames = read(xml_text(made, [xml_frame(made.steps[0])])).frames
    assert (frames.energy[0], frames.energy_sigma0[0], frames.energy_internal[0]) == (-12.0, -11.99, -11.98)


ENERGY = st.integers(-(10**13), 10**13).map(lambda units: units / 1e8) | st.just(float("nan"))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(*(ENERGY,) * 6), min_size=1, max_size=5))
def test_energies_of_many_steps_are_those_of_each(rows: list[tuple[float, ...]]) -> None:
    with np.errstate(invalid="ignore"):
        found = energies_of_all(np.array(rows))
    assert np.array_equal(found, [energies_of(*row) for row in rows], equal_nan=True)


def test_a_step_with_another_energy_than_its_cycle_ended_with_is_flagged() -> None:
    """In a run of which the other steps have the same, so that it is no dispersion."""
    made = make_run(4)
    steps = tuple(replace(step, dispersion=0.0) for step in made.steps)
    text = xml_text(replace(made, steps=steps))
    assert "contradictory_values" not in {flag for flags in read(text).frames.flags for flag in flags}
    damaged = replace(made, steps=(*steps[:2], replace(steps[2], dispersion=0.1), steps[3]))
    run = read(xml_text(damaged))
    assert [k for k, flags in enumerate(run.frames.flags) if "contradictory_values" in flags] == [2]
    assert "last iteration" in " ".join(run.notes)
    dispersed = replace(made, steps=tuple(replace(step, dispersion=-0.1 * k - 0.1) for k, step in enumerate(steps)))
    assert "contradictory_values" not in {flag for flags in read(xml_text(dispersed)).frames.flags for flag in flags}


@pytest.mark.parametrize("shifted", [True, False])
def test_t2_dispersion_stands_in_the_final_energy_only(shifted: bool) -> None:
    made = make_run(1)
    step = replace(made.steps[0], dispersion=-0.75)
    frames = read(xml_text(made, [xml_step(step, shifted=shifted)])).frames
    assert (frames.energy[0], frames.energy_sigma0[0], frames.energy_internal[0]) == (-12.0, -11.99, -11.98)


def test_t3_linear_response_behind_the_step() -> None:
    made = make_run(1).with_tags(IBRION="-1", NSW="0", LEPSILON="T")
    tail = "".join(scstep(-118.0 - k, -118.0, -118.0) for k in range(80))
    run = read(xml_text(made, [xml_step(made.steps[0]) + tail]))
    assert_steps(run.frames, made)
    assert (run.frames.n_scf_steps.tolist(), run.flags) == ([4], ("linear_response_run",))


def test_t3_linear_response_before_the_final_energy() -> None:
    made = make_run(2)
    first, final = xml_step(made.steps[0]).split('  <energy>\n   <i name="e_fr_energy">     -12.0')
    between = first + scstep(-118.0, -118.0, -118.0) * 5 + '  <energy>\n   <i name="e_fr_energy">     -12.0' + final
    run = read(xml_text(made, [between, xml_step(made.steps[1])]))
    assert_steps(run.frames, made)
    assert run.flags == ("linear_response_run",)


def test_t4_pressure_is_taken_out_of_the_enthalpy() -> None:
    made = make_run(2).with_tags(PSTRESS="100.0")
    volume = 4.2 * 4.3 * 4.4
    run = read(xml_text(made, [xml_step(step, work=round(100 * KBAR * volume, 8)) for step in made.steps]))
    np.testing.assert_allclose(run.frames.energy, [-12.0, -12.01], atol=2e-8)
    np.testing.assert_allclose(run.frames.energy_sigma0, [-11.99, -12.0], atol=2e-8)
    assert "PSTRESS" in run.frames.energy_source
    assert_steps(read(xml_text(made)).frames, made)


def test_t5_cycle_of_nelm_steps_is_not_converged() -> None:
    made = make_run(3).with_tags(NELM="5")
    steps = tuple(replace(step, cycle=cycle) for step, cycle in zip(made.steps, (5, 4, 5), strict=True))
    frames = read(xml_text(replace(made, steps=steps))).frames
    assert frames.scf_converged.tolist() == [0, 1, 0]
    assert frames.flags == (("scf_not_converged",), (), ("scf_not_converged",))


def test_t5_one_exact_step_is_no_failure() -> None:
    made = make_run(1).with_tags(NELM="1", IALGO="90")
    frames = read(xml_text(replace(made, steps=(replace(made.steps[0], cycle=1),)))).frames
    assert (frames.scf_converged.tolist(), frames.flags) == ([-1], (("scf_unknown",),))


def test_fixed_charge_density_is_not_self_consistent() -> None:
    run = read(xml_text(make_run(1).with_tags(ICHARG="11")))
    assert (run.frames.scf_converged.tolist(), run.frames.flags) == ([-1], (("scf_unknown",),))
    assert "ICHARG = 11" in run.notes[0]


def test_t6_first_of_repeated_parameters_stands() -> None:
    """The head has NELM = 1 again among the response functions."""
    assert read(xml_text(make_run(1))).frames.scf_converged.tolist() == [1]


def test_t8_learned_steps_stand_outside() -> None:
    made = make_run(4, incar={"ML_LMLFF": "T"})
    inside = " <calculation>\n" + xml_step(made.steps[1]) + " </calculation>\n"
    outside = [xml_frame(made.steps[k], kinetic=0.3) for k in (0, 2, 3)]
    run = read((xml_head(made) + outside[0] + inside + outside[1] + outside[2] + "</modeling>\n").encode())
    assert_steps(run.frames, made)
    assert run.frames.flags == (("machine_learned",), (), ("machine_learned",), ("machine_learned",))
    assert run.frames.scf_converged.tolist() == [-1, 1, -1, -1]
    assert run.flags == ()


def test_t12_steps_outside_are_stray() -> None:
    made = make_run(3)
    inside = [" <calculation>\n" + xml_step(made.steps[k]) + " </calculation>\n" for k in (0, 2)]
    run = read((xml_head(made) + inside[0] + xml_frame(made.steps[1]) + " </calculation>\n" + inside[1] + "</modeling>\n").encode())
    assert_steps(run.frames, made)
    assert run.frames.flags == ((), ("scf_unknown", "stray_step"), ())


def test_t12_torn_step_is_counted_and_left_out() -> None:
    made = make_run(3)
    torn = xml_step(made.steps[1])
    bodies = [xml_step(made.steps[0]), torn[: torn.index('name="forces"') + 60], xml_step(made.steps[2])]
    run = read(xml_text(made, bodies))
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (2, 1, ("malformed_steps",))
    assert run.frames.step.tolist() == [0, 2]
    np.testing.assert_array_equal(run.frames.forces[1], made.steps[2].forces)


@pytest.mark.parametrize("damage", [b"\x00\x01\x07", b"A & B < C", b"\xff\xfe", b'KINTER">******<'])
def test_t12_head_that_is_no_xml(damage: bytes) -> None:
    made = make_run(2, incar={"SYSTEM": "@@"})
    assert_steps(read(xml_text(made).replace(b"@@", damage)).frames, made)


def test_t13_last_step_counts_when_its_energy_is_closed() -> None:
    made = make_run(3)
    data = xml_text(made)
    end = data.rfind(b"</energy>")
    whole, cut = read(data[: end + 9]), read(data[: end + 8])
    assert (whole.frames.count, cut.frames.count) == (3, 2)
    assert not whole.complete
    assert whole.flags == cut.flags == ("truncated",)


def test_t13_no_complete_step() -> None:
    data = xml_text(make_run(1))
    for end in (data.find(b"<calculation>"), data.find(b"</structure>", data.find(b"<structure>"))):
        with pytest.raises(UnreadableOutput) as refusal:
            read(data[:end])
        assert refusal.value.reason == "no_complete_step"


@pytest.mark.parametrize("text", [b"****************", b"             NaN", b"        Infinity"])
def test_t14_overflowed_field_is_null_and_flagged(text: bytes) -> None:
    made = make_run(3)
    data = xml_text(made)
    place = data.find(b"<v>", data.find(b'"forces"', data.find(b"</calculation>"))) + 4
    run = read(data[:place] + text + data[place + 16 :])
    assert run.frames.flags == ((), ("malformed_values",), ())
    assert np.isnan(run.frames.forces[1, 0, 0])
    assert np.isnan(run.frames.forces).sum() == 1
    np.testing.assert_array_equal(run.frames.forces[1].ravel()[1:], made.steps[1].forces.ravel()[1:])


def test_t14_overflowed_energy_is_null_and_flagged() -> None:
    data = xml_text(make_run(2))
    place = data.rfind(b'e_fr_energy">') + 13
    frames = read(data[:place] + b" ****************" + data[place + 17 :]).frames
    assert np.isnan(frames.energy[1])
    assert frames.flags == ((), ("malformed_values",))


def test_t14_step_without_positions_is_left_out() -> None:
    data = xml_text(make_run(2))
    place = data.find(b"<v>", data.find(b'"positions"', data.find(b"<calculation>"))) + 4
    run = read(data[:place] + b"****************" + data[place + 16 :])
    assert (run.frames.count, run.n_malformed_steps, run.frames.step.tolist()) == (1, 1, [1])


def test_d_exponents_and_other_columns() -> None:
    data = xml_text(make_run(2))
    place = data.find(b"<v>", data.find(b'"forces"')) + 3
    end = data.find(b"</v>", place)
    frames = read(data[:place] + b" 0.1D+01 -2.5D-01 3 " + data[end:]).frames
    assert frames.forces[0, 0].tolist() == [1.0, -0.25, 3.0]
    assert frames.flags[0] == ()


@pytest.mark.parametrize(
    ("symbol", "title", "mass", "number"),
    [
        ("X ", "PAW_PBE Xe 07Sep2000", 131.294, 54),
        ("r ", "PAW_PBE Zr_sv 04Jan2005", 91.224, 40),
        ("Mg", "US Mg", 24.305, 12),
        ("H ", "PAW_PBE H1.25 07Sep2000", 1.0, 1),
        ("H ", "PAW_PBE H 15Jun2001", 2.014, 1),
        ("Nb", "PAW_PBE Nb_pv 08Apr2002", 92.0, 41),
        ("Ge", "no title at all", 72.61, 32),
        ("??", "no title at all", 55.847, 26),
    ],
)
def test_t15_element_of_title_symbol_and_mass(symbol: str, title: str, mass: float, number: int) -> None:
    made = make_run(1, titles=(title, "PAW_PBE O 08Apr2002"), symbols=(symbol, "O "), masses=(mass, 16.0))
    assert read(xml_text(made)).frames.numbers.tolist() == [number, 8]


def test_t15_unknown_element_is_refused() -> None:
    made = make_run(1, titles=("unknown", "PAW_PBE O 08Apr2002"), symbols=("??", "O "), masses=(400.0, 16.0))
    with pytest.raises(UnreadableOutput, match="element"):
        read(xml_text(made))


def test_t16_element_in_two_blocks() -> None:
    titles = ("PAW_PBE Ti 08Apr2002", "PAW_PBE O 08Apr2002", "PAW_PBE Ti 08Apr2002")
    made = make_run(1, natoms=4, titles=titles, symbols=("Ti", "O ", "Ti"), masses=(47.88, 16.0, 47.88))
    made = replace(made, counts=(1, 2, 1), valences=(4.0, 6.0, 4.0))
    run = read(xml_text(made))
    assert run.frames.numbers.tolist() == [22, 8, 8, 22]
    assert run.notes == ("more than one POTCAR block for Ti",)


def test_t18_stress_sign_and_asymmetric_stress() -> None:
    made = make_run(1)
    stress = np.diag([10.0, 20.0, 30.0])
    assert read(xml_text(replace(made, steps=(replace(made.steps[0], stress=stress),)))).frames.stress[0, 0, 0] == -10.0 * KBAR
    stress[0, 1] = 5.0
    run = read(xml_text(replace(made, steps=(replace(made.steps[0], stress=stress),))))
    assert run.frames.stress[0, 1, 0] == run.frames.stress[0, 0, 1] == -5.0 * KBAR
    assert "not symmetric" in run.notes[0]


def test_stress_may_be_absent() -> None:
    made = make_run(2)
    run = read(xml_text(replace(made, steps=tuple(replace(step, stress=None) for step in made.steps))))
    assert np.isnan(run.frames.stress).all()
    assert (run.frames.stress_source, run.frames.flags) == ("", ((), ()))


def test_t27_forces_are_not_constrained_and_fixed_is_kept() -> None:
    made = make_run(1, fixed=(" F  F  T", " T  T  T"))
    run = read(xml_text(made))
    assert run.frames.fixed is not None
    assert run.frames.fixed.tolist() == [[True, True, False], [False, False, False]]
    np.testing.assert_array_equal(run.frames.forces[0], made.steps[0].forces)
    assert read(xml_text(make_run(1, fixed=(" T  T  T", " T  T  T")))).frames.fixed is None


def test_t28_kinetic_energy_is_left_out() -> None:
    made = make_run(2)
    assert_steps(read(xml_text(made, [xml_step(step, kinetic=0.5) for step in made.steps])).frames, made)


def test_two_runs_in_one_file() -> None:
    first, second = make_run(2), make_run(3).with_tags(ENCUT="500.0")
    runs = read_all(xml_text(first) + xml_text(second))
    assert [run.frames.count for run in runs] == [2, 3]
    assert [run.level_of_theory.cutoff for run in runs] == [400.0, 500.0]


@pytest.mark.parametrize("part", np.linspace(0.45, 0.99, 28).tolist())
def test_cut_run_before_another_in_one_file(part: float) -> None:
    """A job that was restarted with its output appended."""
    first, second = make_run(2), make_run(3).with_tags(ENCUT="500.0")
    whole = xml_text(first)
    runs = read_all(whole[: int(part * len(whole))] + xml_text(second))
    assert_steps(runs[-1].frames, second)
    assert runs[-1].n_malformed_steps == 0
    assert [run.complete for run in runs[:-1]] == [False] * (len(runs) - 1)
    assert len(runs) == 2 or "another run in the same file was not taken" in runs[0].notes[0]


def test_line_ends_of_windows() -> None:
    made = make_run(3)
    assert_steps(read(xml_text(made).replace(b"\n", b"\r\n")).frames, made)


def test_virtual_crystal() -> None:
    made = make_run(1, incar={"VCA": "      0.99000000      0.01000000"})
    run = read(xml_text(made))
    assert (run.flags, run.frames.flags) == (("virtual_crystal",), (("virtual_crystal",),))


@pytest.mark.parametrize("algorithm", ["GW0", "evgw", "BSE", "CHI", "ACFDTR"])
def test_beyond_the_ground_state_is_refused(algorithm: str) -> None:
    with pytest.raises(UnreadableOutput) as refusal:
        read(xml_text(make_run(1, incar={"ALGO": algorithm})))
    assert refusal.value.reason == "not_energies"


def test_changed_cell_is_marked() -> None:
    made = make_run(2).with_tags(IBRION="2", ISIF="3")
    steps = (made.steps[0], replace(made.steps[1], cell=made.steps[1].cell * 1.01))
    run = read(xml_text(replace(made, steps=steps)))
    assert (run.kind, run.frames.flags) == ("vc-relax", ((), ("pulay_suspect",)))


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({"IBRION": "-1"}, "static"),
        ({"IBRION": "2", "NSW": "0"}, "static"),
        ({"IBRION": "2"}, "relax"),
        ({"IBRION": "1", "ISIF": "4"}, "vc-relax"),
        ({"IBRION": "0", "ISIF": "3"}, "vc-md"),
        ({"IBRION": "6"}, "phonon"),
        ({"IBRION": "3", "IMAGES": "5"}, "neb"),
    ],
)
def test_kind_of_run(tags: dict[str, str], kind: str) -> None:
    assert read(xml_text(make_run(1).with_tags(**tags))).kind == kind


@pytest.mark.parametrize(
    ("tags", "functional", "dispersion"),
    [
        ({"GGA": "PS"}, "PBEsol", ""),
        ({"GGA": "RP"}, "RPBE", ""),
        ({"GGA": "RE"}, "revPBE", ""),
        ({"GGA": "91"}, "PW91", ""),
        ({"METAGGA": "R2SCA"}, "r2SCAN", ""),
        ({"METAGGA": "SCAN", "LUSE_VDW": ".TRUE."}, "SCAN", "rVV10"),
        ({"LHFCALC": "T", "GGA": "PE", "AEXX": "0.25", "HFSCREEN": "0.2"}, "HSE06", ""),
        ({"LHFCALC": ".true.", "GGA": "PE", "AEXX": "0.25"}, "PBE0", ""),
        ({"LHFCALC": "True", "AEXX": "0.4", "HFSCREEN": "0.2"}, "PBE hybrid", ""),
        ({"IVDW": "12"}, "PBE", "D3(BJ)"),
        ({"IVDW": "11"}, "PBE", "D3(0)"),
        ({"GGA": "BO", "LUSE_VDW": "T"}, "optB88-vdW", ""),
        ({"GGA": "ML", "LUSE_VDW": "T"}, "vdW-DF2", ""),
    ],
)
def test_functional(tags: dict[str, str], functional: str, dispersion: str) -> None:
    level = read(xml_text(make_run(1).with_tags(**tags))).level_of_theory
    assert (level.functional, level.dispersion) == (functional, dispersion)


def test_hubbard_charge_and_smearing() -> None:
    incar = {"LDAUL": " 2 -1", "LDAUU": " 6.2 0.0", "LDAUJ": " 1.0 0.0"}
    made = make_run(1, incar=incar).with_tags(LDAU="T", LDAUL="2", LDAUU="6.2", LDAUJ="1.0", NELECT="13.0", ISMEAR="1", SIGMA="0.2")
    level = read(xml_text(made)).level_of_theory
    assert level.hubbard_u == (("Mg", "d", 5.2),)
    assert (level.charge, level.smearing, level.smearing_width) == (1.0, "methfessel-paxton", 0.2)


@pytest.mark.parametrize("natoms", [1, 2, 5])
@pytest.mark.parametrize("chunk", [1, 7, 1000, 1 << 20])
def test_chunk_size_does_not_matter(natoms: int, chunk: int) -> None:
    if chunk == 1 and natoms > 1:
        return
    made = make_run(3, natoms=natoms)
    assert_steps(read(xml_text(made), chunk).frames, made)


def test_what_follows_a_step_is_passed_over() -> None:
    made = make_run(2)
    tail = "  <dos>\n" + "      <r>    -12.3456     0.0000     0.0000 </r>\n" * 150_000 + "  </dos>\n"
    reader = VaspXmlReader()
    data = xml_text(made, [xml_step(step, tail=tail) for step in made.steps])
    most = 0
    for start in range(0, len(data), 1 << 16):
        reader.feed(data[start : start + (1 << 16)])
        most = max(most, len(reader._buffer))
    (run,) = reader.close()
    assert_steps(run.frames, made)
    assert most < 1 << 18


TEXT = xml_text(make_run(4))
ENDS = [place for place in range(len(TEXT)) if TEXT.startswith(b"</energy>\n </calc", place)]


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.integers(0, len(TEXT)))
def test_any_prefix_gives_the_prefix_of_frames(cut: int) -> None:
    _check_prefix(read_all, TEXT, cut, sum(end + 9 <= cut for end in ENDS))


def _check_prefix(reader: Callable[[bytes], tuple[Run, ...]], text: bytes, cut: int, expected: int) -> None:
    if expected == 0:
        with pytest.raises(UnreadableOutput):
            reader(text[:cut])
        return
    (run,) = reader(text[:cut])
    (whole,) = reader(text)
    assert run.frames.count == expected
    for name in ("cell", "positions", "forces", "stress", "energy", "energy_sigma0", "energy_internal", "n_scf_steps"):
        np.testing.assert_array_equal(getattr(run.frames, name), getattr(whole.frames, name)[:expected])
    assert run.complete == (b"</modeling>" in text[:cut])
    assert ("truncated" in run.flags) != run.complete


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.binary(min_size=0, max_size=12), st.integers(0, 400))
def test_damage_is_refused_or_read(place: int, wrong: bytes, lost: int) -> None:
    try:
        runs = read_all(TEXT[:place] + wrong + TEXT[place + lost :], 5000)
    except UnreadableOutput:
        return
    assert all(np.isfinite(run.frames.positions).all() for run in runs)


@pytest.mark.parametrize(
    ("tags", "extra"),
    [
        ({"SCALEE": "1.0", "I_CONSTRAINED_M": "0", "EFIELD": "0.00000000", "EFIELD_PEAD": "0.0 0.0 0.0"}, ()),
        ({"SCALEE": "0.5", "EFIELD": "0.10000000"}, (("EFIELD", "0.1"), ("SCALEE", "0.5"))),
        ({"I_CONSTRAINED_M": "1", "EFIELD_PEAD": "0.0 0.0 0.01"}, (("EFIELD_PEAD", "0 0 0.01"), ("I_CONSTRAINED_M", "1"))),
        ({"LSOL": "T", "EB_K": "37.50"}, (("EB_K", "37.5"), ("implicit solvent", "VASPsol"))),
        ({"LUSE_VDW": "T", "GGA": "ML", "AGGAC": "0.0", "ZAB_VDW": "-1.8867"}, ()),
        ({"LUSE_VDW": "T", "GGA": "RE", "AGGAC": "1.0", "ZAB_VDW": "-0.8491"}, (("AGGAC", "1"),)),
        ({"ISMEAR": "-2"}, (("occupations", "ISMEAR = -2"),)),
        ({"LDAU": "T", "LDAUTYPE": "1", "LDAUJ": "1.0"}, (("LDAUJ", "1"), ("LDAUTYPE", "1"))),
        ({"LHFCALC": "T", "AEXX": "0.25", "HFSCREEN": "0.2", "LMODELHF": "T"}, (("HFSCREEN", "0.2"), ("LMODELHF", "on"))),
    ],
)
def test_tags_that_change_energies_are_in_the_level(tags: dict[str, str], extra: tuple[tuple[str, str], ...]) -> None:
    assert read(xml_text(make_run(1).with_tags(**tags))).level_of_theory.extra == extra
