"""One frame by its id is the row that a query gives, or an error that says why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from made_up_earlier import earlier, lacking_at
from made_up_readings import CAO, MGO, made_calculation, made_reading
from polars.testing import assert_frame_equal

import lake
from lake.commit import commit_batch, stage
from lake.compaction import compact
from lake.embargoes import embargo
from lake.lake import Lake
from lake.lineage import retract
from lake.log import live_paths
from lake.migrations import migrate
from lake.tables import live_files
from schemas.errors import QueryError, SchemaMismatch, UnknownName
from schemas.settings import ProfileSettings


def filled(opened: Lake) -> Lake:
    readings = [
        made_reading("a", made_calculation(MGO, 5, 1), made_calculation(CAO, 4, 2)),
        made_reading("b", made_calculation(MGO, 3, 3), metadata={"project": "secret"}),
    ]
    for n, each in enumerate(readings):
        commit_batch(opened, [stage(opened, [each], str(n) * 64, 0)], str(n) * 64)
    return opened


@pytest.mark.parametrize("kind", ["folder_lake", "moto_lake"])
def test_each_frame_is_found_by_its_id(kind: str, request: pytest.FixtureRequest) -> None:
    opened = filled(request.getfixturevalue(kind))
    rows = opened.frames(only_good=False).collect()
    for name in rows["frame_id"][::5]:
        assert_frame_equal(opened.frame(name), rows.filter(pl.col("frame_id") == name))
    compact(opened, "frames")
    assert_frame_equal(opened.frame(rows["frame_id"][0]), rows[:1])


def test_only_files_of_its_element_system_that_can_hold_it_are_read(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = filled(folder_lake)
    read: list[str] = []
    scan = pl.scan_parquet
    monkeypatch.setattr(pl, "scan_parquet", lambda paths, **options: read.extend(paths) or scan(paths, **options))
    name = opened.frames(systems="Ca-O", only_good=False).select("frame_id").collect()["frame_id"][0]
    read.clear()
    opened.frame(name)
    assert [path for path in read if "/frames/" in path and "element_system=Ca-O" not in path] == []
    assert len([path for path in read if "/frames/" in path]) == 1


def test_what_is_not_there_or_not_for_the_reader_is_said(folder_lake: Lake) -> None:
    opened = filled(folder_lake)
    name = opened.frames(project="secret", only_good=False).select("frame_id").collect()["frame_id"][0]
    with pytest.raises(QueryError, match="is no id of a frame"):
        opened.frame("seven")
    for unknown in (f"{'0' * 64}:1", f"{name}000"):
        with pytest.raises(UnknownName, match="there is no frame"):
            opened.frame(unknown)
    embargo(opened, "secret", "2999-01-01")
    with pytest.raises(UnknownName, match="under embargo"):
        opened.frame(name)
    friend = lake.open(opened.url, replace(opened.settings, profile=ProfileSettings(("secret",))))
    assert friend.frame(name)["frame_id"].to_list() == [name]
    retract(friend, "b", "wrong")
    with pytest.raises(UnknownName, match="retracted"):
        friend.frame(name)
    assert friend.frame(name, retracted=True).height == 1


def test_paths_out_of_the_log_are_those_of_the_opened_table(folder_lake: Lake) -> None:
    def agrees() -> None:
        for name in ("frames", "calculations"):
            files = pl.DataFrame(live_files(folder_lake.table(name))).rename({"partition.element_system": "element_system"}, strict=False)
            found = live_paths(folder_lake, name)
            assert sorted(found.iter_rows()) == sorted(files.select(found.columns).iter_rows())

    assert live_paths(folder_lake, "frames").is_empty()
    filled(folder_lake)
    agrees()
    for name in ("frames", "calculations"):
        folder_lake.table(name).create_checkpoint()
    agrees()
    for n in range(2, 20):
        made = made_reading(str(n), made_calculation(CAO, 2, n))
        commit_batch(folder_lake, [stage(folder_lake, [made], f"{n:064}", 0)], f"{n:064}")
    agrees()
    compact(folder_lake, "frames")
    agrees()


def test_a_table_of_another_schema_is_not_read_past_its_check(folder_lake: Lake, tmp_path: Path) -> None:
    old = earlier(filled(folder_lake), str(tmp_path / "old"), lacking_at(1), version="1")
    for name in ("frames", "calculations"):
        old.open_table(name).create_checkpoint()
    with pytest.raises(SchemaMismatch, match="run 'atomlake migrate'"):
        live_paths(old, "frames")
    migrate(old)
    assert live_paths(old, "frames").height == live_files(old.table("frames")).num_rows
