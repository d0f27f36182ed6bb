"""One frame by its id is the row that a query gives, or an error that says why not."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from made_up_readings import CAO, MGO, made_calculation, made_reading
from polars.testing import assert_frame_equal

import lake
from lake.commit import commit_batch, stage
from lake.compaction import compact
from lake.embargoes import embargo
from lake.lake import Lake
from lake.lineage import retract
from schemas.errors import QueryError, UnknownName
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
