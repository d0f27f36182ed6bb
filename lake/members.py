"""The members of one container, tar here and zip beside it, in one forward pass; nothing is written to disk and no link is followed."""

from __future__ import annotations

import io
import posixpath
import re
import struct
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from isal import isal_zlib

from lake.budget import Budget, corrupt, too_large, truncated
from lake.decompress import PIECE_BYTES, ForwardReader, Readable
from schemas.errors import UnreadableArchive
from schemas.sources import Rejection

HEADER_BYTES: Final = 2**20
"""Most bytes of all headers (long names, pax, maps of sparse files) in front of one tar member."""
_HEADERS_IN_A_ROW: Final = 16
"""Most headers in front of one tar member; GNU tar writes four at most."""
_NAME_CHARACTERS: Final = 4096
"""Longest name of a member, as on Linux."""
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
    return int(field, 8) == sum_of(block) - sum(block[148:156]) + 8 * 32


def sum_of(block: bytes) -> int:
    """Return the sum of at most 512 bytes; of ASCII ones it is the lower half of their Adler-32 (RFC 1950) less one."""
    return (isal_zlib.adler32(block) & 0xFFFF) - 1 if block.isascii() else sum(block)


def unsafe(name: str) -> str | None:
    """Return what is wrong with a member's name, or None."""
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[\\/]", name):
        return "an absolute name"
    if ".." in re.split(r"[\\/]", name):
        return "a name that leaves its folder by '..'"
    if "\0" in name:
        return "a name with a zero byte"
    if len(name) > _NAME_CHARACTERS:
        return f"a name of {len(name)} characters"
    return None


def unsafe_member(name: str, found: str) -> Rejection:
    """Return the rejection of a member that is never read."""
    shown = name if len(name) <= _NAME_CHARACTERS else f"{name[:200]}..."
    return Rejection(shown, "unsafe_member", f"{found}; it was not read", "pack the files themselves under plain relative names")


class _Header(tarfile.TarInfo):
    """A tar header that remembers why the archive ended, and refuses huge and endless extended headers."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _Header:
        meter = cast(_Tar, tar).meter
        meter.begin()
        try:
            if meter.headers > _HEADERS_IN_A_ROW:
                raise _invalid(f"more than {_HEADERS_IN_A_ROW} headers in front of one member")
            return super().fromtarfile(tar)
        except tarfile.HeaderError as error:
            cast(_Tar, tar).ended_by = cast(_Tar, tar).ended_by or error
            raise
        finally:
            meter.end()

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _LONG_HEADERS and header.size > HEADER_BYTES:
            raise _invalid(f"an extended header of {header.size} bytes")
        return header


def _invalid(found: str) -> Exception:
    return cast(Exception, tarfile.InvalidHeaderError(found))  # type: ignore[attr-defined]


class _Metered(io.RawIOBase):
    """A stream of which only so much is read for the headers of one member: maps of sparse files have no other end."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self.headers = self._count = 0

    def begin(self) -> None:
        """Enter a header, maybe one behind another."""
        self._count = self._count if self.headers else 0
        self.headers += 1

    def end(self) -> None:
        """Leave a header."""
        self.headers -= 1

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        if self.headers:
            self._count += size
            if self._count > HEADER_BYTES + 2 * tarfile.BLOCKSIZE * _HEADERS_IN_A_ROW:
                raise _invalid(f"more than {HEADER_BYTES} bytes of headers in front of one member")
        return self._stream.read(size)

    def tell(self) -> int:
        """Return the place in the stream."""
        return self._stream.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to another place."""
        return self._stream.seek(offset, whence)


class _Tar(tarfile.TarFile):
    """A tar archive read forward."""

    ended_by: tarfile.HeaderError | None = None

    @property
    def meter(self) -> _Metered:
        """Return the stream that it is read from."""
        return cast(_Metered, self.fileobj)


def tar_members(stream: BinaryIO, budget: Budget) -> Iterator[Member | Rejection]:
    """Yield the files of a tar stream and what is refused in it; raises UnreadableArchive where it is cut or damaged."""
    links: set[int] = set()
    tar = None
    try:
        metered = cast(BinaryIO, _Metered(stream))
        tar = _Tar(fileobj=metered, mode="r", tarinfo=_Header, encoding="utf-8", errors="surrogateescape")
        while (header := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]
            budget.add_member()
            if header.size < 0:
                raise corrupt(f"a tar header claims a member of {header.size} bytes")
            if sum(len(key) + len(value) for key, value in tar.pax_headers.items()) > HEADER_BYTES:
                raise corrupt(f"its global headers say more than {HEADER_BYTES} bytes")
            found = _tar_member(tar, header, links, budget)
            if found is not None:
                yield found
    except (tarfile.TarError, ValueError, IndexError, EOFError, struct.error) as error:
        ended_by = tar.ended_by if tar is not None else None
        raise _end_of_tar(stream, ended_by or error) from error
    if tar.ended_by is not None and not _is_regular_end(tar.ended_by):
        raise _end_of_tar(stream, tar.ended_by)


def _tar_member(tar: _Tar, header: tarfile.TarInfo, links: set[int], budget: Budget) -> Member | Rejection | None:
    name = tidy(_readable(header.name))
    problem = unsafe(name)
    if header.isdir():
        return None
    if problem is not None:
        return unsafe_member(name, problem)
    if not header.isreg():
        if header.issym() or header.islnk():
            links.add(hash(name))
            return unsafe_member(name, f"a link to {_readable(header.linkname)[:200]!r}")
        return unsafe_member(name, "a device, pipe or other special file")
    if links and any(hash(folder) in links for folder in _folders(name)):
        return unsafe_member(name, "a name that goes through a link")
    if header.size > budget.limits.max_member_bytes:
        return member_too_large(name, header.size, budget)
    sparse = header.issparse()
    return Member(name, header.size, lambda: _TarContent(tar, header, budget if sparse else None), has_own_checksum=False)


def _folders(name: str) -> Iterator[str]:
    """Yield the folders around a member."""
    while name := posixpath.dirname(name):
        yield name


def _is_regular_end(error: tarfile.HeaderError) -> bool:
    """Return whether an archive ended in the usual way: with a block of zeros, or with the last member's last block."""
    return type(error).__name__ in ("EOFHeaderError", "EmptyHeaderError")


def _end_of_tar(stream: BinaryIO, error: Exception) -> UnreadableArchive:
    """Return what an irregular end of a tar means: cut, where there is nothing more to read, else damaged."""
    if type(error).__name__ in ("TruncatedHeaderError", "EOFHeaderError", "EmptyHeaderError") or not stream.read(1):
        return _inside_a_member()
    return corrupt(f"a tar header is damaged: {error}")


class _TarContent(ForwardReader):
    """The bytes of one member of a tar."""

    def __init__(self, tar: _Tar, header: tarfile.TarInfo, budget: Budget | None) -> None:
        super().__init__()
        self._tar, self._at, self._left = tar.meter, header.offset_data, header.size
        self._sparse = None if budget is None else cast(BinaryIO, tar.extractfile(header))
        self._budget = budget

    def next_piece(self) -> bytes:
        if self._sparse is not None and self._budget is not None:
            try:
                piece = self._sparse.read(PIECE_BYTES)
            except tarfile.ReadError as error:
                raise _inside_a_member() from error
            self._budget.spend(len(piece))
            return piece
        if not self._left:
            return b""
        if self._tar.tell() != self._at:
            self._tar.seek(self._at)
        piece = self._tar.read(min(self._left, PIECE_BYTES))
        if not piece:
            raise _inside_a_member()
        self._at, self._left = self._at + len(piece), self._left - len(piece)
        return piece


def _inside_a_member() -> UnreadableArchive:
    return truncated("the tar archive ends inside a member")


def member_too_large(name: str, size: int, budget: Budget) -> Rejection:
    """Return the rejection of a member that is over the limit for one."""
    error = too_large(f"a member of {size} bytes, over {budget.limits.max_member_bytes}", "limits.max_member_bytes")
    return Rejection(name, error.reason, error.detail, error.remedy)


def _readable(name: str) -> str:
    """Return a name as text: its bytes are UTF-8, or else taken for latin-1."""
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def tidy(name: str) -> str:
    """Return a name without './' and double '/'; '..' stays, to be refused."""
    if ".." in name or name.startswith("/"):
        return name
    return posixpath.normpath(name) if name else name
