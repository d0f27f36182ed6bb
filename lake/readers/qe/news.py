"""Words of a pw.x stdout that most steps have none of: they are looked for once in all of a text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lake.readers.words import Words

FINAL_SCF: Final = b"inal scf calculation at the relaxed structure"
_WATCHED: Final = (FINAL_SCF, b"JOB DONE.", b"NOT achieved", b"Maximum CPU time exceeded", b"%%%%\n", b"EXX: now go back")
_THRESHOLDS: Final = (b"convergence threshold ", b"new conv_thr")
_NEWS: Final = Words(*_WATCHED, *_THRESHOLDS)


@dataclass(frozen=True)
class News:
    """Where a text has words that are looked at once for a whole run, or that set a threshold: most steps have none of them."""

    watched: Sequence[int]
    thresholds: Sequence[int]

    @classmethod
    def of(cls, text: bytes | bytearray, end: int) -> News:
        """Return the places of such words before end."""
        found = _NEWS.places(text, 0, end)
        watched, thresholds = (sorted(place for words in group for place in found.get(words, ())) for group in (_WATCHED, _THRESHOLDS))
        return cls(watched, thresholds)

    def within(self, start: int, end: int) -> News:
        """Return those between two places."""
        if not self.watched and not self.thresholds:
            return self
        first, second = _between(self.watched, start, end), _between(self.thresholds, start, end)
        return News(first, second) if first or second else _NO_NEWS


_NO_NEWS: Final = News((), ())


def _between(places: Sequence[int], start: int, end: int) -> Sequence[int]:
    if not places or places[0] >= end or places[-1] < start:
        return ()
    first = bisect_left(places, start)
    return places[first : bisect_left(places, end, first)] if places[first] < end else ()
