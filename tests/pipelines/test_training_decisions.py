"""When a potential is trained again, and when a new version takes the place of the old one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_up_readings import MGO, PBE, made_calculation, made_reading

import lake
from lake.commit import commit_batch, stage
from lake.potentials import publish_potential, set_state
from pipelines.artifacts import key_of, markdown_table, metrics_rows, number, retraining_markdown
from pipelines.commands.potentials import parse_options
from pipelines.demo_page import error_table
from pipelines.training_runs import Retraining, TrainRequest, decide_retraining, next_name, train_command
from schemas.datasets import FrameQuery, Split
from schemas.errors import UnknownName
from schemas.potentials import ErrorSummary, Metrics, PotentialCard
from schemas.settings import Settings, StoreSettings

ERRORS = ErrorSummary(10, 80, 0.010, 0.012, 0.050, 0.070, float("nan"))


def metrics(energy: float = 0.010, force: float = 0.050, frames: int = 10) -> Metrics:
    errors = replace(ERRORS, energy_mae=energy, force_mae=force, n_frames=frames)
    return Metrics("test", errors, ERRORS, {"Mg-O": errors}, {"Mg-O": ERRORS})


def test_datasets_of_a_series_are_numbered() -> None:
    known = [SimpleNamespace(name=name) for name in ("oxides", "oxides-2", "oxides-7", "oxides-extra")]
    assert next_name("oxides", known) == "oxides-8"
    assert next_name("oxides-2", known) == "oxides-8"
    assert next_name("metals", known) == "metals-2"


def test_a_request_becomes_a_command() -> None:
    command = train_command(TrainRequest("mgo", "mgo-fast", (("devices", 2), ("hidden", [8, 8]))))
    assert command[1:] == [
        "-m", "pipelines.cli", "train", "mgo", "--name", "mgo-fast", "--no-prefect", "--set", "devices=2", "--set", "hidden=[8, 8]",
    ]  # fmt: skip


def test_settings_come_through_the_command_as_they_were() -> None:
    given = {
        "potential": "acsf",
        "symmetry_functions": ["Mg 2 O 0.4 0.0 5.0", "O 2 Mg 0.4 0.0 5.0"],
        "learning_rate": 1e-5,
        "four_body": True,
    }
    command = train_command(TrainRequest("mgo", "mgo-acsf", tuple(given.items())))
    assert parse_options([command[place + 1] for place, word in enumerate(command) if word == "--set"], None) == given


def test_artifacts_are_plain_markdown() -> None:
    assert key_of("Mg/Ca oxides v2") == "mg-ca-oxides-v2"
    assert number(float("nan")) == "–"
    assert metrics_rows(metrics())[0] == ["Mg-O", "10", "10.0", "50.0", "10.0", "50.0"]
    assert markdown_table(["a"], [["1"]]) == "| a |\n| --- |\n| 1 |"
    assert "stays as it is" in retraining_markdown("oxides", Retraining("nothing new"))


def test_frames_that_a_losing_version_has_seen_are_not_trained_on_again(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, store=StoreSettings(lake_url=str(tmp_path / "lake")))
    opened = lake.open(settings=settings).create()

    def take(key: str, seed: int) -> None:
        commit_batch(opened, [stage(opened, [made_reading(key, made_calculation(MGO, seed=seed))], key, 0)], key)

    def version(number: int, dataset: str) -> PotentialCard:
        return PotentialCard(
            "mgo", number, "hdnnp", "candidate", ("Mg", "O"), 5.0, dataset, "0" * 64, {}, (), {"epochs": 3}, {"test": metrics()}, {}, (),
            {}, "2026-01-01T00:00:00+00:00", 1.0, 100,
        )  # fmt: skip

    take("one.tar", 1)
    opened.publish("mgo", FrameQuery(systems=("Mg-O",)), Split())
    publish_potential(opened, version(1, "mgo"), {})
    set_state(opened, "mgo", 1, "champion", "the first")
    assert decide_retraining(settings, "mgo").request is None
    take("two.tar", 2)
    request = decide_retraining(settings, "mgo").request
    assert request == TrainRequest("mgo-2", "mgo", (("epochs", 3),))
    publish_potential(opened, version(2, "mgo-2"), {})
    again = decide_retraining(settings, "mgo")
    assert again.request is None
    assert "nothing new to learn" in again.why
    with pytest.raises(UnknownName, match="atomlake train"):
        decide_retraining(settings, "cao")


def test_a_missing_error_is_a_dash_and_no_zero() -> None:
    found = {"n_frames": 3, "energy_mae": 0.01, "force_mae": None}
    header, rows = error_table({"mgo": {"by_system": {"Mg-O": found}, "trivial_by_system": {"Mg-O": found}}})
    assert dict(zip(header, rows[0], strict=True))["force MAE, meV/Å"] == "–"
    assert rows[0][3] == "10.0"


def test_a_grown_dataset_is_aligned_as_the_one_before(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, store=StoreSettings(lake_url=str(tmp_path / "lake")))
    opened = lake.open(settings=settings).create()
    other = replace(PBE, code="vasp", pseudopotentials=(("Mg", "PAW_PBE Mg"), ("O", "PAW_PBE O")))
    first, second = (made_calculation(MGO, seed=seed) for seed in (1, 2))
    shifted = made_calculation(MGO, block=first.run.frames, level=other)
    commit_batch(opened, [stage(opened, [made_reading("one.tar", first, shifted)], "1" * 64, 0)], "1" * 64)
    dataset = opened.publish("mgo", FrameQuery(systems=("Mg-O",)), Split(), align="PBE/plane waves/vasp")
    card = PotentialCard(
        "mgo", 1, "hdnnp", "candidate", ("Mg", "O"), 5.0, "mgo", dataset.manifest.content_hash, {}, dataset.manifest.theories, {},
        {"test": metrics()}, {}, (), {}, "2026-01-01T00:00:00+00:00", 1.0, 100,
    )  # fmt: skip
    publish_potential(opened, card, {})
    commit_batch(opened, [stage(opened, [made_reading("two.tar", second)], "2" * 64, 0)], "2" * 64)
    assert decide_retraining(settings, "mgo").request is not None
    grown = opened.dataset("mgo-2").manifest
    assert grown.alignment is not None
    assert grown.alignment.to == "PBE/plane waves/vasp"
    assert sum(grown.n_frames.values()) == 15
