"""SIESTA: which energy, positions with and without WriteCoorStep, order of the printed stress, cuts and damage."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import make_steps
from made_up_orbitals import siesta_text

from lake.readers import find_reader
from lake.readers.siesta.output import SIESTA_OUTPUT, SiestaReader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.theory import U_NOT_TOLD
from schemas.units import KBAR, RYDBERG


def read(data: bytes, chunk: int = 1 << 20) -> Run:
    reader = SiestaReader()
    for start in range(0, len(data), chunk):
        reader.feed(data[start : start + chunk])
    (run,) = reader.close()
    return run


def test_reads_what_is_printed() -> None:
    (step,) = make_steps(1)
    text = siesta_text([step])
    run = read(text)
    frames = run.frames
    assert (run.code, run.code_version, run.kind, run.complete, run.flags, frames.flags) == (
        "siesta",
        "4.0--500",
        "static",
        True,
        (),
        ((),),
    )
    assert frames.numbers.tolist() == [12, 8]
    assert frames.energy[0] == round(step.energy - 0.0031, 6)
    assert frames.energy_internal[0] == round(step.energy, 6)
    np.testing.assert_array_equal(frames.positions[0], step.positions)
    np.testing.assert_allclose(frames.forces[0], step.forces.round(6), atol=1e-12)
    np.testing.assert_allclose(frames.stress[0], step.stress * KBAR, atol=6e-7)
    assert (frames.scf_converged.tolist(), frames.n_scf_steps.tolist()) == ([1], [8])
    level = run.level_of_theory
    assert (level.functional, level.basis, level.kpoints, level.n_kpoints) == ("PBE", "LCAO", (5, 5, 5), 63)
    assert level.density_cutoff == 200 * RYDBERG
    assert find_reader("out", text) is SIESTA_OUTPUT


def test_steps_of_a_relaxation_have_four_decimals_and_the_entropy_of_their_cycle() -> None:
    steps = make_steps(3)
    run = read(siesta_text(steps, single=False))
    assert (run.kind, run.frames.count) == ("relax", 3)
    np.testing.assert_allclose(
        run.frames.energy, [round(s.energy, 4) + round(s.energy - 0.0031, 4) - round(s.energy, 4) for s in steps], atol=1e-9
    )
    np.testing.assert_allclose(run.frames.stress, np.array([s.stress.round(2) for s in steps]) * KBAR, atol=1e-12)
    np.testing.assert_array_equal(run.frames.positions, [s.positions for s in steps])


def test_without_coordinates_only_the_first_step_has_positions() -> None:
    steps = make_steps(3)
    run = read(siesta_text(steps, single=False, coordinates=False))
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (1, 2, ("malformed_steps",))
    np.testing.assert_allclose(run.frames.positions[0], steps[0].positions, atol=3e-6)
    assert "WriteCoorStep" in run.notes[0]


def test_positions_of_the_input_have_more_digits() -> None:
    (step,) = make_steps(1)
    rows = "\n".join(f"{x} {y} {z} {k + 1}" for k, (x, y, z) in enumerate(step.positions))
    dump = (
        "************************** Dump of input data file ****************************\nAtomic-Coordinates_Format  Ang\n"
        f"%block AtomicCoordinatesAndAtomicSpecies\n{rows}\n%endblock AtomicCoordinatesAndAtomicSpecies\n"
        "************************** End of input data file *****************************\n"
    )
    text = siesta_text([step], coordinates=False).replace(b" Species number:", dump.encode() + b" Species number:", 1)
    np.testing.assert_array_equal(read(text).frames.positions[0], step.positions)


def test_a_cycle_above_its_tolerance_is_not_converged() -> None:
    run = read(siesta_text(make_steps(1), change=0.01))
    assert (run.frames.scf_converged.tolist(), run.frames.flags) == ([0], (("scf_not_converged",),))


def test_a_table_of_forces_may_be_absent_or_torn() -> None:
    text = siesta_text(make_steps(1))
    start, end = text.index(b"     1   ", text.index(b"Atomic forces")), text.index(b"----", text.index(b"Atomic forces"))
    run = read(text[:start] + text[end:])
    assert np.isnan(run.frames.forces).all()
    assert run.frames.flags == ((),)
    run = read(text.replace(b"\n----------------------------------------\n   Tot", b"\n   Tot"))
    assert run.frames.flags == (("malformed_values",),)


def test_a_single_point_without_its_report_is_no_step() -> None:
    text = siesta_text(make_steps(1))
    with pytest.raises(UnreadableOutput) as refusal:
        read(text[: text.index(b"siesta: Final energy")])
    assert refusal.value.reason == "no_complete_step"


def test_chunks_and_line_ends_do_not_matter() -> None:
    text = siesta_text(make_steps(3), single=False)
    whole = read(text)
    for data, chunk in ((text, 1), (text, 333), (text.replace(b"\n", b"\r\n"), 1000)):
        run = read(data, chunk)
        for name in ("positions", "energy", "forces", "stress", "cell"):
            np.testing.assert_array_equal(getattr(run.frames, name), getattr(whole.frames, name))


@given(cut=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_cut_output_gives_the_first_steps(cut: int) -> None:
    text = siesta_text(make_steps(3), single=False)
    whole = read(text)
    try:
        part = read(text[: cut % text.index(b"\n>> End of run")])
    except UnreadableOutput:
        return
    n = part.frames.count
    assert "truncated" in part.flags
    for name in ("positions", "energy", "forces", "stress", "cell", "scf_converged"):
        np.testing.assert_array_equal(getattr(part.frames, name), getattr(whole.frames, name)[:n])


@given(place=st.integers(0, 100_000), byte=st.integers(0, 255), count=st.integers(1, 4), single=st.booleans())
@settings(max_examples=80, deadline=None)
def test_damage_never_escapes(place: int, byte: int, count: int, single: bool) -> None:
    text = bytearray(siesta_text(make_steps(1 if single else 2), single=single))
    for k in range(count):
        text[(place + 97 * k) % len(text)] = byte
    try:
        run = read(bytes(text))
    except UnreadableOutput:
        return
    assert run.frames.count


def test_version_3_begins_its_steps_and_rows_otherwise() -> None:
    made = make_steps(3)
    text = siesta_text(made, single=False)
    old = text.replace(b"\n                        Begin ", b"\n                            Begin ").replace(b"\n   scf:", b"\nsiesta:")
    assert old != text
    run, known = read(old), read(text)
    np.testing.assert_array_equal(run.frames.energy, known.frames.energy)
    np.testing.assert_array_equal(run.frames.forces, known.frames.forces)
    assert (run.frames.n_scf_steps.tolist(), run.flags) == (known.frames.n_scf_steps.tolist(), known.flags)


def test_what_only_later_text_tells_is_in_the_level() -> None:
    text = siesta_text(make_steps(1))
    first = b" Species number:            1"
    paired = text.replace(first, b"C6 - two-body potential between   1 and   1\n" + first, 1)
    grimme = paired.replace(b"C6 - two", b"Grimme two")
    assert [read(each).level_of_theory.dispersion for each in (text, paired, grimme)] == ["", "C6", "D2"]
    for term, found in ((b"0.000000", ()), (b"1.250000", (U_NOT_TOLD,))):
        with_u = text.replace(b"siesta: Etot    =", b"siesta: Edftu   =         " + term + b"\nsiesta: Etot    =", 1)
        assert read(with_u).level_of_theory.extra == found
    field = b"efield: External electric field =    0.000000    0.000000    0.003444 Ry/Bohr/e\n"
    moved = text.replace(b"outcell: Unit cell", field + b"outcell: Unit cell", 1)
    assert read(moved).level_of_theory.extra == (("electric_field", "0.000000    0.000000    0.003444 Ry/Bohr/e"),)


def test_steps_that_a_script_leads_begin_otherwise() -> None:
    steps = make_steps(3)
    text = re.sub(rb"Begin CG opt\. move =", b"LUA coord. step =", siesta_text(steps, single=False))
    run = read(text)
    assert (run.frames.count, run.flags) == (3, ())


def _static_table(stress: np.ndarray) -> str:
    rows = "".join("     " + "".join(f"{value:12.6f}" for value in row) + "\n" for row in stress)
    return f"siesta: Stress tensor (static) (eV/Ang**3):\n{rows}\n"


def test_the_stress_of_dynamics_is_the_static_one() -> None:
    """What dynamics print in Voigt's order, and as the total tensor, has the part of the moving atoms in it."""
    steps = make_steps(2)
    text = siesta_text(steps, single=False).replace(b"CG coord. optimization", b"Verlet MD run")
    without = read(text)
    assert (without.kind, bool(np.isnan(without.frames.stress).all())) == ("md", True)
    static = [step.stress * 1e-3 for step in steps]
    first, *pieces = text.split(b"Target enthalpy (eV/cell)")
    tables = [b"\n" + _static_table(each).encode() + b"siesta: Temp_ion =   300.0 K\n" for each in static]
    ends = [piece.replace(b"\n", table, 1) for piece, table in zip(pieces, tables, strict=True)]
    run = read(b"Target enthalpy (eV/cell)".join([first, *ends]))
    np.testing.assert_array_equal(run.frames.stress, np.array(static).round(6))


def test_newer_versions_print_the_stress_in_another_order() -> None:
    steps = make_steps(2)
    text = siesta_text(steps, single=False)
    row = re.compile(rb"Stress-tensor-Voigt \(kbar\):((?:.{12}){3})(.{12})(.{12})(.{12})\n")
    newer = row.sub(rb"Stress tensor Voigt[x,y,z,yz,xz,xy] (kbar):\1\3\4\2\n", text)
    assert newer != text
    np.testing.assert_array_equal(read(newer).frames.stress, read(text).frames.stress)


def test_forces_that_only_the_final_report_prints() -> None:
    """A relaxation of one step, or by a Z-matrix: its step has their sums alone."""
    (step,) = make_steps(1)
    text = siesta_text([step], single=False)
    table = re.search(rb"siesta: Atomic forces[^\n]*\n((?: +\d[^\n]*\n)+)", text)
    assert table is not None
    rows = b"".join(b"siesta: " + line + b"\n" for line in table.group(1).split(b"\n")[:-1])
    report = (
        b"siesta: Final energy (eV):\nsiesta: Atomic forces (eV/Ang):\n" + rows + b"siesta: ------\nsiesta: Cell volume =  76.8\n>> End"
    )
    summed = text.replace(table.group(1), b"").replace(b">> End", report)
    np.testing.assert_array_equal(read(summed).frames.forces, read(text).frames.forces)
    with pytest.raises(UnreadableOutput):
        read(summed[: summed.index(b"siesta: Final energy")])


def test_floating_orbitals_are_no_atoms() -> None:
    (step,) = make_steps(1)
    text = siesta_text([step])
    plain = read(text)
    changes = (
        (b"xc_check: Exchange", b" Species number:   3 Atomic number:   -8 Label: Ofloat (floating PAOs)\nxc_check: Exchange"),
        (
            b"\ninitatomlists: Number of atoms, orbitals, and projectors:      2",
            b"siesta:    1.00000   1.00000   1.00000  3        3\n\ninitatomlists: Number of atoms, orbitals, and projectors:      3",
        ),
        (b"\n\noutcell: Unit", b"\n    1.00000000    1.00000000    1.00000000   3       3  Ofloat\n\noutcell: Unit"),
        (
            b"----------------------------------------\n   Tot",
            b"     3    0.010000    0.000000    0.000000\n----------------------------------------\n   Tot",
        ),
    )
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    run = read(text)
    for name in ("numbers", "positions", "forces", "energy", "stress"):
        np.testing.assert_array_equal(getattr(run.frames, name), getattr(plain.frames, name))
    assert run.level_of_theory.extra == (("ghost_orbitals", "Ofloat"),)
    assert run.level_of_theory.pseudopotentials == plain.level_of_theory.pseudopotentials


@pytest.mark.parametrize(
    ("old", "new", "reason", "words"),
    [
        (
            b"Label: O Atomic number:           8",
            b"Label: ON-0.34560 Atomic number:  201",
            "unreadable_output",
            r"mixtures of elements.*ON-0\.34560",
        ),
        (b"\nsiesta: Atomic coordinates (Bohr) and species", b"", "no_complete_step", "no coordinates of its 2 atoms"),
        (b"siesta: E_KS(eV)", b"    ts-scf:    1    -7579.517860\nsiesta: E_KS(eV)", "not_energies", "open boundaries"),
    ],
)
def test_what_is_no_run_of_atoms_is_refused_by_name(old: bytes, new: bytes, reason: str, words: str) -> None:
    text = siesta_text(make_steps(1))
    assert old in text
    with pytest.raises(UnreadableOutput, match=words) as refusal:
        read(text.replace(old, new))
    assert refusal.value.reason == reason
