"""Small archives that are inflated as a whole give what the streams give, sound, damaged, cut or unusual."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake import archives
from lake.archives import File, walk
from lake.budget import Budget
from lake.small_tars import INFLATED_BYTES, MORE_BYTES, small_tar
from schemas.errors import UnreadableArchive
from schemas.settings import LimitSettings

NAMES = st.sampled_from(
    ["run/OUTCAR", "run/a", "a/../b", "/etc/x", f"run/{'n' * 60}/{'m' * 60}", "run/é", "./run//b", "run/c.gz", "run/inner.tar.gz"]
)
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
TIGHT = LimitSettings(max_members=3, max_member_bytes=5000, max_total_bytes=20_000)


def packed(members: list[tuple[str, bytes]], form: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        folder = tarfile.TarInfo("run")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = (len(data) if kind == tarfile.REGTYPE else 0), kind, "run/a"
            tar.addfile(info, io.BytesIO(data))
            kind = tarfile.REGTYPE
    return buffer.getvalue()


def found(stored: bytes, limits: LimitSettings) -> tuple[list[Any], int, int]:
    """Return all that a walk gives, and what it spent."""
    budget = Budget(limits)
    result: list[Any] = []
    for each in walk("x.tar.gz", io.BytesIO(stored), budget):
        if isinstance(each, File):
            try:
                result.append((each.path, each.head, each.is_cut(), each.stands_alone, b"".join(each.chunks())))
            except UnreadableArchive as error:
                result.append((each.path, each.head, str(error)))
        else:
            result.append(each)
    return result, budget.inflated, budget.members


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_the_same_as_by_streams(data: st.DataObject) -> None:
    draw = data.draw
    contents = st.one_of(st.binary(max_size=700), st.binary(min_size=1, max_size=3).map(lambda some: some * 2000))
    members = draw(st.lists(st.tuples(NAMES, contents), max_size=4))
    members = [(name, gzip.compress(text, mtime=0) if name.endswith(".gz") else text) for name, text in members]
    raw = bytearray(packed(members, draw(FORMATS), draw(st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE]))))
    if draw(st.booleans()):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    raw = raw[: draw(st.sampled_from([len(raw), len(raw), draw(st.integers(1, len(raw)))]))]
    stored = bytearray(gzip.compress(raw, mtime=0))
    if draw(st.booleans()):
        stored[draw(st.integers(0, len(stored) - 1))] ^= 1 << draw(st.integers(0, 7))
    whole = bytes(stored[: draw(st.sampled_from([len(stored), draw(st.integers(1, len(stored)))]))])
    whole += draw(st.sampled_from([b"", b"\0" * 9, b"junk", gzip.compress(b"more", mtime=0)]))
    limits = draw(st.sampled_from([LimitSettings(), TIGHT]))
    own = found(whole, limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "small_tar", lambda *_: None)
        assert found(whole, limits) == own


def test_a_plain_archive_is_taken_as_a_whole_and_a_large_one_is_not() -> None:
    budget = Budget(LimitSettings())
    small = small_tar(gzip.compress(packed([("run/a", b"text")], tarfile.GNU_FORMAT)), budget)
    assert small is not None
    assert [small.data[start:end] for _, start, end in small.members] == [b"text"]
    assert (budget.members, budget.inflated) == (2, len(small.data))
    assert small_tar(gzip.compress(packed([("run/a", bytes(INFLATED_BYTES))], tarfile.GNU_FORMAT)), budget) is None
    assert budget.members == 2
    noise = packed([(f"run/{k}", bytes(3) * k) for k in range(9)], tarfile.GNU_FORMAT) + bytes(MORE_BYTES + 2**17)
    assert len(found(gzip.compress(noise, compresslevel=0), LimitSettings())[0]) == 9
