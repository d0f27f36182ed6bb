"""The functional of NWChem's DFT, by the parts that it lists: the name of a method above them stays where an input has changed them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_PART: Final = re.compile(r"(.*?) *(-?\d+\.\d+)(?: (?:non-)?local)?\Z")
_EXACT: Final = "Hartree-Fock (Exact) Exchange"
_PBE: Final = "PerdewBurkeErnzerhof Exchange Functional"
_PBE_C: Final = "PerdewBurkeErnz. Correlation Functional"
_BECKE: Final = "Becke 1988 Exchange Functional"
_LYP: Final = "Lee-Yang-Parr Correlation Functional"
_SLATER: Final = "Slater Exchange Functional"
_TPSS: Final = "TPSS metaGGA Exchange Functional"
_TPSS_C: Final = "TPSS03 metaGGA Correlation Functional"
_BENEATH: Final = "Perdew 1991 LDA Correlation Functional"
"""Stands beside correlations of Perdew that have it in them."""

_METHODS: Final = {
    "B3LYP": "B3LYP",
    "PBE0": "PBE0",
    "TPSS03": "TPSS",
    "M06-2X": "M06-2X",
    "M06": "M06",
    "HSE03": "HSE03",
    "PBE96": "PBE",
    "Becke 1997": "B97",
    "Becke 97-D": "B97-D",
    "Becke half-and-half": "BHandH",
    "Adiabatic Connection": "B3PW91(ACM)",
}
_RECIPES: Final[dict[str, dict[str, float]]] = {
    "HF": {_EXACT: 1.0},
    "LDA-VWN": {_SLATER: 1.0, "VWN V Correlation Functional": 1.0},
    "PBE": {_PBE: 1.0, _PBE_C: 1.0},
    "revPBE": {"RevPBE Exchange Functional": 1.0, _PBE_C: 1.0},
    "RPBE": {"RPBE Exchange Functional": 1.0, _PBE_C: 1.0},
    "PBE0": {_EXACT: 0.25, _PBE: 0.75, _PBE_C: 1.0},
    "HSE03": {_EXACT: 0.25, _PBE: 1.0, "CAM-PBE96 Exchange Functional": -0.25, _PBE_C: 1.0},
    "BLYP": {_BECKE: 1.0, _LYP: 1.0},
    "BP86": {_BECKE: 1.0, "Perdew 1981 Correlation Functional": 1.0, "Perdew 1986 Correlation Functional": 1.0},
    "B3LYP": {_EXACT: 0.2, _SLATER: 0.8, _BECKE: 0.72, _LYP: 0.81, "VWN I RPA Correlation Functional": 0.19},
    "TPSS": {_TPSS: 1.0, _TPSS_C: 1.0},
    "TPSSh": {_EXACT: 0.1, _TPSS: 0.9, _TPSS_C: 1.0},
}
"""Parts and shares of what has a name."""


def functional_of(lines: Sequence[str]) -> str:
    """Return the functional whose parts the lines of 'XC Information' list, by its name or by its parts and their shares."""
    parts = _parts(lines)
    told = {name: share for name, share in parts.items() if name != _BENEATH or _PBE_C not in parts}
    known = next((name for name, recipe in _RECIPES.items() if recipe == told), "")
    method = next((line.partition(" Method XC")[0] for line in lines if " Method XC" in line), "")
    method = _METHODS.get(method, method)
    if known or (method and (method not in _RECIPES or not parts)):
        return known or method
    even = all(share == 1.0 for share in parts.values())
    return " + ".join(name if even else f"{share:g} {name}" for name, share in parts.items())


def exact_share(lines: Sequence[str]) -> float:
    """Return the share of exact exchange, 0 where there is none."""
    return _parts(lines).get(_EXACT, 0.0)


def _parts(lines: Sequence[str]) -> dict[str, float]:
    own = [line for line in lines if " Method XC" not in line and not line.startswith("Using LibXC")]
    found = [match for line in own if (match := _PART.match(line)) is not None]
    return {match.group(1): float(match.group(2)) for match in found}
