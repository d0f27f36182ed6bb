"""Where the parts of one step of vasprun.xml stand, and its energies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.rows import number
from lake.readers.vasp.frames import NAN, StepEnergies
from schemas.frames import Floats

TABLES: Final = (b'"basis"', b'"positions"', b'"forces"', b'"stress"')
END_OF_ENERGY: Final = b"</energy>"
MARKS: Final = (b"<structure>", b"</structure>", b"<energy>", END_OF_ENERGY, *TABLES, b"<v>", b"</v>")
"""As in native/vasp_xml.c."""
_ENERGIES: Final = re.compile(
    rb'e_fr_energy">([^<]*)</i>\s*<i name="e_wo_entrp">([^<]*)</i>\s*<i name="e_0_energy">([^<]*)<',
)
_UNITS: Final = 1e8
"""Of the last printed decimal in 1 eV."""
_NEAR: Final = 0.4
_EXACT: Final = 2.0**52
_FEW: Final = 8
"""Steps of which the energies are sooner made one by one."""


@dataclass(frozen=True)
class StepPlaces:
    """Places in the text of a step, counted from its `<structure>`."""

    shut: int
    """Of `</structure>`."""
    energy: int
    """Of the child `<energy>`."""
    end: int
    """Of its `</energy>`."""
    tables: tuple[tuple[int, int, int], ...]
    """Of each of TABLES its name, its first `<v>`, and behind its last `</v>`; -1 for a table that is not there."""

    @cached_property
    def _tags(self) -> list[tuple[int, bytes]] | None:
        """Where the tags of a step stand, in order; None where a table is not there, or has no room."""
        if any(name < 0 for name, _, _ in self.tables):
            return None
        tags = [(0, b"<structure>"), (self.shut, b"</structure>"), (self.energy, b"<energy>"), (self.end, END_OF_ENERGY)]
        for text, (name, first, last) in zip(TABLES, self.tables, strict=True):
            tags += [(name, text), (first, b"<v>"), (last - 4, b"</v>")]
        tags.sort()
        return tags if all(a + len(tag) <= b for (a, tag), (b, _) in pairwise(tags)) else None

    @cached_property
    def _likeness(self) -> re.Pattern[bytes] | None:
        """A step with the same tags in the same places, its groups the rows of TABLES; None where a table is not there."""
        pattern, reached = b"", 0
        for place, tag in self._tags or ():
            pattern += b".{%d}" % (place - reached) + {b"<v>": b"(<v>", b"</v>": b"</v>)"}.get(tag, tag)
            reached = place + len(tag)
        return re.compile(pattern, re.DOTALL) if pattern else None

    @cached_property
    def marks(self) -> NDArray[np.int64] | None:
        """(m, 2) places of the tags and their numbers in MARKS; None where `_likeness` is."""
        return np.array([(place, MARKS.index(tag)) for place, tag in self._tags], dtype=np.int64) if self._tags else None

    @cached_property
    def bounds(self) -> NDArray[np.int64]:
        """(3,) shut, energy and end."""
        return np.array([self.shut, self.energy, self.end], dtype=np.int64)

    @cached_property
    def flat_tables(self) -> NDArray[np.int64]:
        """(4, 3) the tables."""
        return np.array(self.tables, dtype=np.int64)

    def alike(self, buffer: bytes | bytearray, structure: int) -> Sequence[bytes] | None:
        """Return the rows of TABLES of the step that starts at structure, where its tags stand in these places, else None.

        VASP prints fixed columns, so that all steps of a run are usually alike; no tag of another step has room in one that is.
        """
        match = self._likeness.match(buffer, structure) if self._likeness is not None else None
        return match.groups() if match is not None else None

    def blocks(self, buffer: bytes | bytearray, structure: int) -> Sequence[bytes]:
        """Return the rows of TABLES of the step itself, from `<v>` to the last `</v>`; b'' for one that is not there."""
        return [bytes(buffer[structure + first : structure + last]) if first >= 0 else b"" for _, first, last in self.tables]


def locate(buffer: bytes | bytearray, structure: int, shut: int, energy: int, end: int) -> StepPlaces:
    """Return the places of a step of which the outer tags are found."""
    bounds = ((structure, shut), (structure, shut), (shut, energy), (shut, energy))
    tables = tuple(_table(buffer, name, start, stop, structure) for name, (start, stop) in zip(TABLES, bounds, strict=True))
    return StepPlaces(shut - structure, energy - structure, end - structure, tables)


def _table(buffer: bytes | bytearray, name: bytes, start: int, end: int, structure: int) -> tuple[int, int, int]:
    place = buffer.find(name, start, end)
    first = buffer.find(b"<v>", place, end) if place >= 0 else -1
    shut = buffer.find(b"</varray>", place, end) if first >= 0 else -1
    if first < 0 or shut < first:
        return -1, -1, -1
    return place - structure, first - structure, buffer.rfind(b">", first, shut) + 1 - structure


def step_energies(buffer: bytes | bytearray, cycle: tuple[int, int], final: tuple[int, int], count: int) -> StepEnergies:
    """Return the energies of a step.

    The free energy is that of the final block: it has van der Waals terms, which the steps of the cycle lack. The other two of
    that block are shifted by one name before VASP 6.1 (`e_wo_entrp` holds E(sigma->0), `e_0_energy` the entropy term), so their
    differences to the free energy come from the last step of the cycle, where the names are right in all versions.
    """
    free, second, third = _three(buffer, *final)
    return energies_of(free, second, third, *(_three(buffer, *cycle) if count else (NAN, NAN, NAN)))


def energies_of(free: float, second: float, third: float, cycle_free: float, internal: float, sigma0: float) -> StepEnergies:  # noqa: PLR0917
    """Return the energies of a step from the three of its final block and those of the last step of its cycle, NaN where it has none."""
    if isfinite(cycle_free) and isfinite(sigma0):
        return StepEnergies(free, round(free + (sigma0 - cycle_free), 8), round(free + (internal - cycle_free), 8), cycle_free)
    return StepEnergies(free, *_without_cycle(free, second, third), cycle_free)


def energies_of_all(numbers: Floats) -> Floats:
    """Return (n, 4) what `energies_of` gives of each row of numbers (n, 6), in the order of `StepEnergies`.

    A number of eight decimals is a whole number of 1e-8 eV divided by 1e8, the nearest double to which is what `round` gives.
    """
    if len(numbers) <= _FEW:
        return np.array([energies_of(*row) for row in numbers.tolist()])
    free, cycle = numbers[:, :1], numbers[:, 3:4]
    units = (free + (numbers[:, :3:-1] - cycle)) * _UNITS
    rounded = np.rint(units)
    if not (_largest(units - rounded) < _NEAR and _largest(units) < _EXACT):
        return np.array([energies_of(*row) for row in numbers.tolist()])
    return np.concatenate([free, rounded / _UNITS, cycle], axis=1)


def _largest(values: Floats) -> float:
    """Return the largest size of the numbers, NaN where one is."""
    return float(np.maximum.reduce(np.abs(values), axis=None, initial=0.0))


def _without_cycle(free: float, second: float, third: float) -> tuple[float, float]:
    """Return E(sigma->0) and internal energy of a final block alone; the third number is an energy only if it is near the first."""
    if abs(third - free) <= abs(third) * 0.5:
        return third, second
    return second, round(free - third, 8)


def _three(buffer: bytes | bytearray, start: int, end: int) -> tuple[float, float, float]:
    """Return the last `e_fr_energy`, `e_wo_entrp` and `e_0_energy` between two places, NaN for none."""
    place = buffer.rfind(b"e_fr_energy", start, end)
    match = _ENERGIES.match(buffer, place, end) if place >= 0 else None
    if match is not None:
        try:
            free, second, third = float(match[1]), float(match[2]), float(match[3])
        except ValueError:
            pass
        else:
            if isfinite(free) and isfinite(second) and isfinite(third):
                return free, second, third
    free, second, third = (_last(buffer, name, start, end) for name in (b"e_fr_energy", b"e_wo_entrp", b"e_0_energy"))
    last = buffer.rfind(b"e_0_energy", start, end)
    torn = place < 0 or buffer.find(b"e_wo_entrp", place, last) < 0 or buffer.find(b"</energy>", place, last) >= 0
    return (free, NAN, NAN) if torn else (free, second, third)


def _last(buffer: bytes | bytearray, name: bytes, start: int, end: int) -> float:
    """Return the last number of that name between two places, NaN for none."""
    place = buffer.rfind(name, start, end)
    if place < 0:
        return NAN
    place += len(name) + 2
    close = buffer.find(b"<", place, end)
    return number(bytes(buffer[place:close])) if buffer[place - 2 : place] == b'">' and buffer.startswith(b"</i>", close) else NAN
