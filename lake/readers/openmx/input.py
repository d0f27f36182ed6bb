"""The input of OpenMX, which it repeats at the beginning of its output: first geometry, species, level of theory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.qe.level import mesh_spacing
from lake.readers.qe.text_header import letters
from lake.readers.rows import number
from lake.readers.text_steps import as_floats
from schemas.elements import NUMBERS, SYMBOLS
from schemas.frames import Floats
from schemas.theory import LevelOfTheory
from schemas.units import BOHR, BOLTZMANN, RYDBERG

_VERSION: Final = re.compile(rb"performed by OpenMX Ver\. *(\S+)")
_FUNCTIONALS: Final = {"LDA": "LDA", "LSDA-CA": "LDA", "LSDA-PW": "LDA-PW92", "GGA-PBE": "PBE"}
_SHELLS: Final = "spdf"
_PENALTIES: Final = (
    ("scf.constraint.nc.spin", "a penalty on the directions of spins"),
    ("scf.core.hole", "a penalty that keeps a core hole"),
)
"""Their energies Ucs and Uch are parts of Utot (DFT.c of OpenMX 3.9)."""
_SWITCHES: Final = (
    ("scf.partialcorecorrection", "on"), ("scf.coulomb.cutoff", "off"), ("scf.generalized.bloch", "off"), ("esm.switch", "off"),
    ("esm.wall.switch", "off"), ("orbitalopt.method", "off"),
)  # fmt: skip
"""Switches that change energies, with their defaults (Input_std.c of OpenMX 3.9)."""
_OF_U: Final = (("scf.dftu.type", "1"), ("scf.hubbard.occupation", "dual"), ("scf.yukawa", "off"))
"""Ways of counting with a U, with their defaults."""
_MOTIONS: Final[tuple[tuple[str, str], ...]] = (
    ("nomd", "static"), ("optc", "vc-relax"), ("rfc", "vc-relax"), ("opt", "relax"), ("diis", "relax"), ("bfgs", "relax"), ("rf", "relax"),
    ("ef", "relax"), ("npt", "vc-md"), ("nv", "md"), ("neb", "neb"),
)  # fmt: skip
"""Kinds of runs by how MD.Type begins (OpenMX 3.9 manual)."""


@dataclass(frozen=True, eq=False)
class Input:
    """What the repeated input says."""

    version: str
    kind: str
    numbers: NDArray[np.int16]
    positions: Floats
    """(natoms, 3) Å"""
    cell: Floats
    """(3, 3) Å"""
    criterion: float
    """Largest change of the band energy, Ha, with which a cycle is converged"""
    force_criterion: float
    """Largest force, Ha/bohr, with which a relaxation is converged"""
    level: LevelOfTheory
    altered: tuple[str, ...] = ()
    """What is in energies and forces beside the functional"""
    solver: str = ""
    """scf.EigenvalueSolver in small letters"""


def read_input(text: bytes, cell: Floats | None = None) -> Input | None:
    """Return the input that text is or repeats, or None where it tells no whole geometry; cell (Å) holds where it gives none."""
    version = _VERSION.search(text)
    words, blocks = _keywords(text)
    species = _species(blocks.get("definition.of.atomic.species", []))
    rows = blocks.get("atoms.speciesandcoordinates", [])
    cell = _cell(words, blocks) if "atoms.unitvectors" in blocks else cell
    numbers = [_element(row[1], species) if len(row) >= 5 else 0 for row in rows]
    count = _first(words, "atoms.number", "")
    even = len({len(row) for row in rows}) == 1 and count in ("", str(len(rows)))
    if not rows or 0 in numbers or cell is None or not even:
        return None
    values = as_floats([field.encode("latin-1") for row in rows for field in row[2:5]]).reshape(-1, 3)
    unit = _first(words, "atoms.speciesandcoordinates.unit", "ang").lower()
    if unit == "frac" and not cell.any():
        return None
    positions = values @ cell if unit == "frac" else values * (BOHR if unit == "au" else 1.0)
    if not bool(np.isfinite(positions).all()):
        return None
    motion = _first(words, "md.type", "nomd").lower()
    return Input(
        version=version.group(1).decode("latin-1") if version else "",
        kind=next((kind for start, kind in _MOTIONS if motion.startswith(start)), "unknown"),
        numbers=np.array(numbers, dtype=np.int16),
        positions=np.asarray(positions),
        cell=cell,
        criterion=_value(words, "scf.criterion", 1e-6),
        force_criterion=_value(words, "md.opt.criterion", 3e-4),
        level=_level(words, blocks, species, numbers, cell),
        altered=tuple(f"{told} ({name})" for name, told in _PENALTIES if _first(words, name, "off").lower() != "off"),
        solver=_first(words, "scf.eigenvaluesolver", "cluster").lower(),
    )


def nearest(difference: Floats, cell: Floats) -> Floats:
    """Return differences of places (n, 3) less the whole vectors in them; cell (3, 3), zeros for a molecule."""
    return np.asarray(difference - np.round(difference @ np.linalg.pinv(cell)) @ cell)


def _keywords(text: bytes) -> tuple[dict[str, list[str]], dict[str, list[list[str]]]]:
    """Return the words behind each keyword, and the rows of each block <Name .. Name>, by names in small letters."""
    words: dict[str, list[str]] = {}
    blocks: dict[str, list[list[str]]] = {}
    block = ""
    for line in text.decode("latin-1").split("\n"):
        fields = line.split("#", 1)[0].split()
        if not fields:
            continue
        name = fields[0].lower()
        if name.startswith("<") and len(name) > 1 and not block:
            block = name[1:]
            blocks.setdefault(block, [])
        elif block and name == f"{block}>":
            block = ""
        elif block:
            blocks[block].append(fields)
        elif "." in name:
            words.setdefault(name, fields[1:])
    return words, blocks


def _first(words: dict[str, list[str]], name: str, default: str) -> str:
    found = words.get(name)
    return found[0] if found else default


def _value(words: dict[str, list[str]], name: str, default: float) -> float:
    value = number(_first(words, name, "").encode("latin-1"))
    return value if isfinite(value) else default


def _cell(words: dict[str, list[str]], blocks: dict[str, list[list[str]]]) -> Floats | None:
    rows = blocks.get("atoms.unitvectors", [])
    if len(rows) != 3 or any(len(row) != 3 for row in rows):
        return None
    cell = as_floats([field.encode("latin-1") for row in rows for field in row[:3]]).reshape(3, 3)
    factor = BOHR if _first(words, "atoms.unitvectors.unit", "ang").lower() == "au" else 1.0
    return np.asarray(cell * factor) if bool(np.isfinite(cell).all()) and abs(float(np.linalg.det(cell))) > 1e-9 else None


def _species(rows: list[list[str]]) -> dict[str, tuple[str, str]]:
    """Return (basis, pseudopotential) of each species by its name."""
    return {row[0]: (row[1], row[2]) for row in rows if len(row) >= 3}


def _element(name: str, species: dict[str, tuple[str, str]]) -> int:
    """Return the atomic number of a species: its pseudopotential (Al_PBE19) names the element, its own name may be any."""
    potential = species.get(name, ("", ""))[1]
    return NUMBERS.get(potential.split("_", 1)[0], 0) or NUMBERS.get(letters(name), 0)


def _level(
    words: dict[str, list[str]],
    blocks: dict[str, list[list[str]]],
    species: dict[str, tuple[str, str]],
    numbers: list[int],
    cell: Floats,
) -> LevelOfTheory:
    printed = _first(words, "scf.xctype", "LDA")
    solver = _first(words, "scf.eigenvaluesolver", "cluster").lower()
    grid = [int(field) for field in words.get("scf.kgrid", [])[:3] if field.isdigit()]
    mesh = (1, 1, 1) if solver != "band" or len(grid) != 3 else (grid[0], grid[1], grid[2])
    polarisation = _first(words, "scf.spinpolarization", "off").lower()
    orbit = _first(words, "scf.spinorbit.coupling", "off").lower() == "on"
    used = {_element(name, species): names for name, names in species.items()}
    return LevelOfTheory(
        code="openmx",
        functional=_FUNCTIONALS.get(printed.upper(), printed),
        dispersion=_dispersion(words),
        hubbard_u=_hubbard(words, blocks, species),
        basis="LCAO",
        density_cutoff=_value(words, "scf.energycutoff", 150.0) * RYDBERG,
        pseudopotentials=tuple(sorted((SYMBOLS[z], " / ".join(reversed(names))) for z, names in used.items() if z in numbers)),
        kpoints=mesh if all(count > 0 for count in mesh) else None,
        kpoint_spacing=mesh_spacing(mesh, cell) if all(count > 0 for count in mesh) else None,
        smearing="fermi-dirac",
        smearing_width=_value(words, "scf.electronictemperature", 300.0) * BOLTZMANN,
        spin="spin-orbit" if orbit else {"on": "collinear", "nc": "noncollinear"}.get(polarisation, "none"),
        charge=_value(words, "scf.system.charge", 0.0),
        extra=_beyond(words),
    )


def _beyond(words: dict[str, list[str]]) -> tuple[tuple[str, str], ...]:
    """Return electric field, magnetic fields (tesla) on spins and orbits, and switches that are not as by default."""
    found = [("electric_field", " ".join(words["scf.electric.field"]))] if any(_field(words)) else []
    for kind in ("spin", "orbital"):
        if _first(words, f"scf.nc.zeeman.{kind}", "off").lower() == "on":
            found.append((f"magnetic_field_{kind}", _first(words, f"scf.nc.mag.field.{kind}", "0.0")))
    with_u = _first(words, "scf.hubbard.u", "off").lower() == "on"
    for name, default in (*_SWITCHES, *(_OF_U if with_u else ())):
        value = _first(words, name, default).lower()
        found += [(name.removeprefix("scf."), value)] if value != default else []
    return tuple(found)


def _field(words: dict[str, list[str]]) -> list[float]:
    return [value for field in words.get("scf.electric.field", []) if isfinite(value := number(field.encode("latin-1")))]


def _dispersion(words: dict[str, list[str]]) -> str:
    if _first(words, "scf.dftd", "off").lower() != "on":
        return ""
    if int(_value(words, "version.dftd", 2)) == 2:
        return "D2"
    return "D3(BJ)" if _first(words, "dftd3.damp", "bj").lower() == "bj" else "D3(0)"


def _hubbard(
    words: dict[str, list[str]], blocks: dict[str, list[list[str]]], species: dict[str, tuple[str, str]]
) -> tuple[tuple[str, str, float], ...]:
    """Return the non-zero U of each element and shell: rows of a species and pairs of multiplicity with shell, and value in eV."""
    if _first(words, "scf.hubbard.u", "off").lower() != "on":
        return ()
    found = set()
    for row in blocks.get("hubbard.u.values", []):
        z = _element(row[0], species)
        for shell, value in zip(row[1::2], row[2::2], strict=False):
            u = number(value.encode("latin-1"))
            if z and shell[-1:] in _SHELLS and isfinite(u) and u != 0.0:
                found.add((SYMBOLS[z], shell[-1:], u))
    return tuple(sorted(found))
