"""Homes of lakes in a folder that took some of the shipped examples, for tests of the command line, and commands run in them."""

from __future__ import annotations

import itertools
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lake
from lake.commit import commit_batch, stage
from lake.inbox import discover
from lake.reading import read_source
from lake.store import connect
from pipelines.cli import app
from schemas.settings import load


def example_home(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *, batches: tuple[int, ...]) -> Path:
    """Make folder the home of a lake and an inbox, and take as many of the examples as each batch says."""
    monkeypatch.setenv("ATOMLAKE_HOME", str(folder))
    monkeypatch.setenv("ATOMLAKE_STORE_LAKE_URL", str(folder / "lake"))
    opened = lake.open(settings=load()).create()
    inbox = folder / "inbox"
    inbox.mkdir()
    for file in sorted((root / "examples/mgcao").glob("qe-pbe_mgo_rattle-*.tar.gz"))[: sum(batches)]:
        shutil.copy(file, inbox)
    store = connect(str(inbox), opened.settings.store)
    sources = discover(store, set(), bucket="inbox", quiet_seconds=0, now=datetime.now(UTC))
    ends = list(itertools.accumulate(batches))
    for n, (end, size) in enumerate(zip(ends, batches, strict=True)):
        batch = str(n) * 64
        readings = [read_source(source, store, opened.settings.limits) for source in sources[end - size : end]]
        commit_batch(opened, [stage(opened, readings, batch, 0)], batch)
    return folder


def run(*words: str, code: int = 0) -> str:
    """Run a command of `atomlake` and return what it printed; any other exit code than the one named fails."""
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout
