"""The whole line as it is served: inbox -> scheduled flow -> lake -> dataset -> training flow -> retraining, seen through Prefect's API."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import lake
from lake.inbox import upload
from lake.potentials import list_potentials
from lake.store import connect
from pipelines import health
from pipelines.ports import with_free_ports
from pipelines.reference import compare
from pipelines.stack import down, up
from schemas.settings import Settings, load, write_toml

pytestmark = pytest.mark.stack

FIRST = ("qe-pbe_mgo_rattle.tar.gz", "qe-lda_mgo_rattle.tar.gz", "corrupt-gzip.tar.gz", "not-an-archive.tar.gz")
LATER = ("qe-pbe_mgo_rattle-000.tar.gz", "qe-pbe_mgo_rattle-001.tar.gz", "qe-pbe_mgo_rattle-002.tar.gz")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Start the stack with its real flow server, which looks into the inbox every few seconds."""
    home = tmp_path_factory.mktemp("served")
    ports = with_free_ports(Settings(home=home), keep=False).stack
    groups = {"stack": asdict(ports), "ingest": {"interval_seconds": 5, "quiet_seconds": 0}, "dask": {"workers": 1}}
    write_toml(groups, home / "atomlake.toml")
    try:
        up(load({"ATOMLAKE_HOME": str(home)}))
        yield load({"ATOMLAKE_HOME": str(home)})
    finally:
        down(load({"ATOMLAKE_HOME": str(home)}))


def put(settings: Settings, files: list[Path]) -> dict[str, str]:
    store = connect(f"s3://{settings.store.inbox_bucket}", settings.store)
    upload(store, files, project="oxides", licence="Apache-2.0")
    return {file.name: f"oxides/{file.name}" for file in files}


def wait_until_seen(opened: lake.Lake, keys: list[str]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        seen = opened.sources().filter(pl.col("key").is_in(keys)).select("key").unique().collect()
        if seen.height == len(keys):
            return
        time.sleep(0.5)
    pytest.fail(f"only {seen['key'].to_list()} of {keys} were taken within 120 s")


def atomlake(settings: Settings, *words: str) -> str:
    environment = {**os.environ, "ATOMLAKE_HOME": str(settings.home)}
    command = [sys.executable, "-m", "pipelines.cli", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def artifacts(settings: Settings, key: str) -> list[dict[str, Any]]:
    body = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
    return health.ask(f"{settings.prefect.api_url}/artifacts/filter", body).json()


def test_dropped_archives_are_taken_by_the_schedule(served: Settings, root: Path) -> None:
    opened = lake.open(settings=served).create()
    keys = put(served, [root / "examples/mgcao" / name for name in FIRST])
    wait_until_seen(opened, list(keys.values()))
    found = compare(opened, root / "examples/mgcao-expected.csv", keys)
    assert len(found) == 30
    assert [c for c in found if not c.agrees] == []
    assert sorted(opened.frames().select(pl.col("theory").unique()).collect()["theory"]) == ["LDA/plane waves/qe", "PBE/plane waves/qe"]
    reasons = dict(opened.rejections().select("key", "reason").collect().iter_rows())
    assert reasons == {"oxides/corrupt-gzip.tar.gz": "corrupt_archive", "oxides/not-an-archive.tar.gz": "not_an_archive"}
    (table, *_) = artifacts(served, "ingested-batch")
    assert table["type"] == "table"
    assert "corrupt_archive" in table["data"]


def test_training_and_retraining_are_seen_in_the_ui(served: Settings, root: Path) -> None:
    opened = lake.open(settings=served)
    atomlake(served, "dataset", "create", "oxides", "--elements", "Mg,O", "--theory", "PBE", "--test", "0.2", "--validation", "0.2")
    tiny = ("--set", "epochs=2", "--set", "channels=2", "--set", "l_max=1", "--set", "hidden=[4]")
    atomlake(served, "train", "oxides", "--name", "oxides", *tiny)
    (card,) = list_potentials(opened, "oxides")
    assert (card.version, card.dataset) == (1, "oxides")
    assert card.decision is not None
    # Two epochs need not make a potential that passes the gate.
    assert card.state == ("champion" if all(check.passed for check in card.decision.checks) else "candidate")
    assert card.metrics["test"].trivial.force_mae > 0
    (result, *_) = artifacts(served, "oxides")
    assert result["type"] == "markdown"
    assert "data:image/png;base64," in result["data"]
    assert "nothing new to learn" in atomlake(served, "retrain", "oxides")
    assert len(list_potentials(opened, "oxides")) == 1
    keys = put(served, [root / "examples/mgcao" / name for name in LATER])
    wait_until_seen(opened, list(keys.values()))
    said = atomlake(served, "retrain", "oxides")
    assert "3 of them not in dataset 'oxides'" in said
    cards = list_potentials(opened, "oxides")
    assert [(c.version, c.dataset) for c in cards] == [(1, "oxides"), (2, "oxides-2")]
    assert sorted(c.state for c in cards)[0] in {"candidate", "champion"}
    whys = [row["description"] for row in artifacts(served, "retrain-oxides")]
    assert len(whys) == 2
    assert "nothing new to learn" in whys[1]
    runs = health.ask(f"{served.prefect.api_url}/flow_runs/filter", {"flows": {"name": {"any_": ["retrain"]}}}).json()
    assert [run["state_type"] for run in runs if not run["auto_scheduled"]] == ["COMPLETED", "COMPLETED"]


def test_upkeep_runs_as_flows_and_is_seen_in_the_ui(served: Settings) -> None:
    opened = lake.open(settings=served).create()
    before = opened.frames(only_good=False).select("frame_id", "energy").sort("frame_id").collect()
    code = "from pipelines.flows import compact_lake, vacuum_lake; print(compact_lake(), '|', vacuum_lake())"
    environment = {**os.environ, "ATOMLAKE_HOME": str(served.home), "PREFECT_API_URL": served.prefect.api_url}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"small files joined into \d+; \d+ checkpoints besides \| 0 files or uploads removed", done.stdout)
    for key, word in (("lake-compaction", "frames"), ("lake-vacuum", "unfinished uploads")):
        (table, *_) = artifacts(served, key)
        assert table["type"] == "table"
        assert word in table["data"]
    assert opened.frames(only_good=False).select("frame_id", "energy").sort("frame_id").collect().equals(before)
    assert sorted(each.name for each in health.deployments(served.prefect.api_url)) == ["inbox", "on-demand", *["schedule"] * 3]


def test_python_of_the_readme_runs(served: Settings, root: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    environment = {**os.environ, "ATOMLAKE_HOME": str(served.home)}
    for text in blocks:
        done = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr


def test_a_second_put_sends_and_takes_nothing(served: Settings, root: Path) -> None:
    opened = lake.open(settings=served)
    before = opened.frames().select(pl.len()).collect().item()
    said = atomlake(
        served, "put", *(str(root / "examples/mgcao" / name) for name in FIRST), "--project", "oxides", "--licence", "Apache-2.0"
    )
    assert "0 objects sent; 4 were there already" in said
    assert "nothing new in the inbox" in atomlake(served, "ingest")
    assert opened.frames().select(pl.len()).collect().item() == before
    assert replace(served).store.secret_key not in said
