"""The Delta tables: made, opened, and written as Parquet files that a commit then names."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction

from lake.place import VERSION_KEY, Place
from lake.probe import probe_once
from schemas.columns import SCHEMA_VERSION, TABLES

REMOVED_FILE_DAYS: Final = 30
"""Days for which the log remembers when a file was removed from a table."""
CHECKPOINT_EVERY: Final = 25
"""Commits from one checkpoint to the next: opening a table reads the entries of its log since the last one."""
_CONFIGURATION: Final = {
    "delta.checkpointInterval": str(CHECKPOINT_EVERY),
    VERSION_KEY: str(SCHEMA_VERSION),
    # Datasets name versions of long ago: the log is never cut.
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    # A checkpoint forgets for how long a file has been out of the table after this; a vacuum with a longer retention cannot be right.
    "delta.deletedFileRetentionDuration": f"interval {REMOVED_FILE_DAYS} days",
}
ROW_GROUP_BYTES: Final = 32 * 2**20
KEYED_ROW_GROUP_BYTES: Final = 2**20
"""Row groups of tables that are looked up by key, so that one key costs little of a large file."""
FILE_BYTES: Final = 256 * 2**20
_MAX_STAT_LENGTH: Final = 200
_NO_RANGE: Final = frozenset({"frame_id", "configuration_hash", "energy_source", "stress_source", "numerics", "licence"})
"""Columns whose range of values leaves out no file that another column does not; every opening of a table reads all ranges."""


@dataclass(frozen=True)
class DataFile:
    """One Parquet file that was written beside a table and is not part of it before a commit names it."""

    path: str
    """Relative to the table's folder."""
    size: int
    partition: Mapping[str, str]
    stats: str
    """JSON of the Delta protocol: numRecords, minValues, maxValues, nullCount."""

    def action(self) -> AddAction:
        """Return the entry of the transaction log that adds this file."""
        return AddAction(self.path, self.size, self.partition, int(time.time() * 1000), True, self.stats)


def create_tables(lake: Place) -> None:
    """Make the tables that are not there yet; safe to call at the same time from many places. Raises StoreUnsafe."""
    probe_once(lake.store)
    for spec in TABLES:
        try:
            DeltaTable.create(
                lake.table_uri(spec.name),
                schema=spec.arrow_schema(),
                mode="ignore",
                partition_by=list(spec.partition_by) or None,
                name=spec.name,
                description=spec.doc,
                configuration=_CONFIGURATION,
                storage_options=lake.storage_options,
                raise_if_key_not_exists=False,
            )
        except DeltaError:
            # Two makers met; the table of the first one serves both.
            lake.table(spec.name)


def portions(rows: pa.Table) -> Iterator[pa.Table]:
    """Yield rows in slices of about FILE_BYTES of memory, each fit for one file."""
    step = max(1, FILE_BYTES // max(1, rows.nbytes // max(1, rows.num_rows)))
    for start in range(0, rows.num_rows, step):
        yield rows.slice(start, step)


def write_file(lake: Place, name: str, rows: pa.Table, *, label: str, partition: Mapping[str, str] | None = None) -> DataFile:
    """Write rows beside a table as one Parquet file and return it, to be named by a commit.

    rows holds one partition only; its columns are left out of the file. The file's name is unique: label and a random part.
    """
    partition = dict(partition or {})
    rows = rows.drop_columns([column for column in rows.column_names if column in partition])
    folder = "".join(f"{column}={value}/" for column, value in partition.items())
    path = f"{folder}{label}-{secrets.token_hex(6)}.parquet"
    row_bytes = max(1, rows.nbytes // max(1, rows.num_rows))
    group_bytes = ROW_GROUP_BYTES if name == "frames" else KEYED_ROW_GROUP_BYTES
    data = to_parquet(rows, row_group=max(1, group_bytes // row_bytes))
    lake.store.put(f"{name}/{path}", data)
    return DataFile(path, len(data), partition, json.dumps(statistics(rows), allow_nan=False))


def to_parquet(rows: pa.Table, *, row_group: int) -> bytes:
    """Return rows as Parquet: zstd, BYTE_STREAM_SPLIT for floats and lists of floats, dictionaries for text that repeats."""
    split: dict[str, str] = {}
    dictionary: list[str] = []
    for field in rows.schema:
        if pa.types.is_floating(field.type):
            split[field.name] = "BYTE_STREAM_SPLIT"
        elif pa.types.is_list(field.type) and pa.types.is_floating(field.type.value_type):
            split[f"{field.name}.list.element"] = "BYTE_STREAM_SPLIT"
        elif pa.types.is_list(field.type):
            dictionary.append(f"{field.name}.list.element")
        elif pa.types.is_string(field.type) and not field.name.endswith(("frame_id", "_hash")):
            dictionary.append(field.name)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, rows.schema, compression="zstd", use_dictionary=dictionary, column_encoding=split) as writer:
        writer.write_table(rows, row_group_size=row_group)
    return bytes(sink.getvalue())


def statistics(rows: pa.Table) -> dict[str, Any]:
    """Return the statistics of the Delta protocol: counts, least and largest of scalar columns, nulls of all."""
    least: dict[str, Any] = {}
    largest: dict[str, Any] = {}
    nulls = {name: rows[name].null_count for name in rows.column_names}
    for field in rows.schema:
        if not _has_order(field.type) or field.name in _NO_RANGE or nulls[field.name] == rows.num_rows:
            continue
        found = pc.min_max(rows[field.name]).as_py()
        if isinstance(found["max"], str) and len(found["max"]) + len(found["min"]) > _MAX_STAT_LENGTH:
            continue
        least[field.name], largest[field.name] = found["min"], found["max"]
    return {"numRecords": rows.num_rows, "minValues": least, "maxValues": largest, "nullCount": nulls}


def _has_order(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind))


def live_files(table: DeltaTable, systems: Sequence[str] | None = None) -> pa.Table:
    """Return the files of a table version from its log: path, size_bytes, num_records, partition.*, min.*, max.* columns.

    systems keeps those of the named element systems. Costs memory and time with the number of files, reads none of them.
    """
    files = pa.table(table.get_add_actions(flatten=True))
    if systems is not None and files.num_rows:
        files = files.filter(pc.is_in(files["partition.element_system"], pa.array(systems, pa.string())))
    return files
