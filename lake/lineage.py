"""Where a dataset or potential comes from, and what was made of a source; retraction follows the same way forward."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from lake.datasets import Dataset, list_datasets, open_dataset
from lake.embargoes import visible_sources
from lake.place import Place
from lake.potentials import card_of, list_potentials, set_state
from lake.retractions import calculations_only_of, retraction_key, retractions, sources_named
from schemas.errors import QueryError
from schemas.json import to_json
from schemas.potentials import PotentialCard
from schemas.sources import Retraction


@dataclass(frozen=True)
class Origin:
    """One source and what of it is in a dataset."""

    source_id: str
    bucket: str
    key: str
    members: tuple[str, ...]
    """Where in the source the calculations stand."""
    n_calculations: int
    n_frames: int
    retracted: str
    """Why the source was retracted; '' where it was not."""


@dataclass(frozen=True)
class Use:
    """One dataset that holds calculations of a source, and the potentials trained on it."""

    dataset: str
    n_calculations: int
    n_frames: int
    potentials: tuple[str, ...]
    """'name:version'"""


def origins(lake: Place, dataset: str) -> list[Origin]:
    """Return the sources of a dataset's calculations, by key; a calculation with several origins counts for each of them.

    Deposits of projects under embargo that the reader's profile does not name are left out.
    """
    frames = open_dataset(lake, dataset).index.group_by("calculation_id").len("n_frames")
    pairs = (
        visible_sources(lake)
        .select("source_id", "bucket", "key", pl.col("calculation_ids").alias("calculation_id"), "members")
        .explode("calculation_id", "members")
        .unique(["source_id", "calculation_id"])
        .join(frames.lazy(), on="calculation_id")
    )
    grouped = pairs.group_by("source_id", "bucket", "key").agg(
        pl.col("members").sort(), pl.len().alias("n_calculations"), pl.col("n_frames").sum()
    )
    why = {retraction.source_id: retraction.why for retraction in retractions(lake)}
    return [
        Origin(source_id, bucket, key, tuple(members), int(n), int(n_frames), why.get(source_id, ""))
        for source_id, bucket, key, members, n, n_frames in grouped.sort("key", "source_id").collect().iter_rows()
    ]


def origins_of_potential(lake: Place, name: str, version: int | None = None) -> tuple[PotentialCard, list[Origin]]:
    """Return the card of a potential and the sources of the dataset that it was trained on."""
    card = card_of(lake, name, version)
    return card, origins(lake, card.dataset)


def uses(lake: Place, source: str) -> list[Use]:
    """Return the datasets that hold calculations of a source (its key or source id), with the potentials trained on them."""
    named = sources_named(lake, source)["source_id"].to_list()
    rows = lake.all_sources().filter(pl.col("source_id").is_in(named)).select(pl.col("calculation_ids").explode().drop_nulls().unique())
    return _uses_of(lake, set(rows.collect()["calculation_ids"]))


def retract(lake: Place, source: str, why: str) -> list[Retraction]:
    """Mark a source (a key with each content that it had, or a source id) as not to be trained on; return what that touches.

    Later datasets leave out the calculations that no other source has. Datasets and potentials stay as they are: they are named
    in the result, and each potential gets a row with the reason. Can be called again; the first retraction stands.
    Raises UnknownName, and QueryError without a reason.
    """
    if not why.strip():
        raise QueryError(f"retraction of {source!r} says no reason; write one (--why), it is kept for ever")
    found = sources_named(lake, source)
    before = {retraction.source_id for retraction in retractions(lake)}
    new = found.filter(~pl.col("source_id").is_in(sorted(before)))
    gone = calculations_only_of(lake, sorted(before | set(new["source_id"]))) if new.height else set()
    for source_id, bucket, key in new.iter_rows():
        own = gone & _calculations_of(lake, source_id)
        touched = _uses_of(lake, own)
        potentials = tuple(sorted({name for use in touched for name in use.potentials}))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        record = Retraction(source_id, bucket, key, why, now, len(own), tuple(use.dataset for use in touched), potentials)
        if lake.put_once(retraction_key(source_id), to_json(record).encode()):
            _mark(lake, record)
    return [retraction for retraction in retractions(lake) if retraction.source_id in set(found["source_id"])]


def restore(lake: Place, source: str) -> int:
    """Take back the retraction of a source (its key or source id) and return how many of its contents were retracted."""
    named = set(sources_named(lake, source)["source_id"])
    taken_back = [retraction for retraction in retractions(lake) if retraction.source_id in named]
    for retraction in taken_back:
        lake.store.delete(retraction_key(retraction.source_id))
    return len(taken_back)


def _calculations_of(lake: Place, source_id: str) -> set[str]:
    rows = lake.all_sources().filter(pl.col("source_id") == source_id).select(pl.col("calculation_ids").explode().drop_nulls().unique())
    return set(rows.collect()["calculation_ids"])


def _uses_of(lake: Place, calculations: set[str]) -> list[Use]:
    if not calculations:
        return []
    cards = list_potentials(lake)
    found = []
    for manifest in list_datasets(lake):
        held = Dataset(lake, manifest).index.filter(pl.col("calculation_id").is_in(sorted(calculations)))
        if held.height:
            trained = _names(card for card in cards if card.dataset_hash == manifest.content_hash)
            found.append(Use(manifest.name, held["calculation_id"].n_unique(), held.height, trained))
    return found


def _names(cards: Iterable[PotentialCard]) -> tuple[str, ...]:
    return tuple(f"{card.name}:{card.version}" for card in cards)


def _mark(lake: Place, record: Retraction) -> None:
    """Write the retraction into the history of each potential that was trained on it; their states stay."""
    states = {f"{card.name}:{card.version}": card for card in list_potentials(lake)}
    for name in record.potentials:
        card = states[name]
        set_state(lake, card.name, card.version, card.state, f"trained on {record.key}, which was retracted: {record.why}")
