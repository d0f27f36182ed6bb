"""Which frames of two outputs are the same step of one run."""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from lake import native
from lake.distances import has_cell
from schemas.frames import Floats, FrameBlock

PLACE_TOLERANCE: Final = 1e-3
"""Å; positions that agree to this are the same step (an OUTCAR prints five decimals)."""

_MOST_LEFT_OUT: Final = 200
"""Steps of the main output between two of a trajectory."""
_PATIENCE: Final = 20
"""Steps without a match after which none is looked for."""

Indices = NDArray[np.intp]

_SAME_STEPS: Final[WeakKeyDictionary[FrameBlock, WeakKeyDictionary[FrameBlock, tuple[Indices, Indices]]]] = WeakKeyDictionary()
"""What was found for blocks that are still there: several questions about two outputs begin with their steps."""


def same_steps(a: FrameBlock, b: FrameBlock) -> tuple[Indices, Indices]:
    """Return indices of frames of a and b that are the same step: of equal number, counted from the end, or (where these do not fit)
    at the same places: a trajectory can leave out steps of the main output."""
    known = _SAME_STEPS.setdefault(a, WeakKeyDictionary())
    if b not in known:
        known[b] = _find_same_steps(a, b)
    return known[b]


def _find_same_steps(a: FrameBlock, b: FrameBlock) -> tuple[Indices, Indices]:
    count = min(a.count, b.count)
    fits = []
    for pairs in (_of_equal_number, _from_the_end):
        first, second = pairs(a.step, b.step)
        near = _is_near(a, b, first, second)
        if int(near.sum()) == count:
            return (first, second) if len(near) == count else (first[near], second[near])
        fits.append((first[near], second[near]))
    best = max(fits, key=lambda fit: len(fit[0]))
    return best if 2 * len(best[0]) >= count or a.natoms != b.natoms else max(best, _by_place(a, b), key=lambda fit: len(fit[0]))


def _of_equal_number(a: NDArray[np.int32], b: NDArray[np.int32]) -> tuple[Indices, Indices]:
    """Return indices into two lists of numbers of steps where both have the same number, once each."""
    if np.array_equal(a, b) and bool((a[1:] > a[:-1]).all()):
        every = np.arange(len(a))
        return every, every
    _, i, j = np.intersect1d(a, b, return_indices=True)
    return i, j


def _from_the_end(a: NDArray[np.int32], b: NDArray[np.int32]) -> tuple[Indices, Indices]:
    """Return indices into two lists, of the last of each, of the ones before them, and so on."""
    count = min(len(a), len(b))
    return np.arange(len(a) - count, len(a)), np.arange(len(b) - count, len(b))


def _by_place(a: FrameBlock, b: FrameBlock) -> tuple[Indices, Indices]:
    """Return indices of frames of a and b in the same order, each of b with the first of a behind the last one that has its places."""
    first: list[int] = []
    second: list[int] = []
    start = 0
    for j in range(b.count):
        if j == _PATIENCE and not first:
            break
        rest = np.arange(start, min(a.count, start + _MOST_LEFT_OUT))
        near = np.flatnonzero(_is_near(a, b, rest, np.full(len(rest), j)))
        if len(near):
            start = int(rest[near[0]]) + 1
            first.append(start - 1)
            second.append(j)
    return np.array(first, dtype=np.intp), np.array(second, dtype=np.intp)


def taken(values: NDArray[Any], which: Indices) -> NDArray[Any]:
    """Return values[which] for indices that all rise or are all the same; the values themselves where it is each of them."""
    if len(which) == len(values) and len(which) and which[0] == 0 and which[-1] == len(values) - 1:
        return values
    return values[which]


def vectors_apart(a: Floats, b: Floats) -> Floats:
    """Return (2, n) how far the vectors (n, rows, 3) of frames lie apart: the largest square of a norm, NaN where a number is missing, and
    the largest component, missing ones left out."""
    found = native.vectors_apart(a, b)
    if found is not None:
        return found
    apart = a - b
    x, y, z = (apart[:, :, k] for k in range(3))
    components = np.nan_to_num(np.abs(apart), nan=0.0, posinf=np.inf).max(axis=(1, 2), initial=0.0)
    return np.array([((x * x + y * y) + z * z).max(axis=1, initial=0.0), components])


def _is_near(a: FrameBlock, b: FrameBlock, first: Indices, second: Indices) -> NDArray[np.bool_]:
    """Return (m,) whether frames of a and b have their atoms and cells at the same places; lattice vectors apart counts as the same."""
    squares, _ = vectors_apart(taken(a.positions, first), taken(b.positions, second))
    cells = np.abs(taken(a.cell, first) - taken(b.cell, second)).reshape(-1, 9).max(axis=1, initial=0.0)
    near = (squares < PLACE_TOLERANCE**2) & (cells < PLACE_TOLERANCE)
    if not near.all():
        rest = np.flatnonzero(~near)
        near[rest] = _distance(a, b, first[rest], second[rest]) < PLACE_TOLERANCE
    return np.asarray(near)


def _distance(a: FrameBlock, b: FrameBlock, first: Indices, second: Indices) -> Floats:
    """Return (m,) the largest distance between an atom in a and the same atom in b, or between their cells if that is larger."""
    cell = a.cell[first]
    apart = a.positions[first] - b.positions[second]
    sound = has_cell(cell)
    inverse = np.linalg.inv(np.where(sound[:, None, None], cell, np.eye(3)))
    apart -= np.where(sound[:, None, None], np.rint(apart @ inverse) @ cell, 0.0)
    places = np.sqrt((apart**2).sum(axis=-1)).max(axis=-1, initial=0.0)
    cells = np.abs(cell - b.cell[second]).max(axis=(1, 2), initial=0.0)
    return np.asarray(np.nan_to_num(np.maximum(places, cells), nan=np.inf))
