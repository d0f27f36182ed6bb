"""The transaction log read entry by entry: what came between two versions costs what came, not what the table holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import pyarrow.parquet as pq

from lake.place import Place
from lake.transactions import log_key
from schemas.errors import ObjectMissing

_GETS: Final = 16
"""Entries asked for at a time."""


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


def application_ids(lake: Place, name: str, version: int) -> set[str]:
    """Return the application ids of all commits to a table, up to a version at least.

    Costs one checkpoint and the entries after it, which are at most as many as the table's checkpoint interval.
    """
    try:
        found = json.loads(lake.store.get(f"{name}/_delta_log/_last_checkpoint"))
        start = int(found["version"])
        with lake.store.open(f"{name}/_delta_log/{start:020d}.checkpoint.parquet") as stream:
            rows = pq.ParquetFile(stream).read(columns=["txn.appId"])
    except ObjectMissing:
        start, ids = -1, set()
    else:
        ids = {row["appId"] for row in rows["txn"].drop_null().to_pylist()}
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
