"""What is taken of an archive, and the headers of tars that no honest writer makes."""

from __future__ import annotations

import io
import tarfile

from made_up_outputs import tar_of

from lake.archives import File, Withdrawn, walk
from lake.budget import Budget
from schemas.errors import UnreadableArchive
from schemas.settings import LimitSettings
from schemas.sources import REASON_CODES, Rejection

LIMITS = LimitSettings()
ONE = {"pw.out": b"energy\n" * 300}


def taken(data: bytes, limits: LimitSettings = LIMITS, name: str = "a.tar.gz") -> tuple[dict[str, bytes], list[Rejection]]:
    """Return the files that are believed in the end, whole ones only, and the rejections."""
    files: dict[str, bytes] = {}
    rejections: list[Rejection] = []
    for found in walk(name, io.BytesIO(data), Budget(limits)):
        if isinstance(found, File):
            try:
                files.setdefault(found.path, b"".join(found.chunks()))
            except UnreadableArchive:
                continue
        elif isinstance(found, Withdrawn):
            files, rejections = {}, []
        else:
            rejections.append(found)
    assert all(each.reason in REASON_CODES and each.detail and each.remedy for each in rejections)
    return files, rejections


def refused(data: bytes, limits: LimitSettings = LIMITS) -> tuple[str, str]:
    """Return why nothing was taken: the code and what was found."""
    files, (rejection,) = taken(data, limits)
    assert files == {}
    return rejection.reason, rejection.detail


def header(name: str, kind: bytes, size: int, form: int = tarfile.GNU_FORMAT) -> bytes:
    """Return the header of a member."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    return entry.tobuf(form)


def padded(data: bytes) -> bytes:
    """Return data filled up to whole blocks."""
    return data + bytes(-len(data) % 512)


def pax_record(key: bytes, value: bytes) -> bytes:
    """Return a record of an extended header, its own length in front."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def pax(kind: bytes, *records: bytes) -> bytes:
    """Return an extended header."""
    text = b"".join(records)
    return header("pax", kind, len(text), tarfile.USTAR_FORMAT) + padded(text)


def long_names(count: int) -> bytes:
    """Return a tar with that many long names before its member."""
    return (header("././@LongLink", tarfile.GNUTYPE_LONGNAME, 10) + padded(b"x" * 10)) * count + tar_of(ONE)


def sparse_map(entries: int) -> bytes:
    """Return a tar whose member begins with a map of that many holes, two lines each."""
    words = [(b"major", b"1"), (b"minor", b"0"), (b"name", b"pw.out"), (b"realsize", b"100")]
    text = b"%d\n" % entries + b"0\n" * (2 * entries)
    extended = pax(tarfile.XHDTYPE, *(pax_record(b"GNU.sparse." + key, value) for key, value in words))
    return extended + header("pw.out", tarfile.REGTYPE, len(text)) + padded(text) + bytes(1024)


def old_sparse_map(blocks: int) -> bytes:
    """Return a tar whose member has a map of holes over that many blocks."""
    first = bytearray(header("pw.out", tarfile.GNUTYPE_SPARSE, 0))
    first[482] = 1
    first[148:156] = b"%06o\0 " % (256 + sum(first[:148]) + sum(first[156:]))
    return bytes(first) + (b"%011o %011o " % (5, 5) * 21 + b"\1" + bytes(7)) * blocks + bytes(1536)
