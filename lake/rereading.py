"""Sources read again with the present readers: what is found is compared with what the lake holds, and only what differs is replaced.

A calculation keeps its identity while its output says the same numbers. Where a newer reader finds others, the calculation comes
under a new id, remembers the old ones (`formerly`), and keeps its place in the order of the lake and its side in splits. What no
source gives any more leaves the newest version; datasets, which pin older versions, stay as they are. A source that cannot be read
keeps all its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl

from lake.inbox import sources_in
from lake.place import Place
from lake.reader_versions import is_outdated
from lake.store import ObjectStore
from schemas.errors import QueryError, UnknownName, closest
from schemas.sources import SourceObject


@dataclass(frozen=True)
class HeldSource:
    """A source that the lake has read, and what it brought."""

    source: SourceObject
    """As it lies in the inbox now, with the number of the next attempt; without parts where it is gone."""
    calculation_ids: frozenset[str]
    """All that any attempt found in it, and that the lake has."""
    row: Mapping[str, Any]
    """The row of `sources` of its newest attempt."""

    def member(self, calculation_id: str) -> str | None:
        """Return where in it a calculation stands, None for one that the newest attempt did not find."""
        return dict(zip(self.row["calculation_ids"], self.row["members"], strict=True)).get(calculation_id)

    @property
    def is_there(self) -> bool:
        """Whether its bytes are still in the inbox."""
        return bool(self.source.parts)


Group = tuple[HeldSource, ...]
"""Sources that share calculations (copies, say): they are read together, so that a calculation is replaced as a whole."""


@dataclass(frozen=True)
class Wanted:
    """Which calculations are to be read again; every field narrows."""

    code: str = ""
    source: str = ""
    """Key or source id."""
    since: str = ""
    """First ingested on this day (YYYY-MM-DD) or later."""
    outdated: bool = False
    """Only those that an earlier version of their reader has read: see `lake.reader_versions`."""


def plan(lake: Place, inbox: ObjectStore, bucket: str, wanted: Wanted) -> list[Group]:
    """Return the sources to be read again, in groups that share calculations, in the order of their keys.

    Costs a listing of the inbox and a look at `sources` and `calculations`. Raises UnknownName for a source or code that is not there,
    QueryError for a day that is none.
    """
    columns = ("calculation_id", "code", "format", "reader_version", "ingested_at")
    calculations = lake.scan(lake.table("calculations")).select(columns).collect()
    rows = lake.scan(lake.table("sources")).filter(pl.col("bucket") == bucket).sort("attempt").collect()
    chosen = calculations.filter(_conditions(calculations, wanted))
    newest = {row["source_id"]: row for row in rows.iter_rows(named=True)}
    named = {name for name, row in newest.items() if wanted.source in ("", name, row["key"])}
    if not named and wanted.source:
        raise UnknownName(f"the lake has never read {wanted.source!r}{closest(wanted.source, rows['key'].unique())}")
    claims = rows.select("source_id", pl.col("calculation_ids").alias("calculation_id")).explode("calculation_id").drop_nulls().unique()
    there_still = set(calculations["calculation_id"])
    first = set(claims.join(chosen, on="calculation_id", how="semi")["source_id"]) | _unfinished(newest, there_still)
    there = {(found.key, found.etag): found for found in sources_in(inbox.list(), bucket)}
    own: dict[str, list[str]] = {name: [] for name in newest}
    for source_id, calculation_id in claims.sort("source_id", "calculation_id").iter_rows():
        own[source_id].append(calculation_id)
    start = sorted(first & named, key=lambda name: (newest[name]["key"], name))
    groups = _connected(own, start, newest)
    return [tuple(_held(newest[name], there_still.intersection(own[name]), there) for name in names) for names in groups]


def _unfinished(newest: Mapping[str, Mapping[str, Any]], there: set[str]) -> set[str]:
    """Return sources whose newest row names what the lake has no more: reading them again was killed before it closed."""
    return {name for name, row in newest.items() if not there.issuperset(row["calculation_ids"])}


def _conditions(calculations: pl.DataFrame, wanted: Wanted) -> pl.Expr:
    condition = pl.lit(value=True)
    if wanted.code:
        codes = calculations["code"].unique().to_list()
        if wanted.code not in codes:
            raise UnknownName(
                f"the lake has no calculation of {wanted.code!r}{closest(wanted.code, codes)}; it has {', '.join(sorted(codes))}"
            )
        condition &= pl.col("code") == wanted.code
    if wanted.since:
        try:
            day = datetime.fromisoformat(wanted.since).date()
        except ValueError as error:
            raise QueryError(f"{wanted.since!r} is no day; write it as YYYY-MM-DD") from error
        condition &= pl.col("ingested_at").dt.date() >= day
    if wanted.outdated:
        met = calculations.select("format", "reader_version").unique().iter_rows()
        old = [(pl.col("format") == name) & (pl.col("reader_version") == version) for name, version in met if is_outdated(name, version)]
        condition &= pl.any_horizontal(*old) if old else pl.lit(value=False)
    return condition


def _connected(own: Mapping[str, Sequence[str]], start: Sequence[str], newest: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield the source ids that share calculations with the first ones, directly or through others, in groups.

    own is what any attempt found in a source, also what is gone: so copies stay together whatever became of what they share.
    """
    having: dict[str, list[str]] = {}
    for source_id, calculations in own.items():
        for calculation_id in calculations:
            having.setdefault(calculation_id, []).append(source_id)
    seen: set[str] = set()
    for first in start:
        if first in seen:
            continue
        seen.add(first)
        group, waiting = [], [first]
        while waiting:
            group.append(waiting.pop())
            near = {name for calculation in own[group[-1]] for name in having[calculation]} - seen
            seen |= near
            waiting += sorted(near)
        yield sorted(group, key=lambda name: (newest[name]["key"], name))


def _held(row: Mapping[str, Any], own: set[str], there: Mapping[tuple[str, str], SourceObject]) -> HeldSource:
    found = there.get((row["key"], row["etag"]))
    if found is None:
        found = SourceObject(row["bucket"], row["key"], row["etag"], row["size"], row["last_modified"], (), row["version_id"])
    return HeldSource(replace(found, attempt=row["attempt"] + 1), frozenset(own), row)
