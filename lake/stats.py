"""How a lake stands: files, bytes, rows and small files of each table and element system, from the transaction logs alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from lake.place import SPECS, Place
from lake.tables import live_files
from lake.visibility import Hidden, hidden, less_hidden

SMALL_BYTES: Final = 32 * 2**20
"""A file below this is small: opening it costs about as much as reading it."""


@dataclass(frozen=True)
class TableStats:
    """One table at its newest version."""

    name: str
    version: int
    n_rows: int
    n_files: int
    bytes: int
    n_small_files: int
    """Files below SMALL_BYTES that lie beside another one of their partition, so that compaction would join them."""
    n_log_files: int
    log_bytes: int


@dataclass(frozen=True)
class LakeStats:
    """All tables, and the element systems of `frames`."""

    tables: tuple[TableStats, ...]
    systems: pl.DataFrame
    """element_system, n_frames, n_files, bytes, n_small_files; most bytes first. The frames are those that the reader sees."""
    left_out: Hidden
    """What these frames leave out; the rows of the tables are all that are stored."""


def lake_stats(lake: Place, *, retracted: bool = False) -> LakeStats:
    """Return how a lake stands; reads the logs and lists their folders, opens no file of data unless something is hidden."""
    unseen = hidden(lake, retracted=retracted)
    tables = []
    systems = pl.DataFrame()
    for name, spec in SPECS.items():
        table = lake.table(name)
        by_partition = files_by_partition(pl.DataFrame(live_files(table)), spec.partition_by)
        log = [found.size for found in lake.store.list(f"{name}/_delta_log")]
        sums = {column: int(by_partition[column].sum()) for column in ("n_rows", "n_files", "bytes", "n_small_files")}
        tables.append(TableStats(name=name, version=int(table.version()), **sums, n_log_files=len(log), log_bytes=sum(log)))
        if name == "frames":
            systems = less_hidden(by_partition.rename({"n_rows": "n_frames"}), unseen)
    return LakeStats(tuple(tables), systems, unseen)


def files_by_partition(files: pl.DataFrame, partition_by: tuple[str, ...]) -> pl.DataFrame:
    """Return n_rows, n_files, bytes and n_small_files of each partition, out of the rows of `live_files`."""
    schema = dict.fromkeys(partition_by, pl.String) | dict.fromkeys(("n_rows", "n_files", "bytes", "n_small_files"), pl.Int64)
    if files.is_empty():
        return pl.DataFrame(schema=schema)
    small = pl.col("size_bytes") < SMALL_BYTES
    keys = [pl.col(f"partition.{name}").alias(name) for name in partition_by]
    counted = files.group_by(keys or [pl.lit(0).alias("all")]).agg(
        pl.col("num_records").sum().cast(pl.Int64).alias("n_rows"),
        pl.len().cast(pl.Int64).alias("n_files"),
        pl.col("size_bytes").sum().cast(pl.Int64).alias("bytes"),
        pl.when(small.sum() > 1).then(small.sum()).otherwise(0).cast(pl.Int64).alias("n_small_files"),
    )
    return counted.select(*schema).sort("bytes", *partition_by, descending=[True, *(False for _ in partition_by)])
