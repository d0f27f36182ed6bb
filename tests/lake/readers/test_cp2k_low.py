"""Logs of CP2K at PRINT_LEVEL LOW: what their input, trajectories and tables beside them give, and what is never guessed."""

from __future__ import annotations

import itertools
import math
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from both_ways import damaged
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_cp2k_low import INPUT, input_text, low_text, read, refused
from made_up_logs import Made, cp2k_text, make_steps, xyz_text

from lake.readers.cp2k.log import Cp2kReader
from lake.torn_steps import without_torn_steps
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR


def test_a_single_point_has_the_places_of_its_input() -> None:
    (step,) = make_steps(1)
    run = read(low_text([step], "ENERGY"), inp=input_text(step, "ENERGY"))
    assert (run.kind, run.frames.numbers.tolist(), run.frames.energy.tolist()) == ("static", [12, 8], [step.energy * HARTREE])
    np.testing.assert_array_equal(run.frames.positions[0], step.positions)
    np.testing.assert_array_equal(run.frames.cell[0], np.eye(3) * 4.25)
    level, printed = run.level_of_theory, read_printed(step).level_of_theory
    assert (level.functional, level.dispersion, level.kpoints) == ("PBE", "D3(BJ)", (1, 1, 1))
    assert (level.density_cutoff, level.pseudopotentials) == (printed.density_cutoff, printed.pseudopotentials)


def read_printed(step: Made) -> Run:
    return read(cp2k_text([step]))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"PROJECT X", b"PROJECT Y", "its project is Y"),
        (b"RUN_TYPE ENERGY", b"RUN_TYPE MD", "run type"),
        (b"Mg 0", b"Mg 1 1 1\nMg 0", "3 atoms"),
        (b"CHARGE 0", b"CHARGE 2", "14 electrons"),
        (b"&SUBSYS", b"&SUBSYS\n@IF 1\n", "@IF"),
        (b"&COORD", b"&COORD\n@INCLUDE 'more.inc'", "more.inc"),
        (b"&CELL", b"&CELL\nMULTIPLE_UNIT_CELL 2 1 1", "MULTIPLE_UNIT_CELL"),
        (b"&FORCE_EVAL", b"&EXT_RESTART\nRESTART_FILE_NAME a\n&END\n&FORCE_EVAL", "restart"),
        (b"ELEMENT O", b"ELEMENT O\nGHOST", "ghost"),
        (b"SUBSYS\n", b"SUBSYS\n&TOPOLOGY\n&CENTER_COORDINATES\n&END\n&END\n", "moves"),
    ],
)
def test_an_input_that_may_be_of_another_structure_is_not_used(old: bytes, new: bytes, words: str) -> None:
    (step,) = make_steps(1)
    text = input_text(step, "ENERGY")
    assert old in text
    fault = refused(low_text([step], "ENERGY"), inp=text.replace(old, new, 1))
    assert fault.reason == "no_complete_step"
    assert words in fault.detail
    assert "x.inp" in fault.remedy


def overlap(positions: np.ndarray, edge: float) -> tuple[float, float]:
    """Return the energies of overlap and of the cores themselves of Mg (10 electrons) and O (6) with their widths by Krack, hartree."""
    charges, widths, edge = (10, 6), (0.19275787, 0.24455430), edge / BOHR
    shifts = [edge * np.array(shift) for shift in itertools.product((-1, 0, 1), repeat=3)]
    distances = [float(np.linalg.norm((positions[0] - positions[1]) / BOHR + shift)) for shift in shifts]
    spread = math.sqrt(2 * (widths[0] ** 2 + widths[1] ** 2))
    own = -sum(charge**2 / width for charge, width in zip(charges, widths, strict=True)) / (2 * math.sqrt(math.pi))
    return sum(60 * math.erfc(d / spread) / d for d in distances), own


def test_the_overlap_of_the_cores_shows_places_of_another_run() -> None:
    (step,) = make_steps(1)
    step.positions[1] = step.positions[0] + np.array([0.8, 0.1, 0.0])
    text = input_text(step, "ENERGY").replace(b"GTH-PBE-q10", b"GTH-PBE").replace(b"GTH-PBE-q6", b"GTH-PBE-q10")
    both, own = overlap(step.positions, 4.25)
    lines = "\n  Overlap energy of the core charge distribution:  {:.14f}\n  Self energy of the core charge distribution:  {:.14f}\n\n"
    log = low_text([step], "ENERGY").replace(b"\n ENERGY|", lines.format(both, own).encode() + b"\n ENERGY|")
    np.testing.assert_array_equal(read(log, inp=text).frames.positions[0], step.positions)
    moved = replace(step, positions=step.positions + np.array([[0.0, 0.0, 0.0], [0.001, 0.0, 0.0]]))
    other = text.replace(str(step.positions[1, 0]).encode(), str(moved.positions[1, 0]).encode())
    assert other != text
    assert "overlap" in refused(log, inp=other).detail


def test_places_behind_a_step_are_those_of_no_single_point() -> None:
    (step,) = make_steps(1)
    assert "another step" in refused(low_text([step], "ENERGY"), restart=input_text(step, "ENERGY")).detail


def test_places_scaled_or_in_bohr() -> None:
    (step,) = make_steps(1)
    log = low_text([step], "ENERGY")
    np.testing.assert_allclose(read(log, inp=input_text(step, "ENERGY", unit="UNIT bohr")).frames.positions[0], step.positions * BOHR)
    np.testing.assert_allclose(read(log, inp=input_text(step, "ENERGY", unit="SCALED")).frames.positions[0], step.positions * 4.25)


def test_places_in_a_file_that_the_input_names() -> None:
    (step,) = make_steps(1)
    atoms = "&TOPOLOGY\nCOORD_FILE_NAME ./coord.xyz\nCOORD_FILE_FORMAT XYZ\n&END TOPOLOGY"
    text = INPUT.format(run="ENERGY", motion="", atoms=atoms).replace("KIND O1", "KIND O").encode()
    run = read(low_text([step], "ENERGY"), inp=text, **{"coord.xyz": xyz_text([step], [0])})
    np.testing.assert_array_equal(run.frames.positions[0], step.positions)
    assert "coord.xyz" in refused(low_text([step], "ENERGY"), inp=text).detail


def test_a_dynamics_has_the_places_of_its_trajectory() -> None:
    steps = make_steps(4)
    log, text = low_text(steps, "MD"), input_text(steps[0], "MD")
    pos, frc = xyz_text(steps[::2], [0, 2]), xyz_text(steps[::2], [0, 2], forces=True)
    run = read(log, inp=text, pos=pos, frc=frc)
    assert (run.frames.step.tolist(), run.flags) == ([0, 2], ("malformed_steps",))
    for k, step in enumerate(steps[::2]):
        assert run.frames.energy[k] == step.energy * HARTREE
        np.testing.assert_array_equal(run.frames.positions[k], step.positions)
        np.testing.assert_allclose(run.frames.forces[k], step.forces * HARTREE_PER_BOHR, rtol=1e-13)
    np.testing.assert_array_equal(read(log, restart=text, pos=pos).frames.positions, run.frames.positions)
    assert "X-pos-1.xyz" in refused(log, inp=text).remedy
    assert "x.inp" in refused(log, pos=pos).remedy


def test_a_cell_that_changes_is_that_of_the_cell_file() -> None:
    steps = make_steps(2)
    log, text = low_text(steps, "CELL_OPT"), input_text(steps[0], "CELL_OPT")
    rows = [f"{k} 0.0 {' '.join(map(str, (np.eye(3) * (4.25 + k)).ravel()))} 76.7" for k in (0, 1)]
    run = read(log, inp=text, pos=xyz_text(steps, [0, 1]), cell="\n".join([*rows, ""]).encode())
    assert run.frames.cell[:, 0, 0].tolist() == [4.25, 5.25]
    assert ".cell" in refused(log, inp=text, pos=xyz_text(steps, [0, 1])).remedy


def test_units_of_trajectories_are_those_of_the_input() -> None:
    steps = make_steps(2)
    motion = "&MOTION\n&PRINT\n&TRAJECTORY\nUNIT bohr\n&END\n&FORCES\nUNIT eV*angstrom^-1\n&END\n&END\n&END"
    beside = {"pos": xyz_text(steps, [0, 1]), "frc": xyz_text(steps, [0, 1], forces=True)}
    run = read(low_text(steps, "MD"), inp=input_text(steps[0], "MD", motion=motion), **beside)
    np.testing.assert_allclose(run.frames.positions[1], steps[1].positions * BOHR)
    np.testing.assert_allclose(run.frames.forces[1], steps[1].forces)
    other = input_text(steps[0], "MD", motion=motion.replace("eV*angstrom^-1", "mdyn"))
    assert np.isnan(read(low_text(steps, "MD"), inp=other, **beside).frames.forces).all()


def test_a_trajectory_in_bohr_is_known_by_the_places_that_the_log_prints() -> None:
    steps = make_steps(3)
    far = [replace(step, positions=step.positions / BOHR) for step in steps]
    run = read(cp2k_text(steps, run="MD"), pos=xyz_text(far, range(3)))
    assert (run.frames.step.tolist(), run.flags) == ([0], ("companion_of_other_run", "malformed_steps"))
    assert any("other places" in note for note in run.notes)
    np.testing.assert_array_equal(run.frames.positions[0], steps[0].positions)


def test_tables_that_a_single_point_wrote_beside_its_log() -> None:
    (step,) = make_steps(1)
    text = cp2k_text([step])
    table = text[text.index(b"\n ATOMIC FORCES") : text.index(b"\n STRESS|")]
    log, inp = low_text([step], "ENERGY_FORCE"), input_text(step, "ENERGY_FORCE")
    forces = read(log, inp=inp, **{"X-1_0.xyz": table}).frames.forces[0]
    np.testing.assert_allclose(forces, step.forces * HARTREE_PER_BOHR, rtol=1e-14)
    for other in (table + table, table.replace(b" Mg ", b" Ca ")):
        assert np.isnan(read(log, inp=inp, **{"X-1_0.xyz": other}).frames.forces).all()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["ENERGY", "MD"]), st.data())
def test_damage_to_what_lies_beside_a_log_raises_nothing_else(run: str, data: st.DataObject) -> None:
    steps = make_steps(1)
    beside = {"x.inp": input_text(steps[0], run), "X-pos-1.xyz": xyz_text(steps, [0])}
    name = data.draw(st.sampled_from(sorted(beside)))
    reader = Cp2kReader()
    reader.feed(low_text(steps, run))
    for each, text in beside.items():
        reader.take_companion(each, damaged(data.draw, text, 0) if each == name else text)
    with suppress(UnreadableOutput):
        (found,) = reader.close()
        kept = without_torn_steps(found)
        assert np.isfinite(kept.frames.positions).all()
        assert np.isfinite(kept.frames.cell).all()


@pytest.mark.parametrize(
    "text",
    [
        b"&A\n" * 5000,
        b"@INCLUDE x.inp\n" * 9,
        b"@SET A xxxxxxxx\n" + b"@SET A $A$A$A$A\n" * 40,
        b"&GLOBAL\nPROJECT X\nRUN_TYPE ENERGY\n&END\n&FORCE_EVAL\n&DFT\nCHARGE nan\n&END\n&END\n",
    ],
)
def test_hostile_inputs_are_refused(text: bytes) -> None:
    assert refused(low_text(make_steps(1), "ENERGY"), inp=text).reason == "no_complete_step"
