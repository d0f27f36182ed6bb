"""Compressions that are read: how a stream of each begins, and what unpacks it."""

from __future__ import annotations

import bz2
import lzma
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

import zstandard
from isal import igzip_lib

_XZ_MEMORY: Final = 192 * 2**20
_ZSTD_WINDOW: Final = 2**27
DAMAGE: Final = (cast(type[Exception], igzip_lib.IsalError), lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError)
"""What decompressors raise where the data are damaged."""
_ZSTD_MAGIC: Final = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
"""A frame, or one that is passed over, as parallel and seekable writers put them in front or behind."""
_ZSTD_PIECE: Final = 2048
"""A zstd block of 4 bytes can hold 128 KiB and the decoder gives no bound: 2 KiB make 64 MiB at most."""


class Decompressor(Protocol):
    """What bz2, lzma and isal have in common."""

    @property
    def eof(self) -> bool:
        """Whether the end of the compressed stream was reached and its checksum was right."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether more compressed bytes are needed before more comes out."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Bytes behind the end of the stream."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return up to about max_length inflated bytes."""
        ...


@dataclass(frozen=True)
class Codec:
    """One kind of compression."""

    name: str
    recognises: Callable[[bytes], bool]
    """Whether a stream begins like this kind."""
    open: Callable[[], Decompressor]


class _Zstd:
    """zstandard's decompressor with the manners of the others."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        self._pending = b""
        self._place = 0

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._place >= len(self._pending)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data + self._pending[self._place :]

    def decompress(self, data: bytes, max_length: int) -> bytes:  # noqa: ARG002
        if data:
            self._pending = self._pending[self._place :] + data
            self._place = 0
        piece = self._pending[self._place : self._place + _ZSTD_PIECE]
        self._place += len(piece)
        return self._inner.decompress(piece)


CODECS: Final[tuple[Codec, ...]] = (
    Codec(
        "gzip",
        lambda head: head.startswith(b"\x1f\x8b\x08"),
        lambda: cast(Decompressor, igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)),
    ),
    Codec("bzip2", lambda head: head[:3] == b"BZh" and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"), bz2.BZ2Decompressor),
    Codec(
        "xz",
        lambda head: head.startswith(b"\xfd7zXZ\x00"),
        lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
    ),
    Codec("zstd", lambda head: _ZSTD_MAGIC.match(head) is not None, _Zstd),
)
"""Compressions that are read, recognised by their first bytes."""
DEFLATE: Final = Codec("deflate", lambda _: False, lambda: cast(Decompressor, igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)))
"""Deflate without a header, as zip has it."""
GZIP, BZIP2, ZSTD = CODECS[0], CODECS[1], CODECS[3]


def find_codec(head: bytes) -> Codec | None:
    """Return the compression that a stream begins with, or None."""
    return next((codec for codec in CODECS if codec.recognises(head)), None)
