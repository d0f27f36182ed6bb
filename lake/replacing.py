"""Rows put in the place of others: one commit takes files out of a table's newest version and puts in what stays of them and the new.

Older versions, which datasets pin, keep the files that were taken out until no version that is needed has them (`lake.vacuum`).
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction

from lake.departed import keep
from lake.differences import Change, Differences, differences
from lake.keys import present, rows_of
from lake.place import Place, spec_of
from lake.probe import probe_once
from lake.readers import READERS
from lake.readers.base import ReaderSpec
from lake.reading import read_source
from lake.rereading import Group, HeldSource
from lake.rows import rejection_rows, rejection_table, source_table
from lake.staging import write_frames
from lake.store import ObjectStore
from lake.tables import DataFile, live_files, portions, write_file
from lake.transactions import ATTEMPTS, commit_files, remove_unused, try_commit, wait_for_others
from schemas.columns import CALCULATIONS
from schemas.errors import CommitConflict
from schemas.sources import SourceReading
from schemas.version import __version__


@dataclass(frozen=True)
class StagedReplacement:
    """What is to be put in and taken out after reading again; small, and can be pickled. Frames are written but not committed."""

    rows: tuple[Mapping[str, Any], ...]
    """Whole rows of `calculations`, batch_id and ingested_at only where they stay."""
    files: tuple[DataFile, ...]
    """Frames put in."""
    put_in: Mapping[str, str]
    """Calculation -> element system of these frames."""
    gone: Mapping[str, str]
    """Calculation -> element system of what is taken out."""
    sources: tuple[Mapping[str, Any], ...]
    """Rows of `sources` to be added, without batch_id and ingested_at."""
    rejections: tuple[Mapping[str, Any], ...]
    """Rows of `rejections` to be added, without batch_id and rejected_at."""


@dataclass(frozen=True)
class Rereading:
    """What reading again found."""

    n_sources: int
    """Sources that were read."""
    n_unchanged: int
    """Calculations of which nothing differs."""
    changes: tuple[Change, ...] = ()
    missing: tuple[str, ...] = ()
    """Keys of sources whose bytes are not in the inbox any more; what they brought stays."""
    failed: tuple[str, ...] = ()
    """Keys of sources that could not be read this time, with the reason; what they brought stays."""

    def __add__(self, other: Rereading) -> Rereading:
        return Rereading(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def columns(self) -> dict[str, int]:
        """Return how many values of each column differ in calculations that kept their id."""
        counts: Counter[str] = Counter()
        for change in self.changes:
            counts.update(change.columns)
        return dict(sorted(counts.items()))


def read_again(
    lake: Place,
    inbox: ObjectStore,
    groups: Sequence[Group],
    label: str,
    *,
    dry_run: bool = False,
    readers: Sequence[ReaderSpec] = READERS,
) -> tuple[StagedReplacement, Rereading]:
    """Read groups of sources, compare them with the lake and stage what differs; dry_run stages nothing. label names the batch."""
    tables = {name: lake.table(name) for name in ("frames", "calculations")}
    found, told = [], Rereading(0, 0)
    for group in groups:
        readings = [read_source(held.source, inbox, lake.settings.limits, readers=readers) for held in group if held.is_there]
        each = differences(lake, group, readings, tables)
        told += Rereading(len(readings), each.n_unchanged, each.changes, each.missing, each.failed)
        found.append(each)
    return stage_replacement(lake, [] if dry_run else found, label), told


def stage_replacement(lake: Place, found: Sequence[Differences], label: str) -> StagedReplacement:
    """Write the frames that differ beside the table and return what is to be committed; nothing is visible yet.

    What splits must know of the calculations that go is kept here, before any of them can go.
    """
    keep(lake, [each for one in found for each in one.departed], label)
    by_system: dict[str, list[pa.Table]] = {}
    put_in: dict[str, str] = {}
    for frames in (frames for each in found for frames in each.frames):
        system, name = frames["element_system"][0].as_py(), frames["calculation_id"][0].as_py()
        by_system.setdefault(system, []).append(frames)
        put_in[name] = system
    files = [
        write_frames(lake, portion, system, label[:16])
        for system, tables in sorted(by_system.items())
        for portion in portions(pa.concat_tables(tables))
    ]
    read = [(held, reading) for each in found for held, reading in each.readings]
    return StagedReplacement(
        rows=tuple(row for each in found for row in each.rows),
        files=tuple(files),
        put_in=put_in,
        gone={name: system for each in found for name, system in each.gone.items()},
        sources=tuple(_source_row(held, reading) for held, reading in read),
        rejections=tuple(row for held, reading in read for row in rejection_rows(held.source, reading.rejections)),
    )


def commit_replacement(lake: Place, staged: Sequence[StagedReplacement], label: str, *, now: datetime | None = None) -> dict[str, int]:
    """Make staged replacements visible, each table in one commit, and return the versions; can be repeated after a crash at any point.

    Calculations come first and go last, so that no reader sees frames without theirs; the rows of sources close it.
    Raises CommitConflict when other writers come first at every attempt.
    """
    now = now or datetime.now(UTC)
    gone = {name: system for each in staged for name, system in each.gone.items()}
    moved = {**gone, **{name: system for each in staged for name, system in each.put_in.items()}}
    rows = [{"batch_id": label, "ingested_at": now, **row} for each in staged for row in each.rows]
    files = [file for each in staged for file in each.files]
    calculations = [write_file(lake, "calculations", _calculation_table(rows), label=label[:16])] if rows else []
    names = {row["calculation_id"] for row in rows}
    versions = {"calculations": replace_rows(lake, "calculations", label, names, calculations)}
    versions["frames"] = replace_rows(lake, "frames", label, set(moved), files, systems=sorted(set(moved.values())))
    if gone:
        versions["calculations"] = replace_rows(lake, "calculations", f"{label}-gone", set(gone))
    rejections = [row for each in staged for row in each.rejections]
    sources = [row for each in staged for row in each.sources]
    versions["rejections"] = commit_files(lake, "rejections", label, partial(_new_rejections, lake, rejections, label, now))
    versions["sources"] = commit_files(lake, "sources", label, partial(_new_sources, lake, sources, label, now))
    return versions


def _calculation_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows], schema=CALCULATIONS.arrow_schema())


def _new_rejections(lake: Place, rows: Sequence[Mapping[str, Any]], label: str, now: datetime, table: DeltaTable) -> list[DataFile]:
    known = present(lake, table, "rejection_id", {row["rejection_id"] for row in rows})
    fresh = [row for row in rows if row["rejection_id"] not in known]
    return [write_file(lake, "rejections", rejection_table(fresh, batch_id=label, now=now), label=label[:16])] if fresh else []


def _new_sources(lake: Place, rows: Sequence[Mapping[str, Any]], label: str, now: datetime, table: DeltaTable) -> list[DataFile]:
    names = {row["source_id"] for row in rows}
    known = set(rows_of(lake, table, "source_id", names, ("source_id", "attempt")).iter_rows())
    fresh = [row for row in rows if (row["source_id"], row["attempt"]) not in known]
    return [write_file(lake, "sources", source_table(fresh, batch_id=label, now=now), label=label[:16])] if fresh else []


def _source_row(held: HeldSource, reading: SourceReading) -> dict[str, Any]:
    found = reading.calculations
    state = "rejected" if not found else "partly_taken" if reading.rejections else "taken"
    if any(rejection.reason == "needs_units" for rejection in reading.rejections):
        state = "needs_units"
    elif state == "taken" and held.row["state"] == "duplicate":
        state = "duplicate"
    return {
        **held.row,
        "state": state,
        "attempt": held.source.attempt,
        "n_calculations": len(found),
        "n_frames": sum(each.run.frames.count for each in found),
        "n_rejections": len(reading.rejections),
        "calculation_ids": [each.calculation_id for each in found],
        "members": [each.member for each in found],
        "project": reading.metadata.get("project", ""),
        "bytes_read": reading.bytes_read,
        "seconds": reading.seconds,
        "reader_version": __version__,
    }


def replace_rows(
    lake: Place, name: str, label: str, gone: set[str], added: Sequence[DataFile] = (), *, systems: Sequence[str] | None = None
) -> int:
    """Take all rows of the calculations gone out of a table, put in the files added, in one commit; return the version that shows it.

    The calculations of added files must be among those gone, so that a repetition gives the same table; files that hold rows of
    others are written anew without them. systems says where to look in `frames`. Raises CommitConflict, StoreUnsafe.
    """
    probe_once(lake.store)
    written: set[str] = set()
    new = {file.path for file in added}
    for attempt in range(ATTEMPTS):
        table = lake.table(name)
        files = pl.DataFrame(live_files(table, systems))
        live = set(files["path"]) if files.height else set()
        # An answer that was lost looks like a lost race.
        if (new and new <= live) or (written and written <= live):
            remove_unused(lake, table, name, written)
            return int(table.version())
        held = list(_holding(lake, name, files, gone))
        rewritten = [file for path, partition, _ in held for file in _without(lake, name, path, partition, gone)]
        if not held and not added:
            return int(table.version())
        written |= {file.path for file in rewritten}
        now = int(time.time() * 1000)
        removed = [RemoveAction(path, True, now, size, partition) for path, partition, size in held]
        if try_commit(table, name, label, [*removed, *(file.action() for file in (*rewritten, *added))]):
            remove_unused(lake, lake.table(name), name, written)
            return int(table.version()) + 1
        wait_for_others(attempt)
    raise CommitConflict(
        f"{lake.url}: table {name!r}: other writers came first {ATTEMPTS} times while rows were replaced; nothing is lost, "
        "run it again when fewer write"
    )


def _holding(lake: Place, name: str, files: pl.DataFrame, gone: set[str]) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Yield path, partition and size of the files that hold rows of these calculations; ranges in the log spare most of the reading."""
    if not gone or files.is_empty():
        return
    ordered = sorted(gone)
    partitions = [column for column in files.columns if column.startswith("partition.")]
    for row in files.sort("path").iter_rows(named=True):
        low, high = (row.get(f"{end}.calculation_id") for end in ("min", "max"))
        place = bisect_left(ordered, low) if low is not None and high is not None else 0
        if place == len(ordered) or (high is not None and ordered[place] > high):
            continue
        with lake.store.open(f"{name}/{row['path']}") as stream:
            held = pq.read_table(stream, columns=["calculation_id"], partitioning=None)["calculation_id"].cast(pa.string())
        if pc.any(pc.is_in(held, pa.array(ordered, pa.string()))).as_py():
            yield row["path"], {column.removeprefix("partition."): row[column] for column in partitions}, int(row["size_bytes"])


def _without(lake: Place, name: str, path: str, partition: dict[str, Any], gone: set[str]) -> list[DataFile]:
    """Write a file anew without the rows of these calculations; nothing where none is left."""
    rows = pq.read_table(pa.BufferReader(lake.store.get(f"{name}/{path}")), partitioning=None)
    # Other writers of Delta tables leave other types of text behind.
    types = spec_of(name).arrow_schema()
    rows = rows.cast(pa.schema([types.field(column) for column in rows.column_names]))
    kept = rows.filter(pc.invert(pc.is_in(rows["calculation_id"], pa.array(sorted(gone), pa.string()))))
    if not kept.num_rows:
        return []
    label = path.rpartition("/")[2].rpartition("-")[0]
    return [write_file(lake, name, kept, label=label, partition=partition)]
