"""Every way to pack files, sound and hostile, walked in one forward pass."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_outputs import tar_of

from lake.archives import File, Withdrawn, walk
from lake.budget import Budget
from schemas.errors import UnreadableArchive
from schemas.settings import LimitSettings
from schemas.sources import REASON_CODES, Rejection

LIMITS = LimitSettings()
NOISE = random.Random(1).randbytes
FILES = {"run/pw.out": b"energy\n" * 30_000, "run/pw.in": b"&control\n", "other/OUTCAR": NOISE(200_000)}


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def taken(name: str, data: bytes, limits: LimitSettings = LIMITS, path: str = "") -> tuple[dict[str, bytes], list[Rejection]]:
    """Return the files that are believed in the end, whole ones only, and the rejections."""
    files: dict[str, bytes] = {}
    rejections: list[Rejection] = []
    for found in walk(name, io.BytesIO(data), Budget(limits), path=path):
        if isinstance(found, File):
            try:
                files.setdefault(found.path, b"".join(found.chunks()))
            except UnreadableArchive:
                continue
        elif isinstance(found, Withdrawn):
            inside = f"{found.path}/" if found.path else ""
            files = {path: data for path, data in files.items() if not path.startswith(inside)}
            rejections = [r for r in rejections if not r.member.startswith(inside)]
        else:
            rejections.append(found)
    assert all(rejection.reason in REASON_CODES for rejection in rejections)
    return files, rejections


def reasons(data: bytes, name: str = "a.tar.gz", limits: LimitSettings = LIMITS) -> list[tuple[str, str]]:
    return [(r.member, r.reason) for r in taken(name, data, limits)[1]]


PACKED: dict[str, bytes] = {
    "tar": tar_of(FILES),
    "tar.gz": gzip.compress(tar_of(FILES)),
    "tar.bz2": bz2.compress(tar_of(FILES)),
    "tar.xz": lzma.compress(tar_of(FILES)),
    "tar.zst": zstandard.ZstdCompressor(write_checksum=True).compress(tar_of(FILES)),
    "zip": zip_of(FILES),
    "stored zip": zip_of(FILES, zipfile.ZIP_STORED),
    "bzip2 zip": zip_of(FILES, zipfile.ZIP_BZIP2),
}


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("name", ["archive.dat", "wrongly-named.tar.gz"])
def test_every_packing_gives_the_same_files_whatever_its_name(kind: str, name: str) -> None:
    assert taken(name, PACKED[kind]) == (FILES, [])


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress, bytes], ids=["gz", "bz2", "xz", "zst", "bare"]
)
def test_one_file_is_a_source_too(pack: Callable[[bytes], bytes]) -> None:
    files, rejections = taken("vasprun.xml.gz", pack(FILES["other/OUTCAR"]))
    assert files == {"vasprun.xml.gz": FILES["other/OUTCAR"]}
    assert not rejections


def test_compressed_members_and_archives_in_archives() -> None:
    inner = gzip.compress(tar_of({"deep/pw.out": b"deepest", "OUTCAR.gz": gzip.compress(b"twice")}))
    middle = bz2.compress(tar_of({"inner.tgz": inner, "side.zip": zip_of({"s/OUTCAR": b"side"})}))
    files, rejections = taken("a.zip", zip_of({"middle.tar.bz2": middle, "flat/pw.out": b"flat"}))
    assert files == {
        "middle.tar.bz2/inner.tgz/deep/pw.out": b"deepest",
        "middle.tar.bz2/inner.tgz/OUTCAR.gz": b"twice",
        "middle.tar.bz2/side.zip/s/OUTCAR": b"side",
        "flat/pw.out": b"flat",
    }
    assert not rejections


def test_nesting_beyond_the_limit_is_refused_where_it_begins() -> None:
    data = tar_of({"pw.out": b"x"})
    for level in range(4):
        data = tar_of({f"level{level}.tar": data, f"beside{level}": b"y"})
    files, rejections = taken("a.tar", data, replace(LIMITS, max_nesting=2))
    assert sorted(files) == ["beside3", "level3.tar/beside2", "level3.tar/level2.tar/beside1"]
    assert [(r.member, r.reason) for r in rejections] == [("level3.tar/level2.tar/level1.tar", "nested_too_deep")]
    quine = gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"x"))))
    assert reasons(quine) == [("", "nested_too_deep")]


def test_nothing_in_it() -> None:
    assert reasons(b"") == [("", "empty_object")]
    assert reasons(gzip.compress(tar_of({}))) == [("", "empty_archive")]
    assert reasons(zip_of({})) == [("", "empty_archive")]
    assert taken("pw.err", b"", path="run/pw.err") == ({"run/pw.err": b""}, [])


def test_several_gzip_streams_in_a_row_are_one_and_padding_is_no_damage() -> None:
    data = tar_of(FILES)
    parts = gzip.compress(data[:70_000]) + gzip.compress(data[70_000:])
    assert taken("a.tar.gz", parts) == (FILES, [])
    assert taken("a.tar.gz", parts + bytes(700_000)) == (FILES, [])
    assert reasons(parts + b"garbage behind the end") == [("", "corrupt_archive")]


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
@settings(max_examples=25, deadline=None)
@given(share=st.floats(0.001, 0.999))
def test_a_cut_archive_gives_its_complete_members(kind: str, share: float) -> None:
    whole = PACKED[kind]
    cut = whole[: max(1, int(len(whole) * share))]
    files, rejections = taken("a." + kind, cut)
    if "a." + kind not in files:  # else it is too short to be known as an archive
        assert files == {path: FILES[path] for path in list(FILES)[: len(files)]}
        assert rejections or kind == "tar"  # a plain tar may be cut between two members


def test_where_a_cut_archive_ends_is_said() -> None:
    whole = PACKED["tar.gz"]
    files, rejections = taken("a.tar.gz", whole[: len(whole) * 2 // 3])
    assert list(files) == ["run/pw.out", "run/pw.in"]
    assert rejections[0].reason == "truncated_archive"
    assert "other/OUTCAR" in rejections[0].detail
    assert reasons(PACKED["tar"][: len(PACKED["tar"]) // 2], "a.tar") == [("", "truncated_archive")]
    for cut, names in ((-100, list(FILES)), (-1000, list(FILES)[:2])):
        files, rejections = taken("a.zip", PACKED["zip"][:cut])
        assert files == {name: FILES[name] for name in names}
        assert [(r.member, r.reason) for r in rejections] == [("", "truncated_archive")]


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "tar.zst", "zip"])
@settings(max_examples=40, deadline=None)
@given(place=st.floats(0, 0.9999), flip=st.integers(1, 255))
def test_damaged_bytes_never_change_a_believed_file(kind: str, place: float, flip: int) -> None:
    data = bytearray(PACKED[kind])
    data[int(len(data) * place)] ^= flip
    files, rejections = taken("a." + kind, bytes(data))
    if set(files) <= set(FILES):  # else the damage hit the magic bytes or a name in a zip's directory
        assert all(FILES[path] == content for path, content in files.items())
        assert rejections or len(files) == len(FILES)


def test_a_wrong_checksum_takes_back_what_came_before_it() -> None:
    data = bytearray(PACKED["tar.gz"])
    data[-8] ^= 1
    assert taken("a.tar.gz", bytes(data))[0] == {}
    assert reasons(bytes(data)) == [("", "corrupt_archive")]
    nested = tar_of({"bad.tar.gz": bytes(data), "good/pw.out": b"good"})
    files, rejections = taken("a.tar", nested)
    assert files == {"good/pw.out": b"good"}
    assert [(r.member, r.reason) for r in rejections] == [("bad.tar.gz", "corrupt_archive")]


def test_a_wrong_checksum_in_a_zip_costs_that_member_only() -> None:
    data = bytearray(zip_of({"a/pw.out": b"first" * 100, "b/pw.out": b"other" * 100}, zipfile.ZIP_STORED))
    data[data.index(b"first")] ^= 1
    files, rejections = taken("a.zip", bytes(data))
    assert files == {"b/pw.out": b"other" * 100}
    assert [(r.member, r.reason) for r in rejections] == [("a/pw.out", "corrupt_archive")]


def test_limits() -> None:
    zeros = gzip.compress(tar_of({"pw.out": bytes(40 * 2**20)}))
    assert reasons(zeros) == [("", "too_large")]
    assert reasons(zeros, limits=replace(LIMITS, max_ratio=2000)) == []
    assert reasons(zip_of({"pw.out": bytes(40 * 2**20), "b/pw.out": b"x"}), "a.zip") == [("pw.out", "too_large")]
    many = gzip.compress(tar_of({f"f{i}": b"" for i in range(50)}))
    assert reasons(many, limits=replace(LIMITS, max_members=49)) == [("", "too_large")]
    assert reasons(PACKED["tar.gz"], limits=replace(LIMITS, max_total_bytes=300_000)) == [("", "too_large")]
    files, rejections = taken("a.tar.gz", PACKED["tar.gz"], replace(LIMITS, max_member_bytes=205_000))
    assert list(files) == ["run/pw.in", "other/OUTCAR"]
    assert [(r.member, r.reason) for r in rejections] == [("run/pw.out", "too_large")]


def test_a_header_that_claims_a_tebibyte_costs_nothing() -> None:
    header = tarfile.TarInfo("huge/pw.out")
    header.size = 2**40
    data = header.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    assert ("huge/pw.out", "too_large") in reasons(data, "a.tar")


def test_a_huge_extended_header_is_refused() -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 50 * 2**20
    data = header.tobuf(tarfile.GNU_FORMAT) + NOISE(50 * 2**20)
    assert reasons(data, "a.tar") == [("", "corrupt_archive")]


def test_memory_does_not_grow_with_a_member() -> None:
    data = gzip.compress(tar_of({"CHGCAR": bytes(256 * 2**20), "pw.out": b"x"}), 1)
    budget = Budget(replace(LIMITS, max_ratio=10_000))
    tracemalloc.start()
    size = sum(len(c) for found in walk("a.tar.gz", io.BytesIO(data), budget) if isinstance(found, File) for c in found.chunks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 256 * 2**20 + 1
    assert peak < 16 * 2**20


def test_unsafe_members_are_named_and_never_read() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("../up.out", "/abs.out", "a/../../up.out", "C:\\evil.out", "a/..\\b", "./fine/./pw.out", "..fine/pw.out"):
            header = tarfile.TarInfo(name)
            header.size = 1
            tar.addfile(header, io.BytesIO(b"x"))
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("null", tarfile.CHRTYPE), ("pipe", tarfile.FIFOTYPE)):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "/etc/passwd"
            tar.addfile(header)
        header = tarfile.TarInfo("link/through.out")
        tar.addfile(header, io.BytesIO())
    files, rejections = taken("a.tar", buffer.getvalue())
    assert sorted(files) == ["..fine/pw.out", "fine/pw.out"]
    assert {r.reason for r in rejections} == {"unsafe_member"}
    assert [r.member for r in rejections][5:] == ["link", "hard", "null", "pipe", "link/through.out"]


def test_links_in_a_zip_are_unsafe() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
        archive.writestr("../up.out", "x")
        archive.writestr("run\\pw.out", "x")
    files, rejections = taken("a.zip", buffer.getvalue())
    assert list(files) == ["run/pw.out"]
    assert [(r.member, r.reason) for r in rejections] == [("link", "unsafe_member"), ("../up.out", "unsafe_member")]


def test_names_stay_apart_that_only_look_alike() -> None:
    latin1 = bytearray(tar_of({"Gr_sse/pw.out": b"latin-1"}))[:1024]
    latin1[2] = 0xF6
    latin1[148:156] = b"%06o\0 " % (sum(latin1[:148]) + sum(latin1[156:512]) + 256)
    names = {"Gr\u00f6sse/OUTCAR": b"NFC", "Gro\u0308sse/OUTCAR": b"NFD", "計算/pw.out": b"kanji"}
    files, rejections = taken("a.tar", bytes(latin1) + tar_of(names))
    assert files == {"Gr\u00f6sse/pw.out": b"latin-1", **names}
    assert not rejections


def test_containers_that_are_not_read_are_named() -> None:
    assert reasons(b"Rar!\x1a\x07\x01\x00" + NOISE(100)) == [("", "unsupported_archive")]
    assert reasons(b"7z\xbc\xaf\x27\x1c" + NOISE(100)) == [("", "unsupported_archive")]
    data = bytearray(zip_of({"pw.out": b"secret" * 50}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert reasons(bytes(data), "a.zip") == [("", "unsupported_archive")]
