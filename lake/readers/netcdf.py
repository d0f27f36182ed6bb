"""Variables out of netCDF files, classic (3) and HDF5-based (4), held in memory."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.io import netcdf_file

from lake.readers.hdf5 import MAGIC, as_text, open_hdf5, read_array
from schemas.frames import Floats

CLASSIC: Final = b"CDF"
_FILL: Final = 1e30
"""Beyond it a number was never written (the fill value of netCDF is 9.97e36), or stands for none (ABINIT: 1e100)."""
_LEAST_FILLING: Final = 2**20
_MOST_FILLING: Final = 2**28


def is_netcdf(head: bytes) -> bool:
    """Return whether bytes begin like a netCDF file."""
    return head.startswith(MAGIC) or (head[:3] == CLASSIC and head[3:4] in (b"\x01", b"\x02"))


class Netcdf:
    """The variables and global attributes of a netCDF file that are there, read once."""

    def __init__(self, file: io.BytesIO, names: Iterable[str]) -> None:
        file.seek(0)
        head = file.read(8)
        file.seek(0)
        self._arrays: dict[str, NDArray[Any]] = {}
        self.attributes: dict[str, str] = {}
        self.dimensions: dict[str, int] = {}
        """Lengths of dimensions."""
        self.cut = False
        """The file ends before its last record; what is not there whole is NaN."""
        if head.startswith(MAGIC):
            self._read_hdf5(file, names)
        else:
            self._read_classic(file, names)

    def _read_hdf5(self, file: io.BytesIO, names: Iterable[str]) -> None:
        with open_hdf5(file) as opened:
            for name in names:
                values = read_array(opened, name)
                if values is None:
                    continue
                if b"DIMENSION_SCALE" in bytes(opened[name].attrs.get("CLASS", b"")):
                    self.dimensions[name] = len(values)
                else:
                    self._arrays[name] = values
            for name in opened.attrs:
                value = opened.attrs[name]
                if isinstance(value, (bytes, str, np.bytes_)):
                    self.attributes[name] = as_text(np.asarray(value)) if isinstance(value, bytes) else str(value)

    def _read_classic(self, file: io.BytesIO, names: Iterable[str]) -> None:
        try:
            found = _classic(file, names)
        except (ValueError, IndexError):
            self.cut = True
            found = _cut_classic(file, names)
        self._arrays, self.attributes, self.dimensions = found

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def floats(self, name: str, shape: tuple[int, ...] | None = None) -> Floats | None:
        """Return numbers, NaN where none was written; None where the variable is absent or has another shape."""
        values = self._arrays.get(name)
        if values is None or values.dtype.kind not in "fiu" or (shape is not None and values.shape != shape):
            return None
        numbers = values.astype(np.float64)
        return np.where(np.abs(numbers) < _FILL, numbers, np.nan)

    def value(self, name: str, default: float = float("nan")) -> float:
        """Return the one number of a variable, or default."""
        values = self.floats(name)
        return float(values.ravel()[0]) if values is not None and values.size and np.isfinite(values.ravel()[0]) else default

    def texts(self, name: str) -> list[str]:
        """Return the strings of a variable of characters, one for each row."""
        values = self._arrays.get(name)
        if values is None or values.dtype.kind not in "SOU":
            return []
        rows = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(1, -1)
        return [as_text(row) for row in rows]


_Contents = tuple[dict[str, NDArray[Any]], dict[str, str], dict[str, int]]
"""Arrays, attributes and dimensions."""


def _classic(file: io.BytesIO, names: Iterable[str]) -> _Contents:
    """Return the variables of those names and the attributes of a classic file; raises ValueError where bytes are missing."""
    file.seek(0)
    opened = netcdf_file(file, "r", mmap=False)
    arrays = {name: np.array(opened.variables[name].data) for name in names if name in opened.variables}
    attributes = {name: value.decode("latin-1") for name, value in opened._attributes.items() if isinstance(value, bytes)}
    return arrays, attributes, {name: int(length) for name, length in opened.dimensions.items() if length is not None}


def _cut_classic(file: io.BytesIO, names: Iterable[str]) -> _Contents:
    """Return what a cut file still holds: it is filled up twice with different bytes, and what comes out differently was not there."""
    names, size = tuple(names), file.seek(0, 2)
    found = []
    for filling in (b"\xff", b"\x00"):
        filled = io.BytesIO(file.getvalue() + filling * min(max(size, _LEAST_FILLING), _MOST_FILLING))
        found.append(_classic(filled, names))
    (first, attributes, dimensions), (second, _, _) = found
    arrays = {name: _equal_part(first[name], second[name]) for name in first if first[name].shape == second[name].shape}
    return arrays, attributes, dimensions


def _equal_part(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Return the values that two arrays have in common, NaN (of text: a blank) elsewhere."""
    item = first.dtype.itemsize
    raw = [np.ascontiguousarray(values).view(np.uint8).reshape(*values.shape, item) for values in (first, second)]
    same = (raw[0] == raw[1]).all(axis=-1)
    if first.dtype.kind == "S":
        return np.where(same, first, b" ")
    return first if same.all() else np.where(same, first.astype(np.float64), np.nan)
