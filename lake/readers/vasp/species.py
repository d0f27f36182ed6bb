"""Which elements the ions of a VASP run are: POTCAR titles first, printed symbols and masses as second opinion."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from schemas.elements import NUMBERS, SYMBOLS
from schemas.errors import UnreadableOutput

_STEM = re.compile(r"([A-Z][a-z]?)(?=$|[_.\d])")
_MASS_TOLERANCE = 0.6
"""u; old POTCARs round masses (Nb 92.000) and keep those of their time (Ge 72.61)."""


@dataclass(frozen=True)
class IonType:
    """One POTCAR block: a run may have several for one element."""

    count: int
    title: str
    """TITEL without surrounding blanks: 'PAW_PBE Mg_pv 13Apr2007'."""
    symbol: str = ""
    """As the output prints it; VRHFIN errors of old POTCARs make 'X' of Xe and 'r' of Zr."""
    mass: float = float("nan")
    """u"""
    valence: float = float("nan")
    """Valence electrons."""


@lru_cache(maxsize=1024)
def element_of(kind: IonType) -> tuple[int, str]:
    """Return the atomic number of an ion type, and a remark where title, symbol and mass do not agree ('' where they do).

    VASP follows the POTCAR, so the title decides; a symbol counts where the title names no element, a mass where neither does.
    Raises UnreadableOutput where none of them tells.
    """
    titled = _titled(kind.title)
    if titled:
        remark = "" if kind.symbol in ("", titled) else f"symbol {kind.symbol!r} of POTCAR {kind.title!r} is read as {titled}"
        return NUMBERS[titled], remark
    if kind.symbol in NUMBERS and (kind.mass != kind.mass or abs(_masses()[NUMBERS[kind.symbol]] - kind.mass) < _MASS_TOLERANCE):
        return NUMBERS[kind.symbol], f"POTCAR title {kind.title!r} names no element; its symbol {kind.symbol} is taken"
    near = [z for z in range(1, len(SYMBOLS)) if abs(_masses()[z] - kind.mass) < 0.1]
    if len(near) == 1:
        return near[
            0
        ], f"POTCAR title {kind.title!r} and symbol {kind.symbol!r} name no element; {SYMBOLS[near[0]]} has its mass {kind.mass}"
    if kind.symbol in NUMBERS:
        return NUMBERS[
            kind.symbol
        ], f"symbol {kind.symbol} does not fit the mass {kind.mass} (POTCAR title {kind.title!r}); the symbol is taken"
    raise UnreadableOutput(
        "unreadable_output",
        f"the element of POTCAR title {kind.title!r}, symbol {kind.symbol!r}, mass {kind.mass} is not known",
        "deposit the other outputs of the run too (vasprun.xml, OUTCAR)",
    )


def _titled(title: str) -> str:
    """Return the element that a POTCAR title names, or ''; its first word is the kind of potential unless it stands alone."""
    words = title.split()
    for word in words[1:2] + words[:1]:
        match = _STEM.match(word)
        if match and match.group(1) in NUMBERS:
            return match.group(1)
    return ""


def _masses() -> list[float]:
    from ase.data import atomic_masses

    return [float(mass) for mass in atomic_masses]
