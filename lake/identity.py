"""Identity of a calculation by what its output says, and names of structures that do not depend on how they are written down."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from functools import cache, lru_cache
from math import isnan
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake import native
from lake.distances import has_cell, inverses
from lake.theory import numerics_key, theory_key
from schemas.calculations import Run
from schemas.frames import Floats, FrameBlock

CELL_QUANTUM: Final = 1e-3
"""Å; cells are told apart from this difference on."""
FACTOR_QUANTUM: Final = 1e-2
"""Sums of structure factors, divided by the square root of the number of atoms, are told apart from this difference on."""
_SUMS: Final = 6
"""Numbers that a name is made from. Equal structures are missed in proportion to it, others taken for equal in its negative power."""
_LENGTH: Final = 10.0
"""Å; stands in for the cell of a structure that has none."""
_OFFSET: Final = 0.2113
_EDGE: Final = 1e-6
"""Sums so near to an edge of rounding are made by numpy; the compiled ones differ from its by less than 1e-8."""
_AXIS_ORDERS: Final = 12
_NUMBERS_AT_ONCE: Final = 1 << 18
"""Numbers of a run up to which they are copied together for its digest."""
_ATOMS_AT_ONCE: Final = 20_000
"""Atoms whose phase factors are held in memory at once (about 15 MB)."""

_AXES = tuple(tuple(n if i == axis else 0 for i in range(3)) for axis in range(3) for n in range(1, _AXIS_ORDERS + 1))
_MIXED = ((1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1), (1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1))
_DIAGONAL = ((2, 2, 2), (3, 3, 3), (4, 4, 4), (5, 5, 5), (6, 6, 6))
_WAVES: Final[tuple[tuple[int, ...], ...]] = (*_AXES, *_MIXED, *_DIAGONAL)
_TRIPLES: Final = tuple(
    (i, j, _WAVES.index(total))
    for (i, a), (j, b) in itertools.combinations_with_replacement(enumerate(_WAVES), 2)
    if (total := tuple(x + y for x, y in zip(a, b, strict=True))) in _WAVES and max(map(abs, total)) <= 6
)


def calculation_id(run: Run) -> str:
    """Return the SHA-256 (hex) of what the label-giving output of a run says.

    In it: code, version, keys of theory and numerics, and of all frames numbers, pbc, cell, positions, energies, forces, stress and
    steps as float64. Not in it: names, times, line ends, flags, other outputs of the run. -0.0 counts as 0.0, all NaN are one.
    """
    frames = run.frames
    level = run.level_of_theory
    digest = hashlib.sha256("\0".join((run.code, run.code_version, theory_key(level), numerics_key(level), "")).encode())
    head = (np.array([frames.count, frames.natoms], dtype="<i8"), frames.numbers.astype("<i2"), frames.pbc.astype(np.uint8))
    digest.update(b"".join([each.tobytes() for each in (*head, frames.step.astype("<i4"))]))
    values = (
        frames.cell, frames.positions, frames.energy, frames.forces, frames.stress, frames.energy_sigma0, frames.energy_internal,
    )  # fmt: skip
    together = sum(each.size for each in values) <= _NUMBERS_AT_ONCE
    for part in (values,) if together else ((each,) for each in values):
        digest.update(_canonical(part).data)
    return digest.hexdigest()


def configuration_hashes(frames: FrameBlock) -> list[str]:
    """Return for each frame the name (32 hex digits) of its structure alone.

    Equal for any order of the atoms, lattice translations of atoms and shifts of all atoms together. Made from the species and their
    counts, pbc, and six sums, rounded, over the cell and over moduli and triple products of the structure factors F(k) = sum_j w(Z_j)
    exp(2 pi i k.x_j) / sqrt(natoms) for small integer k, each with weights of its own. Rounding a few sums instead of each number keeps
    noise from parting equal structures: it does with a probability of about 0.001 for noise of 1e-7 Å in all positions and the cell,
    0.02 for 1e-6 Å, 0.08 for 5e-6 Å (five printed decimals), whatever the size. Told apart, nearly always: cell components that differ
    by 1e-3 Å; displacements of all atoms by 2e-3 Å, of one atom of eight by that, of 64 by 5e-3 Å, of 200 by 2e-2 Å (random structures,
    `tests/lake/test_identity.py`); enantiomers with two or more elements. Not told apart: smaller displacements; perfect supercells of
    more than six conventional cells along an edge; one element's structure and its inversion image where both are nearly perfect
    lattices. Told apart though physically equal: rotated cells and other choices of lattice vectors.
    """
    counts = np.bincount(frames.numbers)
    head = counts.astype("<i4").tobytes() + frames.pbc.astype(np.uint8).tobytes()
    step = max(1, _ATOMS_AT_ONCE // max(1, frames.natoms))
    names = []
    for start in range(0, frames.count, step):
        part = slice(start, start + step)
        rows = _sums_rounded(frames, part)
        names += [hashlib.blake2b(head + row.tobytes(), digest_size=16).hexdigest() for row in rows]
    return names


def _sums_rounded(frames: FrameBlock, part: slice) -> NDArray[np.int64]:
    """Return (n, _SUMS) rounded sums of some frames: compiled where no rounding error could matter."""
    cell, positions = frames.cell[part], frames.positions[part]
    found = native.structure_sums(positions, cell, _inverse(cell), _atom_weights(frames.numbers), _plan())
    if found is None:
        return _rounded_sums(cell, _invariants(frames, part))
    exact = found + _OFFSET
    edges: NDArray[np.bool_] = np.asarray(np.abs(exact - np.rint(exact)) < _EDGE)
    rounded: NDArray[np.int64] = np.floor(exact).astype("<i8")
    if edges.any():
        near = edges.any(axis=1)
        kept = np.arange(frames.count)[part][near]
        rounded[near] = np.concatenate([_rounded_sums(frames.cell[[k]], _invariants(frames, slice(k, k + 1))) for k in kept])
    return rounded


@cache
def _plan() -> native.Plan:
    """Return what the compiled sums are made of; the same as in `_rounded_sums`."""
    count = 9 + len(_WAVES) + 2 * len(_TRIPLES)
    return native.Plan(
        np.array(_WAVES, dtype=np.int64), np.array(_TRIPLES, dtype=np.int64), _weights(count), np.array([CELL_QUANTUM, FACTOR_QUANTUM])
    )


def _inverse(cell: Floats) -> Floats:
    """Return the inverses of cells (n, 3, 3), that of _LENGTH times one for a cell that has none."""
    whole = has_cell(cell)
    return inverses(cell if whole.all() else np.where(whole[:, None, None], cell, _LENGTH * np.eye(3)))


def _canonical(values: Sequence[Floats]) -> Floats:
    """Return all numbers one after another, zeros positive, and every NaN the same."""
    tidy: Floats = np.concatenate([each.reshape(-1) for each in values], dtype="<f8")
    tidy += 0.0
    if isnan(tidy.dot(tidy)):
        tidy[np.isnan(tidy)] = np.nan
    return tidy


def _rounded_sums(cell: Floats, invariants: Floats) -> NDArray[np.int64]:
    """Return (n, _SUMS) sums over all numbers in units of their quanta, rounded down.

    The weights have no pattern, so that no structure that people write stands at an edge of rounding.
    """
    values = np.concatenate([cell.reshape(len(cell), 9) / CELL_QUANTUM, invariants / FACTOR_QUANTUM], axis=1)
    weights = _weights(values.shape[1])
    # Absurd cells must not overflow.
    values = np.clip(np.nan_to_num(values, posinf=0.0, neginf=0.0), -1e15, 1e15)
    sums: NDArray[np.int64] = np.floor(values @ weights + _OFFSET).astype("<i8")
    return sums


@cache
def _weights(count: int) -> Floats:
    """Return (count, _SUMS) the weights of so many numbers."""
    place, number = np.arange(1, count + 1)[:, None], np.arange(1, _SUMS + 1)
    weights: Floats = np.cos(2.399963 * place * number + 0.7 * place**2 * (number + 0.5))
    return weights


def _invariants(frames: FrameBlock, part: slice) -> Floats:
    """Return (n, m) moduli and triple products of the structure factors."""
    cell = frames.cell[part]
    positions = np.nan_to_num(frames.positions[part], posinf=0.0, neginf=0.0)
    factors = _structure_factors(positions @ _inverse(cell), frames.numbers)
    moduli = np.abs(factors)
    first, second, third = np.array(_TRIPLES).T
    scale = 1.0 + moduli[:, first] ** 2 + moduli[:, second] ** 2 + moduli[:, third] ** 2
    triples = factors[:, first] * factors[:, second] * factors[:, third].conj() / scale
    return np.concatenate([moduli, triples.real, triples.imag], axis=1)


def _structure_factors(fractional: Floats, numbers: NDArray[np.int16]) -> NDArray[np.complex128]:
    """Return (n, waves) the weighted sums over atoms; powers of one phase factor for each axis spare most of the exponentials."""
    weights = _atom_weights(numbers)
    phase = np.exp(2j * np.pi * (fractional - np.floor(fractional))).transpose(2, 0, 1)
    powers = {(axis, 1): phase[axis] for axis in range(3)}
    for axis, order in itertools.product(range(3), range(2, _AXIS_ORDERS + 1)):
        powers[axis, order] = powers[axis, order - 1] * phase[axis]
    columns = []
    for wave in _WAVES:
        product: NDArray[np.complex128] | None = None
        for axis, order in enumerate(wave):
            if order:
                factor = powers[axis, abs(order)] if order > 0 else powers[axis, -order].conj()
                product = factor if product is None else product * factor
        assert product is not None
        columns.append(product @ weights)
    return np.stack(columns, axis=1)


def _atom_weights(numbers: NDArray[np.int16]) -> NDArray[np.complex128]:
    if len(numbers) > _ATOMS_AT_ONCE:
        return _make_atom_weights(numbers)
    found = _known_atom_weights(numbers.astype(np.int16).tobytes())
    found.flags.writeable = False
    return found


@lru_cache(maxsize=16)
def _known_atom_weights(raw: bytes) -> NDArray[np.complex128]:
    return _make_atom_weights(np.frombuffer(raw, dtype=np.int16))


def _make_atom_weights(numbers: NDArray[np.int16]) -> NDArray[np.complex128]:
    kinds = numbers.astype(float)
    weights: NDArray[np.complex128] = (1.0 + 0.01 * kinds) * np.exp(2.399963j * kinds) / np.sqrt(max(1, len(kinds)))
    return weights
