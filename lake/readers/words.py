"""All places of many words in a text, found in one pass, and what stands there.

A log prints a hundred kinds of lines, of which a reader wants some; a search for each goes through the whole text again. Without a
compiler each word is searched for when it is first asked for; the places are the same.
"""

from __future__ import annotations

import ctypes
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake import native

_MOST_WINDOW: Final = 12
_PLACES: Final = 512
"""Places for which there is room at first."""


class Words:
    """Words that are looked for together, each of two bytes at least."""

    def __init__(self, *words: bytes) -> None:
        self.words = tuple(dict.fromkeys(words))

    @cached_property
    def _tables(self) -> _Tables:
        return _Tables(self.words)

    def places(self, text: bytes | bytearray, start: int, end: int) -> dict[bytes, list[int]]:
        """Return the places, between two places of a text, of each word that is there, in order."""
        pairs = self._pairs(text, start, end)
        if pairs is None:
            return {word: places for word in self.words if (places := plain_places(text, word, start, end))}
        found: dict[bytes, list[int]] = {}
        for word, at in pairs.tolist():
            found.setdefault(self.words[word], []).append(at)
        return found

    def sorted_places(self, text: bytes | bytearray, start: int, end: int) -> list[int]:
        """Return the places of all words together between two places of a text, in order."""
        pairs = self._pairs(text, start, end)
        if pairs is None:
            return sorted(place for word in self.words for place in plain_places(text, word, start, end))
        return sorted(pairs[:, 1].tolist())

    def _pairs(self, text: bytes | bytearray, start: int, end: int) -> NDArray[np.int64] | None:
        """Return (word, place) of all that is found, those of one word in order."""
        made = native.loops()
        if made is None:
            return None
        if start >= end:
            return np.empty((0, 2), dtype=np.int64)
        tables, most, n = self._tables, _PLACES, -1
        place = text if isinstance(text, bytes) else ctypes.addressof(ctypes.c_char.from_buffer(text))
        while n < 0:
            out = np.empty((most, 2), dtype=np.int64)
            n = made.word_places(place, start, end, tables.window, *tables.addresses, most, native.address(out))
            most *= 16
        return out[:n]


class _Tables:
    """What words.c knows of some words."""

    def __init__(self, words: Sequence[bytes]) -> None:
        self.window = min(_MOST_WINDOW, *map(len, words))
        less = np.zeros(1 << 16, dtype=np.uint8)
        heads = np.full(1 << 16, -1, dtype=np.int32)
        rows = np.empty((len(words), 4), dtype=np.int64)
        for k, word in enumerate(words):
            first = _rarest(word, self.window)
            window = word[first : first + self.window]
            for place in range(1, self.window):
                pair = window[place - 1] + 256 * window[place]
                less[pair] = max(int(less[pair]), place)
            rows[k] = heads[pair], len(word), first + self.window, sum(map(len, words[:k]))
            heads[pair] = k
        self._kept = (less, heads, rows, np.frombuffer(b"".join(words), dtype=np.uint8))
        self.addresses = tuple(native.address(each) for each in self._kept)


def _rarest(word: bytes, length: int) -> int:
    """Return where the part of a word begins that has the fewest blanks and line ends beside each other."""
    costs = [sum(a in b" \n" and b in b" \n" for a, b in pairwise(part)) for part in _parts(word, length)]
    return costs.index(min(costs))


def _parts(word: bytes, length: int) -> Iterator[bytes]:
    return (word[k : k + length] for k in range(len(word) - length + 1))


class Found:
    """A text with the places of some words in it. Every word asked for must be one of them."""

    def __init__(self, text: bytes, words: Words, start: int = 0) -> None:
        """Look for words in a text from start on."""
        self.text = text
        self._start = start
        self._all = words.places(text, start, len(text)) if native.loops() is not None else None
        self._known: dict[bytes, list[int]] = {}

    def all(self, word: bytes) -> list[int]:
        """Return all places of a word, in order."""
        if self._all is not None:
            return self._all.get(word, [])
        if word not in self._known:
            self._known[word] = plain_places(self.text, word, self._start, len(self.text))
        return self._known[word]

    def first(self, word: bytes, start: int = 0) -> int:
        """Return the first place of a word at start or behind it, -1 for none."""
        places = self.all(word)
        k = bisect_left(places, start) if start else 0
        return places[k] if k < len(places) else -1

    def last(self, word: bytes) -> int:
        """Return the last place of a word, -1 for none."""
        places = self.all(word)
        return places[-1] if places else -1

    def __contains__(self, word: bytes) -> bool:
        return bool(self.all(word))

    def places(self) -> list[int]:
        """Return the places of all words that were looked for in one pass, in no order."""
        return [place for places in (self._all or {}).values() for place in places]

    def lines_with(self, words: Sequence[bytes]) -> bytes:
        """Return the lines that hold some of the words, with '-' for what is left out between two; all of the text without a compiler.

        Of a word that begins with a line end it is the line behind that.
        """
        places = sorted({place + word.startswith(b"\n") for word in words for place in self.all(word)})
        return native.telling_lines(self.text, places, ((0, 0), (0, 0)))

    def line_end(self, place: int) -> int:
        """Return where the line of a place ends."""
        end = self.text.find(b"\n", place)
        return end if end >= 0 else len(self.text)

    def part(self, start: int, end: int) -> Found:
        """Return the text between two places, with what was found in it."""
        return _Part(self, start, end)

    def matches(self, pattern: re.Pattern[bytes], word: bytes) -> list[re.Match[bytes]]:
        """Return the matches of a pattern that begins with a word."""
        return [match for place in self.all(word) if (match := pattern.match(self.text, place)) is not None]

    def match(self, pattern: re.Pattern[bytes], word: bytes, start: int = 0) -> re.Match[bytes] | None:
        """Return the first match, at start or behind it, of a pattern that begins with a word."""
        for place in self.all(word):
            if place >= start and (match := pattern.match(self.text, place)) is not None:
                return match
        return None

    def lines(self, pattern: re.Pattern[bytes], word: bytes) -> list[re.Match[bytes]]:
        """Return the matches of a pattern that begins with a line end, in the lines with a word."""
        starts = dict.fromkeys(self.text.rfind(b"\n", 0, place) for place in self.all(word))
        return [match for start in starts if start >= 0 and (match := pattern.match(self.text, start)) is not None]

    def line(self, pattern: re.Pattern[bytes], word: bytes) -> re.Match[bytes] | None:
        """Return the first match of a pattern that begins with a line end, in a line with a word."""
        for place in self.all(word):
            start = self.text.rfind(b"\n", 0, place)
            if start >= 0 and (match := pattern.match(self.text, start)) is not None:
                return match
        return None


class _Part(Found):
    """A part of a text whose words were found already."""

    def __init__(self, whole: Found, start: int, end: int) -> None:
        self.text = whole.text[start:end]
        self._whole = whole
        self._from = start
        self._known = {}

    def all(self, word: bytes) -> list[int]:
        places = self._whole.all(word)
        if not places:
            return places
        if word not in self._known:
            last = self._from + len(self.text) - len(word)
            inside = places[bisect_left(places, self._from) : bisect_right(places, last)]
            self._known[word] = [place - self._from for place in inside] if self._from else inside
        return self._known[word]


def plain_places(text: bytes | bytearray, word: bytes, start: int, end: int) -> list[int]:
    """Return all places of a word between two places of a text."""
    found, place = [], text.find(word, start, end)
    while place >= 0:
        found.append(place)
        place = text.find(word, place + 1, end)
    return found
