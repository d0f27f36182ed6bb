"""Frames straight from the files of a table version, by Arrow: of lists of numbers it decodes twice as many a second as Polars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from lake.arrays import Gathering, frame_arrays
from lake.place import Place
from lake.tables import live_files
from schemas.columns import FRAMES
from schemas.errors import TableError
from schemas.frames import FrameArrays

_WHOLE: Final = 8 * 2**20
"""Bytes of a file up to which one GET fetches it all."""
_GETS: Final = 8
"""Files asked for at a time: those of a rare element system are small, and each is a wait."""
_BATCH: Final = 6 * 2**20
"""Bytes decoded at a time, so that memory is used again and stays in the processor's cache."""
_SYSTEM: Final = "element_system"
_KEY: Final = "calculation_id"


@dataclass(frozen=True)
class _Wanted:
    """A file of an element system, and the least and largest calculation_id that are wanted of it."""

    key: str
    size: int
    least: str
    largest: str

    def misses(self, low: str | None, high: str | None) -> bool:
        """Return whether nothing between two values, where they are known, is wanted."""
        return low is not None and high is not None and (high < self.least or self.largest < low)


@dataclass(frozen=True)
class _Opened:
    """A file and those of its row groups that can hold what is wanted."""

    parquet: pq.ParquetFile
    groups: tuple[int, ...]

    def frame_ids(self) -> pa.ChunkedArray:
        """Return the ids of all frames of the groups."""
        return self.parquet.read_row_groups(self.groups, columns=["frame_id"], use_threads=False)["frame_id"]

    def batches(self, columns: Sequence[str]) -> Iterator[FrameArrays]:
        """Yield the frames of the groups in order; columns that the file lacks are null."""
        there = [name for name in columns if name in self.parquet.schema_arrow.names]
        schema, metadata = FRAMES.arrow_schema(), self.parquet.metadata
        for group in self.groups:
            size = metadata.row_group(group).total_byte_size // max(1, metadata.row_group(group).num_rows)
            rows = max(1, _BATCH // max(1, size))
            for batch in self.parquet.iter_batches(rows, row_groups=[group], columns=there, use_threads=False):
                found = {name: batch[name] for name in there}
                empty = {name: pa.nulls(batch.num_rows, schema.field(name).type) for name in columns if name not in there}
                yield frame_arrays(pl.DataFrame(pa.table(found | empty)))


def read_arrays(lake: Place, table: DeltaTable, index: pl.DataFrame, columns: Sequence[str]) -> FrameArrays:
    """Return the frames of an index (frame_id, calculation_id, element_system, natoms), in its order.

    table is `frames` at a version; columns are what `lake.arrays.frame_arrays` takes. Files and row groups whose calculations are
    outside those of the index are not read. Memory: what is returned, small files as they are stored, and a batch of rows. Raises
    TableError where the lake has lost some frames, ObjectMissing where it has lost a file.
    """
    with ExitStack() as stack:
        files = _open(lake, list(_covering(table, index)), stack)
        names = [name for file in files for name in file.frame_ids().to_pylist()]
        places = pl.DataFrame({"frame_id": names}, schema={"frame_id": pl.String}).with_row_index("place")
        found = index.select("frame_id").join(places, on="frame_id", how="inner", maintain_order="left")["place"].to_numpy()
        if len(found) != index.height:
            systems = ", ".join(index[_SYSTEM].unique().sort().to_list()[:5])
            version = table.version()
            raise TableError(
                f"{lake.url}: version {version} of 'frames' has {len(found)} of {index.height} frames of {systems}; files were lost"
            )
        target = np.full(len(names), -1, dtype=np.int64)
        target[found] = np.arange(len(found))
        made, start = Gathering(index["natoms"].to_numpy(), index["frame_id"].to_list(), index[_SYSTEM].to_list()), 0
        for file in files:
            for arrays in file.batches([name for name in columns if name not in ("frame_id", _SYSTEM)]):
                made.put(arrays, target[start : start + arrays.count])
                start += arrays.count
    return made.arrays()


def _covering(table: DeltaTable, index: pl.DataFrame) -> Iterator[_Wanted]:
    """Yield the files that can hold frames of an index, by the ranges of values in the log."""
    ends = index.group_by(_SYSTEM).agg(pl.col(_KEY).min().alias("least"), pl.col(_KEY).max().alias("largest"))
    ranges = {system: (least, largest) for system, least, largest in ends.iter_rows()}
    for file in live_files(table, sorted(ranges)).to_pylist() if ranges else ():
        wanted = _Wanted(f"frames/{file['path']}", file["size_bytes"], *ranges[file[f"partition.{_SYSTEM}"]])
        if not wanted.misses(file.get(f"min.{_KEY}"), file.get(f"max.{_KEY}")):
            yield wanted


def _open(lake: Place, files: Sequence[_Wanted], stack: ExitStack) -> list[_Opened]:
    """Return the files, open: of a store small ones fetched whole, several at a time, large ones to be read range by range."""

    def stream(file: _Wanted) -> Any:
        if lake.store.folder is not None:
            lake.store.head(file.key)
            return pa.memory_map(str(lake.store.folder / file.key))
        return pa.BufferReader(lake.store.get(file.key)) if file.size <= _WHOLE else lake.store.open(file.key)

    with ThreadPoolExecutor(1 if lake.store.folder is not None else _GETS) as pool:
        streams = [stack.enter_context(opened) for opened in pool.map(stream, files)]
    found = []
    for file, opened in zip(files, streams, strict=True):
        parquet = pq.ParquetFile(opened, pre_buffer=True)
        ends = [_ends(parquet.metadata.row_group(number)) for number in range(parquet.num_row_groups)]
        found.append(_Opened(parquet, tuple(number for number, (low, high) in enumerate(ends) if not file.misses(low, high))))
    return found


def _ends(group: pq.RowGroupMetaData) -> tuple[str | None, str | None]:
    """Return the least and the largest calculation of a row group, where it says them."""
    for place in range(group.num_columns):
        column = group.column(place)
        if column.path_in_schema == _KEY:
            known = column.statistics
            return (known.min, known.max) if known is not None and known.has_min_max else (None, None)
    return None, None
