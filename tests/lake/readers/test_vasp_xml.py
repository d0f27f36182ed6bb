"""vasprun.xml: which energies, forces and stresses of a step are taken, one test for each trap of its writers and versions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_vasp import make_run, scstep, xml_frame, xml_head, xml_step, xml_text
from made_up_vasp_xml import assert_steps, read

from lake.readers import find_reader
from lake.readers.vasp.xml import VASPRUN_XML
from lake.readers.vasp.xml_step import energies_of, energies_of_all
from schemas.units import KBAR


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


def test_t8_learned_steps_stand_outside() -> None:
    made = make_run(4, incar={"ML_LMLFF": "T"})
    inside = " <calculation>\n" + xml_step(made.steps[1]) + " </calculation>\n"
    outside = [xml_frame(made.steps[k], kinetic=0.3) for k in (0, 2, 3)]
    run = read((xml_head(made) + outside[0] + inside + outside[1] + outside[2] + "</modeling>\n").encode())
    assert_steps(run.frames, made)
    assert run.frames.flags == (("machine_learned",), (), ("machine_learned",), ("machine_learned",))
    assert run.frames.scf_converged.tolist() == [-1, 1, -1, -1]
    assert run.flags == ()


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


def test_changed_cell_is_marked() -> None:
    made = make_run(2).with_tags(IBRION="2", ISIF="3")
    steps = (made.steps[0], replace(made.steps[1], cell=made.steps[1].cell * 1.01))
    run = read(xml_text(replace(made, steps=steps)))
    assert (run.kind, run.frames.flags) == ("vc-relax", ((), ("pulay_suspect",)))
