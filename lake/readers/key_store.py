"""Values of keys of many frames, gathered as they are met and made into columns of numbers together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from lake.collections.records import Column
from lake.readers.rows import number
from lake.readers.tokens import read_table
from schemas.frames import Floats

WIDTHS = (1, 3, 6, 9)
_MOST_TEXTS = 20
_MOST_KEYS = 2000
"""Keys of one file; more are left out, for then the keys are data."""


class KeyStore:
    """Takes the pairs of each frame; numbers become columns, of texts the first few different ones are kept."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[list[int], list[bytes]]] = {}
        self._numbers: dict[str, dict[int, list[tuple[list[int], Floats]]]] = defaultdict(lambda: defaultdict(list))
        self._texts: dict[str, dict[str, int]] = defaultdict(dict)
        self.torn: set[int] = set()
        """Places of frames where a number of an otherwise numeric key cannot be read."""

    def add(self, place: int, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the pairs of the frame at a place; the first of a repeated key counts."""
        for name, value in pairs:
            key = name.decode("utf-8", "replace")
            waiting = self._waiting.get(key)
            if waiting is None:
                if len(self._waiting) >= _MOST_KEYS:
                    continue
                waiting = self._waiting[key] = ([], [])
            if not waiting[0] or waiting[0][-1] != place:
                waiting[0].append(place)
                waiting[1].append(value)

    def flush(self) -> None:
        """Make numbers of what has been gathered."""
        for key, (places, values) in self._waiting.items():
            if not places:
                continue
            if np.isfinite(_first(values[0])):
                self._take_numbers(key, places, values)
            else:
                self._take_singly(key, places, values)
            places.clear()
            values.clear()

    def columns(self) -> dict[str, Column]:
        """Return the columns by key; a key whose values have several widths gives the one that most frames have."""
        self.flush()
        found = {}
        for key, by_width in self._numbers.items():
            _, parts = max(by_width.items(), key=lambda item: sum(len(places) for places, _ in item[1]))
            places = np.concatenate([np.array(part, dtype=np.int64) for part, _ in parts])
            values = np.concatenate([values for _, values in parts])
            order = np.argsort(places, kind="stable")
            found[key] = Column(places[order], values[order])
        return found

    def words(self) -> dict[str, tuple[str, ...]]:
        """Return the first different texts of each key that holds text."""
        return {key: tuple(texts) for key, texts in self._texts.items()}

    def count_of(self, key: str, text: str) -> int:
        """Return how many frames have that text under a key."""
        return self._texts.get(key, {}).get(text, 0)

    def _take_numbers(self, key: str, places: list[int], values: list[bytes]) -> None:
        width = len(values[0].split())
        table = read_table(b"\n".join(values) + b"\n", width) if width in WIDTHS else None
        if table is None or not bool(np.isfinite(table.numbers).all()):
            self._take_singly(key, places, values)
        else:
            self._numbers[key][width].append((list(places), table.numbers))

    def _take_singly(self, key: str, places: list[int], values: list[bytes]) -> None:
        for place, value in zip(places, values, strict=True):
            row = [number(word) for word in value.split()]
            if len(row) in WIDTHS and not all(np.isnan(each) for each in row):
                self._numbers[key][len(row)].append(([place], np.array([row])))
                if any(np.isnan(each) for each in row):
                    self.torn.add(place)
            else:
                if key in self._numbers:
                    self.torn.add(place)
                texts = self._texts[key]
                text = value.decode("utf-8", "replace")
                if text in texts or len(texts) < _MOST_TEXTS:
                    texts[text] = texts.get(text, 0) + 1


def _first(value: bytes) -> float:
    return number(value.split()[0]) if value.split() else float("nan")
