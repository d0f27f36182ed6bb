"""The commands about levels of theory, conflicting labels and migration, on a lake in a folder."""

from __future__ import annotations

import json
import re
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from made_up_homes import example_home, run

import lake
from lake.commit import commit_batch, stage
from lake.inbox import discover
from lake.reading import read_source
from lake.store import connect
from schemas.columns import SCHEMA_VERSION
from schemas.settings import load


@pytest.fixture
def home(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of a lake that took two of the examples."""
    return example_home(root, tmp_path, monkeypatch, batches=(2,))


def test_theories_are_listed_and_compared(home: Path) -> None:
    (held,) = json.loads(run("theories", "--json"))
    assert (held["theory"], held["n_calculations"], held["verdict"]) == ("PBE/plane waves/qe", 2, "same")
    assert set(held["pseudopotentials"]) == {"Mg", "O"}
    assert "calculations" in run("theories")
    assert json.loads(run("verdict", held["theory"], held["theory"], "--json"))["kind"] == "same"
    assert run("verdict", held["theory"], held["theory"]).strip() == "same"


def test_the_same_structure_with_another_energy_is_a_conflict(home: Path, tmp_path: Path) -> None:
    assert json.loads(run("conflicts", "--json")) == []
    assert "no two equal structures" in run("conflicts")
    archive = sorted((tmp_path / "inbox").glob("*.tar.gz"))[0]
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    for file in (each for each in (tmp_path / "out").rglob("*") if each.is_file()):
        text = file.read_text(errors="surrogateescape")
        for line in (r"!\s+total energy", r"\s+one-electron contribution"):
            found = re.search(rf"^{line}\s+=\s+(-?[0-9.]+) Ry", text, re.MULTILINE)
            if found:
                text = text.replace(found[1], f"{float(found[1]) + 0.01:.8f}")
        file.write_text(text, errors="surrogateescape")
    with tarfile.open(tmp_path / "inbox/changed.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "out", "changed")
    opened = lake.open(settings=load())
    store = connect(str(tmp_path / "inbox"), opened.settings.store)
    sources = [s for s in discover(store, set(), bucket="inbox", quiet_seconds=0, now=datetime.now(UTC)) if s.key == "changed.tar.gz"]
    commit_batch(opened, [stage(opened, [read_source(each, store, opened.settings.limits) for each in sources], "c" * 64, 0)], "c" * 64)
    (row,) = json.loads(run("conflicts", "--all", "--json"))
    assert row["energy_difference"] == pytest.approx(0.01 * 13.605693 / 8, rel=1e-4)
    assert (row["sources"], row["other_sources"], row["verdict"]) == (["changed.tar.gz"], [archive.name], "same")
    assert row["force_difference"] == pytest.approx(0.0, abs=1e-9)
    assert row["frame_id"][:8] in run("conflicts", "--all")
    assert json.loads(run("conflicts", "--all", "--energy", "0.02", "--json")) == []


def test_a_lake_of_the_present_schema_needs_no_migration(home: Path) -> None:
    rows = json.loads(run("migrate", "--json"))
    assert {row["table"] for row in rows} == {"frames", "calculations", "sources", "rejections", "potentials"}
    assert all(row["before"] == row["after"] == SCHEMA_VERSION and row["added"] == [] for row in rows)
