"""Smallest distance of two atoms in each of many frames, periodic images included."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake import native
from schemas.frames import Floats

_TREE_FROM: Final = 200
"""Atoms from which a k-d tree for each frame is cheaper than all pairs of all frames."""
_REACH: Final = 8
"""Most images to each side that are looked at: exact for cells of 0.4 Å between faces, so for all that are physical."""
_MOST_REMEMBERED: Final = 1 << 14
"""Numbers of cells of which determinants and inverses are kept for a while."""
_PAIRS_AT_ONCE: Final = 20_000
"""Pairs (times images) held in memory at once, so few that they stay in the cache."""


def smallest_distances(positions: Floats, cell: Floats, pbc: NDArray[np.bool_], limit: float) -> Floats:
    """Return (n,) the smallest distance below limit of two atoms, or of an atom and its own image; NaN for none.

    positions is (n, natoms, 3), cell (n, 3, 3), pbc (3,). Exact for every cell shape: an image within limit of an atom is at most
    limit / height + 1/2 cell vectors away from the nearest one in wrapped coordinates, height being the cell's between two faces.
    """
    n, natoms = positions.shape[:2]
    if n == 0 or natoms == 0:
        return np.full(n, np.nan)
    if natoms < _TREE_FROM and has_cell(cell).all():
        found = native.smallest_distances(positions, cell, inverses(cell), pbc, (limit, _REACH))
        if found is not None:
            return found
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        sane = np.isfinite(positions).all(axis=(1, 2)) & np.isfinite(cell).all(axis=(1, 2))
        result = np.full(n, np.nan)
        result[sane] = smallest_distances(positions[sane], cell[sane], pbc, limit)
        return result
    full, periodic = _completed(cell, pbc)
    result = np.full(n, np.inf)
    shifts = _shifts(full, periodic, limit)
    if natoms >= _TREE_FROM:
        for i in range(n):
            result[i] = _by_tree(positions[i], full[i], periodic[i], limit)
    else:
        result = _by_pairs(positions, full, periodic, shifts)
    result[~(result <= limit)] = np.nan
    return result


def has_cell(cell: Floats) -> NDArray[np.bool_]:
    """Return (n,) whether three lattice vectors are there: finite, and not in one plane."""
    return np.asarray(np.abs(determinants(cell)) > 1e-9)


def determinants(cell: Floats) -> Floats:
    """Return (n,) the determinants of cells, 0 for one that is not finite."""
    return _remembered(_determinants, cell)


def inverses(cell: Floats) -> Floats:
    """Return (n, 3, 3) the inverses of cells that have one."""
    return _remembered(_inverses, cell)


def _inverses(cell: Floats) -> Floats:
    return np.asarray(np.linalg.inv(cell))


def _determinants(cell: Floats) -> Floats:
    finite = np.isfinite(cell).all(axis=(1, 2), keepdims=True)
    return np.asarray(np.linalg.det(cell if finite.all() else np.where(finite, cell, 0.0)))


def _remembered(make: Callable[[Floats], Floats], cell: Floats) -> Floats:
    """Return what is made of cells; several checks of a run ask for the same."""
    if cell.size > _MOST_REMEMBERED:
        return make(cell)
    found = _make(make, np.ascontiguousarray(cell, dtype=np.float64).tobytes())
    found.flags.writeable = False
    return found


@lru_cache(maxsize=16)
def _make(make: Callable[[Floats], Floats], raw: bytes) -> Floats:
    return make(np.frombuffer(raw).reshape(-1, 3, 3))


def _completed(cell: Floats, pbc: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return cells that can be inverted, and (n, 3) along which vectors they repeat.

    One or two vectors are completed by others across them, along which nothing repeats; a flat or missing cell does not repeat at all.
    """
    sound = has_cell(cell)
    if sound.all():
        return cell, np.repeat(pbc[None, :], len(cell), axis=0)
    full = np.where(sound[:, None, None], cell, np.eye(3))
    periodic = sound[:, None] & pbc[None, :]
    along = pbc[None, :] & (np.abs(cell) > 0).any(axis=2)
    for i in np.flatnonzero(~sound & along.any(axis=1) & ~along.all(axis=1)):
        vectors = cell[i, along[i]]
        _, sizes, axes = np.linalg.svd(vectors)
        if sizes[-1] > 1e-3:
            full[i, along[i]], full[i, ~along[i]] = vectors, axes[len(vectors) :]
            periodic[i] = along[i]
    return full, periodic


def _heights(cell: Floats) -> Floats:
    """Return (n, 3) the distances between opposite faces."""
    heights: Floats = 1.0 / np.linalg.norm(inverses(cell), axis=1)
    return heights


def _shifts(cell: Floats, periodic: NDArray[np.bool_], limit: float) -> Floats:
    """Return (m, 3) the lattice translations to look at, beside those that wrapping takes care of."""
    reach = np.where(periodic, np.floor(limit / _heights(cell) + 0.5), 0).max(axis=0).astype(int)
    return _images(*np.minimum(reach, _REACH).tolist())


@lru_cache(maxsize=64)
def _images(*reach: int) -> Floats:
    return np.array(list(itertools.product(*(range(-r, r + 1) for r in reach))), dtype=float)


def _by_pairs(positions: Floats, cell: Floats, periodic: NDArray[np.bool_], shifts: Floats) -> Floats:
    found = np.full(len(positions), np.inf)
    own = shifts[np.any(shifts != 0, axis=1)]
    if len(own):
        found = np.sqrt(_squares(_product(own[None, :, :], cell)).min(axis=1))
    if positions.shape[1] > 1:
        inverse = inverses(cell)
        squares = native.pair_squares(positions, cell, inverse, periodic, shifts)
        if squares is None:
            squares = np.empty(len(positions))
            step = max(1, _PAIRS_AT_ONCE // (positions.shape[1] * (positions.shape[1] - 1) // 2))
            for start in range(0, len(positions), step):
                part = slice(start, start + step)
                squares[part] = _pair_squares(positions[part], cell[part], inverse[part], periodic[part], shifts)
        found = np.minimum(found, np.sqrt(squares))
    return found


def _pair_squares(positions: Floats, cell: Floats, inverse: Floats, periodic: NDArray[np.bool_], shifts: Floats) -> Floats:
    """Return (n,) squares of the smallest distances of two different atoms; every operation as in native/distances.c."""
    first, second = np.triu_indices(positions.shape[1], k=1)
    fractional = _product(positions, inverse)
    between = fractional[:, first] - fractional[:, second]
    between -= np.rint(between) * periodic[:, None, :]
    vectors = _product(between, cell)
    found = np.full(len(positions), np.inf)
    block = max(1, _PAIRS_AT_ONCE // (len(positions) * len(first)))
    for start in range(0, len(shifts), block):
        images = _product(shifts[None, start : start + block], cell)
        found = np.minimum(found, _squares(vectors[:, None, :, :] + images[:, :, None, :]).min(axis=(1, 2)))
    return found


def _product(rows: Floats, matrix: Floats) -> Floats:
    """Return rows (n or 1, m, 3) times matrix (n, 3, 3), each product and sum rounded by itself, in order: the same on every machine."""
    x, y, z = (rows[..., k, None] for k in range(3))
    return np.asarray((x * matrix[:, None, 0] + y * matrix[:, None, 1]) + z * matrix[:, None, 2])


def _squares(vectors: Floats) -> Floats:
    """Return the squares of the lengths of vectors (..., 3)."""
    squares = vectors * vectors
    return np.asarray((squares[..., 0] + squares[..., 1]) + squares[..., 2])


def _by_tree(positions: Floats, cell: Floats, periodic: NDArray[np.bool_], limit: float) -> float:
    from scipy.spatial import cKDTree

    fractional = positions @ np.linalg.inv(cell)
    fractional -= np.floor(fractional) * periodic
    margin = limit / _heights(cell[None])[0]
    points = fractional
    for axis in np.flatnonzero(periodic):
        reach = min(int(np.ceil(margin[axis])), _REACH)
        moved = [points]
        for shift in range(-reach, reach + 1):
            if shift:
                image = points.copy()
                image[:, axis] += shift
                near = (image[:, axis] > -margin[axis]) & (image[:, axis] < 1 + margin[axis])
                moved.append(image[near])
        points = np.concatenate(moved)
    distances, _ = cKDTree(points @ cell).query(fractional @ cell, k=2, distance_upper_bound=limit)
    return float(distances[:, 1].min())
