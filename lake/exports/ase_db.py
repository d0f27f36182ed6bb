"""ASE database (SQLite) with energy, forces and stress, as `ase.db.connect` reads it."""

from __future__ import annotations

from pathlib import Path

import ase.db
import polars as pl
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from lake.exports.base import VOIGT, Batch, Progress, batches


def write_ase_db(frames: pl.LazyFrame, file: Path, progress: Progress) -> int:
    """Write frames as rows with the keys frame_id and theory, one transaction a batch, and return how many."""
    written = 0
    database = ase.db.connect(str(file), type="db", append=False, use_lock_file=False)
    with database:
        database.count()
    for batch in batches(frames, progress):
        with database:
            for i in range(batch.arrays.count):
                database.write(_atoms(batch, i), frame_id=batch.arrays.frame_ids[i], theory=batch.theories[i])
        written += batch.arrays.count
    return written


def _atoms(batch: Batch, i: int) -> Atoms:
    arrays, part = batch.arrays, batch.atoms(i)
    atoms = Atoms(arrays.numbers[part], arrays.positions[part], cell=arrays.cell[i], pbc=arrays.pbc[i])
    energy = batch.energy(i)
    results = {} if energy is None else {"energy": energy, "free_energy": energy}
    calculator = SinglePointCalculator(atoms, **results)
    if batch.has_forces(i):
        calculator.results["forces"] = arrays.forces[part]
    if batch.has_stress(i):
        calculator.results["stress"] = arrays.stress[i].ravel()[list(VOIGT)]
    atoms.calc = calculator
    return atoms
