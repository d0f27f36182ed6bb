"""Archives that were made to harm, and rare but honest ones: what is taken, what is refused with which words, and what it costs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_outputs import tar_of

from lake.archives import File, Withdrawn, walk
from lake.collected import REJECTIONS_OF_A_KIND
from lake.decompress import Budget
from lake.reading import read_stream
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
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    return entry.tobuf(form)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax_record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def pax(kind: bytes, *records: bytes) -> bytes:
    text = b"".join(records)
    return header("pax", kind, len(text), tarfile.USTAR_FORMAT) + padded(text)


def long_names(count: int) -> bytes:
    return (header("././@LongLink", tarfile.GNUTYPE_LONGNAME, 10) + padded(b"x" * 10)) * count + tar_of(ONE)


def sparse_map(entries: int) -> bytes:
    """Return a tar whose member begins with a map of that many holes, two lines each."""
    words = [(b"major", b"1"), (b"minor", b"0"), (b"name", b"pw.out"), (b"realsize", b"100")]
    text = b"%d\n" % entries + b"0\n" * (2 * entries)
    extended = pax(tarfile.XHDTYPE, *(pax_record(b"GNU.sparse." + key, value) for key, value in words))
    return extended + header("pw.out", tarfile.REGTYPE, len(text)) + padded(text) + bytes(1024)


def old_sparse_map(blocks: int) -> bytes:
    first = bytearray(header("pw.out", tarfile.GNUTYPE_SPARSE, 0))
    first[482] = 1
    first[148:156] = b"%06o\0 " % (256 + sum(first[:148]) + sum(first[156:]))
    return bytes(first) + (b"%011o %011o " % (5, 5) * 21 + b"\1" + bytes(7)) * blocks + bytes(1536)


def test_endless_headers_of_a_tar_are_refused_before_they_cost_anything() -> None:
    assert refused(long_names(3000)) == ("corrupt_archive", "a tar header is damaged: more than 16 headers in front of one member")
    for data in (sparse_map(800_000), old_sparse_map(4000)):
        reason, found = refused(gzip.compress(data, 1))
        assert (reason, "bytes of headers in front of one member" in found) == ("corrupt_archive", True)
    members = [pax(tarfile.XGLTYPE, pax_record(b"k%d" % i, random.Random(i).randbytes(200_000).hex().encode())) for i in range(6)]
    globals_ = b"".join(each + tar_of({f"f{i}": b""})[:512] for i, each in enumerate(members)) + bytes(1024)
    assert refused(globals_) == ("corrupt_archive", "its global headers say more than 1048576 bytes; the last member begun is 'f1'")


def test_sparse_files_and_long_names_of_honest_archives_are_read() -> None:
    text = b"2\n0\n5\n10\n3\n"
    words = [(b"major", b"1"), (b"minor", b"0"), (b"name", b"run/pw.out"), (b"realsize", b"20")]
    extended = pax(tarfile.XHDTYPE, *(pax_record(b"GNU.sparse." + key, value) for key, value in words))
    stored = padded(text) + b"HEADEnd"[:5] + b"end"
    data = extended + header("pw.out", tarfile.REGTYPE, len(stored)) + padded(stored) + bytes(1024)
    assert taken(data)[0] == {"run/pw.out": b"HEADE" + bytes(5) + b"end" + bytes(7)}
    deep = "/".join(["a folder with a long name"] * 30) + "/pw.out"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
            entry = tarfile.TarInfo(deep)
            entry.size = 1
            tar.addfile(entry, io.BytesIO(b"x"))
        assert taken(gzip.compress(buffer.getvalue())) == ({deep: b"x"}, [])


def test_a_name_beyond_all_measure_is_shortened_where_it_is_told() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("x" * 500_000))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "y" * 500_000
        tar.addfile(link)
    files, rejections = taken(buffer.getvalue())
    assert (files, [each.reason for each in rejections]) == ({}, ["unsafe_member"] * 2)
    assert rejections[0].detail.startswith("a name of 500000 characters")
    assert all(len(each.member) + len(each.detail) < 600 for each in rejections)


@pytest.mark.parametrize("claim", [-1, -1024, 2**62])
def test_a_size_that_cannot_be(claim: int) -> None:
    data = tar_of(ONE)
    end = data.index(b"\0" * 1024, 512 + 2100) // 512 * 512 + 512
    bad = bytearray(header("b/pw.out", tarfile.REGTYPE, 0))
    bad[124:136] = (256**12 + claim if claim < 0 else 0x80 << 88 | claim).to_bytes(12, "big")
    bad[148:156] = b"%06o\0 " % (256 + sum(bad[:148]) + sum(bad[156:]))
    for pack in (bytes, gzip.compress):
        files, rejections = taken(pack(data[:end] + bytes(bad) + bytes(2048)), name="a.tar")
        assert set(files) <= set(ONE)
        assert rejections[0].reason in {"corrupt_archive", "too_large"}


HEADERS = st.lists(
    st.tuples(
        st.sampled_from([tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, b"Z"]),
        st.one_of(
            st.binary(max_size=700),
            st.lists(
                st.tuples(
                    st.sampled_from(
                        [b"path", b"size", b"hdrcharset", b"GNU.sparse.map", b"GNU.sparse.major", b"GNU.sparse.size", b"mtime"]
                    ),
                    st.sampled_from([b"", b"1", b"-1", b"0,1", b"99999999999", b"\xff\xfe", b"BINARY", b"1e9", b"../x", b"a\0b", b"1,,2"]),
                ).map(lambda pair: pax_record(*pair)),
                max_size=4,
            ).map(b"".join),
        ),
        st.integers(0, 511),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(parts=HEADERS, pack=st.sampled_from([bytes, gzip.compress]))
def test_no_header_of_a_tar_escapes(parts: list[tuple[bytes, bytes, int, int]], pack: Callable[[bytes], bytes]) -> None:
    data = b""
    for kind, text, place, byte in parts:
        block = bytearray(header("run/pw.out", kind, len(text)))
        block[place] = byte
        block[148:156] = b"%06o\0 " % (256 + sum(block[:148]) + sum(block[156:]))
        data += bytes(block) + padded(text)
    files, rejections = taken(pack(data + tar_of(ONE)), name="a.tar")
    assert files or rejections


@settings(max_examples=150, deadline=None)
@given(places=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), min_size=1, max_size=6), cut=st.floats(0.3, 1))
def test_no_damage_of_a_zip_escapes(places: list[tuple[float, int]], cut: float) -> None:
    data = bytearray(zip_of({"a/pw.out": b"a" * 900, "b/pw.out": random.Random(1).randbytes(200)}))
    for place, byte in places:
        data[int(place * len(data))] = byte
    taken(bytes(data[: int(len(data) * cut)]))


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def with_directory(data: bytes, entries: bytes, count: int) -> bytes:
    """Return a zip with other entries in its directory."""
    start = data.index(b"PK\1\2")
    return data[:start] + entries + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(entries), start, 0)


def test_a_zip_that_lists_the_same_bytes_twice_is_refused() -> None:
    data = zip_of(ONE)
    entry = data[data.index(b"PK\1\2") : data.index(b"PK\5\6")]
    reason, found = refused(with_directory(data, entry * 3, 3))
    assert (reason, "lie on the same bytes" in found) == ("corrupt_archive", True)


def test_a_directory_beyond_the_limit_is_counted_before_it_is_read() -> None:
    data = zip_of(ONE)
    entry = data[data.index(b"PK\1\2") : data.index(b"PK\5\6")]
    for count in (1, 5000):
        reason, found = refused(with_directory(data, entry * 5000, count), replace(LIMITS, max_members=4999))
        assert (reason, found) == ("too_large", "its directory lists more than 4999 members")


def test_many_small_bombs_are_one_large_bomb() -> None:
    reason, _ = refused(zip_of({f"{i}/pw.out": bytes(20 * 2**20) for i in range(3)}))
    assert reason == "too_large"


@pytest.mark.parametrize(
    ("field", "value", "reason"), [(22, 10, "corrupt_archive"), (22, 5000, "truncated_archive"), (14, 1, "corrupt_archive")]
)
def test_a_zip_that_lies_about_a_member(field: int, value: int, reason: str) -> None:
    """The size after unpacking (byte 24 of an entry of the directory) or the CRC (16) is another one."""
    data = bytearray(zip_of({"a/pw.out": b"a" * 1000, "b/pw.out": b"b" * 1000}))
    place = data.index(b"PK\1\2") + field + 2
    data[place : place + 4] = value.to_bytes(4, "little")
    files, rejections = taken(bytes(data))
    assert files == {"b/pw.out": b"b" * 1000}
    assert [(each.member, each.reason) for each in rejections] == [("a/pw.out", reason)]


class Pipe(io.RawIOBase):
    """A stream that cannot seek: zip writers then put sizes and checksums behind the data."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += bytes(data)
        return len(data)


def test_zips_of_every_writer() -> None:
    files = {"a/pw.out": b"a" * 1000, "b/pw.out": b"b" * 1000}
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            archive.writestr(name, data)
    wide = io.BytesIO()
    with zipfile.ZipFile(wide, "w") as archive:
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    for data in (pipe.data, wide.getvalue(), zip_of(files) + b"some bytes behind"):
        assert taken(data, name="a.zip") == (files, [])
    first = pipe.data.index(b"PK\3\4", 1)
    for cut in range(first, pipe.data.index(b"PK\1\2")):
        found, (rejection,) = taken(pipe.data[:cut], name="a.zip")
        assert (list(found), rejection.reason) == (["a/pw.out"], "truncated_archive")
    assert list(taken(pipe.data[:-30], name="a.zip")[0]) == list(files)


def test_compressed_streams_of_every_writer() -> None:
    data = tar_of(ONE)
    first = b"\x1f\x8b\x08\x1e\0\0\0\0\0\3" + struct.pack("<H", 60000) + b"e" * 60000 + b"name\0comment\0"
    first += struct.pack("<H", zlib.crc32(first) & 0xFFFF)
    plain = gzip.compress(data)
    passed_over = b"\x5e\x2a\x4d\x18\x04\0\0\0abcd"
    packed = {
        "gzip with all fields": first + plain[10:],
        "gzip in parts": gzip.compress(data[:700]) + first + gzip.compress(data[700:])[10:],
        "pbzip2": b"".join(bz2.compress(data[i : i + 1000]) for i in range(0, len(data), 1000)),
        "xz in parts with padding": lzma.compress(data[:600]) + bytes(8) + lzma.compress(data[600:]),
        "zstd in parts": zstandard.compress(data[:600]) + zstandard.compress(data[600:]),
        "pzstd": b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstandard.compress(data),
        "seekable zstd": zstandard.compress(data) + passed_over,
    }
    for kind, stream in packed.items():
        assert taken(stream) == (ONE, []), kind


def test_streams_that_need_too_much_memory_or_have_no_checksum() -> None:
    wide = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=30, compression_level=1)
    ).compressobj()
    assert refused(wide.compress(tar_of(ONE)) + wide.flush())[0] == "unsupported_archive"
    assert refused(lzma.compress(tar_of(ONE), format=lzma.FORMAT_ALONE))[0] == "unsupported_archive"


def test_bombs_in_archives_in_archives() -> None:
    inner = gzip.compress(tar_of({"pw.out": bytes(64 * 2**20)}))
    for outer in (tar_of({"in.tar.gz": inner}), gzip.compress(tar_of({"in.tar.gz": inner})), zip_of({"in.tar.gz": inner})):
        files, rejections = taken(outer)
        assert (files, [(each.member, each.reason) for each in rejections]) == ({}, [("in.tar.gz", "too_large")])
    small = zip_of({f"{i}": b"" for i in range(40)})
    nested = zip_of({f"{i}.zip": small for i in range(40)})
    assert [each.reason for each in taken(nested, replace(LIMITS, max_members=1000))[1]][-1] == "too_large"


def test_many_refusals_are_summed_up_as_they_come() -> None:
    data = b"".join(header(f"../{i}", tarfile.REGTYPE, 0) for i in range(3 * REJECTIONS_OF_A_KIND)) + bytes(1024)
    contents = read_stream("a.tar", lambda: io.BytesIO(data), LIMITS)
    assert len(contents.rejections) == REJECTIONS_OF_A_KIND + 2
    assert f"{2 * REJECTIONS_OF_A_KIND} more of this kind" in {each.detail for each in contents.rejections}
    broken = bytearray(gzip.compress(data))
    broken[-6] ^= 1
    contents = read_stream("a.tar.gz", lambda: io.BytesIO(bytes(broken)), LIMITS)
    assert contents.rejections[0].reason == "corrupt_archive"


COSTS = """
import io, re, sys
from pathlib import Path
from lake.reading import read_stream
from schemas.settings import LimitSettings
file = Path(sys.argv[1])
contents = read_stream(file.name, lambda: file.open('rb'), LimitSettings())
assert not contents.calculations and contents.rejections
print(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])
"""


@pytest.mark.parametrize("kind", ["sparse", "links", "directory"])
def test_what_was_made_to_fill_the_memory_stays_below_256_mb(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"{kind}.dat"
    if kind == "sparse":
        file.write_bytes(gzip.compress(old_sparse_map(100_000), 1))
    elif kind == "links":
        entry = tarfile.TarInfo("l" * 90)
        entry.type, entry.linkname = tarfile.SYMTYPE, "x" * 90
        file.write_bytes(gzip.compress(entry.tobuf() * 30_000 + bytes(1024), 1))
    else:
        data = zip_of(ONE)
        file.write_bytes(with_directory(data, data[data.index(b"PK\1\2") : data.index(b"PK\5\6")] * 500_000, 1))
    done = subprocess.run([sys.executable, "-c", COSTS, str(file)], capture_output=True, text=True, check=True, timeout=100)
    assert int(done.stdout) < 256 * 1024
