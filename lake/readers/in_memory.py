"""Outputs that are read by random access (HDF5, netCDF, ulm, SQLite): held in memory whole, never written to disk."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Final

from schemas.calculations import Run
from schemas.errors import UnreadableOutput

DAMAGE: Final[tuple[type[Exception], ...]] = (
    OSError, EOFError, KeyError, IndexError, ValueError, TypeError, RuntimeError, AttributeError, AssertionError, OverflowError,
    ZeroDivisionError, MemoryError, struct.error,
)  # fmt: skip
"""What the libraries of binary formats raise for damaged or cut bytes."""


class InMemoryReader:
    """Push reader of one output that has to be there whole: its bytes are kept, and read when the last has come.

    `read` is given a seekable binary file. Its `ReaderSpec` has `in_memory=True`, by which `limits.max_in_memory_bytes` holds.
    """

    def __init__(self, read: Callable[[io.BytesIO], tuple[Run, ...]]) -> None:
        self._read = read
        self._file = io.BytesIO()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._file.write(chunk)

    def close(self) -> tuple[Run, ...]:
        """Return the runs of the file; raises UnreadableOutput where it holds none or is damaged."""
        self._file.seek(0)
        try:
            return self._read(self._file)
        except DAMAGE as error:
            found = f"{self._file.getbuffer().nbytes} bytes that cannot be read: {type(error).__name__}: {str(error)[:200]}"
            raise UnreadableOutput("unreadable_output", found, "deposit the file as the code wrote it; it is damaged or cut off") from error
