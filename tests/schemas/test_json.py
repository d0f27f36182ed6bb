"""Records survive JSON, and what is not theirs is refused."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.datasets import DatasetManifest, FrameQuery, Split
from schemas.errors import SchemaMismatch
from schemas.json import from_json, to_json
from schemas.potentials import ErrorSummary, Metrics, PotentialCard
from schemas.settings import Settings, StoreSettings
from schemas.sources import InboxObject, SourceObject

SUMMARY = ErrorSummary(3, 12, 0.01, 0.02, 0.1, 0.2, math.nan)
CARD = PotentialCard(
    "mgo", 1, "hdnnp", "candidate", ("Mg", "O"), 6.0, "d", "0" * 64, {"frames": 3}, ("PBE/plane waves/qe",),
    {"epochs": 3, "layers": [16, 16], "nested": {"a": None}}, {"test": Metrics("test", SUMMARY, SUMMARY, {"Mg-O": SUMMARY}, {})},
    {"Mg": -1.5, "O": 2.0}, ("a note",), {"torch": "2"}, "2026-01-01T00:00:00+00:00", 12.5, 100,
)  # fmt: skip


@given(
    st.builds(
        FrameQuery,
        elements=st.lists(st.sampled_from(["Mg", "Ca", "O"]), unique=True).map(tuple),
        theory=st.text(max_size=20),
        natoms=st.none() | st.tuples(st.integers(0, 9), st.integers(9, 99)),
        energy_per_atom=st.none() | st.tuples(st.floats(-9, 0), st.floats(0, 9)),
        max_force=st.none() | st.floats(0, 100),
        only_good=st.booleans(),
        limits=st.dictionaries(st.sampled_from(["Mg-O", "Ca-O"]), st.integers(0, 9)),
    )
)
@settings(max_examples=50, deadline=None)
def test_queries_survive(query: FrameQuery) -> None:
    assert from_json(FrameQuery, to_json(query)) == query


def test_nested_records_survive() -> None:
    manifest = DatasetManifest(
        "d", FrameQuery(limits={"Mg-O": 3}), Split(), {"frames": 1}, "0" * 64, ("t",), {"train": 1}, {"train": 1}, {"train": 8},
        {"Mg-O": {"train": 1}}, ("Mg", "O"), "2026", "0.1",
    )  # fmt: skip
    assert from_json(DatasetManifest, to_json(manifest)) == manifest
    whole = Settings(home=Path("/x"), store=StoreSettings(secret_key="s"))
    assert from_json(Settings, to_json(whole)) == whole
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    source = SourceObject("b", "k", "e", 3, noon, (InboxObject("k", "e", 3, noon),), attempt=2)
    assert from_json(SourceObject, to_json(source)) == source


def test_a_card_survives_with_nan_as_null() -> None:
    text = to_json(CARD)
    assert json.loads(text)["metrics"]["test"]["overall"]["stress_mae"] is None
    again = from_json(PotentialCard, text)
    assert math.isnan(again.metrics["test"].overall.stress_mae)
    assert to_json(again) == text
    assert again.settings == CARD.settings


def test_missing_fields_take_their_defaults_and_others_are_refused() -> None:
    assert from_json(Split, '{"test": 0.2}') == Split(test=0.2)
    assert from_json(Split, '{"test": 0}').test == 0.0
    with pytest.raises(SchemaMismatch, match="did you mean 'test'"):
        from_json(Split, '{"tests": 0.2}')
    with pytest.raises(SchemaMismatch, match="'key' is missing"):
        from_json(InboxObject, '{"etag": "e"}')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"test": "0.2"}', "expected float"), ('{"test": true}', "expected float"), ('{"salt": 3}', "expected str"), ("[]", "an object"),
        ("{", "not JSON"),
    ],
)  # fmt: skip
def test_values_of_another_kind_are_refused(text: str, words: str) -> None:
    with pytest.raises(SchemaMismatch, match=words):
        from_json(Split, text)


def test_tuples_have_their_length() -> None:
    with pytest.raises(SchemaMismatch, match="expected 2"):
        from_json(FrameQuery, '{"natoms": [1, 2, 3]}')


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match="infinity"):
        to_json(replace(Split(), test=math.inf))

    @dataclass(frozen=True)
    class Odd:
        value: object

    with pytest.raises(SchemaMismatch, match=r"Odd\.value is a bytes"):
        to_json(Odd(b"x"))
