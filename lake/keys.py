"""Rows by the value of a key column, without reading what cannot hold it: ranges of values in the log first, then in each file."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from lake.place import Place, spec_of
from lake.tables import live_files


def present(lake: Place, table: DeltaTable, column: str, wanted: set[str], *, systems: Sequence[str] | None = None) -> set[str]:
    """Return which of the wanted values of a text column a table holds; systems keeps to files of the named element systems."""
    return set(rows_of(lake, table, column, wanted, (column,), systems=systems)[column])


def rows_of(
    lake: Place, table: DeltaTable, column: str, wanted: set[str], columns: Sequence[str], *, systems: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return some columns of the rows whose text column has one of the wanted values.

    Only files (of the named element systems, None: all) whose range of values in the log covers one of them are read.
    """
    name = table.metadata().name
    files = live_files(table, systems) if wanted else None
    ordered = sorted(wanted)
    paths = [] if files is None or not files.num_rows else [path for path, *ends in _ranges(files, column) if _covers(ordered, *ends)]
    return rows_in(lake, name, paths, column, ordered, columns=columns)


def rows_in(lake: Place, name: str, paths: Sequence[str], column: str, wanted: Sequence[str], *, columns: Sequence[str]) -> pl.DataFrame:
    """Return some columns of the rows of these files of a table whose text column has one of the wanted values."""
    schema = spec_of(name).arrow_schema()
    if not paths or not wanted:
        return pl.DataFrame(pa.schema([schema.field(each) for each in columns]).empty_table())
    # Files from before a migration lack columns, so the first one's are not those of all; none has that of its partition.
    kept = [field.remove_metadata() for field in schema if field.name not in spec_of(name).partition_by]
    scan = pl.scan_parquet(
        [f"{lake.table_uri(name)}/{path}" for path in paths], storage_options=lake.scan_options, hive_partitioning=False,
        schema=pl.DataFrame(pa.schema(kept).empty_table()).schema, extra_columns="ignore", missing_columns="insert",
    )  # fmt: skip
    return scan.filter(pl.col(column).is_in(list(wanted))).select(columns).collect()


def _ranges(files: pa.Table, column: str) -> Iterable[tuple[str, str | None, str | None]]:
    nothing = [None] * files.num_rows
    low = files[f"min.{column}"].to_pylist() if f"min.{column}" in files.column_names else nothing
    high = files[f"max.{column}"].to_pylist() if f"max.{column}" in files.column_names else nothing
    return zip(files["path"].to_pylist(), low, high, strict=True)


def _covers(ordered: list[str], low: str | None, high: str | None) -> bool:
    """Return whether one of some values, in order, can lie in a range."""
    if low is None or high is None:
        return True
    place = bisect_left(ordered, low)
    return place < len(ordered) and ordered[place] <= high
