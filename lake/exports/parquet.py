"""Parquet: all columns of the selection as they are."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from lake.exports import base


def write_parquet(frames: pl.LazyFrame, file: Path, progress: base.Progress) -> int:
    """Write frames as one Parquet file and return how many."""
    written = 0
    schema = pl.DataFrame(schema=frames.collect_schema()).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for rows in frames.collect_batches(chunk_size=base.BATCH_FRAMES, maintain_order=True):
            writer.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema))
            written += rows.height
            progress(written)
    return written
