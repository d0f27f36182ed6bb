"""HDF5 as MACE reads it for training on the fly (`mace.data.HDF5Dataset`, files of `mace_prepare_data`): eV, Å, eV/Å, eV/Å³.

One group `config_batch_0` with a group `config_N` a frame (mace/data/utils.py, `save_configurations_as_HDF5`). Stress is 3x3 and tension
positive. A label that a frame lacks is left out and gets the weight 0: MACE would otherwise fit it to zeros.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import polars as pl
from numpy.typing import NDArray

from lake.exports.base import Batch, Progress, batches

_NEVER: Final = ("virials", "dipole", "charges")
"""Labels of MACE that the lake does not have, or has in another form (virials: stress)."""


def write_mace_hdf5(frames: pl.LazyFrame, file: Path, progress: Progress) -> int:
    """Write frames as configurations of weight 1 and return how many; frame_id and theory are attributes of each."""
    written = 0
    with h5py.File(file, "w", libver="latest") as store:
        # Their writer pads to an even number and says so here; nothing is padded in this file.
        store.attrs["drop_last"] = False
        group = store.create_group("config_batch_0")
        for batch in batches(frames, progress):
            for i in range(batch.arrays.count):
                _write_frame(batch, i, group.create_group(f"config_{written + i}"))
            written += batch.arrays.count
            store.flush()
    return written


def _write_frame(batch: Batch, i: int, group: h5py.Group) -> None:
    arrays, atoms = batch.arrays, batch.atoms(i)
    labels: dict[str, float | NDArray[np.float64] | None] = {
        "energy": batch.energy(i),
        "forces": arrays.forces[atoms] if batch.has_forces(i) else None,
        "stress": arrays.stress[i] if batch.has_stress(i) else None,
    }
    fields: dict[str, Any] = {
        "atomic_numbers": arrays.numbers[atoms].astype(np.int64),
        "positions": arrays.positions[atoms],
        "cell": arrays.cell[i],
        "pbc": arrays.pbc[i],
        "weight": 1.0,
        "config_type": "Default",
    }
    for name, value in fields.items():
        group[name] = value
    values, weights = group.create_group("properties"), group.create_group("property_weights")
    for name, label in labels.items():
        if label is not None:
            values[name] = label
        weights[name] = 0.0 if label is None else 1.0
    for name in _NEVER:
        weights[name] = 0.0
    group.attrs["frame_id"], group.attrs["theory"] = arrays.frame_ids[i], batch.theories[i]
