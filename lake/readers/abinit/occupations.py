"""Occupations that an ABINIT input gives (occopt 0 and 2): those of an excited state are another level of theory than the ground state.

With these two options nothing orders the states by their energies: `occ` holds electrons where the input puts them (constrained
occupations, ΔSCF). Lists that are full up to one band and empty above it are those of the ground state of an insulator.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final, Protocol

_GIVEN: Final = (0, 2)
"""occopt: occupations of the input, the same at all k-points or for each"""
_EQUAL: Final = 1e-6
_TOLD: Final = 4
"""Blocks that are told."""


class _Variables(Protocol):
    def numbers(self, name: str, dataset: int) -> tuple[float, ...]: ...

    def integer(self, name: str, dataset: int, default: int) -> int: ...


def held_occupations(variables: _Variables, dataset: int) -> tuple[tuple[str, str], ...]:
    """Return what given occupations add to the level of theory: the moment they fix, or all where they are no ground state's."""
    occopt = variables.integer("occopt", dataset, 1)
    if occopt not in _GIVEN:
        return ()
    spins = variables.integer("nsppol", dataset, 1)
    blocks = _blocks(variables, dataset, spins)
    if blocks is None:
        return (("occupations", f"occopt {occopt}, of the input"),)
    full = 1.0 if spins == 2 or variables.integer("nspinor", dataset, 1) == 2 else 2.0
    half = len(blocks) // spins
    counts = {(k // half, round(sum(block), 4)) for k, block in enumerate(blocks)}
    if len(counts) > spins or not all(_is_filled(block, full) for block in blocks):
        told = list(dict.fromkeys(_told(block) for block in blocks))
        more = f"; {len(told) - _TOLD} more" if len(told) > _TOLD else ""
        return (("occupations", f"occopt {occopt}: {'; '.join(told[:_TOLD])}{more}"),)
    electrons = [count for _, count in sorted(counts)]
    return (("total_moment", f"{electrons[0] - electrons[1]:g}"),) if spins == 2 and electrons[0] != electrons[1] else ()


def _blocks(variables: _Variables, dataset: int, spins: int) -> list[Sequence[float]] | None:
    """Return the occupations of each spin and k-point, those of the first spin first; None where the list is not whole."""
    occupations = variables.numbers("occ", dataset)
    bands = [int(count) for count in variables.numbers("nband", dataset) if count >= 1]
    if len(bands) == 1:
        bands *= len(occupations) // bands[0]
    if not bands or sum(bands) != len(occupations) or len(bands) % spins:
        return None
    ends = list(itertools.accumulate(bands))
    return [occupations[end - count : end] for end, count in zip(ends, bands, strict=True)]


def _is_filled(block: Sequence[float], full: float) -> bool:
    """Return whether each state holds all that it can up to one band, and nothing above it."""
    filled = sum(abs(value - full) < _EQUAL for value in block)
    return all(abs(value - full * (k < filled)) < _EQUAL for k, value in enumerate(block))


def _told(block: Sequence[float]) -> str:
    """Return occupations in the short form of an input, '127*1 0 1', without the empty bands above them."""
    runs = [(f"{value:g}", len(list(group))) for value, group in itertools.groupby(block)]
    runs = runs[:-1] if runs[-1][0] == "0" else runs
    return " ".join(f"{count}*{value}" if count > 1 else value for value, count in runs)
