"""An ingest that is killed at any moment, and run again, leaves the same tables as one that is not."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import lake
from schemas.json import to_json
from schemas.settings import Settings

PROGRAM = Path(__file__).parent / "ingest_program.py"
_spec = importlib.util.spec_from_file_location("ingest_program", PROGRAM)
assert _spec is not None
assert _spec.loader is not None
_program = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_program)
ingest, six_readings = _program.ingest, _program.six_readings
STAMPS = ("batch_id", "ingested_at", "rejected_at", "seconds")
KILLS = 10


def content(opened: lake.Lake) -> dict[str, list[str]]:
    """Return all rows of all tables, sorted, without what depends on the moment."""
    tables = {name: getattr(opened, name)().collect() for name in ("calculations", "sources", "rejections")}
    tables["frames"] = opened.frames(only_good=False).collect()
    return {name: sorted(map(repr, rows.drop(STAMPS, strict=False).rows())) for name, rows in tables.items()}


def started(opened: lake.Lake) -> subprocess.Popen[str]:
    """Start the program and return it; it waits for a line before it does anything."""
    command = [sys.executable, str(PROGRAM), opened.url, to_json(opened.settings, indent=None)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def told(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def go(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    assert told(program) == "ready"
    program.stdin.write("go\n")
    program.stdin.flush()


def to_its_end(program: subprocess.Popen[str]) -> list[str]:
    """Return everything that the program said."""
    go(program)
    words = program.communicate()[0].split()
    assert words[-1] == "done"
    return words


@pytest.mark.s3
@pytest.mark.slow
def test_killed_and_run_again_gives_the_same_tables(weed_settings: Settings) -> None:
    whole, *lakes = [lake.open(f"s3://lake-tests/kill-{i}", weed_settings).create() for i in range(KILLS + 1)]
    words = to_its_end(started(whole))
    assert words == [*["stage", "calculations", "frames", "rejections", "sources"] * 3, "done"]
    expected = content(whole)
    assert (len(expected["frames"]), len(expected["sources"]), len(expected["calculations"])) == (29, 6, 6)
    rng = random.Random(20260101)
    reached = set()
    waiting = started(lakes[0])
    for i, heard in enumerate(sorted(rng.sample(range(1, len(words)), KILLS))):
        opened, program = lakes[i], waiting
        go(program)
        said = [told(program) for _ in range(heard)]
        time.sleep(rng.uniform(0, 0.05))
        program.kill()
        program.communicate()
        waiting = started(lakes[min(i + 1, KILLS - 1)])
        reached.add(tuple(opened.versions().values()))
        frames = opened.frames(only_good=False).select("calculation_id").collect()
        described = opened.calculations().select("calculation_id").collect()
        assert set(frames["calculation_id"]) <= set(described["calculation_id"])
        ingest(opened, six_readings())
        assert content(opened) == expected, f"killed after {said}"
    waiting.kill()
    waiting.communicate()
    assert len(reached) >= 5, f"the kills met only these states of the tables: {reached}"


@pytest.mark.s3
def test_two_programs_at_the_same_time_give_the_same_tables(weed_settings: Settings, tmp_path: Path) -> None:
    alone = lake.open(str(tmp_path / "alone"), replace(weed_settings, home=tmp_path)).create()
    together = lake.open("s3://lake-tests/together", weed_settings).create()
    programs = [started(together), started(together), started(alone)]
    for program in programs:
        go(program)
    assert [program.communicate()[0].split()[-1] for program in programs] == ["done"] * 3
    assert content(together) == content(alone)
    assert together.frames().select(pl.col("frame_id").is_duplicated().sum()).collect().item() == 0
