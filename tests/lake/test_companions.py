"""Trajectories beside a log are read with it: in any order of the members, within a limit, and each with the log that it belongs to."""

from __future__ import annotations

import gzip
import io
import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import cp2k_text, make_steps, xyz_text
from made_up_orbitals import openmx_md_text, openmx_text
from made_up_outputs import tar_of

from lake.reading import Contents, read_stream
from schemas.calculations import Calculation
from schemas.settings import LimitSettings

STEPS = make_steps(4)
OTHERS = make_steps(3, seed=5)
LOG = cp2k_text(STEPS, run="MD")
POSITIONS = xyz_text(STEPS, range(4))


def named(log: bytes, project: str) -> bytes:
    """Return a log that says the name of its project."""
    return log.replace(b" GLOBAL| Run type", b" GLOBAL| Project name        " + project.encode() + b"\n GLOBAL| Run type", 1)


def contents(files: Mapping[str, bytes], limit: int = 2**20) -> Contents:
    return read_stream("a.tar", lambda: io.BytesIO(tar_of(files)), replace(LimitSettings(), max_companion_bytes=limit))


def only(found: Contents) -> Calculation:
    (calculation,) = found.calculations
    assert found.rejections == ()
    return calculation


def test_any_order_of_the_members_gives_the_same_calculation() -> None:
    files = {"run/log": LOG, "run/X-pos-1.xyz": POSITIONS, "run/X-frc-1.xyz": xyz_text(STEPS, range(4), forces=True), "run/notes.md": b"hi"}
    found = [only(contents({name: files[name] for name in order})) for order in itertools.permutations(files)]
    assert {each.calculation_id for each in found} == {found[0].calculation_id}
    assert {each.files for each in found} == {("run/log", "run/X-frc-1.xyz", "run/X-pos-1.xyz")}
    assert (found[0].run.frames.count, found[0].run.flags, found[0].run.notes) == (4, (), ())
    np.testing.assert_array_equal(found[0].run.frames.positions, [step.positions for step in STEPS])


def test_a_compressed_copy_of_a_companion_changes_nothing() -> None:
    plain = only(contents({"log": LOG, "X-pos-1.xyz": POSITIONS}))
    twice = only(contents({"log": LOG, "X-pos-1.xyz": POSITIONS, "X-pos-1.xyz.gz": gzip.compress(POSITIONS)}))
    assert (plain.calculation_id, plain.files) == (twice.calculation_id, twice.files)


def test_files_of_another_folder_are_left_alone() -> None:
    calculation = only(contents({"a/log": LOG, "b/X-pos-1.xyz": POSITIONS}))
    assert (calculation.run.frames.count, calculation.files) == (1, ("a/log",))


def test_of_several_candidates_that_of_the_project_of_the_log_comes_first() -> None:
    moved = [replace(step, positions=(step.positions + (0.5 if n else 0.0)).round(6)) for n, step in enumerate(STEPS)]
    files = {"A-pos-1.xyz": xyz_text(moved, range(4)), "B-pos-1.xyz": POSITIONS}
    for project, expected in (("A", moved), ("B", STEPS)):
        calculation = only(contents({**files, "log": named(LOG, project)}))
        assert calculation.files == ("log", f"{project}-pos-1.xyz")
        np.testing.assert_array_equal(calculation.run.frames.positions, [step.positions for step in expected])


def test_two_logs_of_one_folder_each_have_their_own() -> None:
    logs = {"a.log": named(LOG, "A"), "b.log": named(cp2k_text(OTHERS, run="MD"), "B")}
    found = contents({"B-pos-1.xyz": xyz_text(OTHERS, range(3)), **logs, "A-pos-1.xyz": POSITIONS})
    assert {each.files: each.run.frames.count for each in found.calculations} == {("a.log", "A-pos-1.xyz"): 4, ("b.log", "B-pos-1.xyz"): 3}
    assert [each.run.flags for each in found.calculations] == [(), ()]


def test_a_renamed_trajectory_is_found_by_its_energies_and_a_strange_one_is_not_blamed() -> None:
    calculation = only(contents({"log": named(LOG, "A"), "old-pos-1.xyz": POSITIONS}))
    assert calculation.run.frames.count == 4
    calculation = only(contents({"log": named(LOG, "A"), "B-pos-1.xyz": xyz_text(OTHERS, range(3))}))
    assert (calculation.run.frames.count, calculation.run.flags, calculation.files) == (1, ("malformed_steps",), ("log",))
    calculation = only(contents({"log": named(LOG, "A"), "A-pos-1.xyz": xyz_text(OTHERS, range(3))}))
    assert calculation.run.flags == ("companion_of_other_run", "malformed_steps")


def test_a_trajectory_over_the_limit_is_not_used_and_a_note_says_so() -> None:
    for files in ({"log": LOG, "X-pos-1.xyz": POSITIONS}, {"X-pos-1.xyz": POSITIONS, "log": LOG}):
        run = only(contents(files, limit=len(POSITIONS) - 1)).run
        assert run.frames.count == 1
        assert any("X-pos-1.xyz" in note and "limits.max_companion_bytes" in note for note in run.notes)


def test_folders_one_after_the_other_need_no_more_room_than_one() -> None:
    logs = [(make_steps(4, seed=seed), f"{seed:02}") for seed in range(20)]
    files = {}
    for n, (steps, folder) in enumerate(logs):
        both = {f"{folder}/log": cp2k_text(steps, run="MD"), f"{folder}/X-pos-1.xyz": xyz_text(steps, range(4))}
        files |= both if n % 2 else dict(reversed(both.items()))
    found = contents(files, limit=2 * len(POSITIONS) + 10)
    assert [(each.member, each.run.frames.count, each.run.notes) for each in found.calculations] == [(name, 4, ()) for _, name in logs]


def test_what_comes_after_its_folder_was_finished_is_a_note() -> None:
    first, second = make_steps(4, seed=1), make_steps(4, seed=2)
    files = {
        "a/X-frc-1.xyz": xyz_text(first, range(4), forces=True),
        "a/log": cp2k_text(first, run="MD"),
        "b/X-pos-1.xyz": xyz_text(second, range(4)),
        "a/X-pos-1.xyz": xyz_text(first, range(4)),
        "b/log": cp2k_text(second, run="MD"),
    }
    a, b = contents(files, limit=len(POSITIONS) + 10).calculations
    for calculation in (a, b):
        assert calculation.run.frames.count == 1
        assert any("limits.max_companion_bytes" in note for note in calculation.run.notes)


@given(cut=st.integers(0, len(POSITIONS)), wrong=st.integers(0, len(POSITIONS) - 1), byte=st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_a_cut_or_damaged_trajectory_gives_the_steps_before(cut: int, wrong: int, byte: int) -> None:
    run = only(contents({"log": LOG, "X-pos-1.xyz": POSITIONS[:cut]})).run
    whole = sum(len(xyz_text(STEPS[: n + 1], range(n + 1))) <= cut for n in range(4))
    assert run.frames.count == max(1, whole)
    damaged = POSITIONS[:wrong] + bytes([byte]) + POSITIONS[wrong + 1 :]
    found = contents({"log": LOG, "X-pos-1.xyz": damaged})
    assert [rejection.reason for rejection in found.rejections if rejection.reason == "reader_failed"] == []
    assert found.calculations[0].run.frames.count >= 1


def test_a_damaged_archive_leaves_nothing_behind() -> None:
    data = bytearray(gzip.compress(tar_of({"log": LOG, "X-pos-1.xyz": POSITIONS, "INCAR": b"IVDW = 12"})))
    data[-8] ^= 1
    found = read_stream("a.tar.gz", lambda: io.BytesIO(bytes(data)), LimitSettings())
    assert (found.calculations, [rejection.reason for rejection in found.rejections]) == ((), ["corrupt_archive"])


def test_trajectory_of_openmx_is_no_run_beside_its_output() -> None:
    steps = [replace(step, positions=step.positions.round(5), energy=round(step.energy, 5)) for step in make_steps(3)]
    output, track = openmx_text(steps, kind="opt"), openmx_md_text(steps, range(3))
    for files in ({"X.out": output, "X.md": track}, {"X.md": track, "X.out": output, "README.md": b"# words"}):
        calculation = only(contents(files))
        assert (calculation.run.format, calculation.files, calculation.run.frames.count) == ("OpenMX output", ("X.out", "X.md"), 3)
    alone = only(contents({"X.md": track}))
    assert (alone.run.format, alone.run.frames.count) == ("OpenMX .md", 3)


def test_trajectory_of_another_run_of_openmx_stays_a_calculation() -> None:
    output, track = openmx_text(make_steps(3), kind="opt"), openmx_md_text(make_steps(3, seed=9), range(3))
    found = contents({"X.out": output, "X.md": track})
    assert sorted((each.run.format, each.run.frames.count) for each in found.calculations) == [("OpenMX .md", 3), ("OpenMX output", 2)]
