"""What a file of frames without units holds, as it is written there: no unit is applied, no number is chosen as a label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from lake.collections.answers import NO_ANSWERS, Answers
from schemas.frames import Floats
from schemas.theory import LevelOfTheory

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Series:
    """Frames of a file that have the same atoms in the same order and the same periodicity."""

    numbers: NDArray[np.int16]
    """(natoms,)"""
    pbc: NDArray[np.bool_]
    """(3,)"""
    places: Places
    """(n,) which frame of the file each is, from 0, rising."""
    cell: Floats
    """(n, 3, 3) zeros for none."""
    positions: Floats
    """(n, natoms, 3)"""
    vectors: Mapping[str, Floats]
    """Columns of three numbers an atom, by name: (n, natoms, 3); NaN where a frame lacks it or a number cannot be read."""

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.places)


@dataclass(frozen=True, eq=False)
class Column:
    """Numbers of frames under one key; frames that lack the key are not in it."""

    places: Places
    """(m,) rising"""
    values: Floats
    """(m, width) with a width of 1, 3, 6 or 9; NaN where a number cannot be read."""

    def at(self, places: Places) -> Floats:
        """Return (len(places), width) the values of frames, NaN where they have none."""
        found = np.full((len(places), self.values.shape[1]), np.nan)
        if len(self.places):
            index = np.minimum(np.searchsorted(self.places, places), len(self.places) - 1)
            there = self.places[index] == places
            found[there] = self.values[index[there]]
        return found


@dataclass(frozen=True, eq=False)
class Collection:
    """Everything that one file (or folder) of frames holds."""

    format: str
    """'extxyz', 'RuNNer input.data', 'DeePMD npy', 'ASE db'."""
    code: str
    """Code in queries where the depositor names none: 'extxyz', 'runner', 'deepmd', 'ase'."""
    series: tuple[Series, ...]
    columns: Mapping[str, Column] = field(default_factory=dict)
    """Numbers of frames by key, as the key is written."""
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Texts of frames by key: the first few that differ."""
    said: Answers = NO_ANSWERS
    """What the file itself says of its units, keys and theory."""
    certain: bool = False
    """The units that `said` holds are those of the format by its definition, and nobody can say others."""
    levels: Mapping[int, LevelOfTheory] = field(default_factory=dict)
    """Level of theory by index of the series, where the file tells it."""
    sigma0: str = ""
    """Key of the energy extrapolated to zero smearing, where the label is the free energy."""
    virial_is_energy: bool = False
    """The format defines a virial as -stress times volume in the unit of the energy."""
    malformed: tuple[str, ...] = ()
    """One sentence for each frame that could not be read, the first of them; see n_malformed."""
    n_malformed: int = 0
    torn: frozenset[int] = frozenset()
    """Places of frames with a number (not a position) that could not be read."""
    truncated: bool = False
    notes: tuple[str, ...] = ()
    fixed: Mapping[int, Any] = field(default_factory=dict)
    """(natoms, 3) coordinates held fixed, by index of the series."""

    @property
    def count(self) -> int:
        """Number of frames."""
        return sum(series.count for series in self.series)


class CollectionReader(Protocol):
    """A push reader of a format without units: `collected` gives what is there, `close` runs only where the file says its units."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        ...

    def collected(self) -> Collection:
        """Return what the file holds; raises UnreadableOutput where that is nothing."""
        ...


def gathers(reader: object) -> TypeGuard[CollectionReader]:
    """Return whether a reader is one of a format without units; asked of each output, and so not by the slow look at a protocol."""
    return hasattr(reader, "collected")
