"""Frames of a collection gathered by their atoms: those of equal atoms, periodicity and held coordinates stand together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lake.collections.records import Column, Places, Series
from schemas.frames import Floats

Periodic = tuple[bool, bool, bool]


@dataclass(eq=False)
class _Gathered:
    """What was met of one series."""

    numbers: NDArray[np.int16]
    pbc: Periodic
    fixed: NDArray[np.bool_] | None
    places: list[Places] = field(default_factory=list)
    positions: list[Floats] = field(default_factory=list)
    vectors: list[Mapping[str, Floats]] = field(default_factory=list)


class SeriesStore:
    """Takes frames of equal layout, batch by batch."""

    def __init__(self) -> None:
        self._series: dict[tuple[bytes, Periodic, bytes], _Gathered] = {}

    def add(
        self,
        places: Places,
        numbers: NDArray[np.int16],
        pbc: list[Periodic],
        positions: Floats,
        vectors: Mapping[str, Floats],
        *,
        fixed: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take n frames of natoms atoms: numbers (n, natoms), positions, each of vectors and coordinates held fixed (n, natoms, 3)."""
        held = [b""] * len(places) if fixed is None else [each.tobytes() if bool(each.any()) else b"" for each in fixed]
        keys = [(numbers[i].tobytes(), pbc[i], held[i]) for i in range(len(places))]
        for start, end in _stretches(keys):
            gathered = self._series.get(keys[start])
            if gathered is None:
                gathered = self._series[keys[start]] = _Gathered(
                    numbers[start].copy(), pbc[start], fixed[start].copy() if fixed is not None and held[start] else None
                )
            gathered.places.append(places[start:end])
            gathered.positions.append(positions[start:end])
            gathered.vectors.append({name: values[start:end] for name, values in vectors.items()})

    def fixed(self) -> dict[int, NDArray[np.bool_]]:
        """Return (natoms, 3) the coordinates held fixed, by index of the series that have any."""
        return {i: each.fixed for i, each in enumerate(self._series.values()) if each.fixed is not None}

    def series(self, lattice: Column | None) -> tuple[Series, ...]:
        """Return the series in the order in which they were met; lattice holds the nine numbers of the cells by place."""
        return tuple(_series(gathered, lattice) for gathered in self._series.values())


def _stretches(keys: list[tuple[bytes, Periodic, bytes]]) -> list[tuple[int, int]]:
    """Return (start, end) of the stretches of equal keys."""
    edges = [0, *(i for i in range(1, len(keys)) if keys[i] != keys[i - 1]), len(keys)]
    return list(pairwise(edges)) if keys else []


def _series(gathered: _Gathered, lattice: Column | None) -> Series:
    places = np.concatenate(gathered.places)
    names = dict.fromkeys(name for vectors in gathered.vectors for name in vectors)
    cell = np.zeros((len(places), 9)) if lattice is None else np.nan_to_num(lattice.at(places), nan=0.0)
    return Series(
        numbers=gathered.numbers,
        pbc=np.array(gathered.pbc, dtype=np.bool_),
        places=places,
        cell=cell.reshape(-1, 3, 3),
        positions=np.concatenate(gathered.positions),
        vectors={name: np.concatenate([_filled(part, name, at) for part, at in _parts(gathered)]) for name in names},
    )


def _parts(gathered: _Gathered) -> list[tuple[Mapping[str, Floats], Floats]]:
    return list(zip(gathered.vectors, gathered.positions, strict=True))


def _filled(vectors: Mapping[str, Floats], name: str, positions: Floats) -> Floats:
    values = vectors.get(name)
    return np.full(positions.shape, np.nan) if values is None else values
