"""Outputs that are read by random access are held in memory, within a limit of their own."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from made_up_outputs import tar_of

from lake.readers.base import ReaderSpec
from lake.readers.in_memory import DAMAGE, InMemoryReader
from lake.reading import Contents, read_stream
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.settings import LimitSettings

SEEN: list[bytes] = []


def read(file: io.BytesIO) -> tuple[Run, ...]:
    """Read the end of a file before its beginning."""
    file.seek(-3, 2)
    SEEN.append(file.read())
    raise UnreadableOutput("no_complete_step", "it was read", "nothing")


SPEC = ReaderSpec("made-up binary", "none", lambda name, head: head.startswith(b"BIN"), lambda: InMemoryReader(read), 0, in_memory=True)


def contents(files: dict[str, bytes], limit: int) -> Contents:
    limits = replace(LimitSettings(), max_in_memory_bytes=limit)
    return read_stream("a.tar", lambda: io.BytesIO(tar_of(files)), limits, readers=[SPEC])


def test_a_file_up_to_the_limit_is_there_whole() -> None:
    SEEN.clear()
    found = contents({"run.bin": b"BIN" + bytes(200_000) + b"end"}, 200_006)
    assert [rejection.reason for rejection in found.rejections] == ["no_complete_step"]
    assert SEEN == [b"end"]


def test_a_file_above_the_limit_is_refused_by_name_and_the_others_are_read() -> None:
    SEEN.clear()
    found = contents({"large.bin": b"BIN" + bytes(200_000) + b"end", "small.bin": b"BINsma"}, 200_005)
    (large, small) = found.rejections
    assert (large.member, large.reason, small.reason) == ("large.bin", "too_large", "no_complete_step")
    assert "limits.max_in_memory_bytes" in large.remedy
    assert "200005" in large.detail
    assert SEEN == [b"sma"]


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_a_library_raises_for_damage_is_a_refusal(kind: type[Exception]) -> None:
    def broken(file: io.BytesIO) -> tuple[Run, ...]:
        raise kind("bad bytes")

    reader = InMemoryReader(broken)
    reader.feed(b"12345")
    with pytest.raises(UnreadableOutput, match="5 bytes that cannot be read"):
        reader.close()
