"""The part of a CP2K log before the first energy: cell, atoms, settings of the self-consistency cycle, level of theory."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake import native
from lake.readers.cp2k.altered import EXCITED, told_by_log
from lake.readers.cp2k.altered import WORDS as ALTERED_WORDS
from lake.readers.cp2k.cores import printed_energies
from lake.readers.cp2k.level import WORDS as LEVEL_WORDS
from lake.readers.cp2k.level import level_of_theory
from lake.readers.rows import number, plain_numbers
from lake.readers.text_steps import NAN, as_floats
from lake.readers.words import Found
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
_INPUT: Final = re.compile(rb"\n CP2K\| Input file name +(\S+)")
_COUNT: Final = re.compile(rb"\n +- Atoms: +(\d+) *\n")
_ELECTRONS: Final = re.compile(rb"\n Number of electrons: +(\d+) *\n")
_METHOD: Final = re.compile(rb"\n (?:QS|SE|DFTB|xTB)\| Method: +(\S+)")
_KINDS: Final = {
    "ENERGY": "static", "ENERGY_FORCE": "static", "WFN_OPT": "static", "WAVEFUNCTION_OPTIMIZATION": "static", "GEO_OPT": "relax",
    "GEOMETRY_OPTIMIZATION": "relax", "CELL_OPT": "vc-relax", "MD": "md", "MOLECULAR_DYNAMICS": "md", "BAND": "neb",
    "VIBRATIONAL_ANALYSIS": "phonon", "NORMAL_MODES": "phonon",
}  # fmt: skip
_PROPAGATED: Final = frozenset({b"RT_PROPAGATION", b"EHRENFEST_DYN", b"RTP"})
_LENGTH_UNITS: Final = {"angstrom": 1.0, "bohr": BOHR}
_LENGTH_DECIMALS: Final = 2e-3
"""Å; by what the length of a vector of three decimals may differ from the printed one."""
_SHORTEST_ROW: Final = 20
"""Bytes of a row of coordinates."""

GHOSTS: Final = b"The atoms of this atomic kind are GHOST atoms!"
_OTHER_METHODS: Final = (b"\n xTB| ", b"\n DFTB| ", b"\n SE| ")
WORDS: Final = (
    b"\n CP2K| version string:", b"\n GLOBAL| Run type", b"\n GLOBAL| Project name", b"| Ensemble ", b"\n CELL| Vector a",
    b"\n CELL| Volume", b"| Periodicity ", b"\n MODULE QUICKSTEP", b"eps_scf", b"max_scf:", b"| Method:", *_OTHER_METHODS,
    *LEVEL_WORDS, *ALTERED_WORDS, b"CP2K| Input file name", b"- Atoms:", b"\n Number of electrons:", GHOSTS,
)  # fmt: skip
"""What is looked for."""


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
    run_type: str = ""
    """'ENERGY', 'MD', ...; in capitals"""
    input_name: str = ""
    """Base name of the input that was given to CP2K."""
    natoms: int = 0
    """0 where it is not printed; known at PRINT_LEVEL LOW too."""
    electrons: int = -1
    """-1 where they are not printed once for each spin"""
    cores: tuple[float, float] | None = None
    """Energies of the overlap of the cores and of the cores themselves in hartree; only where no coordinates are printed"""
    altered: tuple[str, ...] = ()
    """What is in energies and forces beside the functional."""
    ghosts: bool = False
    """There are basis functions where no atom is."""
    excited: bool = False
    """The energies are those of an excited state, or of a state that is propagated in time."""


def read_header(text: Found) -> Header:
    """Return what the text before the first energy says; parts that are not printed are None or empty."""
    version = text.match(_VERSION, b"\n CP2K| version string:")
    atoms, cell = read_atoms(text), read_cell(text)
    thresholds, most = text.lines(_EPS_SCF, b"eps_scf"), text.line(_MAX_SCF, b"max_scf:")
    project = text.match(_PROJECT, b"\n GLOBAL| Project name")
    run_type, named = text.match(_RUN_TYPE, b"\n GLOBAL| Run type"), text.line(_INPUT, b"CP2K| Input file name")
    return Header(
        version=version.group(1).decode("latin-1") if version else "",
        kind=_kind(run_type, text),
        method=_method(text),
        cell=cell,
        pbc=_periodicity(text),
        atoms=atoms,
        threshold=number(thresholds[-1].group(1)) if thresholds else NAN,
        max_scf=int(most.group(1)) if most else -1,
        level=level_of_theory(text, _elements(atoms), cell),
        project=project.group(1).decode("latin-1").rpartition("/")[2] if project else "",
        run_type=run_type.group(1).decode("latin-1").upper() if run_type else "",
        input_name=named.group(1).decode("latin-1").rpartition("/")[2] if named else "",
        natoms=len(atoms.numbers) if atoms is not None else _natoms(text),
        electrons=_electrons(text) if atoms is None else -1,
        cores=printed_energies(text.text) if atoms is None else None,
        altered=told_by_log(text),
        ghosts=GHOSTS in text,
        excited=EXCITED in text or (run_type is not None and run_type.group(1).upper() in _PROPAGATED),
    )


def _natoms(text: Found) -> int:
    count = text.line(_COUNT, b"- Atoms:")
    return int(count.group(1)[:9]) if count else 0


def _electrons(text: Found) -> int:
    found = [int(match.group(1)[:9]) for match in text.matches(_ELECTRONS, b"\n Number of electrons:")]
    return sum(found) if len(found) in (1, 2) else -1


def _method(text: Found) -> str:
    named = text.line(_METHOD, b"| Method:")
    if named is not None:
        return named.group(1).decode("latin-1")
    others = [(place, words) for words in _OTHER_METHODS if (place := text.first(words)) >= 0]
    return min(others)[1].decode("latin-1").strip().rstrip("|") if others else ""


def read_cell(text: Found) -> Floats | None:
    """Return the last cell that text prints, (3, 3) in Å.

    Vectors are printed with three decimals, their lengths with up to six: each vector is stretched to its printed length.
    """
    place = text.last(b"\n CELL| Vector a")
    found = _VECTOR.findall(text.text, place, place + 1000) if place >= 0 else []
    if [name for name, _, _ in found[:3]] != [b"a", b"b", b"c"]:
        return None
    rows = [fields.split() for _, fields, _ in found[:3]]
    if [len(row) for row in rows] != [3, 3, 3]:
        return None
    printed = [number(field) for row in rows for field in row] + [number(length) for _, _, length in found[:3]]
    vectors = [printed[0:3], printed[3:6], printed[6:9]]
    norms = [sqrt(x * x + y * y + z * z) for x, y, z in vectors]
    if not all(norm > 0 and abs(norm - length) <= _LENGTH_DECIMALS for norm, length in zip(norms, printed[9:], strict=True)):
        return None
    return np.array([[x * (length / norm) for x in vector] for vector, norm, length in zip(vectors, norms, printed[9:], strict=True)])


def read_atoms(text: Found) -> Atoms | None:
    """Return the last table of coordinates that text holds whole, or None."""
    for table in reversed(text.matches(_COORDINATES, b"\n MODULE QUICKSTEP")):
        factor = _LENGTH_UNITS.get(table.group(1).decode("latin-1").lower())
        found = _atom_table(text.text, table.end())
        if factor is None or found is None:
            continue
        kinds, numbers, positions = found
        if not _kinds_fit(kinds, _kind_counts(text, table.start())):
            continue
        if bool(((numbers > 0) & (numbers < len(SYMBOLS))).all()) and bool(np.isfinite(positions).all()):
            return Atoms(numbers.astype(np.int16), tuple(kinds), positions * factor)
    return None


def _kind_counts(text: Found, end: int) -> dict[int, int]:
    """Return how many atoms of each kind are printed before a place, the last time that each is named."""
    counts = {}
    for place in text.all(b". Atomic kind:"):
        # "  2. Atomic kind: H                                     Number of atoms:     330"
        line = text.text[text.text.rfind(b"\n", 0, place) + 1 : text.line_end(place)]
        if place < end and (match := _KIND_COUNT.fullmatch(line)) is not None:
            counts[int(match.group(1))] = int(match.group(2))
    return counts


def _kinds_fit(kinds: list[int], counts: dict[int, int]) -> bool:
    """Return whether a table has as many atoms of each of its kinds as were printed."""
    found = Counter(kinds)
    return all(counts.get(kind, n) == n for kind, n in found.items()) and all(kind in found for kind, n in counts.items() if n)


def _atom_table(text: bytes, start: int) -> tuple[list[int], NDArray[np.int64], Floats] | None:
    """Return kinds, atomic numbers and printed positions of a table, None where there is none."""
    made = native.loops()
    most = (len(text) - start) // _SHORTEST_ROW + 1
    if made is not None:
        whole, places = np.empty((most, 2), dtype=np.int64), np.empty((most, 3))
        n = made.cp2k_atoms(text, start, len(text), most, native.address(whole), native.address(places))
        if n >= 0:
            return (whole[:n, 0].tolist(), whole[:n, 1], places[:n]) if n else None
    rows = _atom_rows(text, start)
    if not rows:
        return None
    fields = [field for row in rows for field in row[4:7]]
    plain = plain_numbers(fields)
    positions = (as_floats(fields) if plain is None else np.array(plain)).reshape(-1, 3)
    return [int(row[1]) for row in rows], np.array([int(row[3]) for row in rows]), positions


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
    return {kind: SYMBOLS[z] for kind, z in dict(zip(atoms.kinds, atoms.numbers.tolist(), strict=True)).items()}


def _periodicity(text: Found) -> NDArray[np.bool_]:
    found = text.lines(_PERIODIC, b"| Periodicity ")
    words = found[-1].group(1).upper() if found else b"XYZ"
    return np.array([axis in words for axis in (b"X", b"Y", b"Z")] if words != b"NONE" else [False] * 3)


def _kind(run_type: re.Match[bytes] | None, text: Found) -> str:
    ensemble = text.line(_ENSEMBLE, b"| Ensemble ")
    kind = _KINDS.get(run_type.group(1).decode("latin-1").upper(), "unknown") if run_type else "unknown"
    return "vc-md" if kind == "md" and ensemble and ensemble.group(1).upper().startswith((b"NPT", b"NPE", b"HYDRO", b"MSST")) else kind
