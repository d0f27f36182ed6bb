"""Outputs of one run become one calculation; outputs of other runs do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from made_up_outputs import MADE_LOG, MADE_XML, made_run, part
from made_up_readings import LDA, PBE, made_block

from lake.grouping import Output, group
from lake.identity import calculation_id
from lake.readers.collections.ase_trajectory import ASE_TRAJECTORY
from schemas.calculations import Calculation, Run
from schemas.frames import FrameBlock
from schemas.theory import U_NOT_TOLD, LevelOfTheory

BLOCK = made_block([12, 12, 8, 8], 8, 1)
RUN = made_run(BLOCK)
ROUNDED = replace(BLOCK, positions=BLOCK.positions.round(5), energy=BLOCK.energy.round(7), forces=BLOCK.forces.round(5))
OTHER = made_block([12, 12, 8, 8], 8, 2)
NOTHING_SAID = LevelOfTheory(code=PBE.code, functional="")


def log(run: Run, path: str = "run/pw.out") -> Output:
    return Output(path, MADE_LOG, replace(run, format="made log"))


def xml(frames: FrameBlock | Run, path: str = "run/data.xml") -> Output:
    run = frames if isinstance(frames, Run) else made_run(frames)
    return Output(path, MADE_XML, replace(run, format="made xml"))


def trajectory(frames: FrameBlock, path: str = "run/md.traj") -> Output:
    """Return what a trajectory of ASE says of the same run."""
    return Output(path, ASE_TRAJECTORY, replace(made_run(frames), kind="collection", format="ASE trajectory", level_of_theory=NOTHING_SAID))


def only(calculations: Sequence[Calculation]) -> Calculation:
    assert len(calculations) == 1
    return calculations[0]


def test_two_outputs_of_one_run_are_one_calculation() -> None:
    level = replace(PBE, kpoints=(2, 2, 2), kpoint_spacing=0.3)
    for order in (1, -1):
        outputs = [xml(made_run(ROUNDED, level=level)), log(replace(RUN, kind="unknown", code_version=""))][::order]
        found = only(group(outputs))
        assert found.run.frames.energy is BLOCK.energy
        assert found.run.level_of_theory == level
        assert (found.run.kind, found.run.code_version, found.run.format) == ("md", "1.0", "made log")
        assert (found.member, found.files) == ("run", ("run/pw.out", "run/data.xml"))
        assert (found.run.flags, found.run.notes) == ((), ())


def test_the_identity_is_that_of_the_output_that_gives_the_labels() -> None:
    alone = only(group([log(RUN)]))
    both = only(group([log(RUN), xml(made_run(ROUNDED, level=replace(PBE, kpoints=(2, 2, 2))))]))
    assert alone.calculation_id == both.calculation_id == calculation_id(RUN)


def test_known_values_are_not_replaced_by_those_of_another_output() -> None:
    found = only(group([log(RUN), xml(made_run(ROUNDED, level=replace(PBE, cutoff=1.0)))]))
    assert found.run.level_of_theory.cutoff == PBE.cutoff


def test_the_more_telling_name_of_a_dispersion_and_the_value_of_a_u_are_taken() -> None:
    """pw.x's stdout has D3 without its damping, and betrays a U by its energy alone; its XML has both."""
    short = replace(PBE, dispersion="D3", extra=(U_NOT_TOLD, ("field", "on")))
    long = replace(PBE, dispersion="D3(0)", hubbard_u=(("O", "p", 5.0),))
    found = only(group([log(made_run(BLOCK, level=short)), xml(made_run(ROUNDED, level=long))]))
    level = found.run.level_of_theory
    assert (level.dispersion, level.hubbard_u, level.extra) == ("D3(0)", (("O", "p", 5.0),), (("field", "on"),))
    found = only(group([log(made_run(BLOCK, level=long)), xml(made_run(ROUNDED, level=short))]))
    assert found.run.level_of_theory.dispersion == "D3(0)"


def test_an_energy_that_differs_is_a_flag_with_both_values() -> None:
    energy = ROUNDED.energy.copy()
    energy[3] += 0.002
    run = only(group([log(RUN), xml(replace(ROUNDED, energy=energy))])).run
    assert run.flags == ("sources_disagree",)
    assert "1 of 8 steps" in run.notes[0]
    assert f"{BLOCK.energy[3]:.8f}" in run.notes[0]
    assert f"{energy[3]:.8f}" in run.notes[0]
    forces = ROUNDED.forces.copy()
    forces[2, 1, 0] += 0.5
    run = only(group([log(RUN), xml(replace(ROUNDED, forces=forces))])).run
    assert run.flags == ("sources_disagree",)
    assert "step 2: by 0.5000" in run.notes[0]


def test_energies_with_pressure_in_them_are_not_compared() -> None:
    shifted = replace(ROUNDED, energy=ROUNDED.energy + 1, flags=(("pressure_in_energy",),) * 8)
    assert only(group([log(RUN), xml(shifted)])).run.flags == ()


def test_another_run_beside_it_is_a_calculation_of_its_own() -> None:
    log_run, xml_run = group([log(RUN), xml(OTHER)])
    assert log_run.run.flags == ("companion_of_other_run",)
    assert "run/data.xml" in log_run.run.notes[0]
    assert xml_run.run.flags == ()
    assert (log_run.member, xml_run.member) == ("run/pw.out", "run/data.xml")
    assert len(group([log(RUN), xml(made_run(ROUNDED, level=LDA))])) == 2
    assert len(group([log(RUN), xml(made_block([20, 12, 8, 8], 8, 1))])) == 2


def test_a_static_run_on_the_relaxed_structure_is_another_run() -> None:
    last = part(ROUNDED, slice(7, 8))
    static = made_run(replace(last, energy=last.energy + 0.01, step=np.zeros(1, np.int32)), kind="static")
    assert len(group([log(RUN), xml(static)])) == 2


def test_fewer_steps_in_the_companion_are_a_note() -> None:
    run = only(group([log(RUN), xml(part(ROUNDED, slice(6, 8)))])).run
    assert run.flags == ()
    assert run.notes == ("run/pw.out has 8 steps, run/data.xml has 2",)


def test_fewer_steps_in_a_whole_label_giver_are_a_flag() -> None:
    run = only(group([log(made_run(part(BLOCK, slice(0, 6)))), xml(ROUNDED)])).run
    assert run.frames.count == 6
    assert run.flags == ("sources_disagree",)


def test_a_companion_with_more_steps_stands_in_for_an_output_that_is_cut() -> None:
    found = only(group([log(made_run(part(BLOCK, slice(0, 3)), complete=False)), xml(ROUNDED)]))
    assert found.run.frames.count == 8
    assert found.run.format == "made xml"
    assert found.files == ("run/data.xml", "run/pw.out")
    assert "cut off after 3 steps" in found.run.notes[0]
    kept = only(group([log(made_run(part(BLOCK, slice(0, 3)), complete=False)), xml(part(ROUNDED, slice(0, 3)))]))
    assert kept.run.format == "made log"


def test_the_scratch_folder_of_a_run_belongs_to_it() -> None:
    for path in ("run/pwscf.save/data.xml", "run/out/pwscf.save/data.xml", "run/out/pwscf.xml"):
        found = only(group([log(RUN), xml(ROUNDED, path)]))
        assert (found.member, found.files) == ("run", ("run/pw.out", path))
    first, second = group([log(RUN), xml(OTHER, "run/below/data.xml")])
    assert (first.run.flags, second.run.flags) == ((), ())
    assert (first.member, second.member) == ("run", "run/below")


def test_a_second_copy_of_a_file_that_a_run_was_read_with_is_no_run_of_its_own() -> None:
    """pw.x writes its XML to PREFIX.xml and to PREFIX.save."""
    found = only(group([log(RUN), xml(ROUNDED, "run/out/pwscf.save/data.xml"), xml(ROUNDED, "run/out/pwscf.xml")]))
    assert found.files == ("run/pw.out", "run/out/pwscf.save/data.xml")
    assert len(group([log(RUN), xml(ROUNDED, "run/pwscf.xml"), xml(OTHER, "run/other.xml")])) == 2


def test_several_logs_in_one_folder_each_find_their_companion() -> None:
    outputs = [
        log(RUN, "run/a.out"),
        log(made_run(OTHER), "run/b.out"),
        xml(OTHER, "run/b.save/data.xml"),
        xml(ROUNDED, "run/a.save/data.xml"),
    ]
    first, second = group(outputs)
    assert first.files == ("run/a.out", "run/a.save/data.xml")
    assert second.files == ("run/b.out", "run/b.save/data.xml")
    assert (first.member, second.member) == ("run/a.out", "run/b.out")
    assert not first.run.flags + second.run.flags


def test_several_runs_in_one_log_are_several_and_copies_are_one() -> None:
    calculations = group([log(RUN, "all.out"), log(made_run(OTHER), "all.out"), log(RUN, "copy/all.out")])
    assert [c.member for c in calculations] == ["all.out", "all.out"]
    assert len({c.calculation_id for c in calculations}) == 2


def test_checks_are_made() -> None:
    forces = BLOCK.forces.copy()
    forces[0] = np.nan
    assert only(group([log(made_run(replace(BLOCK, forces=forces)))])).run.frames.flags[0] == ("missing_forces",)


def test_molecules_without_a_cell_are_grouped_too() -> None:
    free = replace(BLOCK, cell=np.zeros((8, 3, 3)), pbc=np.zeros(3, bool))
    assert len(only(group([log(made_run(free)), xml(replace(free, positions=free.positions.round(5)))])).files) == 2


def test_a_trajectory_of_ase_beside_the_log_of_its_calculator_is_no_run_of_its_own() -> None:
    # Units of another CODATA year change the energies by some 1e-8 of them.
    found = only(group([log(replace(RUN, kind="unknown")), trajectory(replace(ROUNDED, energy=ROUNDED.energy * (1 + 5e-8)))]))
    assert found.run.frames.energy is BLOCK.energy
    assert found.files == ("run/pw.out", "run/md.traj")
    assert (found.run.kind, found.run.level_of_theory, found.run.flags) == ("unknown", PBE, ())


def test_a_trajectory_of_ase_with_anything_of_its_own_stays_a_calculation() -> None:
    energy = ROUNDED.energy.copy()
    energy[3] += 0.01
    for other in (replace(ROUNDED, energy=energy), OTHER):
        found = group([log(RUN), trajectory(other)])
        assert [each.files for each in found] == [("run/pw.out",), ("run/md.traj",)]
        assert found[0].run.flags == ()
    longer = group([log(made_run(part(BLOCK, slice(5)))), trajectory(ROUNDED)])
    assert [each.run.frames.count for each in longer] == [5, 8], "frames that no log has are not lost"
