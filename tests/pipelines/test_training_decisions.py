"""When a potential is trained again, and when a new version takes the place of the old one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from pipelines.artifacts import key_of, markdown_table, metrics_rows, number, retraining_markdown
from pipelines.commands.potentials import parse_options
from pipelines.training_runs import Retraining, TrainRequest, next_name, train_command
from pipelines.training_session import is_better
from schemas.potentials import ErrorSummary, Metrics

ERRORS = ErrorSummary(10, 80, 0.010, 0.012, 0.050, 0.070, float("nan"))


def metrics(energy: float = 0.010, force: float = 0.050, frames: int = 10) -> Metrics:
    errors = replace(ERRORS, energy_mae=energy, force_mae=force, n_frames=frames)
    return Metrics("test", errors, ERRORS, {"Mg-O": errors}, {"Mg-O": ERRORS})


@pytest.mark.parametrize(
    ("energy", "force", "wins"),
    [(0.010, 0.050, True), (0.0104, 0.049, True), (0.011, 0.049, False), (0.005, 0.051, False)],
)
def test_a_new_version_wins_where_forces_are_no_worse_and_energies_hardly(energy: float, force: float, wins: bool) -> None:
    better, why = is_better(metrics(energy, force), metrics(), 1)
    assert better is wins
    assert "of version 1, on the same frames" in why


def test_without_test_frames_the_one_that_has_seen_more_wins() -> None:
    assert is_better(metrics(float("nan"), float("nan"), 0), metrics(frames=0), 1)[0]


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
