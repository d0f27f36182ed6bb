"""`put`, `status`, `retry` and `inspect` with --units: a file without units waits and is taken once when it is answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import LocalCluster
from made_up_collections import extxyz_of, made_frames
from typer.testing import CliRunner

import lake
from lake.collections.answers import read_answers
from lake.commit import commit_batch, stage
from lake.inbox import upload
from lake.reading import read_source
from lake.store import connect, make_bucket
from pipelines.artifacts import batch_table
from pipelines.cli import app
from pipelines.ingesting import ingest_once, retry_source, waiting_batches
from schemas.settings import DaskSettings, IngestSettings, Settings
from schemas.units import BOHR, HARTREE

FRAMES = made_frames(4, base=-3403.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "set.xyz"
    made.write_text("".join(extxyz_of(frame, energy=HARTREE, length=BOHR, prefix="REF_") for frame in FRAMES))
    return made


def test_a_source_waits_and_retry_answers_it(moto_settings: Settings, file: Path, tmp_path: Path) -> None:
    store = replace(moto_settings.store, lake_url="s3://lake-of-units", inbox_bucket="units-in")
    make_bucket("units-in", store)
    settings = Settings(home=tmp_path, store=store, ingest=IngestSettings(quiet_seconds=0))
    inbox, opened = connect("s3://units-in", store), lake.open(settings=settings)
    upload(inbox, [file], project="p")
    ((source,),) = waiting_batches(settings, at_once=True)
    commit_batch(opened, [stage(opened, [read_source(source, inbox, settings.limits)], "b" * 64, 0)], "b" * 64)
    assert opened.sources().collect()["state"].to_list() == ["needs_units"]
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None) as cluster:
        beside = replace(settings, dask=DaskSettings(scheduler_address=cluster.scheduler_address))
        (report,) = retry_source(beside, "p/set.xyz", answers=read_answers({"units": "energy=Ha,length=bohr"}))
    assert [(row["state"], row["frames"]) for row in batch_table(report)] == [("taken", 4)]
    assert states(settings) == {"taken": 1}, "status counts the newest attempt"
    assert opened.frames().collect()["energy"].to_list() == pytest.approx([f.energy for f in FRAMES], rel=1e-14)
    assert ingest_once(settings) == []


def states(settings: Settings) -> dict[str, int]:
    """Return what `atomlake status --json` says."""
    store = settings.store
    values = {"ENDPOINT_URL": store.endpoint_url, "ACCESS_KEY": "test", "SECRET_KEY": "test", "LAKE_URL": store.lake_url}
    environment = {**os.environ, "ATOMLAKE_HOME": str(settings.home), **{f"ATOMLAKE_STORE_{name}": value for name, value in values.items()}}
    command = [sys.executable, "-m", "pipelines.cli", "status", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {row["state"]: row["sources"] for row in json.loads(done.stdout)}


def test_inspect_takes_units(file: Path) -> None:
    done = CliRunner().invoke(app, ["inspect", str(file), "--json"])
    waiting = json.loads(done.stdout)
    assert done.exit_code == 1
    assert (waiting["calculations"], len(waiting["waiting"])) == ([], 1)
    words = waiting["waiting"][0]["proposal"].replace("'", "").split()
    done = CliRunner().invoke(app, ["inspect", str(file), "--json", *words])
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert found["calculations"][0]["frames"] == waiting["waiting"][0]["calculations_by_proposal"][0]["frames"]
    shown = CliRunner().invoke(app, ["inspect", str(file)]).stdout
    assert "NOT TAKEN" in shown


def test_a_misspelt_unit_is_told_before_anything_is_sent(file: Path) -> None:
    done = CliRunner().invoke(app, ["inspect", str(file), "--units", "energy=hartre,length=bohr"])
    assert done.exit_code == 1
    assert "did you mean 'hartree'" in str(done.exception)
