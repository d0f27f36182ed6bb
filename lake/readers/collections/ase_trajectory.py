"""Trajectories of ASE (`.traj`, format ulm): arrays as they lie in the file; items by its index or, where that is cut, by their text.

Layout: '- of Ulm' ('AFFormat' in early ones), a tag of 16 bytes, three int64 (version, items, place of the index); each item is an int64
length and JSON, in which an array is {"ndarray": [shape, type, offset]} (ase/io/ulm.py).
"""

from __future__ import annotations

import io
import json
import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lake.collections.records import Collection
from lake.readers.base import ReaderSpec
from lake.readers.collections.ase_frames import AseFrame, collection_of, fixed_of
from lake.readers.in_memory import DAMAGE
from lake.readers.ulm import tag_of
from lake.readers.unlabelled import Unlabelled
from schemas.errors import UnreadableOutput

_TYPES: Final = frozenset({"float64", "float32", "int64", "int32", "int16", "int8", "uint8", "bool"})
_ITEM: Final = re.compile(rb'\{"')


class AseTrajectoryReader(Unlabelled):
    """Reads one trajectory, held in memory."""

    def __init__(self) -> None:
        self._file = io.BytesIO()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._file.write(chunk)

    def collected(self) -> Collection:
        """Return the frames; raises UnreadableOutput where there is none."""
        data = self._file.getvalue()
        items, announced = _items(data)
        frames: list[AseFrame] = []
        malformed: list[str] = []
        head: dict[str, Any] = items[0] if items else {}
        for place, item in enumerate(items):
            try:
                with np.errstate(invalid="ignore"):
                    frames.append(_frame(data, place, item, head))
            except DAMAGE as error:
                malformed.append(f"frame {place}: {type(error).__name__}: {str(error)[:100]}")
        return collection_of("ASE trajectory", frames, malformed, truncated=len(items) < announced)


def _items(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the items of a file and how many it announces."""
    if len(data) < 48:
        raise UnreadableOutput("no_complete_step", f"{len(data)} bytes of a trajectory", "deposit the file as ASE wrote it")
    count, place = (int(value) for value in np.frombuffer(data, "<i8", 2, 32))
    if 0 < count < len(data) and 0 < place <= len(data) - 8 * count:
        offsets = np.frombuffer(data, "<i8", count, place).tolist()
        found = [_item(data, offset) for offset in offsets]
        whole = [item for item in found if item is not None]
        if len(whole) == count:
            return whole, count
    scanned = [item for at in _ITEM.finditer(data) if at.start() >= 8 and (item := _item(data, at.start() - 8)) is not None]
    return [item for item in scanned if "positions." in item], max(count, 1)


def _item(data: bytes, offset: int) -> dict[str, Any] | None:
    if not 0 <= offset <= len(data) - 8:
        return None
    size = int(np.frombuffer(data, "<i8", 1, offset)[0])
    if not 1 < size <= len(data) - offset - 8:
        return None
    try:
        item = json.loads(data[offset + 8 : offset + 8 + size])
    except (ValueError, RecursionError):
        return None
    return item if isinstance(item, dict) else None


def _frame(data: bytes, place: int, item: dict[str, Any], head: dict[str, Any]) -> AseFrame:
    numbers = _array(data, item if "numbers." in item or "numbers" in item else head, "numbers").astype(np.int16)
    positions = _array(data, item, "positions").astype(float).reshape(len(numbers), 3)
    if not len(numbers) or not bool(((numbers > 0) & (numbers < 119)).all()) or not bool(np.isfinite(positions).all()):
        raise ValueError("no atoms, an unknown element, or a position that is no number")
    calculator = item.get("calculator.", item.get("calculator", {}))
    results = {name: _array(data, calculator, name) for name in ("energy", "free_energy", "forces", "stress") if _has(calculator, name)}
    pbc = [bool(along) for along in item.get("pbc", head.get("pbc", (False, False, False)))]
    cell = _array(data, item, "cell") if _has(item, "cell") else _array(data, head, "cell") if _has(head, "cell") else np.zeros((3, 3))
    stress = results.get("stress")
    return AseFrame(
        place=place,
        numbers=numbers,
        positions=positions,
        cell=cell.astype(float).reshape(3, 3),
        pbc=(pbc[0], pbc[1], pbc[2]),
        calculator=str(calculator.get("name", "")),
        parameters=json.dumps(calculator.get("parameters", {}), sort_keys=True, default=str),
        scalars={name: float(results[name]) for name in ("energy", "free_energy") if name in results},
        forces=results["forces"].astype(float).reshape(len(numbers), 3) if "forces" in results else None,
        stress=stress.astype(float).reshape(-1) if stress is not None and stress.size in (6, 9) else None,
        fixed=fixed_of(item.get("constraints", head.get("constraints")), len(numbers)),
    )


def _has(values: dict[str, Any], name: str) -> bool:
    return name in values or f"{name}." in values


def _array(data: bytes, values: dict[str, Any], name: str) -> NDArray[Any]:
    """Return an array that lies in the file, or beside its name in the JSON."""
    held = values.get(f"{name}.", values.get(name))
    if not isinstance(held, dict):
        return np.array(held, dtype=float)
    shape, kind, offset = held["ndarray"]
    if kind not in _TYPES or not all(isinstance(n, int) and 0 <= n < 2**31 for n in (*shape, offset)):
        raise ValueError(f"{name}: an array of {kind} and shape {shape}")
    return np.frombuffer(data, np.dtype(kind).newbyteorder("<"), int(np.prod(shape)), offset).reshape(shape)


def recognises(_name: str, head: bytes) -> bool:
    """Return whether a file is a trajectory of ASE."""
    return tag_of(head) == "ASE-Trajectory"


ASE_TRAJECTORY: Final = ReaderSpec("ASE trajectory", "ase", recognises, AseTrajectoryReader, rank=91, in_memory=True)
