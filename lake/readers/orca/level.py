"""The level of theory of an ORCA run, from the input that its output repeats and the settings that it prints."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import numpy as np

from lake.readers.orca.given import Given
from lake.readers.rows import number
from schemas.theory import LevelOfTheory

_SETTING: Final = re.compile(rb"\n +([A-Z][^\n]*?) +\.{4} +(\S[^\n]*?) *(?=\n)")
_BASIS: Final = re.compile(rb"\nYour calculation utilizes (?:the basis|[^\n:]*\bf(?:cns|unctions)\b[^\n:]*): +([^\n]*?)[ ,]*(?=\n)")
_DISPERSION_TEXT: Final = re.compile(rb"\nYour calculation utilizes the atom-pairwise dispersion correction\n([^\n]*)")
_OWN_PARAMETERS: Final = re.compile(rb"\nA user input [^\n]* has been recognized")
_PARAMETERS: Final = re.compile(rb"\n +([ars]+\d) scaling factor +: +(\S+)")
_SECTION: Final = re.compile(rb"\nBASIS SET INFORMATION\n(.*?)(?=\n[^\n]*BASIS SET INFORMATION\n|\n *\nAtom |\Z)", re.S)
_GROUP: Final = re.compile(rb"\n Group +\d+ Type ([A-Z][a-z]?) +: +[^\n]*pattern (\{[^}\n]*\})")

_NAMES: Final = {
    "PBE": "PBE", "RPBE": "RPBE", "REVPBE": "revPBE", "BP86": "BP86", "BP": "BP86", "BLYP": "BLYP", "PBE0": "PBE0", "B3LYP/G": "B3LYP",
    "B3LYP": "B3LYP(VWN5)", "TPSS": "TPSS", "TPSSH": "TPSSh", "M06-2X": "M06-2X", "M062X": "M06-2X", "M06L": "M06-L", "M06": "M06",
    "R2SCAN": "r2SCAN", "R2SCAN-3C": "r2SCAN-3c", "B97-3C": "B97-3c", "PBEH-3C": "PBEh-3c", "WB97X-D3": "wB97X-D3", "WB97X-V": "wB97X-V",
    "WB97M-V": "wB97M-V", "WB97X-D3BJ": "wB97X-D3(BJ)", "WB97M-D3BJ": "wB97M-D3(BJ)", "CAM-B3LYP": "CAM-B3LYP", "PW91": "PW91",
    "LDA": "LDA-PW92", "SCANFUNC": "SCAN", "HSE06": "HSE06", "WB97X": "wB97X", "HF-3C": "HF-3c", "B97-D3": "B97-D3", "B97M-V": "B97M-V",
    "WB97X-3C": "wB97X-3c", "B3LYP-3C": "B3LYP-3c", "WB97X-D4": "wB97X-D4", "WB97M-D4": "wB97M-D4", "WB97X-D4REV": "wB97X-D4rev",
    "WB97M-D4REV": "wB97M-D4rev", "B97M-D3BJ": "B97M-D3(BJ)", "B97M-D4": "B97M-D4", "B97-D": "B97-D",
}  # fmt: skip
_OWN_DISPERSION: Final = re.compile(r"-3c|-D[34]|-V\Z|-D\Z")
"""Functionals whose names say that dispersion is in them."""
_RELATIVISTIC: Final = ("ZORA", "DKH", "X2C")
"""Keywords of Hamiltonians; names of basis sets for them, which begin so too, are used with nothing else."""
_DISPERSION: Final = {
    "D3BJ": "D3(BJ)", "D3": "D3(BJ)", "D3ZERO": "D3(0)", "D30": "D3(0)", "D4": "D4", "D2": "D2", "NL": "VV10", "SCNL": "VV10",
    "D3TZ": "D3(0)", "VDW10": "D3(0)", "VDW10BJ": "D3(BJ)", "VDW06": "D2",
}  # fmt: skip
_DAMPINGS: Final = ((b"(D3BJ)", "D3(BJ)"), (b"(D30)", "D3(0)"), (b"(D4)", "D4"), (b"(D2)", "D2"))
_SETS: Final = re.compile(
    r"(?:AUG-|MA-|M-|JUN-|HEAVY-|ZORA-|DKH-|X2C-|SARC\d?-)?(?:STO-\dG|\d-\d+\+*G|(?:AUG-)?(?:CC-|PC)|DEF2?-|SV|TZV|QZV|ANO|MINI|LANL|SDD"
    r"|DZ|EPR|IGLO|UGBS|W1|VDZ|DEF-|SARC)"
)
"""Beginnings of keywords that are basis sets."""
_AUXILIARY: Final = re.compile(r"/(?:JK?|C|CABS)\Z")
_OWN_BASIS: Final = ("newgto", "newecp", "addgto", "gtoname")
_OF_FUNCTIONAL: Final = ("scal", "exchange", "correlation", "functional", "rangesep", "ldaopt", "x", "d3", "d4", "nl", "ac", "kappa")
"""Beginnings of words of %method and %xc that change the functional."""


def read_level(head: bytes, piece: bytes, given: Given, symbols: list[str]) -> LevelOfTheory:
    """Return the level that the beginning and the first step of an output tell."""
    settings: dict[str, str] = {}
    for name, value in _SETTING.findall(piece):
        settings.setdefault(" ".join(name.decode("latin-1").split()), value.decode("latin-1"))
    fraction = number(settings.get("Fraction HF Exchange ScalHFX", "").encode("latin-1"))
    charge = number(settings.get("Total Charge Charge", "").encode("latin-1"))
    hftyp = settings.get("Hartree-Fock type HFTyp", "RHF")
    dft = "Density Functional Method" in settings
    functional = _functional(settings, given) if dft else ("HF-3c" if "HF-3C" in given.keywords else "HF")
    multiplicity = settings.get("Multiplicity Mult", "1")
    return LevelOfTheory(
        code="orca",
        functional=functional,
        dispersion=_dispersion(head, functional, given),
        exact_exchange=(fraction if fraction > 0 else None) if dft else 1.0,
        basis="GTO",
        pseudopotentials=_bases(head, piece, given, symbols),
        smearing="fermi-dirac" if _smearing(given) else "none",
        spin="none" if hftyp in ("RHF", "RKS") else "collinear",
        charge=charge if np.isfinite(charge) else 0.0,
        extra=_extra(piece, given, hftyp, int(multiplicity) if multiplicity.isdigit() else 1),
    )


def _extra(piece: bytes, given: Given, hftyp: str, multiplicity: int) -> tuple[tuple[str, str], ...]:
    """Return what changes energies beside the functional, and the state where it is not the lowest."""
    keywords = given.keywords
    solvent = next((word for word in keywords if word.startswith(("CPCM", "SMD", "ALPB", "COSMO", "C-PCM", "DDCOSMO"))), "")
    block = given.block("%cpcm", "%cosmo")
    method = given.block("%method") + " " + given.block("%xc")
    parameters = _PARAMETERS.findall(piece) if _OWN_PARAMETERS.search(piece) else []
    broken = given.behind("brokensym", 1) or given.behind("flipspin", 1)
    found = (
        ("broken_symmetry", broken),
        ("dispersion_parameters", " ".join(f"{name.decode()}={value.decode()}" for name, value in parameters)),
        ("electric_field", given.behind("efield", 3)),
        ("fractional_occupation", _smearing(given)),
        ("geometrical_counterpoise", next((word for word in keywords if word.startswith("GCP(")), "")),
        ("hamiltonian", next((start for word in keywords for start in _RELATIVISTIC if word.startswith(start)), "")),
        ("method_block", " ".join(method.split()) if any(word.startswith(_OF_FUNCTIONAL) for word in method.split()) else ""),
        ("multiplicity", str(multiplicity) if multiplicity > 2 and not broken else ""),
        ("open_shells", "restricted" if hftyp.startswith("RO") else ""),
        ("solvent", " ".join(part for part in (solvent, block) if part)),
        ("three_body", "ABC" if "ABC" in keywords else ""),
    )
    return tuple((name, value) for name, value in found if value)


def _smearing(given: Given) -> str:
    """Return the temperature of fractional occupations, '' for integer ones; FOD sets one of its own."""
    if "FOD" in given.keywords:
        return "FOD"
    return given.behind("smeartemp", 1).strip(" =") and f"{given.behind('smeartemp', 1)} K"


def _functional(settings: dict[str, str], given: Given) -> str:
    named = next((_NAMES[word] for word in given.keywords if word in _NAMES), "")
    parts = [settings.get("Exchange Functional Exchange", ""), settings.get("Correlation Functional Correlation", "")]
    library = next((word[6:].strip("()") for word in given.keywords if word.startswith("LIBXC(")), "")
    return named or _NAMES.get(library, library) or "/".join(part for part in parts if part)


def _dispersion(head: bytes, functional: str, given: Given) -> str:
    """Return the correction that the input asks for, or that the output says to use where the functional's name does not."""
    asked = next((_DISPERSION[word] for word in given.keywords if word in _DISPERSION), "")
    if asked or _OWN_DISPERSION.search(functional):
        return asked
    told = _DISPERSION_TEXT.findall(head)
    return next((label for words, label in _DAMPINGS if words in told[-1]), "D") if told else ""


def _bases(head: bytes, piece: bytes, given: Given, symbols: list[str]) -> tuple[tuple[str, str], ...]:
    """Return the basis of each element: the name that is printed, or asked for; with what a block of the input changes.

    Functions of the input have its digest; what is neither printed nor asked for is equal to nothing else.
    """
    names = list(dict.fromkeys(" ".join(name.decode("latin-1").split()) for name in _BASIS.findall(head)))
    asked = [word for word in given.keywords if _SETS.match(word) and not _AUXILIARY.search(word)]
    base = " + ".join(names) or ("keyword " + " ".join(asked) if asked else "")
    block = given.block("%basis")
    changed = any(word.strip("%").startswith(_OWN_BASIS) for word in given.words) or "DECONTRACT" in " ".join(given.keywords)
    inside = any(word.startswith(_OWN_BASIS) for word in block.split())
    own = f"input {_digest(block if inside else ' '.join(given.words))}" if changed else ""
    groups: dict[str, set[str]] = {}
    section = _SECTION.search(piece)
    for symbol, pattern in _GROUP.findall(section.group(1)) if section else ():
        groups.setdefault(symbol.decode("latin-1"), set()).add(pattern.decode("latin-1"))
    elements = []
    for symbol in sorted(set(symbols)):
        patterns = " ".join(sorted(groups.get(symbol, ()))) if own or not base or len(groups.get(symbol, ())) > 1 else ""
        told = base or (f"not told, run {_digest(head.decode('latin-1'))}")
        elements.append((symbol, " ".join(part for part in (told, patterns, own) if part)))
    return tuple(elements)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("latin-1", "replace")).hexdigest()[:12]
