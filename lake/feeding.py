"""One file on its way through a reader: every fault of data, stream or reader on it becomes a Rejection."""

from __future__ import annotations

import traceback

from isal import isal_zlib

from lake.archives import File
from lake.readers.base import PushReader, ReaderSpec
from lake.torn_steps import without_torn_steps
from schemas.calculations import Run
from schemas.errors import UnreadableArchive, UnreadableOutput
from schemas.settings import LimitSettings
from schemas.sources import Rejection


class Fed:
    """One file on its way through a reader, or past it (spec None), to its end."""

    def __init__(self, file: File, spec: ReaderSpec | None, limits: LimitSettings, *, keep: bool = False) -> None:
        self._file, self._spec, self._limits = file, spec, limits
        self._kept: list[bytes] | None = [] if keep else None
        self.size = self.crc = 0
        self.broken = False
        """The archive around it said that it is not whole; a Rejection about that follows."""

    @property
    def text(self) -> bytes | None:
        """Return all bytes of a file that was to be kept, or None where they are more than a companion may have."""
        return b"".join(self._kept) if self._kept is not None else None

    def read(self) -> PushReader | Rejection | None:
        """Read the file to its end, so that checksums are verified, and return its reader, which is not closed."""
        spec = self._spec
        reader = spec.open() if spec is not None else None
        failure: Rejection | None = None
        try:
            for chunk in self._file.chunks():
                self.size += len(chunk)
                self.crc = isal_zlib.crc32(chunk, self.crc)
                if self.size > self._limits.max_member_bytes:
                    words = f"more than {self._limits.max_member_bytes} bytes"
                    return Rejection(self._file.path, "too_large", words, "raise the setting limits.max_member_bytes if it is right")
                self._keep(chunk)
                if reader is not None and spec is not None and spec.in_memory and self.size > self._limits.max_in_memory_bytes:
                    reader, failure = None, self._too_large_for_memory(spec)
                if reader is not None and failure is None:
                    failure = self._feed(reader, chunk)
        except UnreadableArchive as error:
            if error.reason != "truncated_archive" or not self._file.stands_alone:
                self.broken = True
        return None if self.broken else failure or reader

    def _too_large_for_memory(self, spec: ReaderSpec) -> Rejection:
        found = f"a {spec.name} of more than {self._limits.max_in_memory_bytes} bytes, which would have to be held in memory"
        remedy = "deposit the text output of the run, or raise the setting limits.max_in_memory_bytes"
        return Rejection(self._file.path, "too_large", found, remedy)

    def _keep(self, chunk: bytes) -> None:
        if self._kept is not None and self.size <= self._limits.max_companion_bytes:
            self._kept.append(bytes(chunk))
        else:
            self._kept = None

    def _feed(self, reader: PushReader, chunk: bytes) -> Rejection | None:
        try:
            reader.feed(chunk)
        except UnreadableOutput as error:
            return Rejection(self._file.path, error.reason, error.detail, error.remedy)
        except Exception as error:  # noqa: BLE001 the edge of a reader: its fault must not cost the other members
            return our_fault(self._file.path, _reader_of(self._spec), error)
        return None


def closed(path: str, spec: ReaderSpec, reader: PushReader) -> tuple[Run, ...] | Rejection:
    """Return the runs of a reader that has all its bytes, or why there are none."""
    try:
        return tuple(without_torn_steps(run) for run in reader.close())
    except UnreadableOutput as error:
        return Rejection(path, error.reason, error.detail, error.remedy)
    except Exception as error:  # noqa: BLE001 the edge of a reader: its fault must not cost the other members
        return our_fault(path, _reader_of(spec), error)


def _reader_of(spec: ReaderSpec | None) -> str:
    return f"the reader of {spec.name}" if spec is not None else "no reader"


def our_fault(member: str, doing: str, error: Exception) -> Rejection:
    """Return the rejection for an exception that should not be, with the place it came from."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" at {last[0].name}:{last[0].lineno}" if last else ""
    return Rejection(
        member, "reader_failed", f"{doing}: {type(error).__name__}: {error}{place}", "report it with the file; a fixed version can retry"
    )
