"""The reader of pw.x's XML: units, signs, the repeated last step, broken files."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.readers import find_reader
from lake.readers.qe.text import PwTextReader
from lake.readers.qe.xml import PW_XML, PwXmlReader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR, HARTREE_PER_BOHR3, KBAR

DATA = Path(__file__).resolve().parents[2] / "data" / "qe"


def real(name: str) -> bytes:
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())


def read(text: bytes, size: int = 1 << 20) -> Run:
    reader = PwXmlReader()
    for start in range(0, len(text), size):
        reader.feed(text[start : start + size])
    (run,) = reader.close()
    return run


def structure(x: float, edge: float) -> str:
    return f"""<atomic_structure nat="2" alat="10.0"><atomic_positions>
        <atom name="Fe1" index="1">{x} 0.0 1.0e0</atom><atom name="O" index="2">0.0 2.0 0.0</atom></atomic_positions>
        <cell><a1>{edge} 0.0 0.0</a1><a2>0.0 {edge} 0.0</a2><a3>0.0 0.0 {edge}</a3></cell></atomic_structure>"""


def results(energy: float, error: float, *, achieved: bool = True, stress: bool = True) -> tuple[str, str]:
    word = "true" if achieved else "false"
    conv = f"""<scf_conv><convergence_achieved>{word}</convergence_achieved><n_scf_steps>7</n_scf_steps>
        <scf_error>{error}</scf_error></scf_conv>"""
    tables = f"""<total_energy><etot>{energy}</etot><demet>-0.001</demet></total_energy>
        <forces rank="2" dims="3 2" order="F">0.1 0.2 0.3\n -0.1 -0.2 -0.3</forces>"""
    return conv, tables + ("<stress rank='2' dims='3 3'>1e-4 0 0\n0 2e-4 1e-5\n0 1e-5 3e-4</stress>" if stress else "")


def step(energy: float, *, x: float = 0.0, edge: float = 10.0, error: float = 1e-10, stress: bool = True) -> str:
    conv, tables = results(energy, error, stress=stress)
    return f"<step n_step='1'>{conv}{structure(x, edge)}{tables}</step>\n"


def output(energy: float, *, x: float = 0.0, edge: float = 10.0, error: float = 1e-10, achieved: bool = True) -> str:
    conv, tables = results(energy, error, achieved=achieved)
    bands = "<band_structure><nks>4</nks></band_structure>"
    return f"<output><convergence_info>{conv}</convergence_info>{structure(x, edge)}{tables}{bands}</output>\n"


def document(body: str, *, calculation: str = "scf", more: str = "", free: str = "") -> bytes:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<qes:espresso xmlns:qes="http://www.quantum-espresso.org/ns/qes/qes-1.0" Units="Hartree atomic units">
<general_info><creator NAME="PWSCF" VERSION="7.2">XML file</creator></general_info>
<input><control_variables><calculation>{calculation}</calculation></control_variables>
<atomic_species ntyp="2"><species name="Fe1"><mass>55.8</mass><pseudo_file>Fe.UPF</pseudo_file></species>
<species name="O"><mass>16.0</mass><pseudo_file>O.UPF</pseudo_file></species></atomic_species>
<dft><functional>PBE</functional>{more}</dft><spin><lsda>true</lsda><noncolin>false</noncolin><spinorbit>false</spinorbit></spin>
<bands><smearing degauss="0.01">mv</smearing><tot_charge>1.0</tot_charge><occupations>smearing</occupations></bands>
<basis><gamma_only>false</gamma_only><ecutwfc>20.0</ecutwfc><ecutrho>160.0</ecutrho></basis>
<electron_control><conv_thr>1e-9</conv_thr></electron_control>
<k_points_IBZ><monkhorst_pack nk1="4" nk2="2" nk3="2" k1="0" k2="0" k3="0">Monkhorst-Pack</monkhorst_pack></k_points_IBZ>{free}</input>
{body}<status>0</status></qes:espresso>
""".encode()


def test_units_sign_and_level() -> None:
    more = "<hybrid><exx_fraction>0.25</exx_fraction></hybrid><dftU><Hubbard_U specie='Fe1' label='3d'>0.16</Hubbard_U></dftU>"
    more += "<vdW><vdw_corr>grimme-d3</vdw_corr><dftd3_version>4</dftd3_version></vdW>"
    run = read(document(output(-100.0), more=more))
    frames, level = run.frames, run.level_of_theory
    assert (run.kind, run.code_version, run.complete, run.flags) == ("static", "7.2", True, ())
    assert frames.numbers.tolist() == [26, 8]
    assert frames.energy.tolist() == [-100.0 * HARTREE]
    assert frames.energy_internal[0] == pytest.approx(-99.999 * HARTREE)
    np.testing.assert_allclose(frames.forces[0, 0], np.array([0.1, 0.2, 0.3]) * HARTREE_PER_BOHR)
    np.testing.assert_allclose(frames.stress[0], -np.array([[1e-4, 0, 0], [0, 2e-4, 1e-5], [0, 1e-5, 3e-4]]) * HARTREE_PER_BOHR3)
    np.testing.assert_allclose(frames.positions[0, 1], [0, 2 * BOHR, 0])
    assert (level.functional, level.exact_exchange, level.dispersion) == ("PBE", 0.25, "D3(BJ)")
    assert level.hubbard_u == (("Fe", "d", round(0.16 * HARTREE, 4)),)
    assert (level.kpoints, level.n_kpoints, level.spin, level.charge) == ((4, 2, 2), 4, "collinear", 1.0)
    assert level.kpoint_spacing == pytest.approx(2 * np.pi / (10 * BOHR) / 2)
    assert (level.smearing, level.smearing_width) == ("marzari-vanderbilt", pytest.approx(0.01 * HARTREE))
    assert level.pseudopotentials == (("Fe", "Fe.UPF"), ("O", "O.UPF"))


def test_output_that_repeats_the_last_step_is_one_frame() -> None:
    body = step(-1.0, x=0.1, stress=False) + step(-2.0, x=0.2, stress=False) + output(-2.0, x=0.2)
    run = read(document(body, calculation="md"))
    assert run.frames.energy.tolist() == [-1.0 * HARTREE, -2.0 * HARTREE]
    assert np.isnan(run.frames.stress[0]).all()
    assert np.isfinite(run.frames.stress[1]).all()


def test_final_scf_of_a_variable_cell_run_is_a_frame_of_its_own() -> None:
    run = read(document(step(-1.0) + step(-2.0, edge=10.5) + output(-2.01, edge=10.5), calculation="vc-relax"))
    assert run.kind == "vc-relax"
    assert run.frames.flags == ((), ("pulay_suspect",), ("final_scf_other_basis",))


CELL = "<cell_control><cell_dynamics>{}</cell_dynamics><pressure>{}</pressure>"
CELL += "<fix_volume>{}</fix_volume><fix_area>{}</fix_area></cell_control>"
ENDED = "<opt_conv><convergence_achieved>{}</convergence_achieved></opt_conv></convergence_info>"


def ended(text: str, word: str) -> str:
    return text.replace("</convergence_info>", ENDED.format(word))


@pytest.mark.parametrize("settled", ["true", "false"])
def test_output_with_the_enthalpy_of_the_last_step_is_no_frame(settled: str) -> None:
    """`move_ions` puts p V of the last cell into etot, and the next cell where it stops at nstep."""
    enthalpy = 50.0 * KBAR * (10.5 * BOHR) ** 3 / HARTREE
    edge = 10.5 if settled == "true" else 10.7
    text = step(-1.0, stress=False) + step(-2.0, edge=10.5, stress=False) + ended(output(-2.0 + enthalpy, edge=edge), settled)
    run = read(document(text, calculation="vc-relax", free=CELL.format("bfgs", "5.0e1", "false", "false")))
    assert run.frames.energy.tolist() == [-1.0 * HARTREE, -2.0 * HARTREE]
    np.testing.assert_allclose(run.frames.cell[1], np.eye(3) * 10.5 * BOHR)
    assert np.isfinite(run.frames.stress[1]).all()


def test_output_of_another_geometry_is_no_frame_unless_the_run_settled() -> None:
    body = step(-1.0) + step(-2.0, edge=10.5)
    moved = read(document(body + ended(output(-2.1, edge=10.6), "false"), calculation="vc-relax"))
    assert moved.frames.count == 2
    assert any("another geometry" in note for note in moved.notes)
    assert read(document(body + ended(output(-2.1, edge=10.6), "true"), calculation="vc-relax")).frames.count == 3


@pytest.mark.parametrize(
    ("calculation", "cell", "kept"),
    [
        ("vc-relax", ("bfgs", "0.0", "false", "false"), True),
        ("vc-relax", ("bfgs", "0.0", "true", "false"), False),
        ("vc-relax", ("bfgs", "0.0", "false", "true"), False),
        ("vc-relax", ("damp-pr", "0.0", "false", "false"), False),
        ("vc-md", ("pr", "0.0", "false", "false"), False),
        ("md", ("none", "0.0", "false", "false"), True),
    ],
)
def test_stress_that_a_move_of_the_cell_changed_is_left_out(calculation: str, cell: tuple[str, ...], kept: bool) -> None:
    """Steps of 6.x have no stress; the output's is deviatoric where volume or area is held, and times the volume behind vcsmd."""
    body = step(-1.0, stress=False) + step(-2.0, x=0.1, stress=False) + output(-2.0, x=0.2)
    run = read(document(body, calculation=calculation, free=CELL.format(*cell)))
    assert run.frames.count == 2
    assert np.isfinite(run.frames.stress[1]).all() == kept
    assert run.frames.positions[1, 0, 0] == 0.1 * BOHR


def test_steps_of_early_releases_have_the_geometry_of_the_next_one_and_are_left_out() -> None:
    control = "<ion_control><ion_dynamics>bfgs</ion_dynamics></ion_control>"

    def early(body: str, calculation: str) -> bytes:
        return document(body, calculation=calculation, free=control).replace(b'VERSION="7.2"', b'VERSION="6.4.1"')

    steps = step(-1.0, x=0.1) + step(-2.0, x=0.2)
    run = read(early(steps + ended(output(-2.0, x=0.2), "true"), "relax"))
    assert (run.frames.energy.tolist(), run.frames.positions[0, 0, 0]) == ([-2.0 * HARTREE], 0.2 * BOHR)
    assert any("6.1 to 6.5" in note for note in run.notes)
    run = read(early(steps + ended(output(-2.1, x=0.2), "true"), "vc-relax"))
    assert run.frames.energy.tolist() == [-2.1 * HARTREE]
    for text in (steps + ended(output(-2.0, x=0.2), "false"), steps):
        with pytest.raises(UnreadableOutput, match=r"6\.1 to 6\.5"):
            read(early(text, "relax"))
    with pytest.raises(UnreadableOutput):
        read(early(steps + ended(output(-2.0, x=0.2), "true"), "md"))


def test_forces_without_their_torque_are_flagged() -> None:
    control = "<ion_control><ion_dynamics>bfgs</ion_dynamics><remove_rigid_rot>{}</remove_rigid_rot></ion_control>"
    flags = [read(document(step(-1.0) + output(-1.0), calculation="relax", free=control.format(word))).flags for word in ("true", "false")]
    assert flags == [("altered_potential",), ()]


def test_convergence_is_judged_from_the_error_not_from_the_word() -> None:
    run = read(document(step(-1.0, error=1e-6) + step(-2.0, error=1.9e-9) + output(-2.0), calculation="md"))
    assert run.frames.scf_converged.tolist() == [0, 1]
    assert run.frames.flags[0] == ("scf_not_converged",)


def test_real_unconverged_md_is_judged_like_its_stdout() -> None:
    run = read(real("md-unconverged.xml"))
    reader = PwTextReader()
    reader.feed(real("md-unconverged.out"))
    (text,) = reader.close()
    assert run.frames.scf_converged.tolist() == [0, 0, 0, 0, 1, 1]
    np.testing.assert_allclose(run.frames.energy, text.frames.energy, atol=1e-7, rtol=0)
    np.testing.assert_allclose(run.frames.forces, text.frames.forces, atol=2e-7, rtol=0)
    np.testing.assert_allclose(run.frames.positions, text.frames.positions, atol=5e-7, rtol=0)


def test_forces_of_an_image_of_neb_x_are_those_of_the_step_before_and_left_out() -> None:
    """neb.x writes the XML before it computes the forces: the last XML of the image has the forces of the last step but one."""
    run, text = read(real("neb-image.xml")), real("neb-image.out")
    assert (run.kind, run.frames.count) == ("neb", 1)
    assert np.isnan(run.frames.forces).all()
    assert "neb.x" in run.notes[0]
    table = re.findall(rb"<forces rank=[^>]*>([^<]*)<", real("neb-image.xml"))[-1]
    printed = [float(word) for word in re.findall(rb"type +\d+ +force = +(\S+)", text)]
    stale = float(table.split()[0]) * 2.0
    assert stale == pytest.approx(printed[-6], abs=1e-8)
    assert abs(stale - printed[-3]) > 0.01


def test_forces_that_the_code_set_to_zero_are_null() -> None:
    run = read(document(output(-1.0), free="<free_positions rank='2' dims='3 2'>1 1 1\n0 0 1</free_positions>"))
    assert np.isnan(run.frames.forces).all()
    assert run.frames.fixed is not None
    assert run.frames.fixed.tolist() == [[False] * 3, [True, True, False]]
    assert any("held fixed" in note for note in run.notes)


@pytest.mark.parametrize(
    ("potential", "amplitude", "vector", "told"),
    [
        ("homogenous_field", "0.0", "0.0 0.0 1.0e-3", "berry phase, 0 0 0.001 Ry a.u."),
        ("homogenous_field", "1.0e-3", "0.0 0.0 0.0", "berry phase, 0.001 Ry a.u. along 3"),
        ("homogenous_field", "0.0", "0.0 0.0 0.0", ""),
        ("sawtooth_potential", "1.0e-3", "0.0 0.0 0.0", "sawtooth, 0.001 Ha a.u."),
        ("Berry_Phase", "0.0", "0.0 0.0 0.0", ""),
        ("none", "0.0", "0.0 0.0 0.0", ""),
    ],
)
def test_fields_are_told_as_in_the_stdout(potential: str, amplitude: str, vector: str, told: str) -> None:
    field = f"<electric_potential>{potential}</electric_potential><electric_field_direction>3</electric_field_direction>"
    field += f"<electric_field_amplitude>{amplitude}</electric_field_amplitude><electric_field_vector>{vector}</electric_field_vector>"
    electrons = "<twoch_><twochem>true</twochem><nelec_cond>1.0e-1</nelec_cond></twoch_>"
    run = read(document(output(-1.0), free=f"<electric_field>{field}</electric_field>{electrons}"))
    held = ("electrons", "0.1 in the conduction bands")
    assert run.level_of_theory.extra == ((("electric_field", told), held) if told else (held,))
    assert bool(np.isnan(run.frames.stress).all()) == told.startswith("berry")


def test_what_the_input_puts_beside_the_functional_is_told() -> None:
    forces = "<external_atomic_forces rank='2' dims='3 2'>0 0 0\n0 0 {}</external_atomic_forces>"
    settings = "<electric_field><gate_settings><use_gate>true</use_gate></gate_settings></electric_field><rism_settings/><fcp_settings/>"
    settings += "<spin_constraints><spin_constraints>atomic</spin_constraints></spin_constraints>"
    told = (
        ("constrained_magnetization", "on"),
        ("electrons", "fictitious charge particle"),
        ("gate", "charged plate"),
        ("solvent", "rism"),
    )
    run = read(document(output(-1.0), free=settings + forces.format("0.0")))
    assert (run.level_of_theory.extra, run.flags) == (told, ("altered_potential",))
    assert [note.split(" (")[0] for note in run.notes] == ["a penalty holds magnetic moments"]
    pushed = read(document(output(-1.0), free=forces.format("0.1")))
    assert (pushed.level_of_theory.extra, pushed.flags) == ((("external_forces", "on"),), ("altered_potential",))
    assert "ATOMIC_FORCES" in pushed.notes[0]
    slab = "<boundary_conditions><assume_isolated>esm</assume_isolated><esm><bc>bc1</bc></esm></boundary_conditions>"
    screened = read(document(output(-1.0), free=slab))
    assert np.isnan(screened.frames.stress).all()
    assert np.isfinite(screened.frames.forces).all()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (document(output(-1.0), calculation="nscf"), "not_energies"),
        (document(""), "no_complete_step"),
        (document(output(-1.0, achieved=False)), "no_complete_step"),
        (document(output(-1.0))[:300], "no_complete_step"),
        (b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "unreadable_output"),
        (b"\x00\xff", "no_complete_step"),
    ],
)
def test_refusals_name_a_reason(text: bytes, reason: str) -> None:
    with pytest.raises(UnreadableOutput) as refused:
        read(text)
    assert refused.value.reason == reason


def test_bytes_decide_what_is_read() -> None:
    assert find_reader("x", real("md-unconverged.xml")[:65536]) is PW_XML


def prefix_of(part: Run, whole: Run) -> bool:
    n = part.frames.count
    names = ("energy", "positions", "forces", "cell", "scf_converged", "n_scf_steps", "step")
    return all(np.array_equal(getattr(part.frames, name), getattr(whole.frames, name)[:n], equal_nan=True) for name in names)


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(cut=st.integers(0, 48_000), size=st.sampled_from([11, 1000, 1 << 20]))
def test_any_prefix_gives_the_prefix_of_the_frames(cut: int, size: int) -> None:
    text = real("md-unconverged.xml")
    whole = read(text)
    try:
        part = read(text[:cut], size)
    except UnreadableOutput:
        assert text[:cut].count(b"</step>") == 0
        return
    assert prefix_of(part, whole)
    assert part.frames.count == text[:cut].count(b"</step>")
    assert part.flags == ("truncated",)


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(st.lists(st.tuples(st.integers(0, 48_000), st.integers(0, 255)), min_size=1, max_size=30))
def test_random_damage_raises_nothing_else(changed: list[tuple[int, int]]) -> None:
    damaged = bytearray(real("md-unconverged.xml"))
    for place, value in changed:
        damaged[place] = value
    try:
        run = read(bytes(damaged))
    except UnreadableOutput:
        return
    assert np.isfinite(run.frames.energy).all()
    assert np.isfinite(run.frames.positions).all()
