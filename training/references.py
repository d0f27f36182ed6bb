"""Energy of each element that is taken off before training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.datasets import Alignment
from schemas.elements import SYMBOLS
from schemas.errors import TrainingError, closest
from schemas.frames import Floats, FrameArrays

APART: Final = 8.0
"""Å; an atom whose images are this far away is taken for isolated."""
FRAMES_AT_ONCE: Final = 1 << 17


@dataclass(frozen=True)
class References:
    """Energies per element with what the data could tell about them."""

    energies: dict[str, float]
    """eV, by symbol, in order of atomic number."""
    rank: int
    """Independent compositions in the data."""
    notes: tuple[str, ...]


def count_elements(arrays: FrameArrays, elements: tuple[str, ...]) -> Floats:
    """Return (frames, elements), how many atoms of each element a frame has; others are not counted."""
    frame = np.repeat(np.arange(arrays.count), arrays.natoms)
    counts = np.zeros((arrays.count, len(elements)))
    for column, symbol in enumerate(elements):
        counts[:, column] = np.bincount(frame[arrays.numbers == SYMBOLS.index(symbol)], minlength=arrays.count)
    return counts


def elements_of(arrays: FrameArrays) -> tuple[str, ...]:
    """Return the elements in the frames in order of atomic number."""
    return tuple(SYMBOLS[int(number)] for number in np.unique(arrays.numbers))


def isolated_atoms(*parts: FrameArrays) -> dict[str, float]:
    """Return the lowest energy (eV) of each element that stands alone in a frame, its own images at least APART away.

    The lowest one is that of the ground state among the spin states that were calculated.
    """
    found: dict[str, float] = {}
    for arrays in parts:
        for frame in np.flatnonzero((arrays.natoms == 1) & np.isfinite(arrays.energy)):
            if _stands_alone(arrays.cell[frame], arrays.pbc[frame]):
                symbol = SYMBOLS[int(arrays.numbers[arrays.offsets[frame]])]
                found[symbol] = min(found.get(symbol, np.inf), float(arrays.energy[frame]))
    return found


def _stands_alone(cell: Floats, pbc: NDArray[np.bool_]) -> bool:
    if not pbc.any():
        return True
    heights = 1.0 / np.linalg.norm(np.linalg.pinv(cell), axis=0).clip(1e-12)
    return bool((heights[pbc] >= APART).all())


def fit_references(
    arrays: FrameArrays,
    *,
    weights: Floats | None = None,
    known: Mapping[str, float] | None = None,
    origin: str = "the energies of isolated atoms among the frames",
) -> References:
    """Return the energies of elements by least squares over all frames with an energy, each weighted by 1/natoms.

    weights is (frames,), of the squares, over that; known holds energies that are given, and origin what they are: only the others
    are fitted.
    Where compositions do not tell elements apart (MgO alone gives no single energy of Mg) the solution of minimum norm is taken, and a
    note says so. Memory is flat in the number of frames. Raises TrainingError where no frame has an energy.
    """
    elements = elements_of(arrays)
    given = {symbol: energy for symbol, energy in (known or {}).items() if symbol in elements}
    sought = tuple(symbol for symbol in elements if symbol not in given)
    triangle = _triangle(arrays, weights, sought, given)
    if triangle is None:
        raise TrainingError(f"none of the {arrays.count} training frames has an energy; train on a dataset with energies")
    solution, _, rank, _ = np.linalg.lstsq(triangle[:, :-1], triangle[:, -1], rcond=1e-9)
    notes: tuple[str, ...] = ()
    if rank < len(sought):
        notes = (
            f"Element references of rank {rank} for {len(sought)} elements ({', '.join(sought)}): the compositions do not tell them"
            " apart, the solution of minimum norm was taken; energies of compositions that are no mixture of these have no common zero.",
        )
    if given:
        notes = (*notes, f"Element references of {', '.join(given)} are {origin}.")
    found = {**given, **dict(zip(sought, map(float, solution), strict=True))}
    return References({symbol: found[symbol] for symbol in elements}, int(rank) + len(given), notes)


def references_by_theory(
    arrays: FrameArrays, default: str, *, weights: Floats | None = None, atoms: bool = False
) -> tuple[dict[str, dict[str, float]], tuple[str, ...]]:
    """Return the energies of elements for each level of theory of the frames, the default one first, and notes.

    Those of the default level are fitted as `fit_references` does; those of another one by what its frames have beyond these, so that
    where compositions do not tell elements apart the difference of minimum norm is taken. An element that the default level lacks
    has there the energy of the first level with it; one that another level lacks has there that of the default one. Raises
    TrainingError where a level has no energies, or the default is none of them.
    """
    named = np.array(arrays.theories, dtype=object)
    counts = {str(name): int((named == name).sum()) for name in sorted(set(arrays.theories))}
    default = default or max(counts, key=lambda name: counts[name])
    if default not in counts:
        raise TrainingError(f"default_theory is {default!r}{closest(default, counts)}; the frames are of {', '.join(counts)}")
    found: dict[str, dict[str, float]] = {}
    base: dict[str, float] = {}
    notes: list[str] = []
    absent: list[tuple[str, str]] = []
    everything = elements_of(arrays)
    for name in (default, *(each for each in counts if each != default)):
        if not np.isfinite(arrays.energy[named == name]).any():
            raise TrainingError(f"no training frame of {name!r} has an energy, so that its zeros cannot be told; leave its frames out")
        own = dataclasses.replace(arrays, energy=np.where(named == name, arrays.energy, np.nan))
        there = {SYMBOLS[int(number)] for number in np.unique(arrays.numbers[np.repeat(named == name, arrays.natoms)])}
        zeros = np.array([base.get(symbol, 0.0) for symbol in everything])
        rest = dataclasses.replace(own, energy=own.energy - count_elements(own, everything) @ zeros)
        alone = {symbol: energy - base.get(symbol, 0.0) for symbol, energy in (isolated_atoms(own) if atoms else {}).items()}
        beyond = fit_references(rest, weights=weights, known={**{symbol: 0.0 for symbol in everything if symbol not in there}, **alone})
        found[name] = {symbol: base.get(symbol, 0.0) + beyond.energies[symbol] for symbol in everything}
        base.update({symbol: found[name][symbol] for symbol in there if symbol not in base})
        lacking = [symbol for symbol in everything if symbol not in there]
        absent += [(name, symbol) for symbol in lacking]
        if beyond.rank < len(everything):
            notes.append(f"{name}: compositions do not tell all elements apart, the difference of minimum norm was taken.")
        if lacking:
            notes.append(f"{name} has no frames with {', '.join(lacking)}: their energies there are those of another level.")
    for name, symbol in absent:
        found[name][symbol] = base[symbol]
    words = [f"{name} ({counts[name]} frames)" for name in found]
    return found, (f"Levels of theory are told apart, {default} where none is named: {', '.join(words)}.", *notes)


def _triangle(arrays: FrameArrays, weights: Floats | None, sought: tuple[str, ...], given: Mapping[str, float]) -> Floats | None:
    """Return an upper triangle with the least squares of all equations: fractions of elements and, last, energies per atom (eV)."""
    triangle = np.zeros((0, len(sought) + 1))
    any_energy = False
    for start in range(0, arrays.count, FRAMES_AT_ONCE):
        part = _part(arrays, start, min(start + FRAMES_AT_ONCE, arrays.count))
        good = np.isfinite(part.energy)
        any_energy |= bool(good.any())
        scale = 1.0 / part.natoms[good].astype(np.float64)
        if weights is not None:
            scale = scale * np.sqrt(weights[start : start + part.count][good])
        left = part.energy[good] - count_elements(part, tuple(given))[good] @ np.array([given[symbol] for symbol in given])
        rows = np.column_stack([count_elements(part, sought)[good], left]) * scale[:, None]
        triangle = np.asarray(np.linalg.qr(np.concatenate([triangle, rows]), mode="r"))
    return triangle if any_energy else None


def _part(arrays: FrameArrays, start: int, stop: int) -> FrameArrays:
    """Return frames start to stop, sharing memory."""
    atoms = slice(int(arrays.offsets[start]), int(arrays.offsets[stop]))
    frames = slice(start, stop)
    return FrameArrays(
        arrays.offsets[start : stop + 1] - arrays.offsets[start], arrays.numbers[atoms], arrays.positions[atoms], arrays.cell[frames],
        arrays.pbc[frames], arrays.energy[frames], arrays.forces[atoms], arrays.stress[frames],
    )  # fmt: skip


def alignment_notes(alignment: Alignment | None) -> tuple[str, ...]:
    """Return what the card of a potential says of the levels of theory that its energies were brought together from."""
    if alignment is None:
        return ()
    moved = [each for each in alignment.offsets if each.offset]
    if not moved:
        return (f"All levels of theory of the dataset have the zeros of energy of {alignment.to}.",)
    words = "; ".join(f"{each.element} in {each.settings}: {each.offset:+.6f} eV by {each.method}" for each in moved)
    left = "; ".join(f"{each.method} differ by {1000 * each.rms:.2f} meV/atom (rms)" for each in alignment.steps if np.isfinite(each.rms))
    told = f"Energies are aligned to {alignment.to} ({words}). Left after that: {left or 'not known'}."
    return (told, *alignment.notes)
