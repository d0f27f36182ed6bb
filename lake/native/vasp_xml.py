"""Calls of vasp_xml.c: the usual steps of a vasprun.xml, found and read by compiled loops."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lake import native
from lake.native import MOST_STEPS, address, beginning
from schemas.frames import Floats

Tables = tuple[Floats, Floats, Floats, Floats]
"""Cell, positions, forces and stress of some steps, as printed: (n, rows, 3) each."""
_OUTLINE: Final = 28
_TOLD: Final = 2 + 3 * MOST_STEPS
_PLACES: Final = 16
"""Bytes of where to go on and whether inside of a calculation, before the places of the steps."""


class FoundSteps(NamedTuple):
    """Calculations that follow each other, and what follows them."""

    places: NDArray[np.int64]
    """(n, 3) where a calculation and its structure begin, and the steps of its cycle."""
    numbers: Floats
    """(n, 6) last energies, and those of the cycle, as vasp_xml.c has them."""
    on: int
    """Where to go on."""
    inside: bool
    """Whether that is inside of a calculation, behind its step."""


class Outline(NamedTuple):
    """Where the parts of a head and of its first step stand."""

    first: int
    """Where the head ends and the first calculation begins."""
    head: list[int]
    """From and to of the version, the four sections and the table of selective dynamics."""
    bounds: list[int]
    """Of `</structure>`, `<energy>` and `</energy>`, counted from the structure."""
    tables: list[int]
    """Of each of the four tables its name, its first `<v>`, and behind its last `</v>`, counted from the structure."""
    steps: FoundSteps


def xml_steps(buffer: bytes | bytearray, at: int, marks: NDArray[np.int64], bounds: NDArray[np.int64]) -> FoundSteps | None:
    """Return the calculations of a vasprun.xml from at on that have their tags where the step before has them, None for none.

    marks (m, 2) and bounds (3,) as in vasp_xml.c.
    """
    made = native.loops()
    if made is None:
        return None
    told, numbers = np.empty(_TOLD, dtype=np.int64), np.empty((MOST_STEPS, 6))
    told[0], first = at, address(told)
    sizes = (len(buffer), MOST_STEPS, len(marks))
    n = made.xml_steps(beginning(buffer), first, *sizes, address(marks), address(bounds), first + _PLACES, address(numbers))
    return _found(told, numbers, n) if n else None


def xml_begin(buffer: bytes | bytearray, at: int) -> Outline | None:
    """Return the outline of a run from its `<modeling>` at on with its first calculations; None where they are not as usual."""
    made = native.loops()
    if made is None:
        return None
    told, numbers, outline = np.empty(_TOLD, dtype=np.int64), np.empty((MOST_STEPS, 6)), np.empty(_OUTLINE, dtype=np.int64)
    told[0], first = at, address(told)
    n = made.xml_begin(beginning(buffer), first, len(buffer), MOST_STEPS, address(outline), first + _PLACES, address(numbers))
    if not n:
        return None
    ends, *rest = outline.tolist()
    return Outline(ends, rest[:12], rest[12:15], rest[15:], _found(told, numbers, n))


def _found(told: NDArray[np.int64], numbers: Floats, n: int) -> FoundSteps:
    on, inside = told[:2].tolist()
    return FoundSteps(told[2 : 2 + 3 * n].reshape(n, 3), numbers[:n], on, bool(inside))


def xml_tables(buffer: bytes | bytearray, steps: FoundSteps, tables: NDArray[np.int64], natoms: int) -> Tables | None:
    """Return the numbers of the four tables of some steps, each (n, rows, 3); None where one is left to another way."""
    made = native.loops()
    if made is None:
        return None
    n = len(steps.places)
    read = (np.empty((n, 3, 3)), np.empty((n, natoms, 3)), np.empty((n, natoms, 3)), np.empty((n, 3, 3)))
    return read if made.xml_tables(beginning(buffer), address(steps.places), n, address(tables), natoms, *map(address, read)) else None
