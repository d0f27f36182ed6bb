"""The level of theory that GPAW prints before its first step."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from lake.readers.qe.level import mesh_spacing
from lake.readers.rows import number
from schemas.frames import Floats
from schemas.theory import LevelOfTheory

ROW: Final = re.compile(rb"\n +\d+ +([A-Z][a-z]?) +(-?[0-9.]+) +(-?[0-9.]+) +(-?[0-9.]+)(?: +\([^)\n]*\))? *(?=\n)")

_XC: Final = re.compile(rb"\n +Using the (\S+) Exchange-[Cc]orrelation functional|\nXC parameters: (\S+)[^\n]*|\n +xc: (\S+) *(?=\n)")
_CUTOFF: Final = re.compile(rb"\n +Cutoff energy: +(\S+) eV")
_MESH: Final = re.compile(rb"\n\d+ k-points?: (\d{1,4}) x (\d{1,4}) x (\d{1,4}) Monkhorst-Pack")
_IRREDUCIBLE: Final = re.compile(rb"\n(\d{1,7}) k-points? in the irreducible part")
_POINTS: Final = re.compile(rb"\n(\d{1,7}) k-points?(?:: |\n)")
_NUMBERS: Final = re.compile(rb"\nOccupation numbers:[^\n]*\n(?:[^\n]*\n){0,3}")
_WIDTH: Final = re.compile(rb"width[:=] *([0-9.]+)")
_CHARGE: Final = re.compile(rb"\n +Total Charge: +(\S+)")
_SETUP: Final = re.compile(
    rb"\n(?: +([A-Z][a-z]?):|([A-Z][a-z]?)-setup:)\n +name *: [^\n]*\n +id *: (\S+)[^\n]*\n(?:[^\n]*\n){1,6}? +file *: (\S+)"
)
_HUBBARD: Final = re.compile(rb"([A-Z][a-z]?): '?[^,'\n]*:([spdf]),([0-9.]+)")

_ALTERS: Final = (
    (re.compile(rb"\n +External potential:\n +(?!NoExternalPotential)\S|\n +external: (?!None)"), "an external potential"),
    (re.compile(rb"\n +background_charge: (?!None)"), "a background charge (jellium)"),
    (re.compile(rb"\n +sj: (?!None)"), "electrons at a given potential (SJM)"),
    (re.compile(rb"\n +occupations: [^\n]*name: mom\b"), "occupations held away from the ground state (mom)"),
)
_FIXED_MOMENT: Final = re.compile(rb"fixmagmom: True")

FUNCTIONALS: Final = {
    "LDA": "LDA-PW92", "PBE": "PBE", "PBESOL": "PBEsol", "REVPBE": "revPBE", "RPBE": "RPBE", "PBE0": "PBE0", "HSE06": "HSE06",
    "HSE03": "HSE03", "B3LYP": "B3LYP", "TPSS": "TPSS", "SCAN": "SCAN", "RSCAN": "rSCAN", "R2SCAN": "r2SCAN", "BEEF-VDW": "BEEF-vdW",
    "VDW-DF": "vdW-DF", "VDW-DF2": "vdW-DF2", "BLYP": "BLYP", "PW91": "PW91", "M06-L": "M06-L", "EXX": "HF",
}  # fmt: skip
EXCHANGE: Final = {"PBE0": 0.25, "HSE06": 0.25, "HSE03": 0.25, "B3LYP": 0.2, "HF": 1.0}
SMEARINGS: Final = (
    ("fermi", "fermi-dirac"), ("marzari", "marzari-vanderbilt"), ("methfessel", "methfessel-paxton"), ("tetrahedron", "tetrahedra"),
    ("gauss", "gaussian"), ("fixed", "none"),
)  # fmt: skip


def read_level(text: bytes, cell: Floats) -> LevelOfTheory:
    """Return the level of theory; text is what stands before the first positions, cell (3, 3) in Å the first one."""
    xc = _XC.search(text)
    words = next(name for name in xc.groups() if name).decode("latin-1").strip("'\",{}") if xc else ""
    functional = FUNCTIONALS.get(words.upper(), words)
    basis = "plane waves" if b"Plane wave expansion" in text else "LCAO" if b"Wave functions: LCAO" in text else "grid"
    cutoff, charge, mesh = _CUTOFF.search(text), _CHARGE.search(text), _MESH.search(text)
    points = (int(mesh.group(1)), int(mesh.group(2)), int(mesh.group(3))) if mesh else None
    points = points if points is None or all(points) else None
    count = _IRREDUCIBLE.search(text) or _POINTS.search(text)
    smearing, width = _smearing(text)
    spin = "none" if b"Spin-paired" in text else "collinear" if b"Spin-polarized" in text else "noncollinear"
    return LevelOfTheory(
        code="gpaw",
        functional=functional,
        hubbard_u=tuple(
            sorted((element.decode(), shell.decode(), number(value)) for element, shell, value in set(_HUBBARD.findall(_input(text))))
        ),
        exact_exchange=EXCHANGE.get(functional),
        basis=basis,
        cutoff=_finite(cutoff.group(1)) if cutoff and basis == "plane waves" else None,
        pseudopotentials=_setups(text),
        kpoints=points,
        n_kpoints=int(count.group(1)) if count else None,
        kpoint_spacing=mesh_spacing(points, cell) if abs(np.linalg.det(cell)) > 1e-6 else None,
        smearing=smearing,
        smearing_width=width,
        spin=spin,
        charge=(_finite(charge.group(1)) or 0.0) if charge else 0.0,
        extra=(("total_moment", "fixed"),) if _FIXED_MOMENT.search(text) else (),
    )


def altered(text: bytes) -> tuple[str, ...]:
    """Return what the text before the first positions names in energies and forces beside the functional."""
    return tuple(words for pattern, words in _ALTERS if pattern.search(text) is not None)


def _finite(field: bytes) -> float | None:
    value = number(field)
    return value if np.isfinite(value) else None


def _input(text: bytes) -> bytes:
    """Return the lines of the input parameters."""
    start = text.find(b"\nInput parameters:")
    end = text.find(b"\n\n", start)
    return text[start:end] if 0 <= start < end else b""


def _smearing(text: bytes) -> tuple[str, float | None]:
    block = _NUMBERS.search(text)
    if block is None:
        return "", None
    words = block.group().decode("latin-1").lower()
    width = _WIDTH.search(block.group())
    name = next((name for part, name in SMEARINGS if part in words), "")
    value = _finite(width.group(1)) if width else None
    return ("none", None) if value == 0 or name == "none" else (name, value)


def _setups(text: bytes) -> tuple[tuple[str, str], ...]:
    """Return (element, name of the set-up's file and the hash that GPAW prints of it)."""
    found = {
        ((new or old).decode("latin-1"), f"{file.decode('latin-1').rsplit('/', 1)[-1]} {digest.decode('latin-1')}")
        for new, old, digest, file in _SETUP.findall(text)
    }
    return tuple(sorted(found))
