"""Frames as files that other programs read, written batch by batch with bounded memory."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import polars as pl

from lake.exports.ase_db import write_ase_db
from lake.exports.ase_lmdb import write_ase_lmdb
from lake.exports.base import ExportFormat, Progress
from lake.exports.deepmd import write_deepmd
from lake.exports.extxyz import write_extxyz
from lake.exports.mace_hdf5 import write_mace_hdf5
from lake.exports.parquet import write_parquet
from lake.exports.runner import write_runner
from schemas.errors import AlreadyThere, QueryError, closest

__all__ = ["FORMATS", "ExportFormat", "export"]

FORMATS: Final[tuple[ExportFormat, ...]] = (
    ExportFormat("extxyz", (".xyz", ".extxyz"), write_extxyz),
    ExportFormat("parquet", (".parquet",), write_parquet),
    ExportFormat("runner", ("input.data", ".data"), write_runner),
    ExportFormat("ase-db", (".db",), write_ase_db),
    ExportFormat("ase-lmdb", (".aselmdb", ".lmdb"), write_ase_lmdb),
    ExportFormat("mace-hdf5", (".h5", ".hdf5"), write_mace_hdf5),
    ExportFormat("deepmd", (".deepmd",), write_deepmd, folder=True),
)
"""All formats, in the order in which endings are tried."""


def export(frames: pl.LazyFrame, file: Path, form: str = "", *, progress: Progress | None = None) -> int:
    """Write frames to a file and return how many; progress is called with the number of frames written so far.

    form is a name out of FORMATS; without it the ending of the file decides. The file appears when it is whole, over an older
    one; a format of many files makes a folder. Raises QueryError for an unknown format and for frames that a format has no place
    for, AlreadyThere for a folder that holds something.
    """
    chosen = _format_of(file, form)
    if chosen.folder and file.exists() and (not file.is_dir() or any(file.iterdir())):
        raise AlreadyThere(f"{file} is there already and not empty; name a new folder for the {chosen.name} files")
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    _remove(part)
    try:
        written = chosen.write(frames, part, progress or (lambda _: None))
    except BaseException:
        _remove(part)
        raise
    part.replace(file)
    return written


def _format_of(file: Path, form: str) -> ExportFormat:
    found = next((each for each in FORMATS if (each.name == form if form else file.name.endswith(each.endings))), None)
    if found is None:
        names = [each.name for each in FORMATS]
        asked = f"format {form!r}" if form else f"ending of {file.name!r}"
        raise QueryError(f"{file}: frames cannot be written as the {asked} says{closest(form, names)}; formats are {', '.join(names)}")
    return found


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink(missing_ok=True)
