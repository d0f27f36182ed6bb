"""The members of a zip, in the order of their bytes, read by its directory or, where that is cut off, by the headers in front of them."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO, Final, cast

from isal import isal_zlib

from lake.budget import Budget, corrupt, too_large, truncated
from lake.codecs import BZIP2, DEFLATE, ZSTD
from lake.decompress import PIECE_BYTES, ForwardReader, Inflate, Readable
from lake.members import Member, member_too_large, tidy, unsafe, unsafe_member
from schemas.errors import UnreadableArchive
from schemas.sources import Rejection

_ZIP_END_BYTES: Final = 2**16 + 256
"""Last bytes of a zip in which the end of its directory is looked for."""
_ZIP_CODECS: Final = {zipfile.ZIP_DEFLATED: DEFLATE, zipfile.ZIP_BZIP2: BZIP2, 93: ZSTD}
_LOCAL_HEADER: Final = struct.Struct("<6xHH4xIIIHH")


def is_zip(head: bytes) -> bool:
    """Return whether bytes begin like a zip file."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def zip_members(stream: BinaryIO, budget: Budget) -> Iterator[Member | Rejection]:
    """Yield the files of a seekable zip and what is refused in it; raises UnreadableArchive where its directory is missing."""
    try:
        _count_directory(stream, budget)
        directory = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, EOFError) as error:
        if "not a zip file" in str(error):
            yield from _members_of_cut_zip(stream, budget)
            raise truncated("the zip file ends without the directory that should be there") from error
        raise corrupt(f"the directory of the zip file is damaged: {error}") from error
    encrypted = []
    entries = sorted(directory.infolist(), key=lambda entry: entry.header_offset)
    _check_apart(entries)
    inflated = stored = 0
    for entry in entries:
        budget.add_member()
        if not entry.filename or entry.filename.endswith("/"):
            continue
        if entry.flag_bits & 0x1:
            encrypted.append(entry.filename)
            continue
        found = _zip_member(stream, entry, budget)
        if isinstance(found, Member):
            inflated, stored = inflated + entry.file_size, stored + entry.compress_size
            budget.check_ratio(inflated, stored)
        yield found
    if encrypted:
        words = f"{len(encrypted)} encrypted members ({', '.join(encrypted[:3])}{', ...' if len(encrypted) > 3 else ''})"
        yield Rejection("", "unsupported_archive", words, "pack it without a password")


def _count_directory(stream: BinaryIO, budget: Budget) -> None:
    """Raise UnreadableArchive where the directory at the end of a zip lists more members than are allowed, before it is held in memory."""
    end = stream.seek(0, 2)
    tail = min(end, _ZIP_END_BYTES)
    stream.seek(end - tail)
    data = stream.read(tail)
    place = data.rfind(b"PK\x05\x06")
    if place < 0 or len(data) - place < 20:
        return
    size = int.from_bytes(data[place + 12 : place + 16], "little")
    wide = data.rfind(b"PK\x06\x06", 0, place)
    if wide >= 0 and len(data) - wide >= 48:
        size = max(size if size < 0xFFFFFFFF else 0, int.from_bytes(data[wide + 40 : wide + 48], "little"))
    start = max(0, end - tail + place - size - _ZIP_END_BYTES)
    stream.seek(start)
    count, before = 0, b""
    while piece := stream.read(PIECE_BYTES):
        count += (before + piece).count(b"PK\x01\x02")
        before = piece[-3:]
        if count > budget.limits.max_members:
            raise too_large(f"its directory lists more than {budget.limits.max_members} members", "limits.max_members")


def _check_apart(entries: list[zipfile.ZipInfo]) -> None:
    """Raise UnreadableArchive where two members share bytes, as in a bomb that lists the same bytes again and again."""
    for entry, following in pairwise(entries):
        if entry.header_offset + _LOCAL_HEADER.size + entry.compress_size > following.header_offset:
            raise corrupt(f"its members {entry.filename[:200]!r} and {following.filename[:200]!r} lie on the same bytes")


def _members_of_cut_zip(stream: BinaryIO, budget: Budget) -> Iterator[Member | Rejection]:
    """Yield the complete members of a zip without a directory, by the headers in front of them."""
    end = stream.seek(0, 2)
    place = 0
    while True:
        stream.seek(place)
        header = stream.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
            return
        flags, method, crc, stored, size, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        raw_name = stream.read(name_length)
        entry = zipfile.ZipInfo(raw_name.decode("utf-8" if flags & 0x800 else "cp437", "replace") or "?")
        entry.header_offset, entry.flag_bits, entry.compress_type = place, flags, method
        place += _LOCAL_HEADER.size + name_length + extra_length
        if flags & 0x8 and not flags & 0x1 and method == zipfile.ZIP_DEFLATED:
            measured = _measure(stream, place, budget)
            if measured is None:
                return
            crc, stored, size, descriptor = measured
        elif flags & 0x9:
            return
        else:
            descriptor = 0
        entry.CRC, entry.compress_size, entry.file_size = crc, stored, size
        place += stored + descriptor
        if 0xFFFFFFFF in (stored, size) or place > end:
            return
        budget.add_member()
        if entry.filename and not entry.filename.endswith("/"):
            yield _zip_member(stream, entry, budget)


def _measure(stream: BinaryIO, place: int, budget: Budget) -> tuple[int, int, int, int] | None:
    """Return CRC-32, stored size and size of deflated data whose header does not tell them, and the bytes of the record behind it.

    That record repeats the three numbers; None where the data or the record are cut, or the record says something else.
    """
    stream.seek(place)
    inflated = Inflate(cast(Readable, stream), DEFLATE, budget)
    crc = size = 0
    try:
        while piece := inflated.read(PIECE_BYTES):
            crc, size = isal_zlib.crc32(piece, crc), size + len(piece)
    except UnreadableArchive as error:
        if error.reason == "too_large":
            raise
        return None
    stored = inflated.consumed
    stream.seek(place + stored)
    record = stream.read(24)
    for signature in (b"PK\x07\x08", b""):
        for form in ("<III", "<IQQ"):
            expected = signature + struct.pack(form, crc, stored, size)
            if record.startswith(expected):
                return crc, stored, size, len(expected)
    return None


def _zip_member(stream: BinaryIO, entry: zipfile.ZipInfo, budget: Budget) -> Member | Rejection:
    name = tidy(_zip_name(entry))
    if (problem := unsafe(name)) is not None:
        return unsafe_member(name, problem)
    mode = entry.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return unsafe_member(name, "a link" if stat.S_ISLNK(mode) else "a device, pipe or other special file")
    if entry.file_size > budget.limits.max_member_bytes:
        return member_too_large(name, entry.file_size, budget)
    try:
        budget.check_ratio(entry.file_size, entry.compress_size)
    except UnreadableArchive as error:
        return Rejection(name, error.reason, error.detail, error.remedy)
    if entry.compress_type != zipfile.ZIP_STORED and entry.compress_type not in _ZIP_CODECS:
        found = f"compression method {entry.compress_type}"
        return Rejection(name, "unsupported_archive", found, "pack it with deflate, bzip2 or zstd")
    return Member(name, entry.file_size, lambda: ZipContent(stream, entry, budget), has_own_checksum=True)


class ZipContent(ForwardReader):
    """The bytes of one member of a zip, with length and CRC-32 verified at its end."""

    def __init__(self, stream: BinaryIO, entry: zipfile.ZipInfo, budget: Budget) -> None:
        super().__init__()
        codec = _ZIP_CODECS.get(entry.compress_type)
        stored = _Window(stream, entry)
        self._inflated: Readable = stored if codec is None else Inflate(stored, codec, budget)
        self._entry = entry
        self._crc = self._count = 0

    def next_piece(self) -> bytes:
        """Return the next inflated bytes."""
        piece = self._inflated.read(PIECE_BYTES)
        self._crc = isal_zlib.crc32(piece, self._crc)
        self._count += len(piece)
        if self._count > self._entry.file_size:
            raise corrupt(f"it unpacks to more than the {self._entry.file_size} bytes that its directory says")
        if not piece and self._count < self._entry.file_size:
            raise truncated(f"it unpacks to {self._count} of {self._entry.file_size} bytes")
        if not piece and self._crc != self._entry.CRC:
            raise corrupt(f"its CRC-32 is {self._crc:08x}, expected {self._entry.CRC:08x}")
        return piece


class _Window(ForwardReader):
    """The stored bytes of one member of a zip."""

    def __init__(self, stream: BinaryIO, entry: zipfile.ZipInfo) -> None:
        super().__init__()
        self._stream, self._left = stream, entry.compress_size
        stream.seek(max(0, entry.header_offset))
        header = stream.read(30) if entry.header_offset >= 0 else b""
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise corrupt(f"there is no member at byte {entry.header_offset}, where the directory says")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        stream.seek(entry.header_offset + 30 + name_length + extra_length)

    def next_piece(self) -> bytes:
        piece = self._stream.read(min(self._left, PIECE_BYTES))
        self._left -= len(piece)
        return piece


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """Return the name of a zip member; without the UTF-8 mark its bytes are tried as UTF-8 before the old DOS code page."""
    name = entry.filename
    if not entry.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = entry.filename
    return name.replace("\\", "/") if "/" not in name else name
