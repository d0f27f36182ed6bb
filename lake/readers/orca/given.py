"""The input that an ORCA output repeats: words behind '!', blocks that begin with '%', coordinates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lake.readers.text_steps import even_decimals

PLACES: Final = b"\nCARTESIAN COORDINATES (ANGSTROEM)\n"
GIVEN: Final = re.compile(rb"\n\| +\d+> *\* *(xyz|xyzfile|gzmtfile|int|gzmt) +-?\d+ +\d+ *([^\n]*)((?:\n\| +\d+> *[^*\n]*)*)", re.I)
"""Coordinates of the input: their form, the name of a file, and the lines behind."""
_LINE: Final = re.compile(rb"\n\| +\d+> *([^\n]*)")
_GIVEN_PLACE: Final = re.compile(rb"\| +\d+> +([A-Z][a-z]?) +(-?\d+\.\d+) +(-?\d+\.\d+) +(-?\d+\.\d+) *\Z")


@dataclass(frozen=True)
class Given:
    """The words of an input."""

    keywords: tuple[str, ...]
    """Of the lines that begin with '!', in capitals."""
    words: tuple[str, ...]
    """Of all other lines, in small letters."""

    def block(self, *names: str) -> str:
        """Return the words of a block '%cpcm ... end', '' where there is none; inner blocks end with it."""
        for start, word in enumerate(self.words):
            name = next((name for name in names if word.startswith(name)), None)
            if name is not None:
                first = [word[len(name) :]] if len(word) > len(name) else []
                rest = self.words[start + 1 :]
                end = next((k for k, each in enumerate(rest) if each.startswith("%") or each == "*"), len(rest))
                inner = rest[:end]
                last = max((k for k, each in enumerate(inner) if each == "end"), default=len(inner))
                return " ".join([*first, *inner[:last]])
        return ""

    def behind(self, name: str, count: int) -> str:
        """Return the words behind a word, '' where it does not stand anywhere."""
        return " ".join(self.words[self.words.index(name) + 1 :][:count]) if name in self.words else ""


def read_given(head: bytes) -> Given:
    """Return the words of the input that the text before the first step repeats."""
    lines = [line.decode("latin-1").split("#", 1)[0].strip() for line in _LINE.findall(head)]
    lines = [re.sub(r"%\s+", "%", line) for line in lines]
    keywords = [word.upper() for line in lines if line.startswith("!") for word in line[1:].split()]
    words = [word for line in lines if not line.startswith("!") for word in line.lower().split()]
    return Given(tuple(keywords), tuple(words))


def given_places(head: bytes) -> bytes:
    """Return a list of coordinates, as ORCA prints it, of those in Å that its input gives; '' where it gives none that are certain.

    With symmetry ORCA turns the molecule.
    """
    found = list(GIVEN.finditer(head))
    elsewhere = {"BOHRS", "BOHR", "USESYM"} & set(read_given(head).keywords)
    if elsewhere or any(block in head.lower() for block in (b"%coords", b"%sym")):
        return b""
    if len(found) != 1 or found[0].group(1).lower() != b"xyz":
        return b""
    lines = [line for line in found[0].group(3).split(b"\n")[1:] if line.partition(b">")[2].strip()]
    rows = [_GIVEN_PLACE.match(line) for line in lines]
    fields = [row.groups() for row in rows if row is not None]
    if len(fields) != len(lines):
        return b""
    longest = max((len(field.partition(b".")[2]) for row in fields for field in row[1:]), default=0)
    even = [[field.ljust(field.index(b".") + 1 + longest, b"0") for field in row[1:]] for row in fields]
    places = [b"  %s  %s" % (row[0], b"  ".join(numbers)) for row, numbers in zip(fields, even, strict=True)]
    return PLACES + b"-" * 33 + b"\n" + b"\n".join(places) + b"\n\n" if even_decimals([f for row in even for f in row]) else b""
