"""Reading again that is killed at any moment, and run again, leaves the same tables as one that is not; datasets stay as they are."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from made_up_outputs import MADE_READERS, made_run, tar_of, written
from made_up_readings import CAO, MGCAO, MGO, made_block

import lake
from lake.commit import commit_batch, stage
from lake.inbox import discover
from lake.reading import read_source
from lake.store import ObjectStore, connect
from lake.vacuum import vacuum
from schemas.datasets import FrameQuery
from schemas.json import to_json
from schemas.settings import Settings

PROGRAM = Path(__file__).parent / "reread_program.py"
_spec = importlib.util.spec_from_file_location("reread_program", PROGRAM)
assert _spec is not None
assert _spec.loader is not None
_program = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_program)
STAMPS = ("batch_id", "ingested_at", "rejected_at", "seconds", "last_modified")
KILLS = 5


def content(opened: lake.Lake) -> dict[str, list[str]]:
    """Return all rows of all tables, sorted, without what depends on the moment."""
    tables = {name: opened.scan(opened.table(name)).collect() for name in ("frames", "calculations", "sources", "rejections")}
    return {name: sorted(map(repr, rows.drop(STAMPS, strict=False).rows())) for name, rows in tables.items()}


@pytest.fixture
def inbox(tmp_path: Path) -> ObjectStore:
    """Return an inbox with three runs, a copy of one of them, and one that the newer reader refuses."""
    (tmp_path / "inbox").mkdir()
    store = connect(str(tmp_path / "inbox"), Settings().store)
    runs = {"mgo": (MGO, 5, 1), "mgo-2": (MGO, 4, 2), "cao": (CAO, 3, 3), "mixed": (MGCAO, 3, 4)}
    logs = {name: written(made_run(made_block(*made))) for name, made in runs.items()}
    store.put("p/two.tar", tar_of({"one/run.log": logs["mgo"], "two/run.log": logs["mgo-2"]}))
    for name in ("mgo", "cao", "mixed"):
        store.put(f"p/{name}.tar", tar_of({"run.log": logs[name]}))
    return store


def filled(folder: Path, inbox: ObjectStore) -> lake.Lake:
    """Return a lake that took all of the inbox with the older reader, and a dataset of it."""
    opened = lake.open(str(folder), Settings(home=folder)).create()
    now = datetime.now(UTC) + timedelta(seconds=1)
    sources = discover(inbox, set(), bucket="inbox", quiet_seconds=0, now=now)
    readings = [read_source(each, inbox, opened.settings.limits, readers=MADE_READERS) for each in sources]
    commit_batch(opened, [stage(opened, readings, "b" * 64, 0)], "b" * 64)
    opened.publish("d", FrameQuery(only_good=False))
    return opened


def started(opened: lake.Lake, inbox: ObjectStore) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), opened.url, to_json(opened.settings, indent=None), str(Path(opened.url).parent / "inbox")]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def told(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


@pytest.mark.slow
def test_reading_again_killed_and_repeated_gives_the_same_tables(tmp_path: Path, inbox: ObjectStore) -> None:
    whole, *lakes = [filled(tmp_path / f"lake-{i}", inbox) for i in range(KILLS + 1)]
    _program.reread(whole, inbox)
    expected = content(whole)
    assert [len(expected[name]) for name in ("frames", "calculations", "sources", "rejections")] == [12, 3, 4 + 3, 1]
    rng = random.Random(20260101)
    reached = set()
    programs = [started(opened, inbox) for opened in lakes[:2]]
    for i, heard in enumerate(sorted(rng.sample(range(1, 9), KILLS))):
        program = programs[i]
        assert told(program) == "ready"
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
        said = [told(program) for _ in range(heard)]
        time.sleep(rng.uniform(0, 0.03))
        program.kill()
        program.communicate()
        if i + 2 < KILLS:
            programs.append(started(lakes[i + 2], inbox))
        reached.add(tuple(lakes[i].versions().values()))
        frames, calculations = (lakes[i].scan(lakes[i].table(name)).collect() for name in ("frames", "calculations"))
        assert set(frames["calculation_id"]) <= set(calculations["calculation_id"]), "no frame without its calculation"
        _program.reread(lakes[i], inbox)
        assert content(lakes[i]) == expected, f"killed after {said}"
        lakes[i].dataset("d").verify()
    assert len(reached) >= 3, f"the kills met only these states of the tables: {reached}"
    vacuum(lakes[0], older_than_days=0, dry_run=False, alone=True)
    lakes[0].dataset("d").verify()
    assert content(lakes[0]) == expected
