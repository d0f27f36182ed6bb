"""What was made of a text that comes again: runs of one campaign have the same input tags, parameters and potentials."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

_MOST_BYTES: Final = 64 << 10
"""Longer texts are not kept."""
_MOST_TEXTS: Final = 64

Key = TypeVar("Key")
Made = TypeVar("Made")


def remembered(make: Callable[..., Made]) -> Callable[..., Made]:
    """Return a function of texts that keeps its last results, which nobody changes; at most 4 MiB of texts are kept."""
    kept = lru_cache(maxsize=_MOST_TEXTS)(make)
    last: list[tuple[tuple[bytes | str, ...], Made]] = []

    @wraps(make)
    def made(*texts: bytes | str) -> Made:
        for known, found in last:  # to compare with the texts before is less work than to look all texts up
            if known == texts:
                return found
        if sum(map(len, texts)) > _MOST_BYTES:
            return make(*texts)
        last[:] = [(texts, found := kept(*texts))]
        return found

    return made


def once(make: Callable[[Key], Made]) -> Callable[[Key], Made]:
    """Return a function of one record that is asked once for each record that is still there."""
    known: WeakKeyDictionary[Key, Made] = WeakKeyDictionary()

    @wraps(make)
    def made(key: Key) -> Made:
        try:
            return known[key]
        except KeyError:
            known[key] = found = make(key)
            return found

    return made
