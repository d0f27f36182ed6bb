"""Frames as files that other programs read, written batch by batch with bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import polars as pl
import pyarrow.parquet as pq

from lake.arrays import ARRAY_COLUMNS, frame_arrays
from schemas.elements import SYMBOLS
from schemas.errors import QueryError, closest

BATCH_FRAMES: Final = 5_000
Progress = Callable[[int], None]


@dataclass(frozen=True)
class ExportFormat:
    """One kind of file that frames are written to."""

    name: str
    endings: tuple[str, ...]
    write: Callable[[pl.LazyFrame, Path, Progress], int]
    """(frames, file, progress) -> number of frames."""


def export(frames: pl.LazyFrame, file: Path, form: str = "", *, progress: Progress | None = None) -> int:
    """Write frames to a file and return how many; progress is called with the number of frames written so far.

    form is a name out of FORMATS; without it the ending of the file decides. The file appears when it is whole.
    Raises QueryError for an unknown format.
    """
    names = [each.name for each in FORMATS]
    chosen = next((each for each in FORMATS if (each.name == form if form else file.name.endswith(each.endings))), None)
    if chosen is None:
        asked = f"format {form!r}" if form else f"ending of {file.name!r}"
        raise QueryError(f"{file}: frames cannot be written as the {asked} says{closest(form, names)}; formats are {', '.join(names)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    written = chosen.write(frames, part, progress or (lambda _: None))
    part.replace(file)
    return written


def _write_parquet(frames: pl.LazyFrame, file: Path, progress: Progress) -> int:
    written = 0
    schema = pl.DataFrame(schema=frames.collect_schema()).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for rows in frames.collect_batches(chunk_size=BATCH_FRAMES, maintain_order=True):
            writer.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema))
            written += rows.height
            progress(written)
    return written


def _write_extxyz(frames: pl.LazyFrame, file: Path, progress: Progress) -> int:
    written = 0
    columns = (*ARRAY_COLUMNS, "theory")
    with file.open("w") as stream:
        for rows in frames.select(columns).collect_batches(chunk_size=BATCH_FRAMES, maintain_order=True):
            _write_extxyz_batch(rows, stream)
            written += rows.height
            progress(written)
    return written


def _write_extxyz_batch(rows: pl.DataFrame, stream: TextIO) -> None:
    arrays = frame_arrays(rows)
    symbols = [SYMBOLS[z] for z in arrays.numbers.tolist()]
    with_forces = rows["forces"].is_not_null().to_list()
    with_stress = rows["stress"].is_not_null().to_list()
    energies, theories = rows["energy"].to_list(), rows["theory"].to_list()
    for i in range(arrays.count):
        atoms = slice(int(arrays.offsets[i]), int(arrays.offsets[i + 1]))
        place = arrays.positions[atoms].tolist()
        parts = [f"Properties=species:S:1:pos:R:3{':forces:R:3' if with_forces[i] else ''}"]
        if arrays.cell[i].any():
            parts.insert(0, f'Lattice="{_numbers(arrays.cell[i].ravel().tolist())}"')
        if energies[i] is not None:
            parts.append(f"energy={energies[i]!r} free_energy={energies[i]!r}")
        if with_stress[i]:
            parts.append(f'stress="{_numbers(arrays.stress[i].ravel().tolist())}"')
        parts.append(f'pbc="{" ".join("T" if periodic else "F" for periodic in arrays.pbc[i].tolist())}"')
        parts.append(f'frame_id="{arrays.frame_ids[i]}" theory="{_quoted(theories[i])}"')
        stream.write(f"{len(place)}\n{' '.join(parts)}\n")
        force = arrays.forces[atoms].tolist() if with_forces[i] else [[] for _ in place]
        stream.writelines(f"{symbol} {_numbers([*xyz, *push])}\n" for symbol, xyz, push in zip(symbols[atoms], place, force, strict=True))


def _numbers(values: list[float]) -> str:
    return " ".join(map(repr, values))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


FORMATS: Final[tuple[ExportFormat, ...]] = (
    ExportFormat("extxyz", (".xyz", ".extxyz"), _write_extxyz),
    ExportFormat("parquet", (".parquet",), _write_parquet),
)
"""All formats, in the order in which endings are tried."""
