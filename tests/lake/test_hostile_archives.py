"""Archives that were made to harm, and rare but honest ones: zips, compressed streams and nests; what is taken and what it costs."""

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
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_archives import LIMITS, ONE, header, old_sparse_map, refused, taken
from made_up_outputs import tar_of

from lake.collected import REJECTIONS_OF_A_KIND
from lake.reading import read_stream


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
