"""The input tags of a VASP run as text, and what their spellings mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True, eq=False)
class Tags:
    """The input tags of a run as text; where an output repeats a name, its first value stands."""

    values: Mapping[str, str]

    def text(self, name: str) -> str:
        """Return the value without blanks around it; '' for none."""
        return _bare(self.values.get(name, ""))

    def word(self, name: str) -> str:
        """Return the first word in capitals; '' for none."""
        return _word(self.values.get(name, ""))

    def numbers(self, name: str) -> list[float]:
        """Return the leading numbers of the value; '2*0.6' counts twice."""
        return list(_numbers(self.values.get(name, "")))

    def number(self, name: str, default: float) -> float:
        """Return the first number of the value, or default."""
        found = _numbers(self.values.get(name, ""))
        return found[0] if found else default

    def integer(self, name: str, default: int) -> int:
        """Return the first number of the value as an integer, or default."""
        return int(self.number(name, default))

    def true(self, name: str) -> bool:
        """Return whether a logical tag is set, in any of the spellings of VASP ('.TRUE.', 'T', 'True', '.t.')."""
        return self.word(name).lstrip(".").startswith("T")


# The same few values come again in all runs of a source, and several times in each.


@lru_cache(maxsize=4096)
def _bare(value: str) -> str:
    return value.strip().strip("\"'").strip()


@lru_cache(maxsize=4096)
def _word(value: str) -> str:
    words = _bare(value).upper().split()
    return words[0].rstrip(";") if words else ""


@lru_cache(maxsize=4096)
def _numbers(value: str) -> tuple[float, ...]:
    found: list[float] = []
    for word in _bare(value).replace(";", " ").split():
        times, star, text = word.rpartition("*")
        number = _float(text)
        if number is None or (star and not (times.isdigit() and int(times) < 10**6)):
            break
        found.extend([number] * (int(times) if star else 1))
    return tuple(found)


def _float(text: str) -> float | None:
    try:
        value = float(text.replace("D", "E").replace("d", "e"))
    except ValueError:
        return None
    return value if np.isfinite(value) and abs(value) < 1e15 else None
