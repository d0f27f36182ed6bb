"""The level of theory that the input of CP2K states, where its log does not print it (PRINT_LEVEL LOW)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from typing import Final

from lake.readers.cp2k.altered import FIELD_NOT_TOLD
from lake.readers.cp2k.given import Given
from lake.readers.cp2k.input import Section, UnclearInput
from lake.readers.cp2k.level import FUNCTIONALS, SHELLS
from lake.readers.qe.level import mesh_spacing
from lake.readers.rows import number
from schemas.frames import Floats
from schemas.theory import LevelOfTheory
from schemas.units import HARTREE

_SHORTCUTS: Final = {
    "PBE": "PBE", "BLYP": "BLYP", "PADE": "LDA", "LDA": "LDA", "BP": "BP86", "OLYP": "OLYP", "TPSS": "TPSS", "BEEFVDW": "BEEF",
}  # fmt: skip
_PBE: Final = {"": "PBE", "ORIG": "PBE", "REVPBE": "revPBE", "PBESOL": "PBEsol"}
_PAIRS: Final = {"DFTD2": "D2", "DFTD3": "D3(0)", "DFTD3(BJ)": "D3(BJ)", "DFTD4": "D4", "": "D3(0)"}
_NON_LOCAL: Final = {"RVV10": "rVV10", "LMKLL": "vdW-DF2", "DRSLL": "vdW-DF"}
_OFF: Final = frozenset({"F", ".F.", "FALSE", ".FALSE.", "OFF", "NO"})
_SPIN: Final = ("UKS", "UNRESTRICTED_KOHN_SHAM", "LSD", "SPIN_POLARIZED", "ROKS", "RESTRICTED_OPEN_KOHN_SHAM")


def with_given_level(level: LevelOfTheory, given: Given, elements: Mapping[str, str], cell: Floats | None) -> LevelOfTheory:
    """Return the level that a log states, with what it does not print from its input; elements is that of each kind by its label.

    A part that the input leaves to a default, or states in a way that is not followed, stays unsaid.
    """
    dft = given.root.one("FORCE_EVAL", "DFT") or Section("DFT")
    pseudopotentials, hubbard = _kinds(given, elements)
    kpoints, charge = _mesh(dft), number((dft.words("CHARGE") or ["0"])[0].encode())
    if not isfinite(charge):
        raise UnclearInput("its charge is no number")
    printed = level.n_kpoints not in (None, 1) or level.kpoints not in (None, (1, 1, 1))
    return replace(
        level,
        functional=level.functional or _functional(dft),
        dispersion=level.dispersion or _dispersion(dft),
        hubbard_u=level.hubbard_u or hubbard,
        density_cutoff=level.density_cutoff if level.density_cutoff is not None else _cutoff(dft),
        pseudopotentials=level.pseudopotentials or pseudopotentials,
        kpoints=level.kpoints if printed else kpoints,
        n_kpoints=level.n_kpoints if printed else (1 if kpoints == (1, 1, 1) else None),
        kpoint_spacing=level.kpoint_spacing if printed else mesh_spacing(kpoints, cell) if kpoints and cell is not None else None,
        spin="collinear" if any(dft.switch(name) for name in _SPIN) else level.spin,
        charge=charge if level.charge == 0.0 else level.charge,
        extra=_extra(level, dft),
    )


def _extra(level: LevelOfTheory, dft: Section) -> tuple[tuple[str, str], ...]:
    """Return what else a log or its input names; the strength of a field is printed with what PRINT_LEVEL LOW leaves out."""
    found = dict(level.extra)
    field, solvent = dft.one("PERIODIC_EFIELD"), dft.one("SCCS")
    if field is not None and field.word("INTENSITY") and found.get("electric_field") in (None, FIELD_NOT_TOLD[1]):
        strength = field.word("INTENSITY"), *(field.words("POLARISATION") or ["0.0", "0.0", "1.0"])
        found["electric_field"] = " ".join(strength)
    if solvent is not None and solvent.parameter.upper() not in _OFF and "solvent" not in found:
        found["solvent"] = f"SCCS {solvent.word('RELATIVE_PERMITTIVITY', 'DIELECTRIC_CONSTANT', 'EPSILON_SOLVENT')}".strip()
    return tuple(sorted(found.items()))


def _functional(dft: Section) -> str:
    """Return the name of the functional, '' for one with exact exchange, with scaled parts, or that is not known by one name."""
    exchange = dft.one("XC")
    section = exchange.one("XC_FUNCTIONAL") if exchange is not None else None
    if exchange is None or section is None or any(any(exchange.all(name)) for name in ("HF", "WF_CORRELATION", "ADIABATIC_RESCALING")):
        return ""
    parts = [part for part in section.sections if part.parameter.upper() not in _OFF]
    if any(line.upper().startswith("SCALE") for part in parts for line in part.lines):
        return ""
    if not parts:
        return _SHORTCUTS.get(section.parameter.split(" ")[0].upper(), "")
    if [part.name for part in parts] == ["PBE"]:
        return _PBE.get(parts[0].word("PARAMETRIZATION"), "")
    names = {word.removeprefix("XC_") for part in parts for word in (_libxc(part) if part.name == "LIBXC" else [part.name])}
    return FUNCTIONALS.get(frozenset(names), "")


def _libxc(part: Section) -> list[str]:
    return [word.upper() for word in part.words("FUNCTIONAL") or []]


def _dispersion(dft: Section) -> str:
    section = dft.one("XC", "VDW_POTENTIAL")
    if section is None:
        return ""
    kind = section.word("POTENTIAL_TYPE", "DISPERSION_FUNCTIONAL")
    if kind == "PAIR_POTENTIAL":
        return _PAIRS.get((section.one("PAIR_POTENTIAL") or section).word("TYPE"), "pair potential")
    if kind == "NON_LOCAL":
        return _NON_LOCAL.get((section.one("NON_LOCAL") or section).word("TYPE"), "non-local")
    return "" if kind in ("", "NONE") else kind.lower()


def _cutoff(dft: Section) -> float | None:
    words = (dft.one("MGRID") or Section("MGRID")).words("CUTOFF") or []
    if words[:1] and words[0].upper() == "[RY]":
        words = words[1:]
    value = number(words[0].encode()) if words else float("nan")
    return 0.5 * value * HARTREE if value > 0 else None


def _mesh(dft: Section) -> tuple[int, int, int] | None:
    section = dft.one("KPOINTS")
    words = section.words("SCHEME") if section is not None else ["GAMMA"]
    if words and words[0].upper() == "MONKHORST-PACK" and [word.isdecimal() and len(word) < 9 for word in words[1:4]] == [True] * 3:
        found = int(words[1]), int(words[2]), int(words[3])
        return found if 0 not in found else None
    return (1, 1, 1) if not words or words[0].upper() in ("GAMMA", "NONE") else None


def _kinds(given: Given, elements: Mapping[str, str]) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str, float], ...]]:
    """Return (element, potential and basis) and (element, shell, U) of all kinds, sorted, each once, as the log would have them."""
    identities, hubbard = set(), set()
    for kind in given.subsystem.all("KIND"):
        element = elements.get(kind.parameter.upper())
        if element is None:
            continue
        potential, basis = (kind.words("POTENTIAL", "POT") or [""])[-1], (kind.words("BASIS_SET", "BASIS", "BAS") or [""])[-1]
        if potential and basis:
            identities.add((element, f"{potential} / {basis}"))
        plus_u = kind.one("DFT_PLUS_U")
        if plus_u is None or plus_u.parameter.upper() in _OFF:
            continue
        shell, value = plus_u.word("L"), plus_u.words("U_MINUS_J") or []
        if not (shell.isdecimal() and len(shell) == 1 and int(shell) < len(SHELLS) and value):
            raise UnclearInput(f"its Hubbard U of {kind.parameter} is not told")
        factor = 1.0 if value[0].lower() == "[ev]" else HARTREE
        if not isfinite(strength := number(value[-1].encode()) * factor):
            raise UnclearInput(f"its Hubbard U of {kind.parameter} is no number")
        hubbard.add((element, SHELLS[int(shell)], strength))
    return tuple(sorted(identities)), tuple(sorted(hubbard))
