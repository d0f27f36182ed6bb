"""The registry from the command line: a first version, a warm start, the gate with its reasons."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_alloys import alloy_calculation
from made_up_readings import made_reading
from typer.testing import CliRunner

import lake
from lake.commit import commit_batch, stage
from lake.potentials import ancestors, card_of, publish_potential, read_potential, states
from pipelines.cli import app
from pipelines.promotion import judge
from schemas.datasets import FrameQuery, Split
from schemas.settings import Settings, StoreSettings
from training.settings import settings_from_toml

TINY = ("cutoff=4.0", "channels=3", "l_max=1", "radial_functions=4", "hidden=[6]", "epochs=15", "loggers=[]", "learning_rate=0.02")
CU, AL, BOTH = [29] * 4, [13] * 4, [29, 29, 13, 13]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return settings of a lake with the pinned datasets 'copper' and, grown and of other sides, 'alloys'."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, store=StoreSettings(lake_url=str(home / "lake")))
    opened = lake.open(settings=settings).create()

    def take(key: str, *numbers: list[int]) -> None:
        batch = hashlib.sha256(key.encode()).hexdigest()
        made = [alloy_calculation(each, 3, seed) for seed, each in enumerate(numbers, len(key))]
        commit_batch(opened, [stage(opened, [made_reading(key, *made)], batch, 0)], batch)

    take("a.tar", *[CU] * 12)
    opened.publish("copper", FrameQuery(), Split(test=0.3, validation=0.1))
    take("later.tar", *[CU] * 4, *[AL] * 3, *[BOTH] * 3)
    opened.publish("alloys", FrameQuery(), Split(test=0.3, validation=0.1, salt="second"))
    return settings


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("ATOMLAKE_HOME", str(settings.home))
    monkeypatch.setenv("ATOMLAKE_STORE_LAKE_URL", settings.store.lake_url)
    monkeypatch.setenv("ATOMLAKE_GATE_STEPS", "20")

    def command(*words: str, code: int = 0) -> str:
        found = CliRunner().invoke(app, list(words), env={"COLUMNS": "400"})
        assert found.exit_code == code, found.output
        return f"{found.stdout}{found.exception or ''}"

    return command


def test_from_first_version_to_warm_start_through_the_gate(settings: Settings, run) -> None:  # type: ignore[no-untyped-def]
    opened = lake.open(settings=settings)
    tiny = [word for each in TINY for word in ("--set", each)]
    first = run("train", "copper", "--name", "metal", *tiny)
    assert "metal version 1 (champion)" in first
    assert "energy conservation" in first
    told = run("train", "alloys", "--name", "metal", "--from", "metal@1", "--set", "epochs=8", "--set", "loggers=[]")
    card = card_of(opened, "metal", 2)
    assert (card.parent, card.elements, [each.version for each in ancestors(opened, card)]) == ("metal@1", ("Al", "Cu"), [1])
    assert "begun with the weights of metal@1" in told
    held_out = set(opened.dataset("copper").frame_ids("test")) & set(opened.dataset("alloys").frame_ids("train"))
    assert held_out
    everything = opened.dataset("alloys").manifest.n_frames["train"]
    assert card.metrics["train"].overall.n_frames == everything - len(held_out)
    assert f"{len(held_out)} of {everything} train frames were left out: metal@1" in told
    assert card.decision is not None
    assert card.decision.against == "version 1"
    named = {check.name for check in card.decision.checks}
    assert {"elements", "errors", "errors of Cu", "derivatives", "energy conservation", "pair scan"} <= named
    passed = all(check.passed for check in card.decision.checks)
    assert (card.state, card_of(opened, "metal", 1).state) == (("champion", "retired") if passed else ("candidate", "champion"))
    shown = run("potentials", "show", "metal", "--version", "2")
    assert "gate, " in shown
    assert states(opened, "metal", 2)[-1][2][:40] in shown


def test_a_worse_version_stays_a_candidate_and_says_why(  # type: ignore[no-untyped-def]
    settings: Settings, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = lake.open(settings=settings)
    tiny = [word for each in TINY for word in ("--set", each)]
    run("train", "copper", "--name", "plain", *tiny)
    worse = run("train", "copper", "--name", "plain", *tiny, "--set", "epochs=1", "--set", "seed=3")
    assert "plain version 2 (candidate)" in worse
    assert card_of(opened, "plain").version == 1
    (_, state, why) = states(opened, "plain", 2)[-1]
    assert state == "candidate"
    assert re.match(r"\d of \d checks failed: ", why)
    assert "of version 1, on the same" in why
    # However much tolerance there is, forces must be no worse over all.
    card = judge(opened, "plain", 2, replace(settings.gate, steps=20, tolerance=1e6))
    assert card.state == "candidate"
    assert "plain version 1 is retired: bad" in run("potentials", "retire", "plain", "--version", "1", "--why", "bad")
    assert "(candidate)" in run("potentials", "promote", "plain", "--version", "2")
    # It is so rough that its atoms fall into each other; only who lets that pass promotes it.
    monkeypatch.setenv("ATOMLAKE_GATE_MAX_ENERGY_CHANGE", "1e9")
    assert "(champion)" in run("potentials", "promote", "plain", "--version", "2")
    assert card_of(opened, "plain").version == 2
    assert [state for _, state, _ in states(opened, "plain", 2)] == ["candidate"] * 4 + ["champion"]
    old, files = read_potential(opened, "plain", 2)
    assert publish_potential(opened, replace(old, version=3, state="candidate"), files).version == 3
    assert judge(opened, "plain", 3, replace(settings.gate, steps=20, max_energy_change=1e9)).state == "champion"


def test_a_potential_is_trained_again_from_its_card(settings: Settings, run) -> None:  # type: ignore[no-untyped-def]
    opened = lake.open(settings=settings)
    told = {row["what"]: row for row in json.loads(run("reproduce", "metal@2", "--json"))}
    assert told["weights"]["verdict"] == "equal"
    assert {row["verdict"] for row in told.values()} == {"equal"}
    assert "test: force_mae" in told
    assert not (settings.home / "training" / "metal@2").exists()
    # A card that says another seed does not make these weights, and errors that are not those of its training are told.
    card, files = read_potential(opened, "plain", 1)
    publish_potential(opened, replace(card, name="false", version=1, settings={**card.settings, "seed": 7}), files)
    assert "DIFFERS" in run("reproduce", "false", code=1)
    assert "within" in run("reproduce", "false", "--tolerance", "1e9")
    publish_potential(opened, replace(card, name="imported", version=1, settings={}), files)
    assert "was not trained here" in run("reproduce", "imported", code=1)


def test_settings_are_found_and_a_curve_is_drawn_without_the_test(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    few = [word for each in (*TINY, "epochs=2") for word in ("--set", each)]
    found = tmp_path / "found"
    search = ("--epochs", "2", "--candidates", "2", "--keep", "2", "--cutoff", "4", "--channels", "3", "--decay", "0.1", "--width", "6")
    told = run("tune", "copper", *search, *few, "--output", str(found))
    assert f"atomlake train copper --config {found}" in told
    rows = list(csv.DictReader((found / "trials.csv").read_text().splitlines()))
    assert [row["candidate"] for row in rows if row["goes on"]] == [min(rows, key=lambda row: float(row["loss"]))["candidate"]]
    assert settings_from_toml((found / "settings.toml").read_text()).channels == 3
    assert json.loads((found / "tune.json").read_text())["settings"]["cutoff"] == 4.0
    drawn = json.loads(run("curve", "copper", "--points", "3", "--repeats", "1", *few, "--output", str(found), "--json", "--target", "30"))
    assert len(drawn["points"]) == 3
    assert any("one training at a number of frames" in doubt for doubt in drawn["forecast"]["doubts"])
    assert (found / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(csv.DictReader((found / "curve.csv").read_text().splitlines()))) == 3


def test_a_training_that_time_ended_is_repeated_to_the_bit(settings: Settings, run) -> None:  # type: ignore[no-untyped-def]
    tiny = [word for each in (*TINY, "epochs=100000", "max_seconds=1.5") for word in ("--set", each)]
    run("train", "copper", "--name", "timed", *tiny)
    told = {row["what"]: row for row in json.loads(run("reproduce", "timed", "--json"))}
    assert int(told["steps"]["stored"]) > 10
    assert {row["verdict"] for row in told.values()} == {"equal"}
    # Without the pace, as versions of before have it, the clock ends it, and that is said.
    opened = lake.open(settings=settings)
    card, files = read_potential(opened, "timed", 1)
    old = replace(card, name="before", steps=(), epochs=())
    publish_potential(opened, old, {name: content for name, content in files.items() if name != "pace.json"})
    told = {row["what"]: row for row in json.loads(run("reproduce", "before", "--tolerance", "1e9", "--json"))}
    assert told["pace"]["verdict"] == "bits cannot be equal"
    assert told["steps"]["verdict"] == "not judged"
