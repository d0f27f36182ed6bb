"""Element symbols, formulas and element systems."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from math import gcd, lcm
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import QueryError, closest

SYMBOLS: Final[tuple[str, ...]] = (
    "X",
    *(
        "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb "
        "Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf "
        "Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh "
        "Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
    ).split(),
)
"""Element symbols by atomic number; number 0 is a place holder that no reader may give to an atom."""

NUMBERS: Final[Mapping[str, int]] = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}
"""Atomic number of each symbol."""

_AMOUNT: Final = r"(\d+/\d+|\d*\.?\d+|\d*)"
_FORMULA_TOKEN: Final = re.compile(rf"([A-Z][a-z]?){_AMOUNT}|([(\[{{])|([)\]}}]){_AMOUNT}|([·*.]){_AMOUNT}")
_HYDRATE: Final = re.compile(r"(?<=[\w)\]}])(?<!\D0)\.(\d+/\d+|\d*\.?\d*)(?=\(?(?:H2O|D2O))")
"""The full stop of 'CaSO4.2H2O', which joins a part; that of 'Mg0.5H2O' stands in a number."""
_DOTS: Final = str.maketrans(dict.fromkeys("•∙⋅・‧", "·") | {"⁄": "/", "−": "-"})
_LARGEST_DENOMINATOR: Final = 1000
_ANONYMOUS: Final = re.compile(r"(?:[A-Z]\d*)+")


def atomic_number(symbol: str) -> int:
    """Return the atomic number of an element symbol; raises QueryError for anything else."""
    number = NUMBERS.get(symbol)
    if number is None:
        hint = closest(symbol.capitalize(), NUMBERS)
        raise QueryError(f"{symbol!r} is not the symbol of an element{hint}; write it like 'Mg'")
    return number


def symbols_of(numbers: Iterable[int] | NDArray[np.integer]) -> list[str]:
    """Return the element symbols of atomic numbers."""
    return [SYMBOLS[int(number)] for number in numbers]


def element_system(symbols: Iterable[str]) -> str:
    """Return the sorted, distinct symbols joined by '-': 'Ca-Mg-O'."""
    return "-".join(sorted(set(symbols)))


def composition(numbers: Sequence[int] | NDArray[np.integer]) -> dict[str, int]:
    """Return how many atoms of each element there are, sorted by symbol."""
    found, counts = np.unique(np.asarray(numbers), return_counts=True)
    return dict(sorted((SYMBOLS[int(z)], int(n)) for z, n in zip(found, counts, strict=True)))


def formula(counts: Mapping[str, int]) -> str:
    """Return the formula in Hill order (C, H first where there is C, else alphabetical): 'Ca2Mg2O4'."""
    first = [s for s in ("C", "H") if s in counts] if "C" in counts else []
    order = first + sorted(set(counts) - set(first))
    return "".join(f"{s}{counts[s] if counts[s] != 1 else ''}" for s in order)


def reduced_formula(counts: Mapping[str, int]) -> str:
    """Return the formula divided by the greatest common divisor of its counts: 'CaMgO2'."""
    divisor = reduce(gcd, counts.values(), 0) or 1
    return formula({s: n // divisor for s, n in counts.items()})


def parse_formula(text: str) -> dict[str, float]:
    """Return the composition that a formula in any order says: 'OMg', 'Mg0.5Ca0.5O', 'Mg1/2Ca1/2O', 'Al2Si2O5(OH)4', 'MgCl₂'.

    Brackets nest; a dot or middle dot adds a part ('CuSO4·5H2O', 'CaSO4·1/2H2O', '3CaO·SiO2'). Raises QueryError, naming the place,
    for anything else.
    """
    text = _HYDRATE.sub(r"·\1", "".join(unicodedata.normalize("NFKC", text).translate(_DOTS).split()))
    if text[:1].isdigit():
        text = f"·{text}"
    stack: list[dict[str, float]] = [{}]
    scales: list[float] = [1.0]
    place = 0
    while place < len(text):
        match = _FORMULA_TOKEN.match(text, place)
        if match is None or match.end() == place:
            raise QueryError(f"formula {text!r}: cannot read {text[place:]!r}; write it like 'Mg0.5Ca0.5O'")
        symbol, count, opening, closing, group_count, dot, part = match.groups()
        if symbol:
            atomic_number(symbol)
            stack[-1][symbol] = stack[-1].get(symbol, 0.0) + scales[-1] * _amount(count)
        elif opening:
            stack.append({})
            scales.append(1.0)
        elif closing:
            if len(stack) == 1:
                raise QueryError(f"formula {text!r}: a bracket is closed that was not opened")
            group = stack.pop()
            scales.pop()
            for key, value in group.items():
                stack[-1][key] = stack[-1].get(key, 0.0) + scales[-1] * value * _amount(group_count)
        elif dot:
            scales[-1] = _amount(part)
        place = match.end()
    if len(stack) != 1 or not stack[0]:
        raise QueryError(f"formula {text!r}: a bracket is left open or there is no element in it")
    return dict(sorted(stack[0].items()))


def _amount(text: str) -> float:
    return float(Fraction(text)) if text else 1.0


def canonical_formula(text: str) -> str:
    """Return the reduced formula, in the order of the tables, of a formula in any order: 'Mg0.5Ca0.5O' is 'CaMgO2'.

    Raises QueryError where the numbers have no common measure with a denominator up to 1000.
    """
    parts = {symbol: Fraction(n).limit_denominator(_LARGEST_DENOMINATOR) for symbol, n in parse_formula(text).items()}
    if any(n <= 0 for n in parts.values()):
        raise QueryError(f"formula {text!r}: an element counts 0; leave it out")
    scale = lcm(*(n.denominator for n in parts.values()))
    return reduced_formula({symbol: int(n * scale) for symbol, n in parts.items()})


def anonymous_formula(counts: Mapping[str, int]) -> str:
    """Return the formula with letters for the elements, the rarest first, divided by the greatest common divisor: 'ABC3' of MgSiO3."""
    divisor = reduce(gcd, counts.values(), 0) or 1
    amounts = sorted(n // divisor for n in counts.values())
    return "".join(f"{letter}{n if n != 1 else ''}" for letter, n in zip(string.ascii_uppercase, amounts, strict=False))


def parse_anonymous(text: str) -> str | None:
    """Return the form in which `anonymous_formula` writes an anonymous formula ('A3BC' is 'ABC3'), or None for any other text.

    The letters are A, B, C and so on without a gap; since A is no element, no formula of elements reads as one.
    """
    if not _ANONYMOUS.fullmatch(text.strip()):
        return None
    parts = re.findall(r"([A-Z])(\d*)", text)
    letters = sorted(letter for letter, _ in parts)
    if letters != list(string.ascii_uppercase[: len(letters)]) or any(n and not int(n) for _, n in parts):
        return None
    return anonymous_formula({letter: int(n or 1) for letter, n in parts})
