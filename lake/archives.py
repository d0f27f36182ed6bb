"""All files of a source, however it is packed: archives in archives are walked in one forward pass and never unpacked to disk."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, Final, cast

from lake.budget import Budget
from lake.codecs import GZIP, find_codec
from lake.decompress import PIECE_BYTES, Inflate, Readable, Rewound, drain, read_up_to
from lake.members import Member, is_tar, tar_members
from lake.small_tars import MORE_BYTES, small_tar
from lake.zip_members import is_zip, zip_members
from schemas.errors import UnreadableArchive
from schemas.sources import Rejection

HEAD_BYTES: Final = 2**16
"""First bytes of a file, by which it is recognised."""
NESTED_ZIP_BYTES: Final = 64 * 2**20
"""Largest zip inside another archive: it is held in memory, since it has to be read from its end."""
ARCHIVE_NAME: Final = re.compile(r"\.(tar(\.(gz|bz2|xz|zst|z|lz4?))?|tgz|tbz2?|txz|tzst|zip|7z|rar|tar\.lz(ma)?)$", re.IGNORECASE)
"""Names that promise an archive."""
COMPRESSED_NAME: Final = re.compile(r"\.(gz|bz2|xz|zst)$", re.IGNORECASE)

_UNSUPPORTED: Final = (
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x1f\x9d", "data of the old compress (.Z)"),
    (b"\x04\x22\x4d\x18", "lz4 data"),
    (b"LZIP", "lzip data"),
    (b"\x5d\x00\x00", "data of the old lzma format, which has no checksum"),
)

_TEXT: Final = re.compile(rb"(?!Rar!|7z|LZIP|BZh|PK|\(\xb5|\]\x00|[P-_]\*M)[\t\n\r -~]")
"""What begins so is none of these, and not compressed."""
_NOTHING: Final = io.BytesIO()


@dataclass(frozen=True)
class File:
    """One file of a source, to be read before the next one is asked for."""

    path: str
    """Where it is in the source: archives count as folders. For a source that is one file, the file's own name."""
    head: bytes
    """Its first 64 KiB."""
    rest: Readable
    """What follows; may raise UnreadableArchive, and then says so again by a Rejection after it."""
    stands_alone: bool
    """Compressed by itself, or not at all: where it is cut, what came before is still a file's beginning."""
    is_source: bool = False
    """It is all there is in the source."""
    whole: bytes | None = None
    """All of its bytes, where they are in memory."""

    @cached_property
    def name(self) -> str:
        """Its base name without the ending of a compression."""
        return COMPRESSED_NAME.sub("", self.path.rpartition("/")[2])

    def is_cut(self) -> bool:
        """Return whether the stream broke within the first bytes, so that they are not all that there should be."""
        if len(self.head) >= HEAD_BYTES or self.whole is not None:
            return False
        try:
            self.rest.read(1)
        except UnreadableArchive:
            return True
        return False

    def chunks(self) -> Iterator[bytes]:
        """Yield all of its bytes; what was read to recognise it and what follows at once as one piece."""
        if self.whole is not None:
            yield from (self.whole,) if self.whole else ()
            return
        try:
            first = self.rest.read(PIECE_BYTES)
        except UnreadableArchive:
            if self.head:
                yield self.head
            raise
        if self.head or first:
            yield self.head + first
        while chunk := self.rest.read(PIECE_BYTES):
            yield chunk


@dataclass(frozen=True)
class Withdrawn:
    """Nothing that came from this container is to be believed: its checksum is wrong."""

    path: str
    """Path of the container; '' for the source itself."""


Found = File | Rejection | Withdrawn


@dataclass(frozen=True)
class _Place:
    """Where in a source something is."""

    path: str
    """'' for the source itself."""
    name: str
    """Base name."""
    depth: int
    """Archives around it."""

    def inside(self, member: str) -> _Place:
        path = f"{self.path}/{member}" if self.path else member
        return _Place(path, member.rpartition("/")[2], self.depth + 1)

    @property
    def file_path(self) -> str:
        return self.path or self.name


def walk(name: str, stream: BinaryIO, budget: Budget, *, path: str = "") -> Iterator[Found]:
    """Yield the files of one object and what could not be taken of it.

    name is its base name, a hint only: containers are recognised by their bytes. stream is seekable. path is the object's place in
    the source where that is a folder, else ''. Files of an archive come
    before its checksum is known; where that fails, Withdrawn follows. Never raises for bad data; errors of the store pass.
    """
    head = read_up_to(stream, HEAD_BYTES)
    if not head and not path:
        yield Rejection("", "empty_object", "0 bytes", "upload it again; the transfer or the run was probably cut off")
        return
    yield from _open(_Place(path, name, 0), _Stream(head, stream, seekable=True), budget)


@dataclass(frozen=True)
class _Stream:
    """Bytes of which the first were read already, to recognise them."""

    head: bytes
    rest: Readable
    seekable: bool = False
    whole: bytes | None = None
    """All of them, where they are in memory."""

    def forward(self) -> Readable:
        """Return all of it as one stream that is read once."""
        return Rewound(self.head, self.rest)

    def from_start(self) -> BinaryIO:
        """Return all of it for tarfile, which skips by seeking."""
        if self.seekable:
            source = cast(BinaryIO, self.rest)
            source.seek(0)
            return source
        return cast(BinaryIO, io.BufferedReader(Rewound(self.head, self.rest), PIECE_BYTES))

    def in_memory(self) -> BinaryIO:
        """Return all of it as a seekable file: the object itself, or a copy in memory where it lies inside another archive."""
        if self.seekable:
            return cast(BinaryIO, self.rest)
        data = self.head + read_up_to(self.rest, NESTED_ZIP_BYTES + 1 - len(self.head))
        if len(data) > NESTED_ZIP_BYTES:
            found = f"a zip of more than {NESTED_ZIP_BYTES} bytes inside another archive, which would have to be held in memory"
            raise UnreadableArchive("too_large", found, "upload this zip by itself")
        return io.BytesIO(data)


def _in_memory(place: _Place, data: bytes, budget: Budget) -> Iterator[Found]:
    """Yield what a member holds that is in memory as a whole: mostly itself."""
    head = data[:HEAD_BYTES]
    if _TEXT.match(head) is not None and not is_tar(head):
        yield File(place.path, head, _NOTHING, stands_alone=False, whole=data)
        return
    rest = io.BytesIO(data)
    rest.seek(HEAD_BYTES)
    yield from _open(place, _Stream(head, rest, whole=data), budget)


def _open(place: _Place, stream: _Stream, budget: Budget) -> Iterator[Found]:
    """Yield what a stream holds: the members of a container, or itself."""
    head = stream.head
    unsupported = next((words for magic, words in _UNSUPPORTED if head.startswith(magic)), None)
    if unsupported is not None:
        yield Rejection(place.path, "unsupported_archive", unsupported, "pack it as .tar.gz, .tar.zst or .zip")
    elif (codec := find_codec(head)) is not None:
        small = None
        if codec is GZIP and stream.seekable:
            more = read_up_to(stream.rest, MORE_BYTES)
            stream = _Stream(head, Rewound(more, stream.rest))
            small = small_tar(head + more, budget) if len(more) < MORE_BYTES else None
        if small is None:
            yield from _open_inflated(place, Inflate(stream.forward(), codec, budget), budget)
        else:
            for name, start, end in small.members:
                yield from _in_memory(place.inside(name), small.data[start:end], budget)
    elif _is_container(place, head):
        yield from _container(place, stream, budget)
    else:
        alone = place.depth == 0
        yield File(place.file_path, head, stream.rest, stands_alone=alone, is_source=not place.path, whole=stream.whole)


def _open_inflated(place: _Place, stream: Readable, budget: Budget) -> Iterator[Found]:
    """Yield what is inside a compressed stream."""
    try:
        head = read_up_to(stream, HEAD_BYTES)
    except UnreadableArchive as error:
        yield _rejection(place, error)
        return
    if _is_container(place, head):
        yield from _container(place, _Stream(head, stream), budget)
    elif find_codec(head) is None:
        watched = _Watched(stream)
        yield File(place.file_path, head, watched, stands_alone=True, is_source=not place.path)
        if watched.failure is not None:
            yield _rejection(place, watched.failure)
    elif place.depth < budget.limits.max_nesting:
        yield from _open(_Place(place.path, place.name, place.depth + 1), _Stream(head, stream), budget)
    else:
        yield _too_deep(place, budget)


class _Watched:
    """A stream that remembers how reading it failed, and fails so again."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.failure: UnreadableArchive | None = None

    def read(self, size: int, /) -> bytes:
        if self.failure is not None:
            raise self.failure
        try:
            return self._stream.read(size)
        except UnreadableArchive as error:
            self.failure = error
            raise


def _container(place: _Place, stream: _Stream, budget: Budget) -> Iterator[Found]:
    """Yield what is in a tar or zip; a damaged one is withdrawn as a whole, a cut one keeps its complete members."""
    if place.depth > budget.limits.max_nesting:
        yield _too_deep(place, budget)
        return
    last: str | None = None
    try:
        for member in _members(stream, budget):
            last = member.name if isinstance(member, Member) else member.member
            yield from _member(place, member, budget)
        if last is None:
            yield Rejection(place.path, "empty_archive", "no files in it", "pack the run's folder again and look at the list of members")
    except UnreadableArchive as error:
        if error.reason != "truncated_archive":
            yield Withdrawn(place.path)
        yield _rejection(place, error, f"; the last member begun is {last!r}" if last else "")


def _members(stream: _Stream, budget: Budget) -> Iterator[Member | Rejection]:
    if is_zip(stream.head):
        return zip_members(stream.in_memory(), budget)
    tar = stream.from_start()
    return _verified(tar_members(tar, budget), tar)


def _member(place: _Place, member: Member | Rejection, budget: Budget) -> Iterator[Found]:
    """Yield what one member holds; a failure of its own checksum is said once, at the member."""
    if isinstance(member, Rejection):
        path = "/".join(part for part in (place.path, member.member) if part)
        yield Rejection(path, member.reason, member.detail, member.remedy)
        return
    inner = place.inside(member.name)
    try:
        watched = _Watched(member.open())
        said = False
        for found in _open(inner, _Stream(read_up_to(watched, HEAD_BYTES), watched), budget):
            said = said or (isinstance(found, Rejection) and found.member == inner.path)
            yield found
    except UnreadableArchive as error:
        if not member.has_own_checksum:
            raise
        yield _rejection(inner, error)
        return
    if member.has_own_checksum and watched.failure is not None and not said:
        yield _rejection(inner, watched.failure)


def _verified(members: Iterator[Member | Rejection], stream: Readable) -> Iterator[Member | Rejection]:
    """Yield members, then read the stream to its end; damage found there explains a bad header better than the header does."""
    try:
        yield from members
    except UnreadableArchive as error:
        if error.reason != "too_large":
            drain(stream)
        raise
    drain(stream)


def _is_container(place: _Place, head: bytes) -> bool:
    return is_zip(head) or is_tar(head) or _is_empty_tar(place, head)


def _is_empty_tar(place: _Place, head: bytes) -> bool:
    return bool(ARCHIVE_NAME.search(place.name)) and len(head) >= 512 and not head.strip(b"\0")


def _too_deep(place: _Place, budget: Budget) -> Rejection:
    found = f"it lies inside {place.depth} archives, over limits.max_nesting = {budget.limits.max_nesting}"
    return Rejection(place.path, "nested_too_deep", found, "pack the runs' folders into one archive")


def _rejection(place: _Place, error: UnreadableArchive, where: str = "") -> Rejection:
    return Rejection(place.path, error.reason, error.detail + where, error.remedy)
