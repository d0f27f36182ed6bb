"""Random kills over writers, a compaction and a vacuum that work on one lake at the same time: no loss, no double, no half.

`make faults` makes it two hundred kills.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

import polars as pl
import pytest

import lake
from schemas.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))

from storm_program import reading, upkeep, write_everything, writer

KILLS = int(os.environ.get("ATOMLAKE_TEST_KILLS", "24"))
WRITERS = 3
SOURCES_A_KILL = 2
SEED = 20261122


def expected_rows(n_sources: int) -> dict[str, int]:
    """Return frames of each calculation that the first sources have."""
    return {c.calculation_id: c.run.frames.count for i in range(n_sources) for c in reading(i).calculations}


def check_no_half(opened: lake.Lake, expected: dict[str, int]) -> None:
    """Assert at any moment: each calculation's frames are there once and all, or not at all, and never before its row."""
    # In the order from last to first commit, because writers may go on meanwhile.
    named = opened.sources().select(pl.col("calculation_ids").explode().unique().drop_nulls()).collect()["calculation_ids"]
    frames = opened.frames(only_good=False).select("calculation_id", "frame_id").collect()
    described = opened.calculations().select("calculation_id").collect()["calculation_id"]
    assert described.is_duplicated().sum() == 0
    assert frames["frame_id"].is_duplicated().sum() == 0
    counts = dict(frames.group_by("calculation_id").len().iter_rows())
    assert set(counts) <= set(described)
    assert counts == {name: expected[name] for name in counts}
    assert set(named) <= set(counts), "a source is closed when its frames are there"


@pytest.mark.s3
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_storm_of_kills(weed_settings: Settings) -> None:
    opened = lake.open("s3://lake-tests/storm", weed_settings).create()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["storm_program"])
    rng = random.Random(SEED)
    n_sources = 10 + SOURCES_A_KILL * KILLS
    expected = expected_rows(n_sources)
    there = context.Value("i", 10)

    def started(place: int) -> multiprocessing.process.BaseProcess:
        common = (opened.url, weed_settings)
        seed = rng.randrange(2**31)
        work, given = (writer, (*common, there, seed)) if place < WRITERS else (upkeep, (*common, seed))
        process = context.Process(target=work, args=given)
        process.start()
        return process

    running = [started(place) for place in range(WRITERS + 1)]
    killed = [0] * len(running)
    try:
        for kill in range(KILLS):
            time.sleep(rng.uniform(0.05, 1.2))
            # Upkeep is killed as often as the writers together.
            place = rng.choice([*range(WRITERS), *[WRITERS] * WRITERS])
            assert running[place].is_alive(), "a program ended by itself"
            running[place].kill()
            running[place].join()
            killed[place] += 1
            running[place] = started(place)
            there.value += SOURCES_A_KILL
            if kill % 12 == 5:
                check_no_half(opened, expected)
    finally:
        for process in running:
            process.kill()
            process.join()
    for _ in range(n_sources):
        if write_everything(opened, n_sources, rng) == n_sources:
            break
    check_no_half(opened, expected)
    frames = opened.frames(only_good=False).select("frame_id").collect()
    assert frames.height == sum(expected.values())
    assert set(opened.calculations().collect()["calculation_id"]) == set(expected)
    sources = opened.sources().select("key", "attempt").collect()
    assert sorted(sources.rows()) == [(f"{i:05d}.tar", 1) for i in range(n_sources)]
    rejected = {reading(i).source.key for i in range(n_sources) if reading(i).rejections}
    rejections = opened.rejections().collect()
    assert (set(rejections["key"]), rejections.height) == (rejected, len(rejected))
    both = [
        getattr(opened, name)(only_good=False).select("frame_id", "energy").sort("frame_id").collect() for name in ("scalars", "frames")
    ]
    assert both[0].equals(both[1])
    versions = opened.versions()
    print(f"{sum(killed)} kills ({killed[:-1]} writers, {killed[-1]} upkeep); {n_sources} sources, {frames.height} frames, {versions}")
    assert min(versions[name] for name in ("frames", "calculations", "sources")) > 5
