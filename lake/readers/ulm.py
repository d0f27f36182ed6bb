"""Items of ulm files, the container of ASE trajectories (.traj) and GPAW (.gpw), in memory; no object is made of what they name.

Layout (ase/io/ulm.py): 8 bytes of magic, 16 of a tag, then version, number of items and place of their offsets as int64; at each offset
the length of a JSON text and the text. A key that ends with '.' holds a group, or {"ndarray": [shape, dtype, offset]}.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAGICS: Final = (b"- of Ulm", b"AFFormat")
_HEADER_BYTES: Final = 48


def tag_of(head: bytes) -> str:
    """Return the tag of an ulm file ('GPAW', 'ASE-Trajectory') by its first bytes; '' for any other file."""
    return head[8:24].decode("latin-1").rstrip(" \0") if head[:8] in MAGICS else ""


class Item:
    """A group of named values; arrays are read when they are asked for."""

    def __init__(self, file: io.BytesIO, values: Mapping[str, Any], *, little_endian: bool) -> None:
        self._file = file
        self._values = {name.removesuffix("."): (value, name.endswith(".")) for name, value in values.items()}
        self._little_endian = little_endian

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def names(self) -> tuple[str, ...]:
        """Return the names in the group."""
        return tuple(self._values)

    def group(self, name: str) -> Item:
        """Return the group of that name, an empty one where there is none."""
        value, stored = self._values.get(name, ({}, True))
        inside = value if stored and isinstance(value, dict) and "ndarray" not in value else {}
        return Item(self._file, inside, little_endian=self._little_endian)

    def value(self, name: str, default: Any = None) -> Any:
        """Return a value as JSON has it, or default; one of a group or stored array is no such value."""
        value, stored = self._values.get(name, (default, False))
        return default if stored else value

    def array(self, name: str) -> NDArray[Any] | None:
        """Return an array, stored as such or as a list; None where there is none. Raises ValueError where its bytes are not there."""
        value, stored = self._values.get(name, (None, False))
        if stored and isinstance(value, dict) and "ndarray" in value:
            shape, kind, offset = value["ndarray"]
            return self._stored(tuple(int(length) for length in shape), np.dtype(str(kind)), int(offset))
        if isinstance(value, dict) and "__ndarray__" in value:
            shape, kind, flat = value["__ndarray__"]
            return np.array(flat, dtype=np.dtype(str(kind))).reshape(shape)
        return np.array(value) if isinstance(value, (list, int, float)) else None

    def _stored(self, shape: tuple[int, ...], kind: np.dtype[Any], offset: int) -> NDArray[Any]:
        if kind.hasobject or any(length < 0 for length in shape) or offset < 0:
            raise ValueError(f"an array of shape {shape}, type {kind} at byte {offset}")
        count = 1
        for length in shape:
            count *= length
        view = self._file.getbuffer()
        if offset + count * kind.itemsize > view.nbytes:
            raise ValueError(f"an array of {count * kind.itemsize} bytes at byte {offset} of {view.nbytes}")
        order = kind.newbyteorder("<" if self._little_endian else ">")
        return np.frombuffer(view[offset : offset + count * kind.itemsize], dtype=order).astype(kind).reshape(shape)


def offsets(file: io.BytesIO) -> list[int]:
    """Return where the items of an ulm file begin; raises ValueError where the header or the list is damaged or cut."""
    view = file.getbuffer()
    if view.nbytes < _HEADER_BYTES or bytes(view[:8]) not in MAGICS:
        raise ValueError("no header of an ulm file")
    _, count, place = (int(number) for number in np.frombuffer(view[24:_HEADER_BYTES], dtype="<i8"))
    if count < 0 or place < 0 or place + 8 * count > view.nbytes:
        raise ValueError(f"{count} items, listed at byte {place} of {view.nbytes}")
    return [int(number) for number in np.frombuffer(view[place : place + 8 * count], dtype="<i8")]


def read_item(file: io.BytesIO, offset: int) -> Item:
    """Return the item at an offset; raises ValueError where it is damaged or cut."""
    view = file.getbuffer()
    if not 0 <= offset <= view.nbytes - 8:
        raise ValueError(f"an item at byte {offset} of {view.nbytes}")
    size = int(np.frombuffer(view[offset : offset + 8], dtype="<i8")[0])
    if not 0 < size <= view.nbytes - offset - 8:
        raise ValueError(f"an item of {size} bytes at byte {offset} of {view.nbytes}")
    values = json.loads(bytes(view[offset + 8 : offset + 8 + size]))
    if not isinstance(values, dict):
        raise ValueError("an item that is no group")
    return Item(file, values, little_endian=bool(values.pop("_little_endian", True)))
