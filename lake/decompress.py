"""Decompression of one forward stream, piece by piece, with its checksum verified and its cost bounded."""

from __future__ import annotations

import io
from typing import Final, Protocol

from lake.budget import Budget, corrupt, truncated
from lake.codecs import DAMAGE, DEFLATE, Codec
from schemas.errors import UnreadableArchive

PIECE_BYTES: Final = 2**20
"""Inflated bytes handed on at once."""
STORED_BYTES: Final = 2**18
"""Stored bytes read at once."""


class Readable(Protocol):
    """A stream that is read once."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most size, none at the end."""
        ...


class ForwardReader(io.RawIOBase):
    """A stream of pieces that is read once; it can tell its place and seek forward, which is all that tarfile needs."""

    def __init__(self) -> None:
        super().__init__()
        self._ready = memoryview(b"")
        self._place = 0

    def next_piece(self) -> bytes:
        """Return the next bytes, or none at the end."""
        raise io.UnsupportedOperation("a ForwardReader needs next_piece")

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True, though only forward."""
        return True

    def tell(self) -> int:
        """Return the number of bytes given so far."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go forward to a place by reading up to it, or to the end of the stream if that comes first."""
        if whence not in (io.SEEK_SET, io.SEEK_CUR):
            raise io.UnsupportedOperation("a stream that is read once has no known end")
        target = offset if whence == io.SEEK_SET else self._place + offset
        if target < self._place:
            raise io.UnsupportedOperation(f"cannot go back from {self._place} to {target} in a stream that is read once")
        while self._place < target and self._fill():
            self._take(min(len(self._ready), target - self._place))
        return self._place

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        """Fill a part of buffer and return its length; 0 at the end."""
        if not self._fill():
            return 0
        target = memoryview(buffer).cast("B")
        count = min(len(self._ready), len(target))
        target[:count] = self._take(count)
        return count

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most size and at least one, none at the end; all that is left for size -1."""
        if size < 0:
            return b"".join(iter(lambda: self.read(PIECE_BYTES), b""))
        if not self._ready and size >= PIECE_BYTES:
            piece = self.next_piece()
            if len(piece) <= size:
                self._place += len(piece)
                return piece
            self._ready = memoryview(piece)
        return bytes(self._take(min(size, len(self._ready)))) if self._fill() else b""

    def _fill(self) -> bool:
        if not self._ready:
            self._ready = memoryview(self.next_piece())
        return len(self._ready) > 0

    def _take(self, count: int) -> memoryview:
        taken, self._ready = self._ready[:count], self._ready[count:]
        self._place += count
        return taken


class Rewound(ForwardReader):
    """A stream with the bytes that were already read from it put back in front."""

    def __init__(self, head: bytes, rest: Readable) -> None:
        super().__init__()
        self._ready = memoryview(head)
        self._rest = rest

    def next_piece(self) -> bytes:
        """Return the next bytes of the rest."""
        return self._rest.read(STORED_BYTES)


class Inflate(ForwardReader):
    """The inflated bytes of a compressed stream, of all its parts if it has several.

    Raises UnreadableArchive: corrupt_archive where a checksum fails, the data are damaged, or other bytes than zeros follow;
    truncated_archive where the stored bytes end early, after all that could be inflated was given; too_large over the budget.
    Once it has failed, each further read fails in the same way.
    """

    def __init__(self, stored: Readable, codec: Codec, budget: Budget) -> None:
        super().__init__()
        self._stored, self._codec, self._budget = stored, codec, budget
        self._decompressor = codec.open()
        self._stored_count = self._inflated_count = 0
        self._failure: UnreadableArchive | None = None
        self._ended = False
        self._pushed_back = b""

    @property
    def consumed(self) -> int:
        """Return the stored bytes that belong to it, once it has ended."""
        return self._stored_count - len(self._decompressor.unused_data)

    def next_piece(self) -> bytes:
        """Return the next inflated bytes."""
        if self._failure is not None:
            raise self._failure
        try:
            piece = self._inflate()
            self._inflated_count += len(piece)
            self._budget.spend(len(piece))
            self._budget.check_ratio(self._inflated_count, self._stored_count)
        except UnreadableArchive as failure:
            self._failure = failure
            raise
        return piece

    def _inflate(self) -> bytes:
        while not self._ended:
            if self._decompressor.eof:
                self._start_next_part()
                continue
            data = b""
            if self._decompressor.needs_input:
                data = self._read_stored()
                if not data:
                    raise truncated(f"the {self._codec.name} data end after {self._stored_count} stored bytes, before their end mark")
            piece = self._decompress(data)
            if piece:
                return piece
        return b""

    def _decompress(self, data: bytes) -> bytes:
        try:
            return self._decompressor.decompress(data, PIECE_BYTES)
        except DAMAGE as error:
            if "emory usage limit" in str(error) or "too much memory" in str(error):
                found = f"unpacking its {self._codec.name} data needs too much memory"
                raise UnreadableArchive("unsupported_archive", found, "pack it again with the usual settings") from error
            raise corrupt(f"the {self._codec.name} data are damaged near stored byte {self._stored_count}: {error}") from error

    def _start_next_part(self) -> None:
        """Go on with the next compressed stream behind the one that ended, over padding of zeros."""
        rest = self._decompressor.unused_data
        if self._codec is DEFLATE:
            self._ended = True
            return
        while not (rest := rest.lstrip(b"\0")):
            rest = self._read_stored()
            if not rest:
                self._ended = True
                return
        if len(rest) < 16:
            rest += self._read_stored()
        if not self._codec.recognises(rest):
            raise corrupt(f"{self._codec.name} data are followed by other bytes ({rest[:8]!r})")
        self._decompressor = self._codec.open()
        self._pushed_back = rest

    def _read_stored(self) -> bytes:
        if self._pushed_back:
            data, self._pushed_back = self._pushed_back, b""
            return data
        data = self._stored.read(STORED_BYTES)
        self._stored_count += len(data)
        return data


def drain(stream: Readable) -> None:
    """Read a stream to its end, so that its checksum is verified."""
    while stream.read(PIECE_BYTES):
        pass


def read_up_to(stream: Readable, count: int) -> bytes:
    """Return the next count bytes, fewer only where the stream ends or is cut there (reading on raises what is wrong)."""
    pieces = []
    while count > 0:
        try:
            piece = stream.read(count)
        except UnreadableArchive as failure:
            if failure.reason != "truncated_archive":
                raise
            break
        if not piece:
            break
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
