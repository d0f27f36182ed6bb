"""The registry of potentials: immutable versions, states that follow one another."""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest
from made_up_readings import MGO, made_calculation, made_reading

from lake.commit import commit_batch, stage
from lake.lake import Lake
from lake.potentials import card_of, champion, list_potentials, next_version, publish_potential, read_potential, set_state
from schemas.errors import AlreadyThere, QueryError, TableError, UnknownName
from schemas.potentials import ErrorSummary, Metrics, PotentialCard

SUMMARY = ErrorSummary(3, 12, 0.01, 0.02, math.nan, math.nan, math.nan)
CARD = PotentialCard(
    "mgo", 1, "hdnnp", "candidate", ("Mg", "O"), 6.0, "d", "0" * 64, {"frames": 3}, ("PBE/plane waves/qe",), {"epochs": 3},
    {"test": Metrics("test", SUMMARY, SUMMARY, {}, {})}, {"Mg": -1.5}, (), {}, "2026-01-01T00:00:00+00:00", 12.5, 100,
)  # fmt: skip
FILES = {"weights.safetensors": b"\x00\x01", "settings.json": b"{}"}


def test_what_is_published_is_read_back(folder_lake: Lake) -> None:
    card = publish_potential(folder_lake, CARD, FILES)
    assert set(card.files) == set(FILES)
    found, files = read_potential(folder_lake, "mgo")
    assert files == FILES
    assert (found.name, found.version, found.state, found.files) == ("mgo", 1, "candidate", card.files)
    assert math.isnan(found.metrics["test"].overall.force_mae)
    row = folder_lake.potentials().collect().row(0, named=True)
    assert (row["test_energy_mae"], row["test_force_mae"], row["path"]) == (0.01, None, "potential-files/mgo/1")


def test_a_vacuum_of_the_table_leaves_the_files(folder_lake: Lake) -> None:
    publish_potential(folder_lake, CARD, FILES)
    folder_lake.table("potentials").vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    assert read_potential(folder_lake, "mgo")[1] == FILES


def test_publishing_again_is_the_same_or_refused(folder_lake: Lake) -> None:
    publish_potential(folder_lake, CARD, FILES)
    publish_potential(folder_lake, CARD, FILES)
    assert folder_lake.potentials().collect().height == 1
    with pytest.raises(AlreadyThere, match="take version 2"):
        publish_potential(folder_lake, CARD, {**FILES, "settings.json": b"[]"})
    assert read_potential(folder_lake, "mgo")[1] == FILES


def test_a_publication_that_crashed_is_finished(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("lake.potentials._record", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish_potential(folder_lake, CARD, FILES)
    assert list_potentials(folder_lake) == []
    assert next_version(folder_lake, "mgo") == 2
    publish_potential(folder_lake, CARD, FILES)
    assert [card.version for card in list_potentials(folder_lake, "mgo")] == [1]


def test_states_follow_one_another(folder_lake: Lake) -> None:
    for version in (1, 2, 3):
        assert next_version(folder_lake, "mgo") == version
        publish_potential(folder_lake, replace(CARD, version=version), FILES)
    assert champion(folder_lake, "mgo") is None
    assert card_of(folder_lake, "mgo").version == 3
    set_state(folder_lake, "mgo", 1, "champion", "the best so far")
    assert card_of(folder_lake, "mgo").version == 1
    set_state(folder_lake, "mgo", 2, "champion", "better")
    found = champion(folder_lake, "mgo")
    assert found is not None
    assert found.version == 2
    assert {card.version: card.state for card in list_potentials(folder_lake)} == {1: "retired", 2: "champion", 3: "candidate"}
    why = folder_lake.potentials().filter(pl.col("version") == 1).sort("recorded_at").collect()["why"].to_list()
    assert why == ["published", "the best so far", "version 2 became champion"]
    assert folder_lake.table("potentials").version() == 5


def test_damaged_files_are_found(folder_lake: Lake) -> None:
    publish_potential(folder_lake, CARD, FILES)
    folder_lake.store.put("potential-files/mgo/1/settings.json", b"{ }")
    with pytest.raises(TableError, match=r"settings\.json has SHA-256"):
        read_potential(folder_lake, "mgo")


def test_names_and_states_that_are_not_there_are_said(folder_lake: Lake) -> None:
    publish_potential(folder_lake, CARD, FILES)
    with pytest.raises(UnknownName, match="did you mean 'mgo'"):
        read_potential(folder_lake, "mgoo")
    with pytest.raises(UnknownName, match="has no version 7"):
        read_potential(folder_lake, "mgo", 7)
    with pytest.raises(QueryError, match="did you mean 'champion'"):
        set_state(folder_lake, "mgo", 1, "champoin", "")
    with pytest.raises(QueryError, match="expected a name"):
        publish_potential(folder_lake, replace(CARD, name="a/b"), FILES)


def test_a_search_names_the_potentials_that_know_a_system(folder_lake: Lake) -> None:
    readings = [made_reading("a", made_calculation(MGO), made_calculation([20, 8]))]
    commit_batch(folder_lake, [stage(folder_lake, readings, "b" * 64, 0)], "b" * 64)
    publish_potential(folder_lake, CARD, FILES)
    assert {s.element_system: s.potentials for s in folder_lake.search("Ca,Mg,O").systems} == {"Mg-O": ("mgo:1",), "Ca-O": ()}


@pytest.mark.s3
def test_the_registry_on_a_real_server(weed_lake: Lake) -> None:
    publish_potential(weed_lake, CARD, FILES)
    set_state(weed_lake, "mgo", 1, "champion", "the only one")
    assert read_potential(weed_lake, "mgo")[1] == FILES
