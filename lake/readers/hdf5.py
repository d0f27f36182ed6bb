"""Arrays out of HDF5 files that strangers made: no link leads out of the file, and no array is larger than memory allows."""

from __future__ import annotations

import io
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from schemas.errors import UnreadableOutput

MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_MOST_BYTES: Final = 2**30
"""Bytes of one array after decompression."""


def open_hdf5(file: io.BytesIO) -> h5py.File:
    """Return an HDF5 file held in memory, opened for reading; raises what h5py raises for damage."""
    return h5py.File(file, "r")


def read_array(group: h5py.Group, path: str) -> NDArray[Any] | None:
    """Return the array of that path, or None where there is none; raises UnreadableOutput for one that is too large.

    Soft and external links, external storage and virtual arrays are not followed: they name other files or parts.
    """
    place = _follow(group, path)
    if not isinstance(place, h5py.Dataset) or place.external is not None or place.is_virtual:
        return None
    if place.size is None or place.size * place.dtype.itemsize > _MOST_BYTES:
        found = f"{path} is an array of shape {place.shape}"
        raise UnreadableOutput("unreadable_output", found, "deposit the file as the code wrote it; it is damaged")
    return np.asarray(place[()])


def names_in(group: h5py.Group, path: str) -> tuple[str, ...]:
    """Return the names in the group of that path, none where there is no such group."""
    place = _follow(group, path)
    return tuple(place) if isinstance(place, h5py.Group) else ()


def _follow(group: h5py.Group, path: str) -> Any:
    """Return what a path of hard links leads to, or None."""
    place: Any = group
    for name in path.split("/"):
        if not isinstance(place, h5py.Group) or not isinstance(place.get(name, getlink=True), h5py.HardLink):
            return None
        place = place[name]
    return place


def read_text(group: h5py.Group, path: str) -> str:
    """Return the text of that path, '' where there is none."""
    values = read_array(group, path)
    return as_text(values) if values is not None else ""


def as_text(values: NDArray[Any]) -> str:
    """Return the text that an array of bytes, characters or strings holds, without blanks and zeros around it."""
    if values.dtype.kind == "S":
        raw = values.tobytes()
    else:
        parts = values.ravel().tolist()
        raw = b"".join(part if isinstance(part, bytes) else str(part).encode() for part in parts)
    return raw.decode("utf-8", "replace").strip("\0 \n")
