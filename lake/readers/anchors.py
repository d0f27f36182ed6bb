"""Words looked for in a buffer that grows behind and shrinks in front: every byte is searched once, however it arrives.

Where a letter of the words is rare, as all letters are in tables of numbers, hopping from one of its occurrences to the next (memchr)
is four to six times faster than `bytes.find`; where it turns out not to be rare, the words are searched as they are.
"""

from __future__ import annotations

import re
from typing import Final

from lake import native

_LINE: Final = 200
_SHORT: Final = 512
_LONG: Final = 4 << 10
"""Bytes from which the compiled search, where there is one, is worth its call."""
_HOPS: Final = 16
_SPAN: Final = 8 << 10
"""Bytes that so many hops must cover to be worth while."""
_NEAR: Final = 16 << 10
_PLAIN: Final = 64 << 10
"""Bytes that are searched plainly before hopping is tried again."""


def seek(buffer: bytearray | bytes, words: bytes, rare: bytes, start: int, end: int) -> int:
    """Return `buffer.find(words, start, end)`; rare is a letter of the words that other text seldom has."""
    if end - start < _SHORT:
        return buffer.find(words, start, end)
    offset = words.index(rare)
    place = buffer.find(rare, start + offset, end)
    if place < 0 or buffer.startswith(words, place - offset, end):
        return max(-1, place - offset)
    start = place - offset + 1
    if end - start > _LONG and (compiled := native.find_words(buffer, words, offset, start, end)) is not None:
        return compiled
    here = start
    while here < end:
        begun = here
        for _ in range(_HOPS):
            place = buffer.find(rare, here + offset, end)
            if place < 0:
                return -1
            if buffer.startswith(words, place - offset, end):
                return place - offset
            here = place - offset + 1
        if here - begun < _SPAN:
            found = buffer.find(words, here, min(end, here + _PLAIN + len(words) - 1))
            if found >= 0:
                return found
            here += _PLAIN
    return -1


def holds(text: bytes, words: bytes, rare: bytes) -> bool:
    """Return whether a text has the words, found like `seek`."""
    return seek(text, words, rare, 0, len(text)) >= 0


def find_all(buffer: bytearray | bytes, words: bytes, rare: bytes, start: int, end: int) -> list[int]:
    """Return all places of the words between two places, found like `seek`."""
    found = []
    while (place := seek(buffer, words, rare, start, end)) >= 0:
        found.append(place)
        start = place + 1
    return found


def search(pattern: re.Pattern[bytes], words: bytes, text: bytes) -> re.Match[bytes] | None:
    """Return the first match of a pattern that has the words in it, at most 200 bytes behind its start: they are found much faster."""
    place = text.find(words)
    return pattern.search(text, max(0, place - _LINE)) if place >= 0 else None


def seek_back(buffer: bytearray | bytes, words: bytes, rare: bytes, start: int, end: int) -> int:
    """Return `buffer.rfind(words, start, end)`, found plainly where it is near the end, else like `seek`."""
    near = max(start, end - _NEAR)
    place = buffer.rfind(words, near, end)
    if place >= 0 or near == start:
        return place
    end = near + len(words) - 1
    offset = words.index(rare)
    last = end - len(words) + offset + 1
    for _ in range(_HOPS):
        place = buffer.rfind(rare, start + offset, max(0, last))
        if place < 0:
            return -1
        if buffer.startswith(words, place - offset, end):
            return place - offset
        last = place
    return buffer.rfind(words, start, min(end, last - offset + len(words)))


class Anchor:
    """The next place of some words in a growing buffer, asked for with places that never go back."""

    def __init__(self, words: bytes, rare: bytes) -> None:
        self._words = words
        self._rare = rare
        self._place = -1
        self._searched = 0
        self._floor = 0

    def find(self, buffer: bytes | bytearray, start: int) -> int:
        """Return the first place of the words at start or behind it, -1 for none in what has come in."""
        return self._find(buffer, start, len(buffer))

    def before(self, buffer: bytes | bytearray, start: int, end: int) -> int:
        """Return the first place of the words at start or behind it that lies before end, -1 for none; what is behind is not looked at."""
        place = self._find(buffer, start, min(len(buffer), end + len(self._words) - 1))
        return place if place < end else -1

    def _find(self, buffer: bytes | bytearray, start: int, stop: int) -> int:
        if self._place >= start and self._place >= self._floor:
            return self._place
        self._place = seek(buffer, self._words, self._rare, max(start, self._searched, self._floor), stop)
        self._searched = self._place if self._place >= 0 else max(self._searched, stop - len(self._words) + 1)
        return self._place

    def leave(self) -> None:
        """Count the place found last no more."""
        self._floor = self._place + 1

    def drop(self, count: int) -> None:
        """Follow the buffer, of which the first count bytes were deleted."""
        self._place = max(-1, self._place - count)
        self._searched = max(0, self._searched - count)
        self._floor = max(0, self._floor - count)
