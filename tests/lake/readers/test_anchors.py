"""Words found by hopping over a rare letter are those that bytes.find finds, however the bytes arrive."""

from __future__ import annotations

import random

import pytest

from lake.readers import anchors
from lake.readers.anchors import Anchor, find_all, seek, seek_back


@pytest.fixture
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_SHORT", 0), ("_HOPS", 3), ("_SPAN", 40), ("_PLAIN", 60), ("_NEAR", 20)):
        monkeypatch.setattr(anchors, name, value)


@pytest.mark.usefixtures("_small_steps")
def test_seek_finds_what_find_finds() -> None:
    source = random.Random(1)
    for _ in range(4000):
        text = bytes(source.choice(b"abx ") for _ in range(source.randrange(300)))
        words = bytes(source.choice(b"abx") for _ in range(source.randrange(1, 5)))
        rare = bytes([source.choice(words)])
        start, end = source.randrange(len(text) + 3), source.randrange(len(text) + 1)
        assert seek(text, words, rare, start, end) == text.find(words, start, end)
        assert seek_back(text, words, rare, start, end) == text.rfind(words, start, end)
        found = [place for place in range(start, end) if text.startswith(words, place, end)]
        assert find_all(text, words, rare, start, end) == found


@pytest.mark.usefixtures("_small_steps")
def test_an_anchor_follows_a_buffer_that_grows_and_shrinks() -> None:
    source = random.Random(2)
    for _ in range(300):
        text = bytes(source.choice(b"abx ") for _ in range(400))
        words = bytes(source.choice(b"abx") for _ in range(source.randrange(1, 4)))
        anchor, buffer, dropped, start = Anchor(words, words[:1]), bytearray(), 0, 0
        for place in range(0, 400, 25):
            buffer += text[place : place + 25]
            for _ in range(3):
                start += source.randrange(8)
                assert anchor.find(buffer, max(0, start - dropped)) == buffer.find(words, max(0, start - dropped))
            gone = min(len(buffer), max(0, start - dropped))
            del buffer[:gone]
            anchor.drop(gone)
            dropped += gone
