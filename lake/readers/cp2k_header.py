"""The part of a CP2K log before the first energy: cell, atoms, settings of the self-consistency cycle, level of theory."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.anchors import search
from lake.readers.cp2k_level import level_of_theory
from lake.readers.rows import number, plain_numbers
from lake.readers.text_steps import NAN, as_floats
from schemas.elements import SYMBOLS
from schemas.frames import Floats
from schemas.theory import LevelOfTheory
from schemas.units import BOHR

_VERSION: Final = re.compile(rb"\n CP2K\| version string: +CP2K version +([^\n]*\S)")
_RUN_TYPE: Final = re.compile(rb"\n GLOBAL\| Run type +(\S+)")
_PROJECT: Final = re.compile(rb"\n GLOBAL\| Project name +(\S+)")
_ENSEMBLE: Final = re.compile(rb"\n (?:MD|MD_PAR)\| Ensemble [Tt]ype +(\S+)")
_VECTOR: Final = re.compile(rb"\n CELL\| Vector ([abc]) \[angstrom\]?:? +([^|\n]*)\|[abc]\| = +(\S+)")
_PERIODIC: Final = re.compile(rb"\n (?:POISSON|CELL)\| Periodicity +(\S+)")
_COORDINATES: Final = re.compile(rb"\n MODULE QUICKSTEP: +ATOMIC COORDINATES IN (\w+)\n")
_ATOM: Final = re.compile(rb" +(\d+) +(\d+) +([A-Za-z]\S*) +(\d+) +(\S+) +(\S+) +(\S+) +\S+ +\S+ *$")
_KIND_COUNT: Final = re.compile(rb" +(\d+)\. Atomic kind: .*Number of atoms: +(\d+) *")
_EPS_SCF: Final = re.compile(rb"\n +eps_scf:? +(\S+) *\n")
_MAX_SCF: Final = re.compile(rb"\n +max_scf: +(\d+) *\n")
_METHOD: Final = re.compile(rb"\n (?:QS|SE|DFTB|xTB)\| Method: +(\S+)")
_OTHER_METHOD: Final = re.compile(rb"\n (xTB|DFTB|SE)\| ")
"""Settings of a method that states no name."""
_KINDS: Final = {
    "ENERGY": "static", "ENERGY_FORCE": "static", "WFN_OPT": "static", "WAVEFUNCTION_OPTIMIZATION": "static", "GEO_OPT": "relax",
    "GEOMETRY_OPTIMIZATION": "relax", "CELL_OPT": "vc-relax", "MD": "md", "MOLECULAR_DYNAMICS": "md", "BAND": "neb",
    "VIBRATIONAL_ANALYSIS": "phonon", "NORMAL_MODES": "phonon",
}  # fmt: skip
_LENGTH_UNITS: Final = {"angstrom": 1.0, "bohr": BOHR}


@dataclass(frozen=True, eq=False)
class Atoms:
    """A table of coordinates."""

    numbers: NDArray[np.int16]
    kinds: tuple[int, ...]
    """Number of the atomic kind of each atom, from 1."""
    positions: Floats
    """(natoms, 3) Å"""


@dataclass(frozen=True, eq=False)
class Header:
    """What stands before the first energy of a run."""

    version: str
    kind: str
    method: str
    """'GPW', 'GAPW', 'xTB', ...; empty where it is not printed."""
    cell: Floats | None
    """(3, 3) Å, of the first step"""
    pbc: NDArray[np.bool_]
    atoms: Atoms | None
    threshold: float
    """eps_scf, of the outer loop where there is one"""
    max_scf: int
    level: LevelOfTheory
    project: str = ""
    """With it begin the names of the files beside the log; empty where it is not printed."""


def read_header(text: bytes) -> Header:
    """Return what the text before the first energy says; parts that are not printed are None or empty."""
    version = _VERSION.search(text)
    atoms, cell = read_atoms(text), read_cell(text)
    place = max(0, text.find(b"eps_scf") - 80)
    thresholds, most = _EPS_SCF.findall(text, place), search(_MAX_SCF, b"max_scf:", text)
    method, project = search(_METHOD, b"| Method:", text) or _OTHER_METHOD.search(text), _PROJECT.search(text)
    return Header(
        version=version.group(1).decode("latin-1") if version else "",
        kind=_kind(text),
        method=method.group(1).decode("latin-1") if method else "",
        cell=cell,
        pbc=_periodicity(text),
        atoms=atoms,
        threshold=number(thresholds[-1]) if thresholds else NAN,
        max_scf=int(most.group(1)) if most else -1,
        level=level_of_theory(text, _elements(atoms), cell),
        project=project.group(1).decode("latin-1").rpartition("/")[2] if project else "",
    )


def read_cell(text: bytes) -> Floats | None:
    """Return the last cell that text prints, (3, 3) in Å.

    Vectors are printed with three decimals, their lengths with up to six: each vector is stretched to its printed length.
    """
    place = text.rfind(b"\n CELL| Vector a")
    found = _VECTOR.findall(text, place, place + 1000) if place >= 0 else []
    if [name for name, _, _ in found[:3]] != [b"a", b"b", b"c"]:
        return None
    vectors = np.array([as_floats(fields.split()) for _, fields, _ in found[:3] if len(fields.split()) == 3])
    lengths = as_floats([length for _, _, length in found[:3]])
    if vectors.shape != (3, 3) or not bool(np.isfinite(vectors).all() and np.isfinite(lengths).all()):
        return None
    norms = np.linalg.norm(vectors, axis=1)
    if bool((np.abs(norms - lengths) > 2e-3).any()) or not bool((norms > 0).all()):
        return None
    return np.asarray(vectors * np.where(norms > 0, lengths / norms, 1.0)[:, None])


def read_atoms(text: bytes) -> Atoms | None:
    """Return the last table of coordinates that text holds whole, or None."""
    tables = list(_COORDINATES.finditer(text)) if b"\n MODULE QUICKSTEP" in text else []
    for table in reversed(tables):
        factor = _LENGTH_UNITS.get(table.group(1).decode("latin-1").lower())
        rows = _atom_rows(text, table.end())
        kinds = [int(row[1]) for row in rows]
        if factor is None or not rows or not _kinds_fit(kinds, _kind_counts(text, table.start())):
            continue
        numbers = np.array([int(row[3]) for row in rows])
        fields = [field for row in rows for field in row[4:7]]
        plain = plain_numbers(fields)
        positions = (as_floats(fields) if plain is None else np.array(plain)).reshape(-1, 3) * factor
        if bool(((numbers > 0) & (numbers < len(SYMBOLS))).all()) and bool(np.isfinite(positions).all()):
            return Atoms(numbers.astype(np.int16), tuple(kinds), positions)
    return None


def _kind_counts(text: bytes, end: int) -> dict[int, int]:
    """Return how many atoms of each kind are printed before a place, the last time that each is named."""
    counts = {}
    place = -1
    while (place := text.find(b". Atomic kind:", place + 1, end)) >= 0:
        # "  2. Atomic kind: H                                     Number of atoms:     330"
        line = text[text.rfind(b"\n", 0, place) + 1 : text.find(b"\n", place)]
        if (match := _KIND_COUNT.fullmatch(line)) is not None:
            counts[int(match.group(1))] = int(match.group(2))
    return counts


def _kinds_fit(kinds: list[int], counts: dict[int, int]) -> bool:
    """Return whether a table has as many atoms of each of its kinds as were printed."""
    found = Counter(kinds)
    return all(counts.get(kind, n) == n for kind, n in found.items()) and all(kind in found for kind, n in counts.items() if n)


def _atom_rows(text: bytes, start: int) -> list[tuple[bytes, ...]]:
    """Return the rows of a table; it ends at the first line that is no row, and its atoms are numbered from 1 on."""
    rows: list[tuple[bytes, ...]] = []
    place = start
    while (end := text.find(b"\n", place)) >= 0:
        line, place = text[place:end], end + 1
        match = _ATOM.match(line)
        if match is not None:
            if int(match.group(1)) != len(rows) + 1:
                return []
            rows.append(match.groups())
        elif rows:
            return rows if not line.strip() else []
    return []


def _elements(atoms: Atoms | None) -> dict[int, str]:
    if atoms is None:
        return {}
    return {kind: SYMBOLS[int(z)] for kind, z in zip(atoms.kinds, atoms.numbers, strict=True)}


def _periodicity(text: bytes) -> NDArray[np.bool_]:
    place = text.find(b"| Periodicity ")
    found = _PERIODIC.findall(text, max(0, place - 20)) if place >= 0 else []
    words = found[-1].upper() if found else b"XYZ"
    return np.array([axis in words for axis in (b"X", b"Y", b"Z")] if words != b"NONE" else [False] * 3)


def _kind(text: bytes) -> str:
    run_type, ensemble = _RUN_TYPE.search(text), search(_ENSEMBLE, b"| Ensemble ", text)
    kind = _KINDS.get(run_type.group(1).decode("latin-1").upper(), "unknown") if run_type else "unknown"
    return "vc-md" if kind == "md" and ensemble and ensemble.group(1).upper().startswith((b"NPT", b"NPE", b"HYDRO", b"MSST")) else kind
