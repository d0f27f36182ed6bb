"""Statistics from the log, compaction, and a vacuum that takes nothing that a dataset or a running program needs."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_up_readings import CAO, MGCAO, MGO, made_calculation, made_reading

from lake import compaction
from lake import vacuum as vacuum_module
from lake.commit import commit_batch, stage
from lake.compaction import compact
from lake.lake import Lake
from lake.stats import lake_stats
from lake.tables import live_files
from lake.vacuum import pinned_versions, vacuum
from schemas.datasets import FrameQuery
from schemas.errors import QueryError

ALL = FrameQuery(only_good=False)


def add(lake: Lake, *seeds: int) -> None:
    """Commit one batch of three calculations for each seed."""
    for seed in seeds:
        readings = [made_reading(f"{seed}.tar", *(made_calculation(numbers, 3, seed) for numbers in (MGO, CAO, MGCAO)))]
        batch = f"{seed:064x}"
        commit_batch(lake, [stage(lake, readings, batch, 0)], batch)


def files_on_disk(lake: Lake, name: str = "frames") -> set[str]:
    return {found.key for found in lake.store.list(name) if found.key.endswith(".parquet") and "_delta_log" not in found.key}


def rows(lake: Lake, version: int | None = None) -> list[tuple[object, ...]]:
    return lake.frames(version=version).sort("frame_id").collect().rows()


def test_statistics_come_from_the_log(folder_lake: Lake) -> None:
    assert [table.n_files for table in lake_stats(folder_lake).tables] == [0] * 5
    add(folder_lake, 1, 2)
    for key in files_on_disk(folder_lake):
        assert folder_lake.store.folder is not None
        (folder_lake.store.folder / key).unlink()
    found = lake_stats(folder_lake)
    frames = found.tables[0]
    assert (frames.name, frames.n_rows, frames.n_files, frames.n_small_files, frames.version) == ("frames", 18, 6, 6, 2)
    assert frames.n_log_files == 3
    assert frames.log_bytes > 1000
    assert found.systems["element_system"].sort().to_list() == ["Ca-Mg-O", "Ca-O", "Mg-O"]
    assert found.systems["n_frames"].to_list() == [6, 6, 6]
    assert found.systems["bytes"].sum() == frames.bytes


def test_compaction_joins_small_files_and_keeps_every_row(folder_lake: Lake) -> None:
    add(folder_lake, 1, 2, 3)
    before, old = rows(folder_lake), folder_lake.versions()["frames"]
    done = compact(folder_lake, "frames")
    assert (done.n_files_before, done.n_files_after, done.version) == (9, 3, old + 1)
    table = folder_lake.table("frames")
    assert live_files(table).num_rows == 3
    assert rows(folder_lake) == before == rows(folder_lake, old)
    assert lake_stats(folder_lake).tables[0].n_small_files == 0
    again = compact(folder_lake, "frames")
    assert (again.n_files_before, again.version) == (0, old + 1)


def test_compacted_files_have_our_encoding_and_statistics(folder_lake: Lake) -> None:
    add(folder_lake, 1, 2)
    compact(folder_lake, "frames")
    files = live_files(folder_lake.table("frames"))
    assert files["min.calculation_id"].null_count == 0
    assert folder_lake.store.folder is not None
    file = pq.ParquetFile(folder_lake.store.folder / "frames" / files["path"][0].as_py())
    columns = {file.metadata.row_group(0).column(i).path_in_schema: file.metadata.row_group(0).column(i) for i in range(30)}
    assert "BYTE_STREAM_SPLIT" in columns["positions.list.element"].encodings
    assert columns["positions.list.element"].compression == "ZSTD"
    ids = pq.read_table(folder_lake.store.folder / "frames" / files["path"][0].as_py(), partitioning=None)["calculation_id"].to_pylist()
    assert ids == sorted(ids)


def test_joined_files_stay_below_their_size(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    add(folder_lake, 1, 2, 3, 4, 5)
    before = rows(folder_lake)
    largest = max(live_files(folder_lake.table("frames"))["size_bytes"].to_pylist())
    monkeypatch.setattr(compaction, "TARGET_BYTES", int(2.5 * largest))
    monkeypatch.setattr(compaction, "GROUPS_A_COMMIT", 2)
    old = folder_lake.versions()["frames"]
    done = compact(folder_lake, "frames")
    assert (done.n_files_before, done.n_files_after, done.version) == (12, 6, old + 3)
    assert lake_stats(folder_lake).tables[0].n_files == 9
    assert rows(folder_lake) == before


def test_the_log_calls_it_no_change_of_data(folder_lake: Lake) -> None:
    add(folder_lake, 1, 2)
    version = compact(folder_lake, "frames").version
    entries = [json.loads(line) for line in folder_lake.store.get(f"frames/_delta_log/{version:020d}.json").splitlines()]
    changes = [entry[kind]["dataChange"] for entry in entries for kind in ("add", "remove") if kind in entry]
    assert changes == [False] * 9


def test_nothing_comes_twice_after_compaction(folder_lake: Lake) -> None:
    add(folder_lake, 1, 2)
    before = rows(folder_lake)
    for name in ("frames", "calculations", "sources"):
        compact(folder_lake, name)
    add(folder_lake, 1, 2)
    assert rows(folder_lake) == before
    assert folder_lake.calculations().collect().height == 6


def test_a_writer_that_comes_between_loses_nothing(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    add(folder_lake, 1, 2)
    real, came = compaction.try_commit, []

    def late(*arguments: object) -> bool:
        if not came:
            came.append(True)
            add(folder_lake, 3)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "try_commit", late)
    monkeypatch.setattr(compaction, "wait_for_others", lambda _: None)
    assert compact(folder_lake, "frames").n_files_before == 6
    assert len(rows(folder_lake)) == 27
    assert live_files(folder_lake.table("frames")).num_rows == 6


def test_of_two_compactions_one_wins(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    add(folder_lake, 1, 2)
    before = rows(folder_lake)
    real, came = compaction.try_commit, []

    def late(*arguments: object) -> bool:
        if not came:
            came.append(True)
            compact(folder_lake, "frames")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "try_commit", late)
    monkeypatch.setattr(compaction, "wait_for_others", lambda _: None)
    assert compact(folder_lake, "frames").n_files_after == 0
    assert rows(folder_lake) == before
    assert len(files_on_disk(folder_lake)) == 6 + 3


def test_a_dataset_verifies_after_compaction_and_vacuum(folder_lake: Lake) -> None:
    add(folder_lake, 1, 2)
    dataset = folder_lake.publish("d", ALL)
    add(folder_lake, 3)
    compact(folder_lake, "frames")
    compact(folder_lake, "calculations")
    add(folder_lake, 4)
    compact(folder_lake, "frames")
    pinned = dataset.manifest.table_versions
    assert pinned_versions(folder_lake) == {"frames": (pinned["frames"],), "calculations": (pinned["calculations"],)}
    before, arrays, disk = rows(folder_lake), dataset.arrays(), files_on_disk(folder_lake)
    swept = {each.what: each for each in vacuum(folder_lake, older_than_days=0, dry_run=False, alone=True)}
    # 3 files of batch 3, 3 of batch 4 and the 3 of the first compaction: no version that is needed has them.
    assert swept["frames"].n_files == 9
    assert swept["frames"].bytes > 0
    assert len(disk) - len(files_on_disk(folder_lake)) == 9
    assert rows(folder_lake) == before
    again = folder_lake.dataset("d")
    again.verify()
    assert again.arrays().positions.tobytes() == arrays.positions.tobytes()


def test_a_dry_run_removes_nothing(folder_lake: Lake) -> None:
    add(folder_lake, 1, 2)
    compact(folder_lake, "frames")
    disk, version = files_on_disk(folder_lake), folder_lake.versions()
    assert vacuum(folder_lake, older_than_days=0, dry_run=True)[0].n_files == 6
    assert files_on_disk(folder_lake) == disk
    assert folder_lake.versions() == version


def test_what_was_needed_a_moment_ago_stays_within_the_retention(folder_lake: Lake) -> None:
    add(folder_lake, 1, 2)
    old = folder_lake.versions()["frames"]
    before = rows(folder_lake)
    compact(folder_lake, "frames")
    staged = stage(folder_lake, [made_reading("late.tar", made_calculation(MGO, 3, 9))], "9" * 64, 0)
    assert sum(each.n_files for each in vacuum(folder_lake, older_than_days=1, dry_run=False)) == 0
    assert rows(folder_lake, old) == before
    commit_batch(folder_lake, [staged], "9" * 64)
    assert len(rows(folder_lake)) == 18 + 3


def test_the_retention_counts_from_when_a_file_was_removed_not_written(folder_lake: Lake) -> None:
    add(folder_lake, 1, 2)
    stage(folder_lake, [made_reading("late.tar", made_calculation(MGO, 3, 9))], "9" * 64, 0)
    folder = folder_lake.store.folder
    assert folder is not None
    ten_days_ago = time.time() - 10 * 86400
    for key in files_on_disk(folder_lake):
        os.utime(folder / key, (ten_days_ago, ten_days_ago))
    old = folder_lake.versions()["frames"]
    before = rows(folder_lake)
    compact(folder_lake, "frames")
    assert vacuum(folder_lake, older_than_days=2, dry_run=False)[0].n_files == 1
    assert rows(folder_lake, old) == before == rows(folder_lake)


def test_files_of_killed_writers_are_swept(folder_lake: Lake) -> None:
    add(folder_lake, 1)
    disk = files_on_disk(folder_lake)
    stage(folder_lake, [made_reading("late.tar", made_calculation(MGO, 3, 9))], "9" * 64, 0)
    folder_lake.store.put("datasets/lost/frames-0123456789abcdef.parquet", b"x")
    assert len(files_on_disk(folder_lake)) == len(disk) + 1
    swept = {each.what: each for each in vacuum(folder_lake, older_than_days=0, dry_run=False, alone=True)}
    assert (swept["frames"].n_files, swept["dataset indexes"].n_files, swept["dataset indexes"].bytes) == (1, 1, 1)
    assert files_on_disk(folder_lake) == disk
    assert list(folder_lake.store.list("datasets")) == []


def test_a_short_retention_needs_to_be_alone(folder_lake: Lake) -> None:
    with pytest.raises(QueryError, match="could take files from writers"):
        vacuum(folder_lake, older_than_days=0.5, dry_run=False)
    with pytest.raises(QueryError, match="remember for 30 days"):
        vacuum(folder_lake, older_than_days=31, dry_run=True)
    assert vacuum_module.LEAST_DAYS == 1


def test_uploads_that_never_ended_are_aborted(moto_lake: Lake) -> None:
    store = moto_lake.store
    store._client.create_multipart_upload(Bucket=store.bucket, Key="tables/frames/big")
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert store.unfinished_uploads(later - timedelta(days=36500), abort=True) == ()
    assert store.unfinished_uploads(later, abort=False) == ("tables/frames/big",)
    assert store.unfinished_uploads(later, abort=True) == ("tables/frames/big",)
    assert store.unfinished_uploads(later, abort=True) == ()


def test_compaction_and_vacuum_on_a_server(moto_lake: Lake) -> None:
    add(moto_lake, 1, 2)
    before = rows(moto_lake)
    dataset = moto_lake.publish("d", ALL)
    assert compact(moto_lake, "frames").n_files_after == 3
    assert vacuum(moto_lake, older_than_days=0, dry_run=False, alone=True)[0].n_files == 0
    assert rows(moto_lake) == before
    dataset.verify()
    assert lake_stats(moto_lake).tables[0].n_files == 3


def test_a_lake_of_a_folder_has_no_unfinished_uploads(folder_lake: Lake, tmp_path: Path) -> None:
    assert tmp_path.exists()
    assert folder_lake.store.unfinished_uploads(datetime.now(UTC), abort=True) == ()


@pytest.mark.s3
def test_compaction_and_vacuum_on_a_real_server(weed_lake: Lake) -> None:
    add(weed_lake, 1, 2)
    dataset = weed_lake.publish("d", ALL)
    add(weed_lake, 3)
    before = rows(weed_lake)
    assert compact(weed_lake, "frames").n_files_after == 3
    upload = weed_lake.store._client.create_multipart_upload(Bucket=weed_lake.store.bucket, Key=f"{weed_lake.store.prefix}/frames/big")
    swept = {each.what: each.n_files for each in vacuum(weed_lake, older_than_days=0, dry_run=False, alone=True)}
    assert (swept["frames"], swept["unfinished uploads"]) == (3, 1), upload["UploadId"]
    assert rows(weed_lake) == before
    dataset.verify()
    assert lake_stats(weed_lake).tables[0].n_small_files == 0
