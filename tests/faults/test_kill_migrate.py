"""`atomlake migrate` that is killed at any step leaves every table whole, and is gone on with by a second one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_up_earlier import earlier, lacking_at
from made_up_readings import MGO, made_calculation, made_reading, six_readings

import lake
from lake.commit import commit_batch, stage
from lake.lake import Lake
from lake.migrations import migrate
from lake.place import SPECS, VERSION_KEY
from schemas.columns import SCHEMA_VERSION
from schemas.datasets import FrameQuery
from schemas.errors import SchemaMismatch

PROGRAM = Path(__file__).parent / "migrate_program.py"


def content(opened: Lake) -> dict[str, list[str]]:
    tables = {name: opened.scan(opened.table(name)).collect() for name in SPECS}
    return {name: sorted(map(repr, rows.rows())) for name, rows in tables.items()}


def schema_versions(opened: Lake) -> list[int]:
    return [int(opened.open_table(name).metadata().configuration[VERSION_KEY]) for name in SPECS]


class Program:
    """The program, and what is told to it and heard of it."""

    def __init__(self, home: Path) -> None:
        environment = {**os.environ, "ATOMLAKE_HOME": str(home)}
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def told(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def kill_at(self, url: str, step: int, wait: float | None) -> str:
        """Kill a migration before it puts its entry number step (from 1), or wait seconds after it was let go; return the key."""
        self.tell(url)
        # A child that was killed a moment after it was let go may have said more than was listened to.
        child = int(next(words[1] for line in iter(self.told, "") if (words := line.split())[:1] == ["pid"]))
        for _ in range(step - 1):
            self.told()
            self.tell("go")
        key = self.told()
        if wait is not None:
            self.tell("go")
            time.sleep(wait)
        os.kill(child, signal.SIGKILL)
        return key


@pytest.mark.slow
def test_a_migration_killed_at_any_step_and_repeated_gives_the_present_schema(folder_lake: Lake, tmp_path: Path) -> None:
    commit_batch(folder_lake, [stage(folder_lake, six_readings(), "b" * 64, 0)], "b" * 64)
    folder_lake.publish("d", FrameQuery(only_good=False))
    more = made_reading("more.tar", made_calculation(MGO, 2, 9))
    rng = random.Random(20260101)
    kills = [(step, wait) for step in range(1, len(SPECS) + 1) for wait in (None, rng.uniform(0, 0.004))]
    first, expected = earlier(folder_lake, str(tmp_path / "old"), lacking_at(1), version="1"), content(folder_lake)
    program = Program(tmp_path)
    assert program.told() == "ready"
    for number, (step, wait) in enumerate(kills):
        old = lake.open(shutil.copytree(first.url, tmp_path / f"old-{number}").as_posix(), first.settings)
        table = program.kill_at(old.url, step, wait).split("/")[0]
        done = schema_versions(old)
        assert done.count(SCHEMA_VERSION) in ((step - 1,) if wait is None else (step - 1, step)), f"killed at {table}"
        assert set(done) <= {1, SCHEMA_VERSION}
        old.dataset("d").verify()
        if 1 in done:
            with pytest.raises(SchemaMismatch, match="run 'atomlake migrate'"):
                content(old)
        migrate(old)
        assert schema_versions(old) == [SCHEMA_VERSION] * len(SPECS)
        assert content(old) == expected
        old.dataset("d").verify()
    assert commit_batch(old, [stage(old, [more], "c" * 64, 0)], "c" * 64).n_frames_new == 2
    program.process.communicate(timeout=60)
