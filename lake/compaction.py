"""Compaction: the small files of a partition are joined into large ones, in the encoding of our own writer.

A commit takes the small files out of the newest version and puts the joined one in, both or neither; the rows stay the same.
The small files stay in the store for older versions, which datasets and running readers use, until `lake.vacuum`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from lake.place import Place, spec_of
from lake.probe import probe_once
from lake.scalars import summarise
from lake.stats import SMALL_BYTES
from lake.tables import DataFile, live_files, portions, write_file
from lake.transactions import ATTEMPTS, try_commit, wait_for_others
from schemas.errors import CommitConflict

if TYPE_CHECKING:
    from collections.abc import Callable


TARGET_BYTES: Final = 128 * 2**20
"""Small files are joined until they add up to this; it bounds the memory that one joining takes."""

GROUPS_A_COMMIT: Final = 500
"""Joined files in one commit: what a crash before the commit wastes, against the length of the log."""

_AT_A_TIME: Final = 8
_LABEL: Final = "compaction"
_ORDER: Final = {
    "frames": ["calculation_id", "step"],
    "calculations": ["calculation_id"],
    "sources": ["source_id", "attempt"],
    "rejections": ["rejection_id"],
}
"""Columns that rows are sorted by, so that the ranges of values in the log stay narrow."""


@dataclass(frozen=True)
class Compaction:
    """What a compaction did to one table."""

    table: str
    n_files_before: int
    """Small files that were joined."""
    n_files_after: int
    bytes_before: int
    bytes_after: int
    version: int


@dataclass(frozen=True)
class Group:
    """Small files of one partition that become one."""

    partition: dict[str, str]
    files: tuple[tuple[str, int], ...]
    """(path, size) of each."""


def compact(lake: Place, name: str, *, progress: Callable[[int, int], None] | None = None) -> Compaction:
    """Join the small files of each partition of a table and return what that did; progress is called with (done, all) groups.

    Safe beside writers, readers and other compactions; one that was killed leaves files that `lake.vacuum` sweeps away.
    Raises CommitConflict when other writers come first at every attempt.
    """
    probe_once(lake.store)
    groups = list(_groups(lake.table(name), name))
    joined: list[tuple[Group, list[DataFile]]] = []
    version = 0
    for start in range(0, len(groups), GROUPS_A_COMMIT):
        portion = groups[start : start + GROUPS_A_COMMIT]
        written = []
        with ThreadPoolExecutor(_at_a_time(portion)) as pool:
            for group, files in zip(portion, pool.map(lambda group: join(lake, name, group), portion), strict=True):
                written.append((group, files))
                if progress is not None:
                    progress(start + len(written), len(groups))
        committed, version = _commit(lake, name, written)
        joined += committed
    table = lake.table(name)
    if joined:
        table.create_checkpoint()
    if name == "frames":
        summarise(lake)
    return Compaction(
        table=name,
        n_files_before=sum(len(group.files) for group, _ in joined),
        n_files_after=sum(len(files) for _, files in joined),
        bytes_before=sum(size for group, _ in joined for _, size in group.files),
        bytes_after=sum(file.size for _, files in joined for file in files),
        version=version or int(table.version()),
    )


def _at_a_time(groups: Sequence[Group]) -> int:
    """Return how many groups are joined at the same time: waiting for the store takes longer than the work, but memory is bounded."""
    largest = max(sum(size for _, size in group.files) for group in groups)
    return max(1, min(_AT_A_TIME, TARGET_BYTES // max(1, largest)))


def _groups(table: DeltaTable, name: str) -> Iterator[Group]:
    """Yield the groups of small files, smallest files first, so that the fewest bytes are written again."""
    files = pl.DataFrame(live_files(table))
    if files.is_empty():
        return
    keys = [f"partition.{column}" for column in spec_of(name).partition_by]
    small = files.filter(pl.col("size_bytes") < SMALL_BYTES).sort(*keys, "size_bytes", "path")
    for part in small.partition_by(keys, maintain_order=True) if keys else [small]:
        partition = {key.removeprefix("partition."): str(part[key][0]) for key in keys}
        found: list[tuple[str, int]] = []
        total = 0
        for path, size in part.select("path", "size_bytes").iter_rows():
            if found and total + size > TARGET_BYTES:
                yield from _if_many(partition, found)
                found, total = [], 0
            found.append((path, int(size)))
            total += int(size)
        yield from _if_many(partition, found)


def _if_many(partition: dict[str, str], found: Sequence[tuple[str, int]]) -> Iterator[Group]:
    if len(found) > 1:
        yield Group(partition, tuple(found))


def join(lake: Place, name: str, group: Group) -> list[DataFile]:
    """Write the rows of a group's files as one file, or as few as its memory makes, sorted; no commit names them yet."""
    tables = [pq.read_table(pa.BufferReader(lake.store.get(f"{name}/{path}")), partitioning=None) for path, _ in group.files]
    # Files from before a migration lack columns.
    rows = pa.concat_tables(tables, promote_options="default")
    if name in _ORDER:
        rows = rows.sort_by([(column, "ascending") for column in _ORDER[name]])
    return [write_file(lake, name, portion, label=_LABEL, partition=group.partition) for portion in portions(rows)]


def _commit(lake: Place, name: str, written: Sequence[tuple[Group, list[DataFile]]]) -> tuple[list[tuple[Group, list[DataFile]]], int]:
    """Commit the joined files whose small files are all there still; return them and the version that holds them."""
    for attempt in range(ATTEMPTS):
        table = lake.table(name)
        live = set(live_files(table)["path"].to_pylist())
        kept = [(group, files) for group, files in written if live.issuperset(path for path, _ in group.files)]
        changes: list[AddAction | RemoveAction] = [action for group, files in kept for action in actions(group, files)]
        if not changes or try_commit(table, name, _LABEL, changes):
            lost = [file.path for group, files in written if (group, files) not in kept for file in files]
            for path in set(lost) - live:
                lake.store.delete(f"{name}/{path}")
            return kept, int(table.version()) + bool(changes)
        wait_for_others(attempt)
    raise CommitConflict(
        f"{lake.url}: table {name!r}: other writers came first {ATTEMPTS} times while compacting; nothing is lost, "
        "run it again when fewer write"
    )


def actions(group: Group, files: Sequence[DataFile]) -> Iterator[AddAction | RemoveAction]:
    """Yield the entries of the log that put joined files in the place of a group's; they say that no row changes."""
    partition: dict[str, Any] = dict(group.partition)
    now = int(time.time() * 1000)
    for path, size in group.files:
        yield RemoveAction(path, False, now, size, partition)
    for file in files:
        yield dataclasses.replace(file.action(), data_change=False)
