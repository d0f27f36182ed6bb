"""The commands of upkeep, export and search by common names, on a lake in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import ase.db
import pytest
from made_up_homes import example_home, run

from schemas.datasets import DatasetManifest
from schemas.errors import QueryError
from schemas.json import from_json


@pytest.fixture
def home(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of a lake that took four of the examples, in two batches."""
    return example_home(root, tmp_path, monkeypatch, batches=(2, 2))


def test_stats_compact_and_vacuum(home: Path) -> None:
    tables = {row["name"]: row for row in json.loads(run("lake", "stats", "--json"))}
    assert (tables["frames"]["n_rows"], tables["frames"]["n_files"], tables["frames"]["n_small_files"]) == (4, 2, 2)
    found = json.loads(run("lake", "stats", "--systems", "--json"))
    assert [row["element_system"] for row in found["systems"]] == ["Mg-O"]
    assert "atomlake lake compact" in run("lake", "stats", "--systems")
    done = {row["table"]: row for row in json.loads(run("lake", "compact", "--json"))}
    assert (done["frames"]["n_files_before"], done["frames"]["n_files_after"]) == (2, 1)
    assert (done["sources"]["n_files_before"], done["potentials"]["n_files_before"]) == (2, 0)
    would = {row["what"]: row["n_files"] for row in json.loads(run("lake", "vacuum", "--older-than", "0", "--dry-run", "--json"))}
    assert (would["frames"], would["unfinished uploads"]) == (2, 0)
    kept = {row["what"]: row["n_files"] for row in json.loads(run("lake", "vacuum", "--json"))}
    assert kept["frames"] == 0
    swept = {row["what"]: row["n_files"] for row in json.loads(run("lake", "vacuum", "--older-than", "0", "--alone", "--json"))}
    assert swept["frames"] == 2
    assert json.loads(run("frames", "--all", "--json"))[0]["frames"] == 4


def test_frames_are_exported_in_the_format_that_is_named(home: Path) -> None:
    run("frames", "--with-forces", "--all", "--export", str(home / "out.bin"), "--format", "ase-db")
    assert ase.db.connect(home / "out.bin", type="db").count() == 4
    run("frames", "--with-forces", "--all", "--export", str(home / "input.data"))
    assert (home / "input.data").read_text().count("begin\n") == 4
    run("dataset", "create", "d", "--elements", "Mg,O", "--all", "--test", "0", "--validation", "0")
    assert "4 frames of d, train written" in run("dataset", "export", "d", str(home / "d.deepmd"), "--split", "train")
    assert (home / "d.deepmd/Mg4O4/set.000/force.npy").exists()
    card = from_json(DatasetManifest, (home / "d.deepmd.dataset.json").read_text())
    assert (card.name, card.projects, card.licences) == ("d", {"": 4}, {"": 4})
    assert "licences  none given (4 frames)" in run("dataset", "show", "d")


def test_a_common_name_finds_its_formula(home: Path) -> None:
    found = json.loads(run("search", "periclase", "--json"))
    assert sum(system["n_frames"] for system in found["systems"]) == 4
    assert "kaolinite" in run("search", "kaolinitt")
    assert "ThO2" in run("search", "thoria") or "O2Th" in run("search", "thoria")


def test_a_source_is_followed_and_retracted(home: Path) -> None:
    run("dataset", "create", "d", "--elements", "Mg,O", "--all")
    found = json.loads(run("lineage", "--dataset", "d", "--json"))
    assert [row["n_frames"] for row in found] == [1, 1, 1, 1]
    key = found[0]["key"]
    assert [row["dataset"] for row in json.loads(run("lineage", "--source", key, "--json"))] == ["d"]
    (record,) = json.loads(run("retract", key, "--why", "wrong cutoff", "--json"))
    assert (record["key"], record["n_calculations"], record["datasets"]) == (key, 1, ["d"])
    assert "wrong cutoff" in run("retractions")
    assert json.loads(run("dataset", "show", "d", "--json"))["retracted"] == {key: "wrong cutoff"}
    assert f"retracted {key}: wrong cutoff" in run("dataset", "show", "d")
    run("dataset", "create", "d-2", "--elements", "Mg,O", "--all")
    assert len(json.loads(run("lineage", "--dataset", "d-2", "--json"))) == 3
    assert "1 retractions taken back" in run("retract", key, "--undo")
    assert "no source is retracted" in run("retractions")
    with pytest.raises(QueryError, match="asked of one thing"):
        run("lineage")
