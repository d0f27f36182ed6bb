"""What a worker does with what it read: frames become Parquet files beside the table, everything else small rows to be committed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake.frame_table import Labelled, frame_table
from lake.place import Place
from lake.rows import calculation_rows
from lake.tables import DataFile, portions, write_file
from schemas.sources import Rejection, SourceObject, SourceReading


@dataclass(frozen=True)
class StagedFrames:
    """One Parquet file of frames that is written but not committed."""

    file: DataFile
    rows: Mapping[str, int]
    """Rows of each calculation in it."""


@dataclass(frozen=True)
class StagedSource:
    """What one source gave, without the arrays."""

    source: SourceObject
    calculation_ids: tuple[str, ...]
    """Calculations found in it, in order; one that stands in it twice is named twice."""
    members: tuple[str, ...]
    n_frames: tuple[int, ...]
    """Frames of each of these calculations."""
    rejections: tuple[Rejection, ...]
    project: str
    bytes_read: int
    seconds: float
    embargo_until: str = ""
    """Day until which the deposit asks for an embargo of its project; '' for none."""


@dataclass(frozen=True)
class StagedBatch:
    """What one worker staged of a batch; small, and can be pickled."""

    batch_id: str
    part: int
    calculations: tuple[Mapping[str, Any], ...]
    """Rows of `calculations`, each calculation once, without batch_id and ingested_at."""
    frames: tuple[StagedFrames, ...]
    sources: tuple[StagedSource, ...]


def stage(lake: Place, readings: Sequence[SourceReading], batch: str, part: int) -> StagedBatch:
    """Write the frames of readings beside the table `frames` and return what is to be committed.

    batch is the id of the batch, part the number of this share of it. Of a calculation that stands in several readings the
    first counts. Nothing is visible to readers before `commit_batch`.
    """
    rows: dict[str, Mapping[str, Any]] = {}
    by_system: dict[str, list[Labelled]] = {}
    for reading in readings:
        project, licence = reading.metadata.get("project", ""), reading.metadata.get("licence", "")
        for calculation, row in zip(reading.calculations, calculation_rows(reading), strict=True):
            if calculation.calculation_id not in rows:
                rows[calculation.calculation_id] = row
                by_system.setdefault(row["element_system"], []).append(Labelled(calculation, project, licence))
    frames = [
        StagedFrames(write_frames(lake, portion, system, f"{batch[:16]}-{part}"), count_rows(portion))
        for system, found in sorted(by_system.items())
        for portion in portions(frame_table(found))
    ]
    return StagedBatch(batch, part, tuple(rows.values()), tuple(frames), tuple(_staged_source(reading) for reading in readings))


def write_frames(lake: Place, rows: pa.Table, system: str, label: str) -> DataFile:
    """Write rows of `frames` of one element system as one file."""
    return write_file(lake, "frames", rows, label=label, partition={"element_system": system})


def count_rows(frames: pa.Table) -> dict[str, int]:
    """Return the number of rows of each calculation."""
    counts = pc.value_counts(frames["calculation_id"].combine_chunks())
    return {entry["values"].as_py(): entry["counts"].as_py() for entry in counts}


def _staged_source(reading: SourceReading) -> StagedSource:
    return StagedSource(
        source=dataclasses.replace(reading.source, parts=()),
        calculation_ids=tuple(c.calculation_id for c in reading.calculations),
        members=tuple(c.member for c in reading.calculations),
        n_frames=tuple(c.run.frames.count for c in reading.calculations),
        rejections=reading.rejections,
        project=reading.metadata.get("project", ""),
        bytes_read=reading.bytes_read,
        seconds=reading.seconds,
        embargo_until=reading.metadata.get("embargo_until", ""),
    )
