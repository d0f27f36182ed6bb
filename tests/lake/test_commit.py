"""A batch becomes visible exactly once, whatever comes again, in other company or at the same time."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from made_up_readings import BAD, CAO, MGCAO, MGO, made_calculation, made_reading, six_readings

import lake as lake_module
from lake import commit, transactions
from lake.commit import BatchReport, commit_batch, stage
from lake.inbox import batch_id
from lake.lake import Lake
from schemas.errors import CommitConflict, SchemaMismatch, SettingsError, TableError
from schemas.settings import Settings
from schemas.sources import Rejection, SourceReading

STAMPS = ("batch_id", "ingested_at", "rejected_at", "seconds")

STATES = [
    ("a.tar", "taken"),
    ("b.tar", "taken"),
    ("c.tar", "taken"),
    ("d.tar", "duplicate"),
    ("e.tar", "rejected"),
    ("f.tar", "partly_taken"),
]


def ingest(lake: Lake, readings: list[SourceReading], parts: int = 1) -> BatchReport:
    batch = batch_id([reading.source for reading in readings])
    return commit_batch(lake, [stage(lake, readings[i::parts], batch, i) for i in range(parts)], batch)


def content(lake: Lake) -> dict[str, list[object]]:
    """Return all rows of all tables, without what depends on the moment."""
    tables = {name: getattr(lake, name)().drop(STAMPS, strict=False).collect() for name in ("calculations", "sources", "rejections")}
    tables["frames"] = lake.frames(only_good=False).collect()
    return {name: sorted(map(repr, rows.rows())) for name, rows in tables.items()}


class Crash(Exception):
    pass


def crash_before(monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    """Let the next commit to a table end the program's work before it is made."""

    def crashing(real: Callable[..., int]) -> Callable[..., int]:
        def made(lake: Lake, name: str, batch: str, choose: object) -> int:
            if name == table:
                raise Crash(name)
            return real(lake, name, batch, choose)

        return made

    for each in ("commit_files", "commit_ahead"):
        monkeypatch.setattr(commit, each, crashing(getattr(commit, each)))


def test_a_batch_is_taken_whole(folder_lake: Lake) -> None:
    report = ingest(folder_lake, six_readings(), parts=2)
    assert [(source.key, source.state) for source in report.sources] == STATES
    assert (report.n_calculations_new, report.n_frames_new, report.n_duplicates) == (6, 29, 1)
    assert sum(source.n_new_frames for source in report.sources) == 29
    assert report.sources[4].reasons == ("no_complete_step",)
    assert report.versions == {"calculations": 1, "frames": 1, "rejections": 1, "sources": 1}
    rows = folder_lake.sources().filter(pl.col("key") == "d.tar").collect()
    origins = folder_lake.sources().filter(pl.col("calculation_ids").list.contains(rows["calculation_ids"][0][0])).collect()
    assert sorted(origins["key"]) == ["b.tar", "d.tar"]
    assert folder_lake.systems().select("element_system", "n_frames").rows() == [("Ca-Mg-O", 9), ("Ca-O", 8), ("Mg-O", 12)]


def test_the_same_batch_again_changes_nothing(folder_lake: Lake) -> None:
    ingest(folder_lake, six_readings())
    before, versions = content(folder_lake), folder_lake.versions()
    again = ingest(folder_lake, six_readings(), parts=3)
    assert (again.n_calculations_new, again.n_frames_new) == (0, 0)
    assert content(folder_lake) == before
    assert folder_lake.versions() == versions


def test_committing_the_same_staging_twice_keeps_its_files(folder_lake: Lake) -> None:
    readings = six_readings()
    staged = [pickle.loads(pickle.dumps(stage(folder_lake, readings, "b" * 64, 0)))]
    commit_batch(folder_lake, staged, "b" * 64)
    commit_batch(folder_lake, staged, "b" * 64)
    assert folder_lake.frames().collect().height == 29


@pytest.mark.parametrize("table", ["calculations", "frames", "rejections", "sources"])
def test_a_crash_before_any_commit_is_made_good_in_other_company(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    readings = six_readings()
    with monkeypatch.context() as patch:
        crash_before(patch, table)
        with pytest.raises(Crash):
            ingest(folder_lake, readings[1:4])
    ingest(folder_lake, readings[:2])
    ingest(folder_lake, readings[2:], parts=2)
    frames = folder_lake.frames(only_good=False).collect()
    assert frames.height == frames["frame_id"].n_unique() == 29
    calculations = folder_lake.calculations().collect()
    assert calculations.height == calculations["calculation_id"].n_unique() == 6
    assert folder_lake.sources().select("key", "state").sort("key").collect().rows() == STATES
    assert folder_lake.rejections().collect()["rejection_id"].n_unique() == folder_lake.rejections().collect().height == 2


def test_frames_never_come_before_their_calculation(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        crash_before(patch, "frames")
        with pytest.raises(Crash):
            ingest(folder_lake, six_readings())
    assert folder_lake.frames().collect().is_empty()
    assert folder_lake.calculations().collect().height == 6
    assert folder_lake.sources().collect().is_empty()


def test_a_source_that_failed_in_a_crashed_batch_is_taken_when_it_succeeds(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    good = made_reading("x.tar", made_calculation(MGO, 4, 1))
    failed = made_reading("x.tar", rejections=(Rejection("", "store_failed", "no answer", "try again"),))
    other = made_reading("y.tar", made_calculation(CAO, 4, 2))
    with monkeypatch.context() as patch:
        crash_before(patch, "sources")
        with pytest.raises(Crash):
            ingest(folder_lake, [failed, other])
    ingest(folder_lake, [good, other])
    assert folder_lake.frames().collect().height == 8
    assert folder_lake.sources().collect()["state"].to_list() == ["taken", "taken"]


def test_a_file_with_frames_that_are_there_already_is_written_anew_without_them(folder_lake: Lake) -> None:
    first, second = made_calculation(MGO, 4, 1), made_calculation(MGO, 5, 2)
    ingest(folder_lake, [made_reading("x.tar", first)])
    report = ingest(folder_lake, [made_reading("y.tar", second, first)])
    assert report.n_frames_new == 5
    frames = folder_lake.frames().collect()
    assert frames.height == frames["frame_id"].n_unique() == 9
    stored = {found.key for found in folder_lake.store.list("frames/element_system=Mg-O")}
    live = {f"frames/{path}" for path in folder_lake.table("frames").get_add_actions()["path"].to_pylist()}
    assert stored == live


def test_a_file_that_was_written_anew_can_be_written_anew_again(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = (made_calculation(MGO, seed=seed) for seed in (1, 2, 3))
    ingest(folder_lake, [made_reading("one.zip", one)])
    real, met = transactions.put_entry, []

    def meet_another_writer(lake: Lake, name: str, *arguments: object) -> bool:
        if not met:
            met.append(name)
            ingest(folder_lake, [made_reading("two.zip", two)])
        return real(lake, name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(transactions, "put_entry", meet_another_writer)
    report = ingest(folder_lake, [made_reading("all.zip", one, two, three)])
    assert met
    assert report.n_frames_new == three.run.frames.count
    ids = folder_lake.frames().collect()["calculation_id"]
    assert sorted(set(ids)) == sorted(c.calculation_id for c in (one, two, three))
    assert len(ids) == sum(c.run.frames.count for c in (one, two, three))
    files = {path.name for path in Path(folder_lake.url, "frames").rglob("*.parquet") if "_delta_log" not in path.parts}
    assert len(files) == 3, "what was written for nothing is gone"


def test_a_calculation_twice_in_one_source_is_added_once_and_named_twice(folder_lake: Lake) -> None:
    run = made_calculation(MGO, 4, 1, member="first")
    copy = made_calculation(MGO, 4, 1, member="second")
    ingest(folder_lake, [made_reading("x.tar", run, copy)])
    assert folder_lake.frames().collect().height == 4
    assert folder_lake.sources().collect()["members"].to_list() == [["first", "second"]]


def test_an_attempt_more_adds_a_row_of_sources_and_only_what_is_new(folder_lake: Lake) -> None:
    run, late = made_calculation(MGO, 4, 1), made_calculation(CAO, 3, 1)
    ingest(folder_lake, [made_reading("x.tar", run, rejections=(BAD,))])
    ingest(folder_lake, [made_reading("x.tar", run, late, attempt=2)])
    rows = folder_lake.sources().sort("attempt").collect()
    assert rows["attempt"].to_list() == [1, 2]
    assert rows["state"].to_list() == ["partly_taken", "taken"]
    assert folder_lake.frames().collect().height == 7


@pytest.mark.parametrize("kind", ["folder", "moto", pytest.param("weed", marks=pytest.mark.s3)])
def test_overlapping_batches_at_the_same_time_give_no_double(kind: str, request: pytest.FixtureRequest) -> None:
    lake: Lake = request.getfixturevalue(f"{kind}_lake")
    readings = [made_reading(f"{i}.tar", made_calculation(MGO, 3, i), made_calculation(MGCAO, 2, i % 3)) for i in range(6)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: ingest(lake, readings[i : i + 3]), range(4)))
    frames = lake.frames().collect()
    assert frames.height == frames["frame_id"].n_unique() == 6 * 3 + 3 * 2
    assert lake.calculations().collect()["calculation_id"].is_duplicated().sum() == 0
    assert lake.sources().collect()["key"].sort().to_list() == [f"{i}.tar" for i in range(6)]
    frames_table = lake.table("frames")
    assert frames_table.transaction_version(transactions.COMMITS) == frames_table.version()


def test_a_loser_gives_up_after_a_bound(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "ATTEMPTS", 2)
    monkeypatch.setattr(transactions.time, "sleep", lambda _: None)
    rival = iter(range(100))
    real = commit.rows_of

    def rows_of(lake: Lake, *arguments: object, **options: object) -> pl.DataFrame:
        found = real(lake, *arguments, **options)  # type: ignore[arg-type]
        with monkeypatch.context() as patch:
            patch.setattr(commit, "rows_of", real)
            ingest(folder_lake, [made_reading(f"rival-{next(rival)}.tar", made_calculation(CAO, 2, 50 + next(rival)))])
        return found

    monkeypatch.setattr(commit, "rows_of", rows_of)
    with pytest.raises(CommitConflict, match="2 times"):
        ingest(folder_lake, [made_reading("x.tar", made_calculation(MGO, 4, 1))])


def test_float_lists_are_byte_stream_split_and_pruned_by_statistics(folder_lake: Lake) -> None:
    ingest(folder_lake, [made_reading("x.tar", made_calculation(MGO, 40, 1))])
    (path,) = [found.key for found in folder_lake.store.list("frames/element_system=Mg-O")]
    metadata = pq.read_metadata(folder_lake.store.open(path)).row_group(0)
    columns = {metadata.column(i).path_in_schema: metadata.column(i) for i in range(metadata.num_columns)}
    assert "BYTE_STREAM_SPLIT" in columns["forces.list.element"].encodings
    assert columns["positions.list.element"].compression == "ZSTD"
    assert not any(path.startswith("element_system") for path in columns)
    actions = folder_lake.table("frames").get_add_actions(flatten=True)
    frames = folder_lake.frames().collect()
    assert actions["num_records"].to_pylist() == [40]
    for name in ("energy_per_atom", "max_force", "calculation_id"):
        assert actions[f"min.{name}"].to_pylist() == [frames[name].min()]
        assert actions[f"max.{name}"].to_pylist() == [frames[name].max()]
    assert actions["null_count.energy_sigma0"].to_pylist() == [40]


def test_a_lake_that_is_not_made_and_a_table_of_another_schema_are_said(folder_lake: Lake) -> None:
    with pytest.raises(TableError, match=r"Lake\.create\(\)"):
        replace(folder_lake, url=f"{folder_lake.url}-2").table("frames")
    folder_lake.table("sources").alter.set_table_properties({"atomlake.schemaVersion": "999"}, raise_if_not_exists=False)
    with pytest.raises(SchemaMismatch, match="999"):
        folder_lake.sources()
    with pytest.raises(TableError, match="version 77"):
        folder_lake.table("frames", 77)


@pytest.mark.parametrize("name", ["my lake", "50%20", "湖"])
def test_a_folder_whose_path_delta_would_change_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="choose a folder"):
        lake_module.open(str(tmp_path / name), Settings(home=tmp_path))
