"""The scalar columns of all frames in a few files, so that a look at everything does not open a file for each element system.

Made from the table and worth nothing without it: parts in Parquet, sorted by element system, and a note that says up to which version
of `frames` they hold its rows. Newer rows are read from the files that the log has added since; where rows were taken away since, or
the columns are others, the table itself is read, until `summarise` (which every compaction of `frames` ends with) has made it good.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from lake.log import AddedFile, LogEntry, entries, entries_after
from lake.place import Place
from lake.tables import live_files, to_parquet
from schemas.columns import FRAMES
from schemas.json import from_json, to_json

FOLDER: Final = "scalars"
COLUMNS: Final = tuple(column.name for column in FRAMES.columns if not column.shape)
"""Every column of `frames` but the arrays."""

PART_ROWS: Final = 1_000_000
"""Rows of one part, about; what making one holds in memory."""
_ROW_GROUP: Final = 50_000
_SMALL_PARTS: Final = 8
"""Parts below half of PART_ROWS that may be there before they are joined."""
_ENTRIES: Final = 1000
"""Entries of the log that a reader follows at most; with more the table itself is read."""
_ORDER: Final = ("element_system", "calculation_id", "step")


@dataclass(frozen=True)
class Part:
    """One file of scalar columns."""

    key: str
    n_rows: int


@dataclass(frozen=True)
class Summary:
    """The scalar columns of all rows of `frames` at one version."""

    version: int
    columns: tuple[str, ...]
    parts: tuple[Part, ...]


def scan_scalars(lake: Place, table: DeltaTable) -> pl.LazyFrame:
    """Return COLUMNS of all rows of an opened version of `frames`: from the summary and what came after it, or from the table."""
    summary = newest_summary(lake, int(table.version()))
    came = None if summary is None else _appended(lake, summary, int(table.version()))
    if summary is None or came is None:
        return lake.scan(table).select(COLUMNS)
    found = _scans(lake, summary, came)
    return pl.concat(found) if found else lake.scan(table).select(COLUMNS)


def _scans(lake: Place, summary: Summary, came: Sequence[AddedFile]) -> list[pl.LazyFrame]:
    """Return the rows of a summary, and those of the files that came after it; nothing where there are none."""
    found = [_scan(lake, [f"{lake.url}/{part.key}" for part in summary.parts])] if summary.parts else []
    if came:
        found.append(_scan(lake, [f"{lake.table_uri('frames')}/{file.path}" for file in came], hive=True))
    return found


def scan_newest_scalars(lake: Place) -> pl.LazyFrame | None:
    """Return what `scan_scalars` does of the newest version, without opening the table; None where the table itself has to be read."""
    summary = newest_summary(lake)
    came = None if summary is None else entries_after(lake, "frames", summary.version, most=_ENTRIES)
    if summary is None or came is None or any(entry.removed for entry in came):
        return None
    found = _scans(lake, summary, [file for entry in came for file in entry.added])
    return pl.concat(found) if found else None


def summarise(lake: Place, *, progress: Callable[[int, int], None] | None = None) -> Summary:
    """Bring the scalar columns of `frames` up to its newest version and return what there is then.

    Reads what came since the last time; everything where rows were taken away. Memory is bounded by PART_ROWS. Safe beside writers and
    other makers: a note is never changed, and the newest one holds. progress is called with (done, all) rows.
    """
    table = lake.table("frames")
    version = int(table.version())
    last = newest_summary(lake, version)
    came = None if last is None else _appended(lake, last, version)
    if last is not None and came is not None and not came:
        return last
    parts = list(last.parts) if last is not None and came is not None else []
    files = _all_files(table) if came is None else [(file.path, file.partition["element_system"], file.n_rows) for file in came]
    total, done = sum(n for *_, n in files), 0
    for group in _groups(files):
        rows = _scan(lake, [f"{lake.table_uri('frames')}/{path}" for path, *_ in group], hive=True).collect()
        parts.append(_write(lake, rows))
        done += rows.height
        if progress is not None:
            progress(done, total)
    summary = Summary(version, COLUMNS, tuple(_joined(lake, parts)))
    lake.put_once(_note_key(version), to_json(summary).encode())
    return summary


def newest_summary(lake: Place, version: int | None = None) -> Summary | None:
    """Return the newest summary of a version of `frames` up to this one, or None; one with other columns than ours counts for nothing."""
    versions = sorted((found for found in _versions(lake) if version is None or found <= version), reverse=True)
    for each in versions[:2]:
        summary = from_json(Summary, lake.store.get(_note_key(each)))
        if summary.columns == COLUMNS:
            return summary
    return None


def unused_files(lake: Place) -> list[tuple[str, int, datetime]]:
    """Return (key, size, time of writing) of notes and parts that only older summaries than the newest need."""
    versions = sorted(_versions(lake))
    newest = from_json(Summary, lake.store.get(_note_key(versions[-1]))) if versions else Summary(-1, (), ())
    needed = {_note_key(newest.version), *(part.key for part in newest.parts)}
    return [(found.key, found.size, found.last_modified) for found in lake.store.list(FOLDER) if found.key not in needed]


def _versions(lake: Place) -> Iterator[int]:
    for found in lake.store.list(FOLDER):
        name = found.key.rpartition("/")[2]
        if name.endswith(".json"):
            yield int(name.removesuffix(".json"))


def _appended(lake: Place, summary: Summary, version: int) -> list[AddedFile] | None:
    """Return the files of new rows since a summary; None where more than adding rows was done, or too much to follow.

    Their rows may have been moved by a compaction since: such files are still in the store (`lake.vacuum` keeps them for a while), but a
    summary follows every compaction, so this is left to the table itself.
    """
    if version - summary.version > _ENTRIES:
        return None
    found: list[LogEntry] = entries(lake, "frames", summary.version, version)
    if any(entry.removed for entry in found):
        return None
    return [file for entry in found for file in entry.added]


def _all_files(table: DeltaTable) -> list[tuple[str, str, int]]:
    files = live_files(table)
    if not files.num_rows:
        return []
    columns = (files[name].to_pylist() for name in ("path", "partition.element_system", "num_records"))
    return sorted(zip(*columns, strict=True), key=lambda file: (file[1], file[0]))


def _groups(files: Sequence[tuple[str, str, int]]) -> Iterator[list[tuple[str, str, int]]]:
    group: list[tuple[str, str, int]] = []
    for file in files:
        if group and sum(n for *_, n in group) + file[2] > PART_ROWS:
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _scan(lake: Place, paths: Sequence[str], *, hive: bool = False) -> pl.LazyFrame:
    # Files from before a migration lack columns, and each file leaves out that of its partition.
    types = dict(pl.DataFrame(_schema().empty_table()).schema)
    partition = {"element_system": types.pop("element_system")} if hive else None
    scan = pl.scan_parquet(
        list(paths), storage_options=lake.scan_options, hive_partitioning=hive, hive_schema=partition, schema=types,
        extra_columns="ignore", missing_columns="insert",
    )  # fmt: skip
    return scan.select(COLUMNS)


def _write(lake: Place, rows: pl.DataFrame) -> Part:
    key = f"{FOLDER}/part-{secrets.token_hex(8)}.parquet"
    ordered = rows.select(COLUMNS).sort(*_ORDER).to_arrow().cast(_schema())
    lake.store.put(key, to_parquet(ordered, row_group=_ROW_GROUP))
    return Part(key, rows.height)


def _schema() -> pa.Schema:
    full = FRAMES.arrow_schema()
    return pa.schema([full.field(name).remove_metadata() for name in COLUMNS])


def _joined(lake: Place, parts: Sequence[Part]) -> Iterator[Part]:
    """Yield parts, the small ones joined where they are many."""
    small = [part for part in parts if part.n_rows < PART_ROWS // 2]
    if len(small) <= _SMALL_PARTS:
        yield from parts
        return
    yield from (part for part in parts if part not in small)
    while small:
        chosen: list[Part] = []
        while small and (not chosen or sum(part.n_rows for part in chosen) + small[0].n_rows <= PART_ROWS):
            chosen.append(small.pop(0))
        yield chosen[0] if len(chosen) == 1 else _write(lake, _scan(lake, [f"{lake.url}/{part.key}" for part in chosen]).collect())


def _note_key(version: int) -> str:
    return f"{FOLDER}/{version:020d}.json"
