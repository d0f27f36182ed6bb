"""Calculations that reading again took out of the lake: what they linked stays linked, so that no frame changes its side of a split.

One small Parquet file a replacement, written before the rows go and never changed. A record of a calculation that did not go after
all (a crash came between) changes nothing: it has the place, the ids and the structures that the calculation has.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

import polars as pl

from lake.place import Place
from lake.tables import to_parquet

FOLDER: Final = "departed"
_SCHEMA: Final = pl.Schema(
    {
        "calculation_id": pl.String(),
        "element_system": pl.String(),
        "ingested_at": pl.Datetime("us", "UTC"),
        "formerly": pl.List(pl.String()),
        "configuration_hash": pl.List(pl.String()),
    }
)


def keep(lake: Place, rows: Sequence[tuple[dict[str, Any], Iterable[str]]], label: str) -> None:
    """Keep what splits must know of calculations that are about to be taken out: (row of `calculations`, its structures) each."""
    if rows:
        records = [
            {**{name: row[name] for name in _SCHEMA if name in row}, "configuration_hash": sorted(set(structures))}
            for row, structures in rows
        ]
        data = to_parquet(pl.DataFrame(records, schema=_SCHEMA).to_arrow(compat_level=pl.CompatLevel.oldest()), row_group=100_000)
        lake.store.put(f"{FOLDER}/{label[:16]}-{secrets.token_hex(6)}.parquet", data)


def departed(lake: Place, systems: Sequence[str]) -> pl.DataFrame:
    """Return calculation_id, element_system, ingested_at, formerly and configuration_hash of what was ever taken out of these systems.

    A calculation that was taken out twice stands there twice. Costs a listing, and a GET for each replacement that there was.
    """
    parts = [pl.read_parquet(io.BytesIO(lake.store.get(found.key))) for found in lake.store.list(FOLDER)]
    rows = pl.concat([_SCHEMA.to_frame(), *(part.cast(_SCHEMA) for part in parts)])
    return rows.filter(pl.col("element_system").is_in(list(systems))).sort("ingested_at", "calculation_id")
