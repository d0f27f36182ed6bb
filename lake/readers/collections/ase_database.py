"""Databases of ASE (`.db`, SQLite), held in memory and read only: rows with an energy are ASE's, in eV and Å by definition.

Rows without one may hold numbers in their `data` or key-value pairs (QM9): these have no unit unless the metadata name it.
"""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lake.collections.answers import Units
from lake.collections.records import Collection
from lake.collections.unit_names import energy_unit, length_unit
from lake.readers.base import ReaderSpec
from lake.readers.collections.ase_frames import AseFrame, collection_of, fixed_of
from lake.readers.in_memory import DAMAGE
from lake.readers.unlabelled import Unlabelled
from schemas.errors import QueryError, UnreadableOutput

_DAMAGE: Final[tuple[type[Exception], ...]] = (sqlite3.Error, *DAMAGE)
_MAGIC: Final = b"SQLite format 3\0"
COLUMNS: Final = (
    "numbers", "positions", "cell", "pbc", "constraints", "calculator", "calculator_parameters", "energy", "free_energy", "forces",
    "stress", "key_value_pairs", "data",
)  # fmt: skip
_TYPES: Final = frozenset({"float64", "float32", "int64", "int32", "int16", "int8", "uint8", "bool"})
_NO_LABELS: Final = frozenset({"momenta", "velocities", "magmoms", "initial_magmoms", "dipole"})


class AseDatabaseReader(Unlabelled):
    """Reads one database; frames are numbered from 0 by the order of their ids."""

    def __init__(self) -> None:
        self._file = io.BytesIO()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._file.write(chunk)

    def collected(self) -> Collection:
        """Return the rows; raises UnreadableOutput where there is none or the file is damaged."""
        try:
            with np.errstate(invalid="ignore"), closing(sqlite3.connect(":memory:")) as base:
                base.deserialize(self._file.getvalue())
                return _collection(base)
        except _DAMAGE as error:
            found = f"a damaged or cut database: {type(error).__name__}: {str(error)[:100]}"
            raise UnreadableOutput("unreadable_output", found, "deposit the file as ASE wrote it, closed by the program") from error


def _collection(base: sqlite3.Connection) -> Collection:
    there = {row[1] for row in base.execute("PRAGMA table_info(systems)")}
    wanted = ", ".join(name if name in there else f"NULL AS {name}" for name in COLUMNS)
    rows = (dict(zip(COLUMNS, row, strict=True)) for row in base.execute(f"SELECT {wanted} FROM systems ORDER BY id"))
    described = base.execute("SELECT value FROM information WHERE name = 'metadata'").fetchall()
    return collection_of_rows("ASE db", rows, json.loads(described[0][0]) if described else {})


def collection_of_rows(name: str, rows: Iterable[Mapping[str, Any]], metadata: Any, *, truncated: bool = False) -> Collection:
    """Return the frames of rows with the columns of COLUMNS, arrays as bytes and the others as SQLite has them.

    metadata is what the database says of itself. Raises UnreadableOutput where no row can be read.
    """
    frames: list[AseFrame] = []
    others: list[AseFrame] = []
    malformed: list[str] = []
    for place, values in enumerate(rows):
        try:
            (others if values["energy"] is None else frames).append(_frame(place, values))
        except DAMAGE as error:
            malformed.append(f"row {place}: {type(error).__name__}: {str(error)[:100]}")
    if not frames and not others:
        raise UnreadableOutput("no_complete_step", "; ".join(malformed[:3]) or "no row", "deposit the file as ASE wrote it")
    if frames:
        malformed += [f"row {frame.place}: it has no energy" for frame in others]
        return collection_of(name, frames, malformed, truncated=truncated)
    return collection_of(name, others, malformed, truncated=truncated, units=_units(metadata))


def _units(given: Any) -> Units:
    """Return the units that the metadata of the database name (SchNetPack's way); '' where they name none, or several for energies."""
    named = given.get("_property_unit_dict", {}) if isinstance(given, dict) else {}
    energies = {str(unit) for name, unit in named.items() if "energy" in name.lower()}
    length = str(given.get("_distance_unit", "")) if isinstance(given, dict) else ""
    try:
        energy = energy_unit(energies.pop()).name if len(energies) == 1 else ""
        return Units(energy, length_unit(length).name if length else "")
    except QueryError:
        return Units()


def _frame(place: int, row: Mapping[str, Any]) -> AseFrame:
    numbers = np.frombuffer(row["numbers"], "<i4").astype(np.int16)
    positions = np.frombuffer(row["positions"], "<f8").reshape(len(numbers), 3)
    if not len(numbers) or not bool(((numbers > 0) & (numbers < 119)).all()) or not bool(np.isfinite(positions).all()):
        raise ValueError("no atoms, an unknown element, or a position that is no number")
    scalars = {name: float(row[name]) for name in ("energy", "free_energy") if row[name] is not None}
    vectors: dict[str, NDArray[np.float64]] = {}
    if row["energy"] is None:
        scalars, vectors = _other_numbers(row, len(numbers))
    pbc = int(row["pbc"])
    stress = np.frombuffer(row["stress"], "<f8") if row["stress"] is not None else None
    return AseFrame(
        place=place,
        numbers=numbers,
        positions=positions,
        cell=np.frombuffer(row["cell"], "<f8").reshape(3, 3),
        pbc=(bool(pbc & 1), bool(pbc & 2), bool(pbc & 4)),
        calculator=row["calculator"] or "",
        parameters=row["calculator_parameters"] if isinstance(row["calculator_parameters"], str) else "{}",
        scalars=scalars,
        forces=np.frombuffer(row["forces"], "<f8").reshape(len(numbers), 3) if row["forces"] is not None else None,
        stress=stress if stress is not None and stress.size in (6, 9) else None,
        vectors=vectors,
        fixed=fixed_of(row["constraints"], len(numbers)),
    )


def _other_numbers(row: Mapping[str, Any], natoms: int) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Return the single numbers, and the arrays of three numbers an atom, in the data and key-value pairs of a row."""
    pairs = json.loads(row["key_value_pairs"]) if isinstance(row["key_value_pairs"], str) else {}
    values = {**pairs, **_data(row["data"])}
    scalars: dict[str, float] = {}
    vectors: dict[str, NDArray[np.float64]] = {}
    for name, value in values.items():
        if isinstance(value, str | bool | dict) or value is None or name in _NO_LABELS:
            continue
        array = np.asarray(value, dtype=float)
        if array.size == 1:
            scalars[name] = float(array.reshape(-1)[0])
        elif array.shape == (natoms, 3):
            vectors[name] = array
    return scalars, vectors


def _data(raw: object) -> dict[str, Any]:
    """Return the data of a row: JSON as text, or (since version 9) arrays with JSON behind them, at the place that the first int64 says."""
    if isinstance(raw, str):
        found = json.loads(raw) if raw else {}
    elif isinstance(raw, bytes) and len(raw) >= 8:
        start = int(np.frombuffer(raw, "<i8", 1)[0])
        found = json.loads(raw[start:]) if 0 <= start < len(raw) else {}
        found = {name: _array(raw, value) for name, value in found.items()} if isinstance(found, dict) else {}
    else:
        found = {}
    return found if isinstance(found, dict) else {}


def _array(raw: bytes, value: Any) -> Any:
    held = value.get("__ndarray__") if isinstance(value, dict) else None
    if held is None:
        return value
    shape, kind, offset = held
    if kind not in _TYPES or not all(isinstance(n, int) and 0 <= n < 2**31 for n in (*shape, offset)):
        raise ValueError(f"an array of {kind} and shape {shape}")
    return np.frombuffer(raw, np.dtype(kind).newbyteorder("<"), int(np.prod(shape)), offset).reshape(shape)


def recognises(_name: str, head: bytes) -> bool:
    """Return whether a file is a database of SQLite with the table that ASE keeps configurations in."""
    return head.startswith(_MAGIC) and b"systems" in head and b"unique_id" in head


ASE_DATABASE: Final = ReaderSpec("ASE db", "ase", recognises, AseDatabaseReader, rank=91, in_memory=True)
