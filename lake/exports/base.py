"""What all export formats share: batches of frames, and the check of periodicity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from lake.arrays import ARRAY_COLUMNS, frame_arrays
from schemas.errors import QueryError
from schemas.frames import FrameArrays

BATCH_FRAMES: Final = 5_000
Progress = Callable[[int], None]
VOIGT: Final = (0, 4, 8, 5, 2, 1)
"""Places of xx, yy, zz, yz, xz, xy in a row-major 3x3 tensor, the order of ASE."""


@dataclass(frozen=True)
class ExportFormat:
    """One kind of file that frames are written to."""

    name: str
    endings: tuple[str, ...]
    write: Callable[[pl.LazyFrame, Path, Progress], int]
    """(frames, file, progress) -> number of frames."""
    folder: bool = False
    """The format is a folder of files."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some frames on their way into a file; NaN in the arrays marks what a frame does not have."""

    arrays: FrameArrays
    theories: list[str]

    def atoms(self, i: int) -> slice:
        """Return the atoms of frame i."""
        return slice(int(self.arrays.offsets[i]), int(self.arrays.offsets[i + 1]))

    def energy(self, i: int) -> float | None:
        """Return the energy of frame i in eV."""
        value = float(self.arrays.energy[i])
        return None if np.isnan(value) else value

    def has_forces(self, i: int) -> bool:
        """Return whether frame i has forces."""
        return not np.isnan(self.arrays.forces[self.atoms(i)]).any()

    def has_stress(self, i: int) -> bool:
        """Return whether frame i has a stress."""
        return not np.isnan(self.arrays.stress[i]).any()

    def periodic(self, i: int, program: str) -> bool:
        """Return whether frame i is periodic along all cell vectors (True) or none (False); raises QueryError for some of them."""
        along = self.arrays.pbc[i]
        if along.any() and not along.all():
            raise QueryError(
                f"frame {self.arrays.frame_ids[i]} is periodic along {int(along.sum())} of 3 cell vectors, which files of {program} "
                "cannot say; leave it out or export as extxyz"
            )
        return bool(along.all())


def batches(frames: pl.LazyFrame, progress: Progress) -> Iterator[Batch]:
    """Yield frames in batches of BATCH_FRAMES, in their order; progress is called when a batch has been dealt with."""
    done = 0
    for rows in frames.select(*ARRAY_COLUMNS, "theory").collect_batches(chunk_size=BATCH_FRAMES, maintain_order=True):
        yield Batch(frame_arrays(rows), rows["theory"].to_list())
        done += rows.height
        progress(done)
