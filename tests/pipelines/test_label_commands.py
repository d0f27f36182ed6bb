"""The commands about levels of theory, on a lake in a folder."""

from __future__ import annotations

import json
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


@pytest.fixture
def home(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of a lake that took two of the examples."""
    monkeypatch.setenv("ATOMLAKE_HOME", str(tmp_path))
    monkeypatch.setenv("ATOMLAKE_STORE_LAKE_URL", str(tmp_path / "lake"))
    opened = lake.open(settings=load()).create()
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for file in sorted((root / "examples/mgcao").glob("qe-pbe_mgo_rattle-*.tar.gz"))[:2]:
        shutil.copy(file, inbox)
    store = connect(str(inbox), opened.settings.store)
    sources = discover(store, set(), bucket="inbox", quiet_seconds=0, now=datetime.now(UTC))
    commit_batch(opened, [stage(opened, [read_source(each, store, opened.settings.limits) for each in sources], "b" * 64, 0)], "b" * 64)
    return tmp_path


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_theories_are_listed_and_compared(home: Path) -> None:
    (held,) = json.loads(run("theories", "--json"))
    assert (held["theory"], held["n_calculations"], held["verdict"]) == ("PBE/plane waves/qe", 2, "same")
    assert set(held["pseudopotentials"]) == {"Mg", "O"}
    assert "calculations" in run("theories")
    assert json.loads(run("verdict", held["theory"], held["theory"], "--json"))["kind"] == "same"
    assert run("verdict", held["theory"], held["theory"]).strip() == "same"
