"""Small gzip'd tars of plain members, inflated as a whole: what is unusual in any way is left to the streams of `lake.archives`.

Nothing of such an archive is believed before its last byte has come and its checksum is right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from isal import isal_zlib

from lake.budget import Budget
from lake.codecs import DAMAGE
from lake.decompress import STORED_BYTES
from lake.members import sum_of, tidy, unsafe
from lake.zip_members import is_zip

MORE_BYTES: Final = 7 * STORED_BYTES
"""Most bytes of an archive behind its first 64 KiB that are held in memory (1.75 MiB), in whole pieces of the streams."""
INFLATED_BYTES: Final = 4 * 2**20
"""Most bytes that it may unpack to."""
_GZIP: Final = 16 + 15
"""A gzip header around deflate with the largest window, in zlib's count of its bits."""
_BLOCK: Final = 512
_ZEROS: Final = bytes(_BLOCK)
_OCTAL: Final = rb"(?:[0-7]{7}[ \0]|[0-7]{6} \0)"
_CHECKSUM: Final = rb"([0-7]{6}\0 |[0-7]{7}[ \0]|[0-7]{6} \0)"
_HEADER: Final = re.compile(
    rb".{100}" + _OCTAL * 3 + rb"([0-7]{11})[ \0][0-7]{11}[ \0]" + _CHECKSUM + rb"([05\0]).{100}(?:ustar\00000|ustar  \0).{64}"
    rb"(?:" + _OCTAL + rb"|\0{8}){2}\0{155}",
    re.DOTALL,
)  # fmt: skip
"""A header of POSIX or GNU tar (pax.h, tar.h) of a file or folder: size, checksum, type; numbers in octal digits, no prefix to the name."""


_PLAIN_NAME: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.+=,@-]*/)*[A-Za-z0-9_][A-Za-z0-9_.+=,@-]*")
"""A name that is tidy and safe: no part of it begins with a dot."""


class SmallTar(NamedTuple):
    """A tar in memory."""

    data: bytes
    members: Sequence[tuple[str, int, int]]
    """Its regular files: name, and where the bytes begin and end."""


def small_tar(stored: bytes, budget: Budget) -> SmallTar | None:
    """Return a small, sound gzip'd tar of plain members, and spend for it; None for anything else, with nothing spent."""
    data = _inflated(stored)
    if data is None or is_zip(data) or budget.inflated + len(data) > budget.limits.max_total_bytes:
        return None
    found: list[tuple[str, int, int]] = []
    place = headers = 0
    while (block := data[place : place + _BLOCK]) and block != _ZEROS:
        header = _header(block)
        headers += 1
        if header is None:
            return None
        name, size = header
        place += _BLOCK
        if size >= 0:
            if size > budget.limits.max_member_bytes or place + size > len(data):
                return None
            found.append((name, place, place + size))
            place += -(-size // _BLOCK) * _BLOCK
    if not found or place > len(data) or budget.members + headers > budget.limits.max_members:
        return None
    budget.members += headers
    budget.spend(len(data))
    return SmallTar(data, found)


def _inflated(stored: bytes) -> bytes | None:
    """Return what a gzip stream of one part holds, its checksum verified; None where it is damaged, cut, large, or followed by more.

    It ends with the length of what it holds, modulo 2^32 (RFC 1952).
    """
    if int.from_bytes(stored[-4:], "little") > INFLATED_BYTES:
        return None
    decompressor = isal_zlib.decompressobj(_GZIP)
    try:
        data = decompressor.decompress(stored, INFLATED_BYTES)
    except DAMAGE:
        return None
    return data if decompressor.eof and not decompressor.unused_data else None


def _header(block: bytes) -> tuple[str, int] | None:
    """Return name and size of a plain file, -1 for a folder; None for any other header, or where its checksum is wrong."""
    match = _HEADER.match(block)
    if match is None or len(block) < _BLOCK:
        return None
    size, checksum, kind = match.groups()
    raw = block[:100].partition(b"\0")[0]
    if sum_of(block) - sum(checksum) + 8 * 32 != int(checksum.rstrip(b" \0"), 8):
        return None
    if kind == b"5":
        return "", -1
    if not raw.isascii() or not raw or raw.endswith(b"/"):
        return None
    name = raw.decode("ascii")
    if _PLAIN_NAME.fullmatch(name) is None:
        name = tidy(name)
        if unsafe(name):
            return None
    return name, int(size, 8)
