"""The scalar columns of everything: always those of the table, whatever came, was moved or taken away since they were written."""

from __future__ import annotations

import random

import polars as pl
import pytest
from made_up_readings import CAO, MGCAO, MGO, made_calculation, made_reading

from lake import scalars
from lake.commit import commit_batch, stage
from lake.compaction import compact
from lake.lake import Lake
from lake.scalars import COLUMNS, newest_summary, summarise, unused_files
from lake.transactions import newest, try_commit
from lake.vacuum import vacuum
from schemas.columns import FRAMES


def add(lake: Lake, seed: int) -> None:
    readings = [made_reading(f"{seed}.tar", *(made_calculation(numbers, 3, seed) for numbers in (MGO, CAO, MGCAO)[: 1 + seed % 3]))]
    commit_batch(lake, [stage(lake, readings, f"{seed:064x}", 0)], f"{seed:064x}")


def check(lake: Lake, version: int | None = None) -> None:
    """Assert that the scalar columns are those of the table."""
    found, expected = (
        getattr(lake, name)(version=version, only_good=False).select(COLUMNS).sort("frame_id").collect() for name in ("scalars", "frames")
    )
    assert found.equals(expected)
    assert found.schema == expected.schema


def test_every_column_but_the_arrays_is_there() -> None:
    assert set(FRAMES.names()) - set(COLUMNS) == {"numbers", "positions", "cell", "pbc", "forces", "stress", "fixed"}


def test_whatever_happens_the_rows_are_those_of_the_table(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scalars, "PART_ROWS", 20)
    rng = random.Random(5)
    check(folder_lake)
    for seed in range(24):
        add(folder_lake, seed)
        if rng.random() < 0.4:
            summarise(folder_lake)
        if rng.random() < 0.2:
            compact(folder_lake, "frames")
        check(folder_lake)
    newest_version = folder_lake.versions()["frames"]
    for version in rng.sample(range(newest_version), 6):
        check(folder_lake, version)
    summary = newest_summary(folder_lake, newest_version)
    assert summary is not None
    assert len([part for part in summary.parts if part.n_rows < 10]) <= scalars._SMALL_PARTS


def test_filters_are_those_of_frames(folder_lake: Lake) -> None:
    for seed in range(5):
        add(folder_lake, seed)
    compact(folder_lake, "frames")
    for filters in (
        {"elements": "Mg O"},
        {"elements": "Mg O Ca", "subsystems": True, "energy_per_atom": (-7.02, 0.0)},
        {"formula": "OCa"},
        {"with_forces": True},
        {"systems": ["Ca-Mg-O", "Ca-O"]},
    ):
        found, expected = (
            getattr(folder_lake, name)(**filters).select(COLUMNS).sort("frame_id").collect() for name in ("scalars", "frames")
        )
        assert expected.height
        assert found.equals(expected)


def test_rows_that_were_taken_away_are_not_shown(folder_lake: Lake) -> None:
    for seed in (1, 2):
        add(folder_lake, seed)
    summarise(folder_lake)
    table = folder_lake.table("frames")
    table.delete("element_system = 'Mg-O'")
    check(folder_lake)
    assert folder_lake.scalars().filter(pl.col("element_system") == "Mg-O").collect().is_empty()
    summarise(folder_lake)
    check(folder_lake)


def test_a_summary_of_other_columns_counts_for_nothing(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    add(folder_lake, 2)
    with monkeypatch.context() as patch:
        patch.setattr(scalars, "COLUMNS", COLUMNS[:-1])
        summarise(folder_lake)
    assert newest_summary(folder_lake, 1) is None
    check(folder_lake)


def test_a_summary_that_nothing_came_after_is_not_made_again(folder_lake: Lake) -> None:
    add(folder_lake, 1)
    first = summarise(folder_lake)
    assert summarise(folder_lake) == first
    with newest(folder_lake, "frames") as table:
        assert try_commit(table, "frames", "nothing", [])
    assert summarise(folder_lake) == first


def test_what_older_summaries_needed_is_swept(folder_lake: Lake) -> None:
    for seed in range(3):
        add(folder_lake, seed)
        compact(folder_lake, "frames")
    assert unused_files(folder_lake)
    swept = {each.what: each.n_files for each in vacuum(folder_lake, older_than_days=0, dry_run=False, alone=True)}
    assert swept["scalar columns"] >= 2
    assert unused_files(folder_lake) == []
    check(folder_lake)


def test_scalars_on_a_server(moto_lake: Lake) -> None:
    for seed in range(3):
        add(moto_lake, seed)
    compact(moto_lake, "frames")
    add(moto_lake, 3)
    check(moto_lake)
