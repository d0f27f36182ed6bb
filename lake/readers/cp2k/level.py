"""The level of theory in CP2K's words."""

from __future__ import annotations

import re
from functools import lru_cache
from math import isfinite
from typing import Final

import numpy as np

from lake.readers.cp2k.altered import WORDS as ALTERED_WORDS
from lake.readers.cp2k.altered import beyond
from lake.readers.qe.level import mesh_spacing
from lake.readers.rows import number
from lake.readers.words import Found, Words
from schemas.frames import Floats
from schemas.theory import LevelOfTheory
from schemas.units import BOLTZMANN, HARTREE

_FUNCTIONAL: Final = re.compile(rb"\n FUNCTIONAL\| +([A-Za-z][\w-]*):([^\n]*(?:\n FUNCTIONAL\|(?! +[A-Z][A-Z0-9_-]+:)[^\n]*)*)")
_SCALE: Final = re.compile(rb"sx=(\d*\.\d+)sc=")
"""How much of an exchange functional is taken: less than all where the rest is exact exchange, whose fraction may not be printed."""
_KIND: Final = re.compile(rb"\n +(\d+)\. Atomic kind: +(\S+) +Number of atoms: +\d+")
_BASIS: Final = re.compile(rb"\n +Orbital Basis Set +(\S+)")
_POTENTIAL: Final = re.compile(rb"\n +[A-Za-z ()-]*[Pp]otential information for +(\S+)")
_ANGULAR: Final = re.compile(rb"Angular quantum momentum number L: +(\d)")
_HUBBARD: Final = re.compile(rb"U\(eff\) = \(U - J\) value in \[eV\]: +(\S+)")
_UNRESTRICTED: Final = re.compile(rb"\n DFT\| Spin unrestricted|\n DFT\|[^\n]*(?:UKS|ROKS)")
_MESH: Final = re.compile(rb"\n BRILLOUIN\| K-[Pp]oint grid +(\d+) +(\d+) +(\d+)")
_POINTS: Final = re.compile(rb"\n BRILLOUIN\| List of Kpoints[^\n]*? +(\d+) *\n")
_CHARGE: Final = re.compile(rb"\n DFT\| Charge +(-?\d+)")
_DENSITY_CUTOFF: Final = re.compile(rb"\n QS\| Density cutoff \[a\.u\.\]: +(\S+)")
_SMEARING: Final = re.compile(rb"\n +Smear method: +(\S+)")
_TEMPERATURE: Final = re.compile(rb"\n +Electronic temperature \[K\]: +(\S+)")
_EXCHANGE: Final = re.compile(rb"\n HFX_INFO\| FRACTION: +(\S+)", re.I)
_POTENTIAL_TYPE: Final = re.compile(rb"\n HFX_INFO\| Interaction Potential: +(\S+)", re.I)

_VAN_DER_WAALS: Final = re.compile(rb"\n vdW POTENTIAL\|([^\n]*)")

FUNCTIONALS: Final[dict[frozenset[str], str]] = {
    frozenset({"PBE"}): "PBE",
    frozenset({"PADE"}): "LDA",
    frozenset({"BECKE88", "LYP"}): "BLYP",
    frozenset({"BECKE88", "P86C"}): "BP86",
    frozenset({"OPTX", "LYP"}): "OLYP",
    frozenset({"TPSS"}): "TPSS",
    frozenset({"BEEF"}): "BEEF",
    frozenset({"GGA_X_PBE", "GGA_C_PBE"}): "PBE",
    frozenset({"GGA_X_PBE_SOL", "GGA_C_PBE_SOL"}): "PBEsol",
    frozenset({"GGA_X_PBE_R", "GGA_C_PBE"}): "revPBE",
    frozenset({"GGA_X_RPBE", "GGA_C_PBE"}): "RPBE",
    frozenset({"GGA_X_B88", "GGA_C_LYP"}): "BLYP",
    frozenset({"LDA_X", "LDA_C_PZ"}): "LDA",
    frozenset({"LDA_XC_TETER93"}): "LDA",
    frozenset({"MGGA_X_SCAN", "MGGA_C_SCAN"}): "SCAN",
    frozenset({"MGGA_X_RSCAN", "MGGA_C_RSCAN"}): "rSCAN",
    frozenset({"MGGA_X_R2SCAN", "MGGA_C_R2SCAN"}): "r2SCAN",
    frozenset({"MGGA_X_TPSS", "MGGA_C_TPSS"}): "TPSS",
    frozenset({"MGGA_X_M06_L", "MGGA_C_M06_L"}): "M06-L",
    frozenset({"HYB_GGA_XC_HSE06"}): "HSE06",
    frozenset({"HYB_GGA_XC_PBEH"}): "PBE0",
    frozenset({"HYB_GGA_XC_B3LYP"}): "B3LYP",
    frozenset({"BECKE88", "LYP", "VWN"}): "BLYP+VWN",
}
"""Functional by the names that the log lists (xc_functionals of the CP2K manual, names of libxc)."""

SHELLS: Final = "spdf"
_LAST_KIND: Final = 200_000
"""Bytes that may describe the last kind of atoms."""
_MOST_LEVELS: Final = 64

WORDS: Final = (
    b". Atomic kind:", b"Orbital Basis Set", b"otential information for", b"Angular quantum", b"U(eff) = ", b"\n DFT|", b"DFT| Charge",
    b"BRILLOUIN| K-", b"BRILLOUIN| List", b"QS| Density cutoff", b"Smear method:", b"Electronic temperature [K]:", b"HFX_INFO|",
    b"\n FUNCTIONAL|", b"\n vdW POTENTIAL|",
)  # fmt: skip
"""What is looked for."""


_ALL_WORDS: Final = Words(*WORDS, *ALTERED_WORDS)


def level_of_theory(text: Found, elements: dict[int, str], cell: Floats | None) -> LevelOfTheory:
    """Return what `_level_of_theory` does, made once for the logs of a campaign: the lines that it is read from are mostly the same."""
    if len(text.text) > _LAST_KIND:
        return _level_of_theory(text, elements, cell)
    lines = text.lines_with(_ALL_WORDS.words)
    return _known_level(lines, tuple(sorted(elements.items())), None if cell is None else cell.tobytes())


@lru_cache(maxsize=_MOST_LEVELS)
def _known_level(lines: bytes, elements: tuple[tuple[int, str], ...], cell: bytes | None) -> LevelOfTheory:
    vectors = None if cell is None else np.frombuffer(cell, dtype=np.float64).reshape(3, 3)
    return _level_of_theory(Found(lines, _ALL_WORDS), dict(elements), vectors)


def _level_of_theory(text: Found, elements: dict[int, str], cell: Floats | None) -> LevelOfTheory:
    """Return the level of theory that the head of a log states; elements is that of each atomic kind by its number.

    The cutoff that CP2K prints is that of the density's plane waves; orbitals are Gaussians and have none. The identity of a
    pseudopotential is its name and that of the orbital basis, since energies depend on both.
    """
    pseudopotentials, hubbard = _kinds(text, elements)
    functional, exchange = _functional(text)
    mesh, points = text.line(_MESH, b"BRILLOUIN| K-"), text.line(_POINTS, b"BRILLOUIN| List")
    kpoints = (int(mesh.group(1)), int(mesh.group(2)), int(mesh.group(3))) if mesh else None
    if kpoints is not None and 0 in kpoints:
        kpoints = None
    elif kpoints is None and points is None:
        kpoints = (1, 1, 1)
    charge, cutoff = text.line(_CHARGE, b"DFT| Charge"), text.line(_DENSITY_CUTOFF, b"QS| Density cutoff")
    smearing, temperature = text.line(_SMEARING, b"Smear method:"), text.line(_TEMPERATURE, b"Electronic temperature [K]:")
    return LevelOfTheory(
        code="cp2k",
        functional=functional,
        dispersion=_dispersion(text),
        hubbard_u=hubbard,
        exact_exchange=exchange,
        basis="GTO",
        density_cutoff=_finite(number(cutoff.group(1)) * HARTREE) if cutoff else None,
        pseudopotentials=pseudopotentials,
        kpoints=kpoints,
        n_kpoints=int(points.group(1)) if points else (1 if kpoints == (1, 1, 1) else None),
        kpoint_spacing=mesh_spacing(kpoints, cell) if kpoints and cell is not None else None,
        smearing=smearing.group(1).decode("latin-1").lower().replace("_", "-") if smearing else "none",
        smearing_width=_finite(number(temperature.group(1)) * BOLTZMANN) if smearing and temperature else None,
        spin="collinear" if text.match(_UNRESTRICTED, b"\n DFT|") else "none",
        charge=float(charge.group(1)) if charge else 0.0,
        extra=beyond(text),
    )


def _kinds(text: Found, elements: dict[int, str]) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str, float], ...]]:
    """Return (element, potential and basis) and (element, shell, U) of all kinds, sorted, each once."""
    kinds = text.lines(_KIND, b". Atomic kind:")
    identities, hubbard = set(), set()
    for k, kind in enumerate(kinds):
        block = text.part(kind.end(), kinds[k + 1].start() if k + 1 < len(kinds) else kind.end() + _LAST_KIND)
        element = elements.get(int(kind.group(1)))
        if element is None:
            continue
        basis, potential = block.line(_BASIS, b"Orbital Basis Set"), block.line(_POTENTIAL, b"otential information for")
        names = [match.group(1).decode("latin-1") for match in (potential, basis) if match]
        identities.add((element, " / ".join(names)))
        value, angular = block.match(_HUBBARD, b"U(eff) = "), block.match(_ANGULAR, b"Angular quantum")
        if value and angular and int(angular.group(1)) < len(SHELLS) and isfinite(number(value.group(1))):
            hubbard.add((element, SHELLS[int(angular.group(1))], number(value.group(1))))
    return tuple(sorted(identities)), tuple(sorted(hubbard))


def _functional(text: Found) -> tuple[str, float | None]:
    """Return the functional's name, and the fraction of exact exchange."""
    first, last = text.first(b"\n FUNCTIONAL|"), text.last(b"\n FUNCTIONAL|")
    found = _FUNCTIONAL.findall(text.text, first, text.line_end(last + 1)) if first >= 0 else []
    parts = {name.decode("latin-1").upper(): words for name, words in found}
    name = FUNCTIONALS.get(frozenset(parts), "+".join(sorted(parts)))
    if "PBE" in parts and b"revPBE" in parts["PBE"]:
        name = "revPBE"
    elif "PBE" in parts and re.search(rb"PBE ?sol|Perdew.*Ruzsinszky", parts["PBE"], re.S):
        name = "PBEsol"
    fraction, screening = text.line(_EXCHANGE, b"HFX_INFO|"), text.line(_POTENTIAL_TYPE, b"HFX_INFO|")
    exchange = _finite(number(fraction.group(1))) if fraction else None
    if exchange is None:
        scale = _SCALE.search(b"".join(parts.values()))
        scaled = scale is not None and number(scale.group(1)) != 1.0
        return (f"{name}(sx={scale.group(1).decode('latin-1')})" if scale and scaled else name), None
    if not parts:
        return "HF", exchange
    if "PBE" in parts or "XWPBE" in parts:
        screened = screening is not None and screening.group(1).upper().startswith((b"SHORTRANGE", b"MIX"))
        name = "HSE06" if screened or "XWPBE" in parts else "PBE0"
    elif frozenset(parts) == frozenset({"BECKE88", "LYP", "VWN"}):
        name = "B3LYP"
    return name, exchange


def _dispersion(text: Found) -> str:
    lines = [match.group(1) for match in text.matches(_VAN_DER_WAALS, b"\n vdW POTENTIAL|")]
    words = b"\n".join(lines)
    if b"DFT-D4" in words:
        return "D4"
    if b"DFT-D3" in words:
        return "D3(BJ)" if re.search(rb"BJ [Dd]amping|Becke-Johnson", words) else "D3(0)"
    if b"DFT-D2" in words:
        return "D2"
    for printed, name in ((b"rVV10", "rVV10"), (b"LMKLL", "vdW-DF2"), (b"DRSLL", "vdW-DF")):
        if printed.lower() in words.lower():
            return name
    return " ".join(lines[0].decode("latin-1").split()) if lines else ""


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
