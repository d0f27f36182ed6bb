"""Retracted sources: one small object each, written once; what only they have is left out of later datasets."""

from __future__ import annotations

from typing import Final

import polars as pl

from lake.embargoes import visible_sources
from lake.place import Place
from schemas.errors import UnknownName, closest
from schemas.json import from_json
from schemas.sources import Retraction

FOLDER: Final = "retractions"


def retractions(lake: Place) -> list[Retraction]:
    """Return all retractions, oldest first."""
    keys = [found.key for found in lake.store.list(FOLDER) if found.key.endswith(".json")]
    found = [from_json(Retraction, lake.store.get(key)) for key in keys]
    return sorted(found, key=lambda retraction: (retraction.retracted_at, retraction.key, retraction.source_id))


def retracted_sources(lake: Place) -> frozenset[str]:
    """Return the ids of the retracted sources; costs one listing."""
    keys = (found.key for found in lake.store.list(FOLDER))
    return frozenset(key.removeprefix(f"{FOLDER}/").removesuffix(".json") for key in keys if key.endswith(".json"))


def retraction_key(source_id: str) -> str:
    """Return the key of the object that says that a source is retracted."""
    return f"{FOLDER}/{source_id}.json"


def retracted_calculations(lake: Place) -> set[str]:
    """Return the calculations that retracted sources have and no other source; one listing where nothing is retracted."""
    gone = retracted_sources(lake)
    return calculations_only_of(lake, sorted(gone)) if gone else set()


def calculations_only_of(lake: Place, source_ids: list[str]) -> set[str]:
    """Return the calculations that were found in these sources and in no others."""
    sources = lake.all_sources().select("source_id", pl.col("calculation_ids").alias("calculation_id"))
    inside = pl.col("source_id").is_in(source_ids)
    own = sources.filter(inside).explode("calculation_id").select("calculation_id").drop_nulls().unique().collect()
    if own.is_empty():
        return set()
    others = sources.filter(~inside).explode("calculation_id").select("calculation_id")
    return set(own.lazy().join(others, on="calculation_id", how="anti").collect()["calculation_id"])


def sources_named(lake: Place, name: str) -> pl.DataFrame:
    """Return source_id, bucket and key of the sources of a key (each content that it had), or of one source id.

    Raises UnknownName with the closest key.
    """
    columns = ("source_id", "bucket", "key")
    rows = lake.all_sources().select(columns).filter((pl.col("key") == name) | (pl.col("source_id") == name)).unique().sort("source_id")
    found = rows.collect()
    if found.is_empty():
        keys = visible_sources(lake).select(pl.col("key").unique()).collect()["key"].to_list()
        raise UnknownName(f"{lake.url}: no source {name!r} was read{closest(name, keys)}; write its key as 'atomlake put' sent it")
    return found
