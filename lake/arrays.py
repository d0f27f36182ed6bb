"""Rows of `frames` as flat numpy arrays, column by column; no Python object a frame."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.frames import FrameArrays

ARRAY_COLUMNS: Final = ("frame_id", "element_system", "natoms", "numbers", "positions", "cell", "pbc", "energy", "forces", "stress")
"""The columns that `frame_arrays` needs."""

HASHED_COLUMNS: Final = ("frame_id", "calculation_id", "split", "energy", "numbers", "positions", "cell", "pbc", "forces", "stress")
"""The columns that `content_digest` covers."""


def frame_arrays(rows: pl.DataFrame) -> FrameArrays:
    """Return rows with ARRAY_COLUMNS as arrays, in order; missing labels are NaN.

    theory may be among the columns; frame_id and element_system may be left out.
    """
    natoms = rows["natoms"].to_numpy().astype(np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(natoms)])
    return FrameArrays(
        offsets=offsets,
        numbers=_flat(rows["numbers"]).astype(np.int16, copy=False),
        positions=_flat(rows["positions"]).reshape(-1, 3),
        cell=_flat(rows["cell"]).reshape(-1, 3, 3),
        pbc=_flat(rows["pbc"]).reshape(-1, 3),
        energy=rows["energy"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        forces=_filled(rows["forces"], natoms).reshape(-1, 3),
        stress=_filled(rows["stress"], np.full(len(rows), 3)).reshape(-1, 3, 3),
        frame_ids=rows["frame_id"].to_list() if "frame_id" in rows.columns else (),
        element_systems=rows["element_system"].to_list() if "element_system" in rows.columns else (),
        theories=rows["theory"].to_list() if "theory" in rows.columns else (),
    )


def joined(parts: list[FrameArrays]) -> FrameArrays:
    """Return the frames of several arrays one after another."""
    if len(parts) == 1:
        return parts[0]
    natoms = np.concatenate([np.zeros(1, np.int64), *(part.natoms for part in parts)])
    names = ("numbers", "positions", "cell", "pbc", "energy", "forces", "stress")
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return FrameArrays(
        offsets=np.cumsum(natoms),
        frame_ids=[name for part in parts for name in part.frame_ids],
        element_systems=[name for part in parts for name in part.element_systems],
        theories=[name for part in parts for name in part.theories],
        **columns,
    )


class Gathering:
    """Frames put in an order of their own out of parts that come in another one; memory is that of the frames."""

    def __init__(self, natoms: NDArray[Any], frame_ids: Sequence[str], element_systems: Sequence[str]) -> None:
        self._ids, self._systems = frame_ids, element_systems
        self._theories: list[str] = []
        self._offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(natoms, dtype=np.int64)])
        n, atoms = len(natoms), int(self._offsets[-1])
        self._columns: dict[str, NDArray[Any]] = {
            "numbers": np.empty(atoms, np.int16), "positions": np.empty((atoms, 3)), "forces": np.empty((atoms, 3)),
            "cell": np.empty((n, 3, 3)), "pbc": np.empty((n, 3), bool), "energy": np.empty(n), "stress": np.empty((n, 3, 3)),
        }  # fmt: skip

    def put(self, part: FrameArrays, targets: NDArray[np.int64]) -> None:
        """Put frame i of a part into place targets[i], nowhere where that is negative; neighbours that stay such are moved as one."""
        kept = np.flatnonzero(targets >= 0)
        cuts = np.flatnonzero((np.diff(kept) != 1) | (np.diff(targets[kept]) != 1)) + 1
        for run in np.split(kept, cuts) if len(kept) else ():
            own, first = slice(int(run[0]), int(run[-1]) + 1), int(targets[run[0]])
            frames = slice(first, first + len(run))
            atoms = slice(self._offsets[frames.start], self._offsets[frames.stop])
            own_atoms = slice(part.offsets[own.start], part.offsets[own.stop])
            for name, column in self._columns.items():
                if name in ("numbers", "positions", "forces"):
                    column[atoms] = getattr(part, name)[own_atoms]
                else:
                    column[frames] = getattr(part, name)[own]
            if len(part.theories):
                self._theories = self._theories or [""] * len(self._ids)
                self._theories[frames] = part.theories[own]

    def arrays(self) -> FrameArrays:
        """Return the frames."""
        return FrameArrays(
            offsets=self._offsets, frame_ids=self._ids, element_systems=self._systems, theories=self._theories or (), **self._columns
        )


def content_digest(rows: pl.DataFrame) -> str:
    """Return the SHA-256 (hex) of rows with HASHED_COLUMNS, in the order of their frame_id."""
    rows = rows.sort("frame_id")
    digest = hashlib.sha256()
    for name in HASHED_COLUMNS:
        column = rows[name].to_arrow()
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
            digest.update("\n".join(column.to_pylist()).encode())
        elif pa.types.is_large_list(column.type) or pa.types.is_list(column.type):
            digest.update(np.asarray(pc.list_value_length(column).fill_null(-1).cast(pa.int64())).tobytes())
            digest.update(_flat(rows[name]).tobytes())
        else:
            digest.update(np.asarray(column.is_valid()).tobytes())
            digest.update(rows[name].fill_null(float("nan")).to_numpy().tobytes())
    return digest.hexdigest()


def _flat(lists: pl.Series) -> NDArray[Any]:
    """Return the values of all lists that are not null, one after another."""
    array = lists.rechunk().to_arrow()
    return np.asarray(array.flatten().to_numpy(zero_copy_only=False))


def _filled(lists: pl.Series, rows_each: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the values of lists of rows_each x 3 numbers as (rows, 3); a list that is null becomes NaN."""
    there = lists.is_not_null().to_numpy()
    values = _flat(lists).reshape(-1, 3)
    if there.all():
        return values
    filled = np.full((int(rows_each.sum()), 3), np.nan)
    filled[np.repeat(there, rows_each)] = values
    return filled
