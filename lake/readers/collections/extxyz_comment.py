"""The comment line of an extended XYZ frame: `key=value` pairs, quoted or not, and the layout of columns that `Properties` names.

The format is that of libAtoms/extxyz and ASE; what real files deviate in is taken too: other quotes, brackets, blanks around '=', any case.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PAIR: Final = re.compile(
    rb"(\"[^\"]+\"|[^\s=\"'\[\]{}]+)\s*=\s*"
    rb"([^\s\"'\[{][^\s\"']*|\"[^\"\\]*(?:\\.[^\"\\]*)*\"|'[^'\\]*(?:\\.[^'\\]*)*'"
    rb"|\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\])"
)
_CELL: Final = re.compile(rb"\s*(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d{1,2})?(?:\s+|\Z)){9}\Z")
_OPENING: Final = b"\"'{["
_BRACKETS: Final = bytes.maketrans(b"{}[],", b"     ")
_TRUE: Final = frozenset({b"t", b"true", b"1", b".true."})
_FALSE: Final = frozenset({b"f", b"false", b"0", b".false."})
_UNIT_KEY: Final = re.compile(r"units|([a-z]+)[_-]?units?|units?[_-]([a-z]+)")
_UNIT_OF: Final = {
    "energy": "energy", "force": "force", "forces": "force", "stress": "stress", "virial": "virial", "length": "length",
    "distance": "length", "position": "length", "positions": "length", "coordinates": "length",
}  # fmt: skip
SPECIES: Final = frozenset({"species", "symbol", "symbols", "element", "elements"})
POSITIONS: Final = frozenset({"pos", "position", "positions"})
_PASSED_OVER: Final = frozenset({"velo", "vel", "velocities", "velocity", "momenta", "frac_pos", "scaled_positions"})
"""Columns of three numbers that are never a label."""


@dataclass(frozen=True)
class Layout:
    """Which columns of an atom's row hold what."""

    columns: int
    """Words in a row."""
    words: tuple[int, ...]
    """Columns of text."""
    label: int | None
    """Column of the label of the element, among `words`."""
    number: int | None
    """Column of the atomic number."""
    position: int
    """First of the three columns of positions."""
    vectors: tuple[tuple[str, int], ...]
    """(name, first column) of the other groups of three numbers."""
    units: tuple[tuple[str, int], ...] = ()
    """(name, column) of texts that are units by their name: 'force_units'."""
    moving: tuple[int, ...] = ()
    """Columns of ASE's move_mask, one or three: T for a coordinate that is free to move."""


def pairs_of(comment: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return the keys and values of a comment, delimiters taken off, or None where a quote is left open."""
    found = PAIR.findall(comment.replace(b"_JSON ", b"") if b"_JSON " in comment else comment)
    if comment.replace(b'\\"', b"").count(b'"') % 2:
        return None
    return [(key.strip(b'"'), _bare(value) if value[0] in _OPENING else value) for key, value in found]


def _bare(value: bytes) -> bytes:
    if value[:1] in (b'"', b"'"):
        inner = value[1:-1].strip()
        return inner.translate(_BRACKETS).strip() if inner[:1] in (b"[", b"{") else inner
    return value.translate(_BRACKETS).strip()


@functools.lru_cache(maxsize=256)
def is_cell(text: bytes) -> bool:
    """Return whether a text is nine numbers."""
    return _CELL.match(text) is not None


@functools.lru_cache(maxsize=256)
def cell_of(text: bytes) -> bytes:
    """Return a Lattice of three numbers, the diagonal of the cell (libAtoms/extxyz, "Extended XYZ specification"), as nine."""
    words = text.split()
    return b" 0 0 0 ".join(words) if len(words) == 3 else text


def unit_key(key: str) -> str:
    """Return what a key names the unit of ('energy-unit', 'forces_units': 'energy', 'force'), 'units' for that of all, '' for others."""
    found = _UNIT_KEY.fullmatch(key.lower())
    if found is None:
        return ""
    return _UNIT_OF.get(found.group(1) or found.group(2) or "", "units" if key.lower() == "units" else "")


def atomic(units: Mapping[str, str]) -> dict[str, str]:
    """Return units by name with 'a.u.' and 'au' written out, by what each is the unit of."""
    of = {"energy": "Ha", "virial": "Ha", "length": "bohr", "force": "Ha/bohr", "stress": "Ha/bohr^3"}
    return {name: of[name] if text.strip().lower() in ("a.u.", "au", "atomic") else text for name, text in units.items()}


@functools.lru_cache(maxsize=256)
def periodicity(text: bytes) -> tuple[bool, bool, bool] | None:
    """Return what 'T T F', '1 1 0' or one word for all three say, None for anything else."""
    words = text.lower().translate(_BRACKETS).split()
    if len(words) == 1:
        words *= 3
    if len(words) != 3 or any(word not in _TRUE | _FALSE for word in words):
        return None
    return words[0] in _TRUE, words[1] in _TRUE, words[2] in _TRUE


@functools.lru_cache(maxsize=256)
def layout_of(properties: bytes) -> Layout | None:
    """Return the layout that `species:S:1:pos:R:3:forces:R:3` says; None where it is no such list or names no positions or elements."""
    parts = properties.decode("utf-8", "replace").split(":")
    if len(parts) % 3 or not all(count.isdecimal() and 0 < int(count) < 100 for count in parts[2::3]):
        return None
    words: list[int] = []
    vectors: list[tuple[str, int]] = []
    units: list[tuple[str, int]] = []
    moving: tuple[int, ...] = ()
    label = number = position = None
    column = 0
    for name, kind, width in zip(parts[::3], parts[1::3], map(int, parts[2::3]), strict=True):
        if kind not in ("S", "R", "I", "L"):
            return None
        if kind in ("S", "L"):
            words += range(column, column + width)
        if kind == "S" and name.lower() in SPECIES and label is None:
            label = column
        elif kind == "S" and width == 1 and unit_key(name):
            units.append((name, column))
        elif kind == "L" and name == "move_mask" and width in (1, 3):
            moving = tuple(range(column, column + width))
        elif kind == "I" and name in ("Z", "numbers") and width == 1:
            number = column
        elif kind == "R" and width == 3 and name.lower() in POSITIONS and position is None:
            position = column
        elif kind == "R" and width == 3 and name.lower() not in _PASSED_OVER:
            vectors.append((name, column))
        column += width
    if position is None or (label is None and number is None):
        return None
    return Layout(column, tuple(words), label, number, position, tuple(vectors), tuple(units), moving)


@functools.lru_cache(maxsize=64)
def plain_layout(columns: int) -> Layout | None:
    """Return the layout of a plain XYZ row: element, position, and whatever follows as `columns5to7`; None for fewer than four words."""
    if columns < 4:
        return None
    vectors = tuple((f"columns{first + 1}to{first + 3}", first) for first in range(4, columns - 2, 3))
    return Layout(columns, (0,), 0, None, 1, vectors)
