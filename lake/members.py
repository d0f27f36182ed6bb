"""The members of one container, tar or zip, in one forward pass; nothing is written to disk and no link is followed."""

from __future__ import annotations

import posixpath
import re
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from isal import isal_zlib

from lake.decompress import BZIP2, DEFLATE, PIECE_BYTES, ZSTD, Budget, ForwardReader, Inflate, Readable, corrupt, too_large, truncated
from schemas.errors import UnreadableArchive
from schemas.sources import Rejection

HEADER_BYTES: Final = 2**20
"""Most bytes of an extended header (long name, pax) of a tar member."""
_ZIP_CODECS: Final = {zipfile.ZIP_DEFLATED: DEFLATE, zipfile.ZIP_BZIP2: BZIP2, 93: ZSTD}
_LOCAL_HEADER: Final = struct.Struct("<6xHH4xIIIHH")
_LONG_HEADERS: Final = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One regular file in a container."""

    name: str
    """Its path inside the container, '/' between folders, exactly the characters that it was given."""
    size: int
    """Bytes, as the container says."""
    open: Callable[[], Readable]
    """Opens it for reading forward, once; with a tar only until the next member is asked for."""
    has_own_checksum: bool
    """A failure while reading it says nothing about the other members (zip)."""


def is_tar(head: bytes) -> bool:
    """Return whether bytes begin with the header of a tar member, judged by its checksum."""
    block = head[:512]
    if len(block) < 512 or block[0] == 0:
        return False
    field = block[148:156].strip(b" \0")
    if not re.fullmatch(rb"[0-7]{1,8}", field):
        return False
    plain = sum(block) - sum(block[148:156]) + 8 * 32
    return int(field, 8) == plain


def is_zip(head: bytes) -> bool:
    """Return whether bytes begin like a zip file."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def unsafe(name: str) -> str | None:
    """Return what is wrong with a member's name, or None."""
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[\\/]", name):
        return "an absolute name"
    if ".." in re.split(r"[\\/]", name):
        return "a name that leaves its folder by '..'"
    if "\0" in name:
        return "a name with a zero byte"
    return None


def unsafe_member(name: str, found: str) -> Rejection:
    """Return the rejection of a member that is never read."""
    return Rejection(name, "unsafe_member", f"{found}; it was not read", "pack the files themselves under plain relative names")


class _Header(tarfile.TarInfo):
    """A tar header that remembers why the archive ended, and refuses huge extended headers."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(tar)
        except tarfile.HeaderError as error:
            cast(_Tar, tar).ended_by = error
            raise

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _LONG_HEADERS and header.size > HEADER_BYTES:
            raise tarfile.InvalidHeaderError(f"an extended header of {header.size} bytes")  # type: ignore[attr-defined]
        return header


class _Tar(tarfile.TarFile):
    """A tar archive read forward."""

    ended_by: tarfile.HeaderError | None = None


def tar_members(stream: BinaryIO, budget: Budget) -> Iterator[Member | Rejection]:
    """Yield the files of a tar stream and what is refused in it; raises UnreadableArchive where it is cut or damaged."""
    links: set[str] = set()
    tar = None
    try:
        tar = _Tar(fileobj=stream, mode="r", tarinfo=_Header, encoding="utf-8", errors="surrogateescape")
        while (header := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]
            budget.add_member()
            found = _tar_member(tar, header, links, budget)
            if found is not None:
                yield found
    except (tarfile.TarError, ValueError, IndexError, EOFError, struct.error) as error:
        ended_by = tar.ended_by if tar is not None else None
        raise _end_of_tar(stream, ended_by or error) from error
    if tar.ended_by is not None and not _is_regular_end(tar.ended_by):
        raise _end_of_tar(stream, tar.ended_by)


def _tar_member(tar: _Tar, header: tarfile.TarInfo, links: set[str], budget: Budget) -> Member | Rejection | None:
    name = _tidy(_readable(header.name))
    problem = unsafe(name)
    if header.isdir():
        return None
    if problem is not None:
        return unsafe_member(name, problem)
    if not header.isreg():
        if header.issym() or header.islnk():
            links.add(name)
            return unsafe_member(name, f"a link to {_readable(header.linkname)!r}")
        return unsafe_member(name, "a device, pipe or other special file")
    if any(name.startswith(f"{link}/") for link in links):
        return unsafe_member(name, "a name that goes through a link")
    if header.size > budget.limits.max_member_bytes:
        return _member_too_large(name, header.size, budget)
    sparse = header.issparse()
    return Member(name, header.size, lambda: _TarContent(tar, header, budget if sparse else None), has_own_checksum=False)


def _is_regular_end(error: tarfile.HeaderError) -> bool:
    """Return whether an archive ended in the usual way: with a block of zeros, or with the last member's last block."""
    return type(error).__name__ in ("EOFHeaderError", "EmptyHeaderError")


def _end_of_tar(stream: BinaryIO, error: Exception) -> UnreadableArchive:
    """Return what an irregular end of a tar means: cut, where there is nothing more to read, else damaged."""
    if type(error).__name__ in ("TruncatedHeaderError", "EOFHeaderError", "EmptyHeaderError") or not stream.read(1):
        return truncated("the tar archive ends inside a member")
    return corrupt(f"a tar header is damaged: {error}")


class _TarContent(ForwardReader):
    """The bytes of one member of a tar."""

    def __init__(self, tar: _Tar, header: tarfile.TarInfo, budget: Budget | None) -> None:
        super().__init__()
        self._file = cast(BinaryIO, tar.extractfile(header))
        self._budget = budget

    def next_piece(self) -> bytes:
        try:
            piece = self._file.read(PIECE_BYTES)
        except tarfile.ReadError as error:
            raise truncated("the tar archive ends inside a member") from error
        if self._budget is not None:
            self._budget.spend(len(piece))
        return piece


def zip_members(stream: BinaryIO, budget: Budget) -> Iterator[Member | Rejection]:
    """Yield the files of a seekable zip and what is refused in it; raises UnreadableArchive where its directory is missing."""
    try:
        directory = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, EOFError) as error:
        if "not a zip file" in str(error):
            yield from _members_of_cut_zip(stream, budget)
            raise truncated("the zip file ends without the directory that should be there") from error
        raise corrupt(f"the directory of the zip file is damaged: {error}") from error
    encrypted = []
    for entry in sorted(directory.infolist(), key=lambda entry: entry.header_offset):
        budget.add_member()
        if not entry.filename or entry.filename.endswith("/"):
            continue
        if entry.flag_bits & 0x1:
            encrypted.append(entry.filename)
            continue
        yield _zip_member(stream, entry, budget)
    if encrypted:
        found = f"{len(encrypted)} encrypted members ({', '.join(encrypted[:3])}{', ...' if len(encrypted) > 3 else ''})"
        yield Rejection("", "unsupported_archive", found, "pack it without a password")


def _members_of_cut_zip(stream: BinaryIO, budget: Budget) -> Iterator[Member | Rejection]:
    """Yield the complete members of a zip without a directory, by the headers in front of them, as far as these tell the sizes."""
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
        entry.CRC, entry.compress_size, entry.file_size = crc, stored, size
        place += _LOCAL_HEADER.size + name_length + extra_length + stored
        if flags & 0x9 or 0xFFFFFFFF in (stored, size) or place > end:
            return
        budget.add_member()
        if entry.filename and not entry.filename.endswith("/"):
            yield _zip_member(stream, entry, budget)


def _zip_member(stream: BinaryIO, entry: zipfile.ZipInfo, budget: Budget) -> Member | Rejection:
    name = _tidy(_zip_name(entry))
    if (problem := unsafe(name)) is not None:
        return unsafe_member(name, problem)
    mode = entry.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return unsafe_member(name, "a link" if stat.S_ISLNK(mode) else "a device, pipe or other special file")
    if entry.file_size > budget.limits.max_member_bytes:
        return _member_too_large(name, entry.file_size, budget)
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


def _member_too_large(name: str, size: int, budget: Budget) -> Rejection:
    error = too_large(f"a member of {size} bytes, over {budget.limits.max_member_bytes}", "limits.max_member_bytes")
    return Rejection(name, error.reason, error.detail, error.remedy)


def _readable(name: str) -> str:
    """Return a name as text: its bytes are UTF-8, or else taken for latin-1."""
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """Return the name of a zip member; without the UTF-8 mark its bytes are tried as UTF-8 before the old DOS code page."""
    name = entry.filename
    if not entry.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = entry.filename
    return name.replace("\\", "/") if "/" not in name else name


def _tidy(name: str) -> str:
    """Return a name without './' and double '/'; '..' stays, to be refused."""
    if ".." in name or name.startswith("/"):
        return name
    return posixpath.normpath(name) if name else name
