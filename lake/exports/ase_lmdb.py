"""LMDB in the layout of ase-db-backends (`aselmdb`), as fairchem and MACE read it: energy, forces and Voigt stress as ASE has them.

One entry a frame under its number from 1 on, as zlib-compressed JSON of ASE (`ase.io.jsonio`) of what a row of an ASE database holds;
`nextid` and `deleted_ids` say which numbers there are, `metadata` what the file is (ase_db_backends/aselmdb.py).
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any, Final

import lmdb
import numpy as np
import polars as pl
from ase.db.core import now
from ase.io.jsonio import encode

from lake.exports.base import VOIGT, Batch, Progress, batches

_FIRST_BYTES: Final = 2**28
"""Size of the map at first; it is doubled when full, so that no address space is taken that is not needed."""


def write_ase_lmdb(frames: pl.LazyFrame, file: Path, progress: Progress) -> int:
    """Write frames as entries with the keys frame_id and theory, one transaction a batch, and return how many."""
    written = 0
    with lmdb.open(str(file), map_size=_FIRST_BYTES, subdir=False, lock=False, meminit=False, sync=False) as store:
        for batch in batches(frames, progress):
            _put(store, {f"{written + i + 1}": _row(batch, i) for i in range(batch.arrays.count)})
            written += batch.arrays.count
        units = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³, tension positive, xx yy zz yz xz xy", "positions": "Å"}
        _put(store, {"nextid": written + 1, "deleted_ids": [], "metadata": {"made by": "atomlake", "units": units}})
        store.sync(True)
    return written


def _put(store: lmdb.Environment, values: dict[str, Any]) -> None:
    data = {key.encode("ascii"): zlib.compress(encode(value).encode(), 1) for key, value in values.items()}
    while True:
        try:
            with store.begin(write=True) as transaction:
                for key, value in data.items():
                    transaction.put(key, value)
        except lmdb.MapFullError:
            store.set_mapsize(2 * store.info()["map_size"])
        else:
            return


def _row(batch: Batch, i: int) -> dict[str, Any]:
    arrays, part = batch.arrays, batch.atoms(i)
    time, energy = now(), batch.energy(i)
    row: dict[str, Any] = {
        "numbers": arrays.numbers[part].astype(np.int64),
        "positions": arrays.positions[part],
        "cell": arrays.cell[i],
        "pbc": arrays.pbc[i],
        "unique_id": hashlib.sha256(arrays.frame_ids[i].encode()).hexdigest()[:32],
        "ctime": time,
        "mtime": time,
        "user": "",
        "calculator": "unknown",
        "calculator_parameters": {},
        "key_value_pairs": {"frame_id": arrays.frame_ids[i], "theory": batch.theories[i]},
        "data": {},
    }
    if energy is not None:
        row |= {"energy": energy, "free_energy": energy}
    if batch.has_forces(i):
        row["forces"] = arrays.forces[part]
    if batch.has_stress(i):
        row["stress"] = arrays.stress[i].ravel()[list(VOIGT)]
    return row
