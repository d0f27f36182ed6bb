"""Tars that were made to harm, and rare but honest ones: endless headers, sizes that cannot be, sparse files and long names."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_archives import ONE, header, long_names, old_sparse_map, padded, pax, pax_record, refused, sparse_map, taken
from made_up_outputs import tar_of


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
