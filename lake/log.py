"""The transaction log read entry by entry: what came between two versions costs what came, not what the table holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake.place import VERSION_KEY, Place, spec_of
from lake.tables import live_files
from lake.transactions import entry_text, log_key
from schemas.columns import SCHEMA_VERSION
from schemas.errors import ObjectMissing

_GETS: Final = 16
"""Entries asked for at a time."""
_CHECKPOINT_READ: Final = 2**17
"""Bytes that one GET asks for where a few columns of a checkpoint are read."""


@dataclass(frozen=True)
class AddedFile:
    """A file that an entry of the log added."""

    path: str
    size: int
    partition: Mapping[str, str]
    n_rows: int
    least: Mapping[str, Any]
    largest: Mapping[str, Any]
    is_new_data: bool
    """Whether its rows are new; a compaction adds none."""

    def covers(self, column: str, value: str) -> bool:
        """Return whether a value of a column can be in it."""
        return column not in self.least or self.least[column] <= value <= self.largest[column]


@dataclass(frozen=True)
class LogEntry:
    """One entry of the log of a table."""

    version: int
    added: tuple[AddedFile, ...] = ()
    removed: tuple[str, ...] = ()
    takes_rows: bool = False
    """Whether rows were removed; a compaction removes none."""
    transactions: tuple[str, ...] = field(default=())
    """Application ids."""


def entries(lake: Place, name: str, after: int, upto: int) -> list[LogEntry]:
    """Return the entries of a table's log from after + 1 to upto, in order; raises ObjectMissing where one is gone."""
    versions = range(after + 1, upto + 1)
    if not versions:
        return []
    with ThreadPoolExecutor(min(_GETS, len(versions))) as pool:
        return list(pool.map(lambda version: _parsed(version, lake.store.get(log_key(name, version))), versions))


def live_additions(found: list[LogEntry]) -> list[AddedFile]:
    """Return the files that entries added and none of them removed."""
    removed = {path for entry in found for path in entry.removed}
    return [file for entry in found for file in entry.added if file.path not in removed]


def live_paths(lake: Place, name: str) -> pl.DataFrame:
    """Return path and the columns of the partition of each file that the newest version of a table has, without opening the table.

    Of the last checkpoint only these columns are read, not the statistics, which are nearly all of it; then come the entries after it.
    A log without a checkpoint, or with one that is not of one file, or whose table was changed since, is left to `Place.table`, which
    raises what is wrong with the table.
    """
    keys = spec_of(name).partition_by
    held = _checkpoint(lake, name, ["add.path", *(["add.partitionValues"] if keys else []), "metaData.configuration"])
    came = None if held is None or not _is_ours(held[1]) else entries_after(lake, name, held[0])
    if held is None or came is None:
        files = pl.DataFrame(live_files(lake.table(name)))
        names = {"path": "path", **{f"partition.{key}": key for key in keys}}
        return files.select(list(names)).rename(names) if files.height else pl.DataFrame(schema=dict.fromkeys(names.values(), pl.String))
    adds = held[1]["add"].combine_chunks().drop_null()
    columns = {"path": [unquote(path) for path in adds.field("path").to_pylist()]}
    columns |= {key: pc.map_lookup(adds.field("partitionValues"), key, "first").to_pylist() for key in keys}
    removed = {path for entry in came for path in entry.removed}
    new = [{"path": file.path, **{key: file.partition[key] for key in keys}} for file in live_additions(came)]
    schema = dict.fromkeys(columns, pl.String)
    return pl.concat([pl.DataFrame(columns, schema=schema).filter(~pl.col("path").is_in(removed)), pl.DataFrame(new, schema=schema)])


def _checkpoint(lake: Place, name: str, columns: list[str]) -> tuple[int, pa.Table] | None:
    """Return the version of the last checkpoint and some of its columns; None where there is none of one file."""
    try:
        version = int(json.loads(lake.store.get(f"{name}/_delta_log/_last_checkpoint"))["version"])
        with lake.store.open(f"{name}/_delta_log/{version:020d}.checkpoint.parquet", read_ahead=_CHECKPOINT_READ) as stream:
            return version, pq.ParquetFile(stream).read(columns=columns)
    except ObjectMissing:
        return None


def _is_ours(checkpoint: pa.Table) -> bool:
    """Return whether the table had the present schema at a checkpoint."""
    configuration = checkpoint["metaData"].combine_chunks().drop_null().field("configuration").to_pylist()
    return any(dict(each).get(VERSION_KEY) == str(SCHEMA_VERSION) for each in configuration)


def entries_after(lake: Place, name: str, version: int, *, most: int = 10_000) -> list[LogEntry] | None:
    """Return the entries of a log after a version; None where one of them changes the table itself, or there are more than most."""
    found: list[LogEntry] = []
    with ThreadPoolExecutor(_GETS) as pool:
        while True:
            start = version + len(found) + 1
            texts = list(pool.map(lambda each: entry_text(lake, name, each), range(start, start + _GETS)))
            there = texts[: texts.index(None)] if None in texts else texts
            if any(b'"metaData"' in text or b'"protocol"' in text for text in there if text is not None):
                return None
            found += [_parsed(start + n, text) for n, text in enumerate(there) if text is not None]
            if len(there) < len(texts) or len(found) > most:
                return found if len(found) <= most else None


def application_ids(lake: Place, name: str, version: int) -> set[str]:
    """Return the application ids of all commits to a table, up to a version at least.

    Costs one checkpoint and the entries after it, which are at most as many as the table's checkpoint interval.
    """
    held = _checkpoint(lake, name, ["txn.appId"])
    start, ids = (-1, set()) if held is None else (held[0], {row["appId"] for row in held[1]["txn"].drop_null().to_pylist()})
    for entry in entries(lake, name, start, version):
        ids |= set(entry.transactions)
    return ids


def _parsed(version: int, text: bytes) -> LogEntry:
    added, removed, transactions = [], [], []
    takes_rows = False
    for action in _actions(text):
        if "add" in action:
            added.append(_added(action["add"]))
        elif "remove" in action:
            removed.append(unquote(action["remove"]["path"]))
            takes_rows |= bool(action["remove"].get("dataChange", True))
        elif "txn" in action:
            transactions.append(str(action["txn"]["appId"]))
    return LogEntry(version, tuple(added), tuple(removed), takes_rows, tuple(transactions))


def _actions(text: bytes) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.strip():
            yield json.loads(line)


def _added(add: Mapping[str, Any]) -> AddedFile:
    stats = json.loads(add.get("stats") or "{}")
    return AddedFile(
        path=unquote(add["path"]),
        size=int(add["size"]),
        partition=add.get("partitionValues") or {},
        n_rows=int(stats.get("numRecords", 0)),
        least=stats.get("minValues", {}),
        largest=stats.get("maxValues", {}),
        is_new_data=bool(add.get("dataChange", True)),
    )
