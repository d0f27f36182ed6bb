"""Commits take their turn in the log; handles are kept, and what a commit costs does not grow with what came before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_up_readings import CAO, MGCAO, MGO, made_calculation, made_reading

from lake import commit, keys, tidying, transactions
from lake.commit import commit_batch, stage
from lake.inbox import batch_id
from lake.keys import present, rows_of
from lake.lake import Lake
from lake.log import application_ids, entries, live_additions
from lake.tables import live_files
from lake.tidying import tidy
from lake.transactions import newest, newest_version, try_commit
from schemas.sources import SourceReading


def ingest(lake: Lake, *readings: SourceReading) -> str:
    batch = batch_id([reading.source for reading in readings])
    commit_batch(lake, [stage(lake, readings, batch, 0)], batch)
    return batch


def run(lake: Lake, seed: int) -> str:
    return ingest(lake, made_reading(f"{seed}.tar", made_calculation(MGO, 2, seed)))


@pytest.fixture(params=["folder", "moto"])
def any_lake(request: pytest.FixtureRequest) -> Lake:
    """Return an empty lake in a folder, then one on a server."""
    lake: Lake = request.getfixturevalue(f"{request.param}_lake")
    return lake


def test_of_two_that_stand_on_one_version_one_commits(any_lake: Lake) -> None:
    first, second = any_lake.table("rejections"), any_lake.table("rejections")
    assert try_commit(first, "rejections", "a", [])
    assert not try_commit(second, "rejections", "b", [])
    assert not try_commit(first, "rejections", "c", []), "the handle stays where it is"
    first.update_incremental()
    assert try_commit(first, "rejections", "c", [])
    assert any_lake.versions()["rejections"] == 2
    assert application_ids(any_lake, "rejections", 2) == {transactions.COMMITS, "a", "c"}


def test_a_kept_handle_sees_what_others_commit(any_lake: Lake) -> None:
    with newest(any_lake, "frames") as handle:
        assert handle.version() == 0
    run(any_lake, 1)
    with newest(any_lake, "frames") as again, newest(any_lake, "frames") as another:
        assert again is handle
        assert another is not handle, "who looks through a handle has it for himself"
        assert again.version() == another.version() == any_lake.versions()["frames"] == 1


def test_a_table_that_was_made_anew_is_opened_anew(folder_lake: Lake) -> None:
    for seed in range(3):
        run(folder_lake, seed)
    assert newest_version(folder_lake, "frames") == 3
    shutil.rmtree(folder_lake.url)
    folder_lake.create()
    assert newest_version(folder_lake, "frames") == 0
    run(folder_lake, 1)
    assert folder_lake.versions()["frames"] == 1
    assert folder_lake.frames().collect().height == 2


def test_the_log_says_what_came_between(any_lake: Lake) -> None:
    batches = [run(any_lake, seed) for seed in range(3)]
    found = entries(any_lake, "frames", 1, 3)
    assert [entry.version for entry in found] == [2, 3]
    assert [set(entry.transactions) for entry in found] == [{transactions.COMMITS, batch} for batch in batches[1:]]
    files = live_files(any_lake.table("frames"))
    by_path = {file.path: file for file in live_additions(entries(any_lake, "frames", 0, 3))}
    assert set(by_path) == set(files["path"].to_pylist())
    for path, rows, size, least in zip(*(files[c].to_pylist() for c in ("path", "num_records", "size_bytes", "min.energy")), strict=True):
        assert (by_path[path].n_rows, by_path[path].size, by_path[path].least["energy"]) == (rows, size, least)
        assert by_path[path].partition == {"element_system": "Mg-O"}
        assert by_path[path].is_new_data
    any_lake.table("frames").create_checkpoint()
    batches.append(run(any_lake, 3))
    assert application_ids(any_lake, "frames", 4) == {transactions.COMMITS, *batches}


def test_small_files_of_keyed_tables_are_joined_as_they_come(any_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "FILES", 4)
    for seed in range(12):
        run(any_lake, seed)
    for name, column in (("calculations", "calculation_id"), ("sources", "source_id")):
        table = any_lake.table(name)
        files = live_files(table)
        assert sum(files["num_records"].to_pylist()) == 12
        assert files.num_rows <= 4 + 3 + 1, f"{name}: {files.num_rows} files"
        rows = getattr(any_lake, name)().collect()
        assert rows[column].n_unique() == rows.height == 12
        wanted = set(rows[column].to_list()[::3])
        assert present(any_lake, table, column, wanted | {"0" * 64, "g"}) == wanted
    run(any_lake, 5)
    assert any_lake.frames().collect().height == 24


def test_tidying_that_meets_another_writer_leaves_everything_as_it_is(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "tidy", lambda *_: 0)
    monkeypatch.setattr(commit, "tidy", lambda *_: 0)
    for seed in range(16):
        run(folder_lake, seed)
    monkeypatch.undo()
    before = set(live_files(folder_lake.table("calculations"))["path"].to_pylist())
    monkeypatch.setattr(tidying, "try_commit", lambda *_: False)
    assert tidy(folder_lake, "calculations") == 0
    monkeypatch.undo()
    stored = {path.name for path in Path(folder_lake.url, "calculations").glob("*.parquet")}
    assert stored == before == set(live_files(folder_lake.table("calculations"))["path"].to_pylist())
    assert tidy(folder_lake, "calculations") == 16
    assert folder_lake.calculations().collect()["calculation_id"].n_unique() == 16


def test_frames_of_new_calculations_are_not_searched_for(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    run(folder_lake, 1)
    monkeypatch.setattr(commit._Frames, "_search", lambda *_: pytest.fail("searched the table for frames that cannot be there"))
    run(folder_lake, 2)
    ingest(folder_lake, made_reading("copy.tar", made_calculation(MGO, 2, 1)), made_reading("new.tar", made_calculation(CAO, 2, 1)))
    assert folder_lake.frames().collect().height == 6
    states = dict(folder_lake.sources().select("key", "state").collect().iter_rows())
    assert states == {"1.tar": "taken", "2.tar": "taken", "copy.tar": "duplicate", "new.tar": "taken"}


def test_frames_that_another_batch_adds_in_between_are_seen(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = made_calculation(MGO, 3, 1)
    real, met = commit.commit_files, []

    def commit_files(lake: Lake, name: str, *arguments: object) -> int:
        version = real(lake, name, *arguments)  # type: ignore[arg-type]
        if name == "calculations" and not met:
            met.append(name)
            # It finds the calculation, of a batch that is not closed and has no frames, and adds them.
            ingest(folder_lake, made_reading("rival.tar", shared, made_calculation(MGCAO, 2, 3)))
            assert folder_lake.frames().collect().height == 5
        return version

    monkeypatch.setattr(commit, "commit_files", commit_files)
    ingest(folder_lake, made_reading("first.tar", shared, made_calculation(MGO, 4, 2)))
    frames = folder_lake.frames().collect()
    assert frames.height == frames["frame_id"].n_unique() == 9


def test_only_files_that_can_hold_a_key_are_read(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(6):
        run(folder_lake, seed)
    ids = sorted(folder_lake.calculations().collect()["calculation_id"])
    asked: list[int] = []
    real = keys.rows_in

    def rows_in(lake: Lake, table: object, paths: list[str], *arguments: object, **options: object) -> object:
        asked.append(len(paths))
        return real(lake, table, paths, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(keys, "rows_in", rows_in)
    table = folder_lake.table("calculations")
    assert rows_of(folder_lake, table, "calculation_id", {ids[2], ids[4]}, ("calculation_id", "batch_id")).height == 2
    assert rows_of(folder_lake, table, "calculation_id", {"0", "g"}, ("calculation_id",)).height == 0
    assert rows_of(folder_lake, table, "calculation_id", set(), ("calculation_id",)).height == 0
    assert asked == [2, 0, 0]


def test_checkpoints_come_as_often_as_the_table_is_small(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(transactions, "_FILES_A_COMMIT", 1)
    for seed in range(12):
        run(folder_lake, seed)
    names = (path.name for path in Path(folder_lake.url, "frames/_delta_log").glob("*.checkpoint.parquet"))
    # With 2 files the next one comes 2 commits later, with 4 files 4, with 8 files 8.
    assert sorted(int(name.partition(".")[0]) for name in names) == [2, 4, 8]
