"""The settings that a .castep file prints before its first cycle."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isnan
from typing import Final

from lake.readers.qe.level import mesh_spacing
from lake.readers.rows import number
from lake.readers.step_log import element_of
from schemas.frames import Floats
from schemas.theory import U_NOT_TOLD, LevelOfTheory
from schemas.units import BOHR, HARTREE, RYDBERG

ENERGY_UNITS: Final = {b"eV": 1.0, b"hartree": HARTREE, b"Ha": HARTREE, b"Ry": RYDBERG}
LENGTH_UNITS: Final = {b"A": 1.0, b"Bohr": BOHR, b"bohr": BOHR, b"nm": 10.0}

_VERSION: Final = re.compile(rb"CASTEP version (\S+?) *\|")
_SETTING: Final = re.compile(rb" +([A-Za-z+|/.<>()& -]+?(?:\([A-Z]+\))?) +: +(.*?) *\Z", re.S)
"""Of a line."""
_POINTS: Final = re.compile(rb"\n +MP grid size for SCF calculation is +(\d{1,4}) +(\d{1,4}) +(\d{1,4}) *\n")
_COUNT: Final = re.compile(rb"\n +Number of kpoints used += +(\d{1,7}) *\n")
_FILES: Final = re.compile(rb"\n +Files used for pseudopotentials:\n((?: +\S+ +\S[^\n]*\n)+)")
_CONSTRAINTS: Final = re.compile(rb"\n +Number of ionic constraints += +(\d{1,7}) *\n")

_DISPERSION_ON: Final = re.compile(rb"\n +DFT\+D: Semi-empirical dispersion correction +: on *\n")
_SCHEME: Final = re.compile(rb"\n +(?:SEDC with|Dispersion-correction scheme) +: (\S+)")
_SCHEMES: Final = {"G06": "D2"}

_FUNCTIONALS: Final[tuple[tuple[str, str], ...]] = (
    ("local density", "LDA"), ("perdew burke ernzerhof solid", "PBEsol"), ("pbe for solids", "PBEsol"), ("pbesol", "PBEsol"),
    ("pbe with wu-cohen", "WC"), ("wu-cohen", "WC"), ("revised perdew burke ernzerhof", "RPBE"), ("rpbe", "RPBE"),
    ("perdew burke ernzerhof", "PBE"), ("perdew wang", "PW91"), ("blyp", "BLYP"), ("b3lyp", "B3LYP"), ("hse06", "HSE06"),
    ("hse03", "HSE03"), ("pbe0", "PBE0"), ("rscan", "rSCAN"), ("r2scan", "r2SCAN"), ("hartree-fock", "HF"),
)  # fmt: skip
"""Common names by words of 'using functional' (CASTEP 16 to 22), the first that fits."""
_EXCHANGE: Final = {"HSE06": 0.25, "HSE03": 0.25, "PBE0": 0.25, "B3LYP": 0.2, "HF": 1.0}
_KINDS: Final = (("single point", "static"), ("molecular dynamics", "md"), ("phonon", "phonon"), ("efield", "static"))
_RESPONSE: Final = ("phonon", "e-field", "efield", "magnetic", "magres", "elastic")


@dataclass(frozen=True, eq=False)
class Settings:
    """How a run was made."""

    version: str
    kind: str
    level: LevelOfTheory
    tolerance: float | None
    """Largest gain of energy per atom of the last iteration, eV"""
    constraints: int
    """Number of ionic constraints; 3 for the centre of mass alone"""
    fixed_basis: bool
    """The plane waves stay those of the first cell."""
    response: bool


def read_settings(text: bytes, cell: Floats) -> Settings:
    """Return the settings; cell, (3, 3) in Å, is the first one."""
    version, count = _VERSION.search(text), _CONSTRAINTS.search(text)
    settings: dict[str, str] = {}
    for line in text.split(b"\n")[1:-1]:
        found = _SETTING.match(line) if b" : " in line else None
        if found is not None:
            settings.setdefault(found[1].decode("latin-1").strip().lower(), found[2].decode("latin-1").strip())
    task = settings.get("type of calculation", "").lower()
    kind = next((kind for words, kind in _KINDS if words in task), "relax" if "geometry" in task else "unknown")
    moves = b"Cell constraints are:  0 0 0 0 0 0" not in text
    if kind == "relax" and moves:
        kind = "vc-relax"
    if kind == "md" and settings.get("ensemble", "").upper() in ("NPT", "NPH"):
        kind = "vc-md"
    name = "md scf energy / atom convergence tol." if "md" in kind else ""
    return Settings(
        version=version.group(1).decode("latin-1") if version else "",
        kind=kind,
        level=_level(text, settings, cell),
        tolerance=_leading(settings.get(name) or settings.get("total energy / atom convergence tol.", "")),
        constraints=int(count.group(1)) if count else 3,
        fixed_basis="basis size" in settings.get("variable cell method", "").lower(),
        response=any(words in task for words in _RESPONSE),
    )


def _leading(value: str) -> float | None:
    """Return the number that a setting begins with, None where there is none."""
    words = value.split()
    found = number(words[0].encode("latin-1")) if words else float("nan")
    return None if isnan(found) else found


def _level(text: bytes, settings: dict[str, str], cell: Floats) -> LevelOfTheory:
    words = settings.get("using functional", "")
    functional = next((name for part, name in _FUNCTIONALS if part in words.lower()), words)
    mesh, count = _POINTS.search(text), _COUNT.search(text)
    points = (int(mesh.group(1)), int(mesh.group(2)), int(mesh.group(3))) if mesh else None
    points = points if points is None or all(points) else None
    metallic = b"Treating system as metallic" in text
    vector = b"treating system as vector spin" in text.lower() or b"non-collinear" in text.lower()
    spin = "noncollinear" if vector else "collinear" if b"treating system as spin-polarized" in text else "none"
    return LevelOfTheory(
        code="castep",
        functional=functional,
        dispersion=_dispersion(text),
        exact_exchange=_EXCHANGE.get(functional),
        basis="plane waves",
        cutoff=_leading(settings.get("plane wave basis set cut-off", "")),
        pseudopotentials=_identities(text),
        kpoints=points,
        n_kpoints=int(count.group(1)) if count else None,
        kpoint_spacing=mesh_spacing(points, cell),
        smearing=settings.get("smearing scheme", "").lower() if metallic else "none",
        smearing_width=_leading(settings.get("smearing width", "")) if metallic else None,
        spin="spin-orbit" if settings.get("spin-orbit coupling", "off") == "on" else spin,
        charge=_leading(settings.get("net charge of system", "")) or 0.0,
        extra=(U_NOT_TOLD,) if b"Hubbard U" in text else (),
    )


def _dispersion(text: bytes) -> str:
    """Return the scheme of the semi-empirical dispersion that is added to the energy, '' where none is."""
    if _DISPERSION_ON.search(text) is None:
        return ""
    scheme = _SCHEME.search(text)
    name = scheme.group(1).decode("latin-1") if scheme else "DFT+D"
    return _SCHEMES.get(name, name)


def _identities(text: bytes) -> tuple[tuple[str, str], ...]:
    """Return (element, file or definition of the pseudopotential made on the fly)."""
    block = _FILES.search(text)
    rows = [line.split(None, 1) for line in block.group(1).split(b"\n") if line.strip()] if block else []
    pairs = {(element_of(row[0].decode("latin-1")), row[1].decode("latin-1").strip().rsplit("/", 1)[-1]) for row in rows}
    return tuple(sorted(pairs))
