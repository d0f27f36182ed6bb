"""The input of CP2K as a tree of sections (https://manual.cp2k.org, 'CP2K input'): only what stands in it is told, no defaults.

What a preprocessor decides (@IF, @XCTYPE) is not followed: such an input is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_]\w*)(-[^}]*)?\}|\$([A-Za-z_]\w*)")
_DEPTH: Final = 8
"""Files that include each other."""
_MOST_LINES: Final = 2_000_000
_MOST_FILES: Final = 1000
"""Files that are included, those that come again counted each time."""
_LONGEST: Final = 100_000
"""Letters of a line with its variables put in."""
_MOST_OPEN: Final = 50
"""Sections inside of each other."""
_PASSED_OVER: Final = frozenset({"@PRINT", "@ENDIF"})


class UnclearInput(Exception):
    """An input that says less than is needed; the message says what."""


@dataclass(frozen=True)
class Section:
    """One section: `&NAME parameter`, the lines in it, and the sections in it."""

    name: str
    """In capitals."""
    parameter: str = ""
    lines: list[str] = field(default_factory=list)
    """Without comments, not empty."""
    sections: list[Section] = field(default_factory=list)

    def all(self, *path: str) -> Iterator[Section]:
        """Yield each section below this one along the names of a path."""
        for section in self.sections:
            if section.name == path[0]:
                yield from section.all(*path[1:]) if len(path) > 1 else (section,)

    def one(self, *path: str) -> Section | None:
        """Return the section along the names of a path, None where there is none; raises UnclearInput where there are several."""
        found = list(self.all(*path))
        if len(found) > 1:
            raise UnclearInput(f"it has {len(found)} sections {'/'.join(path)}")
        return found[0] if found else None

    def words(self, *names: str) -> list[str] | None:
        """Return what follows a keyword, by any of its names in capitals; the last one counts, None where there is none."""
        for line in reversed(self.lines):
            first, *rest = line.split()
            if first.upper() in names:
                return rest
        return None

    def word(self, *names: str) -> str:
        """Return the first word that follows a keyword, in capitals; '' where it is not there or nothing follows."""
        return (self.words(*names) or [""])[0].upper()

    def switch(self, name: str) -> bool:
        """Return whether a logical keyword is on; alone it means yes."""
        words = self.words(name)
        return words is not None and (not words or words[0].strip(".").upper() in {"T", "TRUE", "YES", "ON"})

    def walk(self) -> Iterator[tuple[str, Section]]:
        """Yield each section below this one with its path 'A/B/C'."""
        for section in self.sections:
            yield section.name, section
            for path, below in section.walk():
                yield f"{section.name}/{path}", below


def read_sections(name: str, files: Mapping[str, bytes], used: set[str]) -> Section:
    """Return the root of an input, with the files that it includes; files are texts by base name, used gets the names of those read.

    Raises UnclearInput where a file is missing, or where what counts is decided by the preprocessor.
    """
    root = Section("")
    open_ones = [root]
    for count, line in enumerate(_Lines(files, used).of(name)):
        if count > _MOST_LINES:
            raise UnclearInput(f"it has more than {_MOST_LINES} lines")
        if not line.startswith("&"):
            open_ones[-1].lines.append(line)
            continue
        title, _, parameter = line[1:].lstrip().partition(" ")
        if title.upper() == "END":
            if len(open_ones) == 1:
                raise UnclearInput("it ends a section that has not begun")
            open_ones.pop()
            continue
        section = Section(title.upper(), parameter.strip())
        open_ones[-1].sections.append(section)
        open_ones.append(section)
        if len(open_ones) > _MOST_OPEN:
            raise UnclearInput(f"it has sections more than {_MOST_OPEN} deep")
    if len(open_ones) > 1:
        raise UnclearInput(f"its section {open_ones[-1].name} has no end")
    return root


@dataclass(eq=False)
class _Lines:
    """The lines of an input without comments and empty ones, variables put in, included files in their places."""

    files: Mapping[str, bytes]
    used: set[str]
    variables: dict[str, str] = field(default_factory=dict)
    opened: int = 0

    def of(self, name: str, depth: int = 0) -> Iterator[str]:
        """Yield the lines of a file; raises UnclearInput."""
        if name not in self.files:
            raise UnclearInput(f"{name}, which it includes, is not beside it" if depth else f"{name} is not there")
        self.opened += 1
        if depth > _DEPTH or self.opened > _MOST_FILES:
            raise UnclearInput(f"its files include each other more than {_DEPTH} deep or {_MOST_FILES} times")
        self.used.add(name)
        begun = ""
        for raw in self.files[name].decode("latin-1").split("\n"):
            line = begun + re.split(r"[!#]", raw, maxsplit=1)[0].expandtabs(1).strip()
            if len(line) > _LONGEST:
                raise UnclearInput(f"a line of it has more than {_LONGEST} letters")
            begun = line[:-1] + " " if line.endswith("\\") else ""
            line = "" if begun else _VARIABLE.sub(self._value, line).strip()
            if line.startswith("@"):
                yield from self._directive(line, depth)
            elif line:
                yield line

    def _directive(self, line: str, depth: int) -> Iterator[str]:
        directive, _, rest = line.partition(" ")
        words = rest.replace("=", " ", 1).split(maxsplit=1)
        if directive.upper() == "@INCLUDE" and words:
            yield from self.of(rest.strip().strip("'\"").rpartition("/")[2], depth + 1)
        elif directive.upper() == "@SET" and len(words) == 2:
            self.variables[words[0].upper()] = words[1].strip().strip("'\"")[:_LONGEST]
        elif directive.upper() not in _PASSED_OVER:
            raise UnclearInput(f"its preprocessor is asked for {directive}")

    def _value(self, match: re.Match[str]) -> str:
        name, default = (match[1] or match[3]).upper(), match[2]
        if name in self.variables:
            return self.variables[name]
        if default is None:
            raise UnclearInput(f"its variable {name} is not set")
        return default[1:]
