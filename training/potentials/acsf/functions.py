"""Symmetry functions as records: their line in `input.nn`, their order, and the sets that are made without one.

Parameters by type: n2p2 documentation, "Symmetry function types". Types 2, 3, 9 are G2, G4, G5 of Behler, J. Chem. Phys. 134, 074106
(2011), eqs. 6, 8, 9; 12 and 13 the weighted ones of Gastegger et al., J. Chem. Phys. 148, 241709 (2018); 20 to 25 the compact ones of
Bircher, Singraber and Dellago, Mach. Learn.: Sci. Technol. 2, 035026 (2021).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise
from typing import Final

from schemas.elements import NUMBERS
from schemas.errors import TrainingError, closest
from training.potentials.acsf.cutoffs import split_subtype

RADIAL: Final = frozenset({2, 12, 20, 23})
COMPACT: Final = frozenset({20, 21, 22, 23, 24, 25})
NARROW: Final = frozenset({3, 13, 21, 24})
"""Angular types that end where the two neighbours are further apart than the cutoff."""

PARAMETERS: Final[Mapping[int, tuple[str, ...]]] = {
    2: ("neighbour", "eta", "shift", "cutoff"),
    3: ("neighbour", "neighbour", "eta", "lambda_", "zeta", "cutoff", "shift"),
    9: ("neighbour", "neighbour", "eta", "lambda_", "zeta", "cutoff", "shift"),
    12: ("eta", "shift", "cutoff"),
    13: ("eta", "shift", "lambda_", "zeta", "cutoff"),
    20: ("neighbour", "inner", "cutoff", "subtype"),
    21: ("neighbour", "neighbour", "inner", "cutoff", "left", "right", "subtype"),
    22: ("neighbour", "neighbour", "inner", "cutoff", "left", "right", "subtype"),
    23: ("inner", "cutoff", "subtype"),
    24: ("inner", "cutoff", "left", "right", "subtype"),
    25: ("inner", "cutoff", "left", "right", "subtype"),
}
"""What follows centre and type on a line, by type; the shift of types 3 and 9 may be left out."""

_ORDER: Final[Mapping[int, tuple[str, ...]]] = {
    2: ("cutoff", "eta", "shift", "neighbours"),
    3: ("cutoff", "eta", "shift", "zeta", "lambda_", "neighbours"),
    9: ("cutoff", "eta", "shift", "zeta", "lambda_", "neighbours"),
    12: ("cutoff", "eta", "shift"),
    13: ("cutoff", "eta", "shift", "zeta", "lambda_"),
    20: ("subtype", "neighbours", "cutoff", "inner"),
    21: ("subtype", "neighbours", "cutoff", "inner", "left", "right"),
    22: ("subtype", "neighbours", "cutoff", "inner", "left", "right"),
    23: ("subtype", "cutoff", "inner"),
    24: ("subtype", "cutoff", "inner", "left", "right"),
    25: ("subtype", "cutoff", "inner", "left", "right"),
}
"""What functions of one centre and type are sorted by: scaling.data and weights count them in this order."""


@dataclass(frozen=True)
class SymmetryFunction:
    """One function; lengths in the unit of the set it belongs to, angles in degrees."""

    centre: str
    type: int
    cutoff: float
    neighbours: tuple[str, ...] = ()
    """Elements of the neighbours in order of atomic number; none for the weighted types."""
    eta: float = 0.0
    """1/length²"""
    shift: float = 0.0
    lambda_: float = 1.0
    zeta: float = 1.0
    inner: float = 0.0
    """Where a compact function begins; may be negative."""
    left: float = 0.0
    right: float = 0.0
    subtype: str = ""

    def line(self) -> str:
        """Return what stands after symfunction_short in input.nn, numbers with all their digits."""
        words = [self.centre, str(self.type)]
        neighbours = iter(self.neighbours)
        for name in PARAMETERS[self.type]:
            if name == "neighbour":
                words.append(next(neighbours))
            elif name == "subtype":
                words.append(self.subtype)
            elif not (name == "shift" and self.type in (3, 9) and self.shift == 0):
                words.append(repr(float(getattr(self, name))))
        return " ".join(words)

    def order(self) -> tuple[object, ...]:
        """Return the key that n2p2 sorts the functions of all elements by."""
        values = (getattr(self, name) for name in _ORDER[self.type])
        key = (tuple(NUMBERS[symbol] for symbol in value) if isinstance(value, tuple) else value for value in values)
        return (NUMBERS[self.centre], self.type, *key)

    def in_unit(self, factor: float) -> SymmetryFunction:
        """Return the same function with lengths multiplied by factor."""
        if factor == 1.0:
            return self
        lengths = {name: getattr(self, name) * factor for name in ("cutoff", "shift", "inner")}
        return dataclasses.replace(self, **lengths, eta=self.eta / factor**2)


def parse_function(words: Sequence[str], where: str) -> SymmetryFunction:
    """Return the function of the words after symfunction_short; raises TrainingError, naming where, for any that do not fit."""
    if len(words) < 2:
        raise TrainingError(f"{where}: symfunction_short has {len(words)} values, expected an element, a type and its parameters")
    kind = int(words[1]) if words[1].isdecimal() else -1
    names = PARAMETERS.get(kind)
    if names is None:
        raise TrainingError(f"{where}: symmetry functions of type {words[1]!r} are not known; known are {', '.join(map(str, PARAMETERS))}")
    optional = 1 if kind in (3, 9) else 0
    found = words[2:]
    if not len(names) - optional <= len(found) <= len(names):
        raise TrainingError(
            f"{where}: type {kind} has {len(found)} parameters ({' '.join(found)}), expected {len(names) - optional}: {', '.join(names)}"
        )
    values: dict[str, float | str] = {}
    neighbours: list[str] = []
    for name, word in zip(names, found, strict=False):
        if name == "neighbour":
            neighbours.append(element(word, where))
        else:
            values[name] = word if name == "subtype" else number(word, f"{where}: {name.rstrip('_')}")
    function = SymmetryFunction(
        element(words[0], where),
        kind,
        neighbours=tuple(sorted(neighbours, key=lambda symbol: NUMBERS[symbol])),
        **values,  # type: ignore[arg-type]
    )
    _check(function, where)
    return function


def element(word: str, where: str) -> str:
    """Return word where it is the symbol of an element; raises TrainingError, naming where, for anything else."""
    if word not in NUMBERS:
        raise TrainingError(f"{where}: {word!r} is not the symbol of an element{closest(word.capitalize(), NUMBERS)}; write it like 'Mg'")
    return word


def number(word: str, where: str) -> float:
    """Return the number that word is, Fortran's 1.0d-3 included; raises TrainingError, naming where, for anything else."""
    try:
        value = float(word.lower().replace("d", "e"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TrainingError(f"{where} is {word!r}, expected a number")
    return value


def in_order(functions: Iterable[SymmetryFunction]) -> tuple[SymmetryFunction, ...]:
    """Return the functions sorted as n2p2 does; those that are alike keep their order."""
    return tuple(sorted(functions, key=SymmetryFunction.order))


def generated(elements: Sequence[str], cutoff: float, radial: int) -> tuple[SymmetryFunction, ...]:
    """Return a set for any elements: for each neighbour `radial` shifted G2, for each pair of neighbours twelve G4 (type 3).

    The G2 are the shifted set of Imbalzano et al., J. Chem. Phys. 148, 241730 (2018), eqs. 8 and 9: closer together and narrower at short
    distance. The G4 have eta 1/cutoff² and 4/cutoff², zeta 1, 4, 16 and lambda ±1.
    """
    shells = [cutoff / radial ** (place / radial) for place in range(radial + 1)][::-1] if radial > 1 else [0.0, cutoff]
    found = []
    for centre in elements:
        for neighbour in elements:
            for near, far in pairwise(shells):
                found.append(SymmetryFunction(centre, 2, cutoff, (neighbour,), eta=1 / (far - near) ** 2, shift=near))
        for pair in combinations_with_replacement(sorted(elements, key=lambda symbol: NUMBERS[symbol]), 2):
            for eta in (1 / cutoff**2, 4 / cutoff**2):
                for zeta in (1.0, 4.0, 16.0):
                    found += [SymmetryFunction(centre, 3, cutoff, pair, eta=eta, zeta=zeta, lambda_=sign) for sign in (-1.0, 1.0)]
    return in_order(found)


def _check(function: SymmetryFunction, where: str) -> None:
    if function.cutoff <= 0:
        raise TrainingError(f"{where}: the cutoff is {function.cutoff}, expected a positive length")
    if function.type in COMPACT:
        try:
            split_subtype(function.subtype)
        except TrainingError as error:
            raise TrainingError(f"{where}: {error}") from error
        if function.inner >= function.cutoff:
            raise TrainingError(f"{where}: the function begins at {function.inner} and ends at {function.cutoff}; the end must be larger")
        if function.type not in RADIAL and function.left >= function.right:
            raise TrainingError(f"{where}: the angle runs from {function.left} to {function.right}; the second must be larger")
