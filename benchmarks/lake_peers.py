"""The same frames in what others keep them in, for `benchmarks/lake.py`: an ASE database, ASE-LMDB, extended XYZ."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import read, write


def counted(database: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(database) as connection:
        return connection.execute("SELECT value, COUNT(*) FROM text_key_values WHERE key = 'system' GROUP BY value").fetchall()


def to_ase(arrays: Any) -> list[Atoms]:
    """Return frames as ASE structures with their labels."""
    found = []
    for i, (start, end) in enumerate(zip(arrays.offsets, arrays.offsets[1:], strict=False)):
        atoms = Atoms(arrays.numbers[start:end], arrays.positions[start:end], cell=arrays.cell[i], pbc=arrays.pbc[i])
        atoms.calc = SinglePointCalculator(atoms, energy=float(arrays.energy[i]), forces=arrays.forces[start:end])
        atoms.info = {"frame_id": arrays.frame_ids[i] if len(arrays.frame_ids) else str(i), "system": arrays.element_systems[i]}
        found.append(atoms)
    return found


def written(structures: list[Atoms], folder: Path) -> tuple[Path, Path]:
    """Write structures as an ASE database (SQLite) and as one extxyz file an element system."""
    texts = folder / "extxyz"
    texts.mkdir(parents=True, exist_ok=True)
    database = folder / "ase.db"
    with connect(database) as rows:
        for atoms in structures:
            rows.write(atoms, system=atoms.info["system"], frame_id=f"{atoms.info['frame_id']}")
    by_system: dict[str, list[Atoms]] = {}
    for atoms in structures:
        by_system.setdefault(atoms.info["system"], []).append(atoms)
    for system, each in by_system.items():
        write(texts / f"{system}.xyz", each, format="extxyz")
    return database, texts


def peer_readers(structures: list[Atoms], folder: Path) -> dict[str, Callable[[np.ndarray], Any]]:
    """Return readers of frames by number: ASE database, one extxyz file, and ASE-LMDB where it is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Callable[[np.ndarray], Any]] = {}
    for name, file in {"ASE database": folder / "peer.db", "ASE-LMDB": folder / "peer.aselmdb"}.items():
        try:
            database = connect(file)
        except (ImportError, ValueError, AssertionError) as error:
            print(f"{name}: not here ({type(error).__name__}: {error}); left out")
            continue
        with database:
            for atoms in structures:
                database.write(atoms)
        opened = connect(file)
        found[name] = lambda numbers, database=opened: [database.get(int(i) + 1).toatoms().get_forces() for i in numbers]
    text = io.StringIO()
    starts = []
    for atoms in structures:
        starts.append(text.tell())
        write(text, atoms, format="extxyz")
    plain = text.getvalue()
    ends = [*starts[1:], len(plain)]
    found["extxyz, places known"] = lambda numbers: [
        read(io.StringIO(plain[starts[i] : ends[i]]), format="extxyz").get_forces() for i in numbers
    ]
    return found
