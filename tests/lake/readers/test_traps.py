"""Traps of the list in docs/readers.md that no other test names."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import numpy as np
from made_up_vasp import OUTCAR_END, make_run, outcar_cycle, outcar_text, xml_text

from lake.checks import check
from lake.grouping import Output, group
from lake.readers import READERS
from lake.readers.traps import TRAPS
from lake.readers.vasp.outcar import OutcarReader
from lake.readers.vasp.xml import VaspXmlReader
from schemas.calculations import Run
from schemas.columns import CALCULATIONS, FRAMES


def read_xml(data: bytes) -> Run:
    reader = VaspXmlReader()
    reader.feed(data)
    (run,) = reader.close()
    return run


def read_outcar(data: bytes) -> Run:
    reader = OutcarReader()
    reader.feed(data)
    (run,) = reader.close()
    return run


def test_the_list_of_traps_is_whole() -> None:
    counts = {"T": 32, "E": 10, "S": 6, "F": 13, "A": 8}
    assert [trap.number for trap in TRAPS] == [f"{letter}{k + 1}" for letter, count in counts.items() for k in range(count)]
    assert all(trap.tests for trap in TRAPS)


def test_t7_the_number_of_steps_says_nothing_of_ionic_convergence() -> None:
    """A relaxation that ended before NSW and one that used all its steps look alike, and no column claims that ions converged."""
    made = make_run(3)
    early, late = (read_xml(xml_text(made.with_tags(NSW=n, IBRION="2"))) for n in ("50", "3"))
    assert (early.complete, early.flags, early.frames.flags) == (late.complete, late.flags, late.frames.flags) == (True, (), ((), (), ()))
    names = [column.name for column in (*CALCULATIONS.columns, *FRAMES.columns)] + [each.name for each in fields(Run)]
    assert [name for name in names if re.search("converged", name)] == ["scf_converged"]


def test_t17_cell_and_forces_are_not_turned() -> None:
    """A cell whose first vector is not along x keeps its axes, and so do positions, forces and stress."""
    cell = np.array([[3.1, 1.2, -0.4], [-0.7, 3.6, 0.9], [0.3, -1.1, 4.2]])
    made = make_run(2)
    made = replace(made, steps=tuple(replace(step, cell=cell) for step in made.steps))
    for run in (read_xml(xml_text(made)), read_outcar(outcar_text(made))):
        np.testing.assert_array_equal(run.frames.cell, [cell, cell])
        np.testing.assert_array_equal(run.frames.forces, [step.forces for step in made.steps])
        np.testing.assert_allclose(run.frames.positions, [step.positions @ cell for step in made.steps], atol=6e-6)


def test_t30_the_output_with_more_digits_gives_the_labels() -> None:
    """The OUTCAR has five decimals of a position, vasprun.xml eight of a fraction; which one was taken is on record."""
    made = make_run(2)
    xml, outcar = read_xml(xml_text(made)), read_outcar(outcar_text(made))
    specs = {spec.name: spec for spec in READERS}
    outputs = [Output("run/OUTCAR", specs["OUTCAR"], outcar), Output("run/vasprun.xml", specs["vasprun.xml"], xml)]
    (found,) = group(outputs)
    assert (found.run.format, found.files) == ("vasprun.xml", ("run/vasprun.xml", "run/OUTCAR"))
    np.testing.assert_array_equal(found.run.frames.positions, xml.frames.positions)
    assert np.abs(outcar.frames.positions - xml.frames.positions).max() > 1e-9
    (alone,) = group(outputs[:1])
    assert (alone.run.format, alone.run.notes) == ("OUTCAR", ())


def test_e4_the_last_iteration_of_a_killed_run_is_no_result() -> None:
    made = make_run(3)
    killed = outcar_text(make_run(2), end=False) + "\n".join(outcar_cycle(replace(made.steps[2], free=-99.0), 3)).encode()
    run = read_outcar(killed)
    assert run.frames.energy.tolist() == [step.free for step in made.steps[:2]]
    assert (run.complete, run.flags) == (False, ("truncated",))
    assert OUTCAR_END.encode() not in killed


def test_e9_energies_above_zero_are_taken_as_they_are() -> None:
    made = make_run(1)
    step = replace(made.steps[0], free=711.25)
    for run in (read_xml(xml_text(replace(made, steps=(step,)))), read_outcar(outcar_text(replace(made, steps=(step,))))):
        assert (run.frames.energy.tolist(), check(run).frames.flags[0]) == ([711.25], ("net_force",))


def test_a8_a_single_atom_without_a_force_is_good() -> None:
    made = make_run(1, natoms=1)
    step = replace(made.steps[0], forces=np.zeros((1, 3)), stress=np.zeros((3, 3)))
    run = check(read_xml(xml_text(replace(made, steps=(step,)))))
    assert (run.frames.forces.tolist(), run.frames.flags) == ([[[0.0, 0.0, 0.0]]], ((),))
