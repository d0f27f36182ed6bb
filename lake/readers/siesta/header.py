"""The part of a SIESTA output before the first step: species, first geometry, level of theory."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.qe.level import mesh_spacing
from lake.readers.rows import number
from lake.readers.text_steps import as_floats
from schemas.elements import SYMBOLS
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.theory import U_NOT_TOLD, LevelOfTheory
from schemas.units import BOHR, BOLTZMANN, RYDBERG

_VERSION: Final = re.compile(rb"\n *(?:Siesta )?Version *: *(?:siesta-)?(\S+)", re.I)
_SPECIES: Final = re.compile(rb"\n *Species number: +(\d+) +(?:Label: +(\S+) +)?Atomic number: +(-?\d+)(?: +Label: +(\S+))?")
_FLOATING: Final = re.compile(rb"\n *Species number: +(\d+) +Label: +(\S+) +\(floating")
"""Bessel functions, which have no atomic number; other floating orbitals have a negative one."""
_SYNTHETIC: Final = 200
"""Atomic numbers above it are those of mixtures of elements."""
_ATOMS: Final = b"\nsiesta: Atomic coordinates (Bohr) and species\n"
_ATOM: Final = re.compile(rb"siesta: +(\S+) +(\S+) +(\S+) +(\d+) +\d+ *\n")
_COUNT: Final = re.compile(rb"\ninitatomlists: Number of atoms, orbitals, and projectors: +(\d{1,8}) ")
_PSEUDO: Final = re.compile(rb"\nReading pseudopotential information[^\n]*from:? +(\S+)")
_PAO: Final = re.compile(rb"\n%block PAO\.Basis [^\n]*\n(.*?)\n%endblock PAO\.Basis", re.S)
_SHELL: Final = re.compile(rb"\n n=(\d) +(\d) +(\d)( P)?[^\n]*\n([^\n]*)")
_REDATA: Final = re.compile(rb"\nredata: ([^=\n]+?) += +([^\n]*)")
_GRID: Final = re.compile(rb"\nsiesta: k-grid: +(-?\d+) +(-?\d+) +(-?\d+) +\S+")
_POINTS: Final = re.compile(rb"\nsiesta: k-grid: Number of k-points = +(\d+)")
_PAIRS: Final = re.compile(rb"\n(\w[^\n]*?)(?: -)? two-body potential between ")
_FIELD: Final = re.compile(rb"\nefield: External electric field = +([^\n]*\S)")
_TERM_OF_U: Final = re.compile(rb"\nsiesta: E(?:ldau|dftu) *= *-?\d*\.\d*[1-9]")
_DUMP: Final = re.compile(rb"\*{5} Dump of input data file \*+\n(.*?)\n\*{5,} End of input data file", re.S)

_FUNCTIONALS: Final[tuple[tuple[str, str], ...]] = (
    ("revpbe", "revPBE"), ("pbesol", "PBEsol"), ("rpbe", "RPBE"), ("hammer", "RPBE"), ("perdew, burke", "PBE"), ("becke-lee", "BLYP"),
    ("becke lee", "BLYP"), ("am05", "AM05"),
    ("wu-cohen", "WC"), ("wu & cohen", "WC"), ("ceperley", "LDA"), ("perdew-wang 1992", "LDA-PW92"), ("perdew-wang", "LDA-PW92"),
    ("dion", "vdW-DF"), ("drsll", "vdW-DF"), ("lmkll", "vdW-DF2"), ("vydrov", "VV10"),
)  # fmt: skip
"""Common names by words of the line 'xc_check:' (SIESTA 3 to 5)."""
_KINDS: Final[tuple[tuple[str, str], ...]] = (
    ("single-point", "static"), ("parrinello", "vc-md"), ("md run", "md"), ("nose", "md"), ("anneal", "md"), ("force constants", "phonon"),
    ("optimization", "relax"), ("relax", "relax"),
)  # fmt: skip
_SPINS: Final = {
    "none": "none",
    "collinear": "collinear",
    "polarized": "collinear",
    "non-collinear": "noncollinear",
    "spin-orbit": "spin-orbit",
}


@dataclass(frozen=True, eq=False)
class Header:
    """What stands before the first step of a run."""

    version: str
    kind: str
    numbers: NDArray[np.int16]
    real: NDArray[np.bool_]
    """(centres,) whether a row of the tables is an atom; floating orbitals are none."""
    positions: Floats
    """(centres, 3) Å, of the first step"""
    exact: bool
    """The positions are those of the input; else they have five decimals of a bohr."""
    alat: float
    """Å, NaN where the input does not state a lattice constant"""
    tolerances: tuple[tuple[str, float], ...]
    """Criteria of the self-consistency cycle that are in force: (column of its table, largest value)"""
    max_scf: int
    level: LevelOfTheory


def read_header(text: bytes, cell: Floats) -> Header | None:
    """Return the header of a run, or None where it has no species or no atoms; cell, (3, 3) in Å, is that of the first step.

    Raises UnreadableOutput for mixtures of elements, and where no table of atoms is printed.
    """
    species = {int(k): int(z) for k, _, z, _ in _SPECIES.findall(text)}
    labels = {int(k): (a or b).decode("latin-1") for k, a, _, b in _SPECIES.findall(text)}
    for kind, label in _FLOATING.findall(text):
        species[int(kind)], labels[int(kind)] = -1, label.decode("latin-1")
    _refuse_mixtures(species, labels)
    rows = _atom_rows(text)
    charges = np.array([species.get(kind, 0) for kind, _ in rows], dtype=np.int16)
    count = _COUNT.search(text)
    if count is not None and species and not rows and _ATOMS not in text:
        words = f"the output of SIESTA prints no coordinates of its {count.group(1).decode()} atoms (WriteCoorInitial is off)"
        raise UnreadableOutput("no_complete_step", words, "deposit a run with WriteCoorInitial or WriteCoorStep")
    if count is not None and int(count.group(1)) != len(rows):
        return None
    if not bool((charges > 0).any()) or not all(z < 0 or 0 < z < len(SYMBOLS) for z in charges):
        return None
    version, settings, dump = _VERSION.search(text), _settings(text), _DUMP.search(text)
    fdf = _fdf(dump.group(1)) if dump else {}
    printed = np.array([place for _, place in rows]) * BOHR
    given = _given_positions(fdf, cell, len(rows))
    exact = given is not None and bool((np.abs(given - printed) < 1e-5).all())
    ghosts = [labels[kind] for kind in sorted({kind for kind, _ in rows if species[kind] < 0})]
    level = _level(text, settings, fdf, {k: (labels[k], z) for k, z in species.items()}, cell)
    return Header(
        version=version.group(1).decode("latin-1") if version else "",
        kind=_kind(settings),
        numbers=charges[charges > 0],
        real=charges > 0,
        positions=given if given is not None and exact else printed,
        exact=exact,
        alat=_length(fdf.get("latticeconstant", [])),
        tolerances=_tolerances(settings),
        max_scf=int(_leading(settings.get("max. number of scf iter", "")) or -1),
        level=replace(level, extra=(*level.extra, ("ghost_orbitals", ", ".join(ghosts)))) if ghosts else level,
    )


def _refuse_mixtures(species: dict[int, int], labels: dict[int, str]) -> None:
    mixed = [f"{labels[k]} (Z = {z})" for k, z in sorted(species.items()) if z > _SYNTHETIC]
    if mixed:
        words = f"the SIESTA run has atoms that are mixtures of elements, which no formula can name: {', '.join(mixed)}"
        raise UnreadableOutput("unreadable_output", words, "deposit runs whose atoms are elements")


def _atom_rows(text: bytes) -> list[tuple[int, Floats]]:
    place = text.find(_ATOMS)
    place = place + len(_ATOMS) if place >= 0 else len(text)
    rows = []
    while (match := _ATOM.match(text, place)) is not None:
        rows.append((int(match.group(4)), as_floats(match.groups()[:3])))
        place = match.end()
    return rows


def _settings(text: bytes) -> dict[str, str]:
    """Return the lines 'redata: name = value' by name in small letters."""
    return {name.decode("latin-1").strip().lower(): value.decode("latin-1").strip() for name, value in _REDATA.findall(text)}


def _fdf(text: bytes) -> dict[str, list[str]]:
    """Return the words of each fdf line, and the lines of each block, by name without '-', '_' and '.' in small letters."""
    found: dict[str, list[str]] = {}
    block = ""
    for line in text.decode("latin-1").split("\n"):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if words[0].lower() in ("%block", "%endblock"):
            block = _plain(words[1]) if words[0].lower() == "%block" and len(words) > 1 else ""
        elif block:
            found.setdefault(block, []).append(" ".join(words))
        else:
            found.setdefault(_plain(words[0]), words[1:])
    return found


def _plain(name: str) -> str:
    return name.lower().translate(str.maketrans("", "", "-_."))


def _given_positions(fdf: dict[str, list[str]], cell: Floats, natoms: int) -> Floats | None:
    """Return the positions of the input in Å with all their digits, or None where they are not given or their form is not known."""
    rows = [row.split()[:3] for row in fdf.get("atomiccoordinatesandatomicspecies", [])]
    if len(rows) != natoms or any(len(row) < 3 for row in rows):
        return None
    values = as_floats([field.encode("latin-1") for row in rows for field in row]).reshape(-1, 3)
    form = _plain((fdf.get("atomiccoordinatesformat") or ["bohr"])[0])
    if form in ("ang", "notscaledcartesianang"):
        return values
    if form in ("bohr", "notscaledcartesianbohr"):
        return np.asarray(values * BOHR)
    if form == "scaledcartesian":
        return np.asarray(values * _length(fdf.get("latticeconstant", [])))
    return np.asarray(values @ cell) if form in ("fractional", "scaledbylatticevectors") else None


def _length(words: list[str]) -> float:
    factor = {"ang": 1.0, "bohr": BOHR, "nm": 10.0}.get(words[1].lower() if len(words) > 1 else "bohr")
    return number(words[0].encode("latin-1")) * factor if words and factor else float("nan")


def _kind(settings: dict[str, str]) -> str:
    option = settings.get("dynamics option", "").lower()
    kind = next((kind for words, kind in _KINDS if words in option), "unknown")
    return "vc-relax" if kind == "relax" and settings.get("variable cell", "F").startswith("T") else kind


def _tolerances(settings: dict[str, str]) -> tuple[tuple[str, float], ...]:
    """Return the criteria in force: of the density matrix unless it is switched off, and of the Hamiltonian where it is asked for."""
    density = _leading(settings.get("dm tolerance for scf", ""))
    hamiltonian = _leading(settings.get("hamiltonian tolerance for scf", ""))
    found = []
    if density and not settings.get("require dm convergence for scf", "T").startswith("F"):
        found.append(("dDmax", density))
    if hamiltonian and settings.get("require h convergence for scf", "F").startswith("T"):
        found.append(("dHmax(eV)", hamiltonian))
    return tuple(found)


def _leading(value: str) -> float:
    """Return the number that a setting begins with, 0 where there is none."""
    words = value.split()
    found = number(words[0].encode("latin-1")) if words else 0.0
    return found if np.isfinite(found) else 0.0


def _level(
    text: bytes, settings: dict[str, str], fdf: dict[str, list[str]], species: dict[int, tuple[str, int]], cell: Floats
) -> LevelOfTheory:
    mesh, points = _mesh(text), _POINTS.search(text)
    methfessel = b"Methfessel-Paxton" in text or "methfessel" in " ".join(fdf.get("occupationfunction", [])).lower()
    cutoff = _leading(settings.get("mesh cutoff", ""))
    configuration = settings.get("spin configuration", "").lower()
    components = settings.get("number of spin components", "1")
    spin = _SPINS.get(configuration, {"1": "none", "2": "collinear", "4": "noncollinear", "8": "spin-orbit"}.get(components, "none"))
    named = _PAIRS.findall(text) if b" two-body potential between " in text else []
    pairs = {("D2" if kind == b"Grimme" else kind.decode("latin-1")) for kind in named}
    return LevelOfTheory(
        code="siesta",
        functional=_functional(text, fdf),
        dispersion=" and ".join(sorted(pairs)),
        basis="LCAO",
        density_cutoff=cutoff * RYDBERG if cutoff else None,
        pseudopotentials=_identities(text, species),
        kpoints=mesh,
        n_kpoints=int(points.group(1)) if points else None,
        kpoint_spacing=mesh_spacing(mesh, cell),
        smearing="methfessel-paxton" if methfessel else "fermi-dirac",
        smearing_width=_width(settings.get("electronic temperature", "")),
        spin=spin,
        charge=_leading(settings.get("net charge of the system", "")),
        extra=_extra(settings, fdf),
    )


def _extra(settings: dict[str, str], fdf: dict[str, list[str]]) -> tuple[tuple[str, str], ...]:
    shells = fdf.get("ldauproj", fdf.get("dftuproj"))
    names = ("spin spiral pitch wave vector", "value of the spin of the system")
    spins = [(name, value) for name, value in settings.items() if name in names]
    return (*((("hubbard_u", " ".join(shells)),) if shells is not None else ()), *spins)


def told_later(level: LevelOfTheory, text: bytes) -> LevelOfTheory:
    """Return the level with what only the text of a step tells: an external field, and a Hubbard term of its energy.

    Newer versions do not repeat their input; of U they print nothing but the term.
    """
    if b"\nefield: External" not in text and b"\nsiesta: Eldau" not in text and b"\nsiesta: Edftu" not in text:
        return level
    known, field = dict(level.extra), _FIELD.search(text)
    found = [("electric_field", field.group(1).decode("latin-1"))] if field and any(map(_leading, field.group(1).decode().split())) else []
    found += [U_NOT_TOLD] if _TERM_OF_U.search(text) and "hubbard_u" not in known else []
    new = tuple(entry for entry in found if entry[0] not in known)
    return replace(level, extra=(*level.extra, *new)) if new else level


def _functional(text: bytes, fdf: dict[str, list[str]]) -> str:
    lines = re.findall(rb"\nxc_check: (?!Exchange-correlation functional)([^\n]*\S)", text)
    printed = lines[0].decode("latin-1").strip() if lines else " ".join(fdf.get("xcauthors", []))
    low = printed.lower()
    short = {"ca": "LDA", "pz": "LDA", "pw92": "LDA-PW92", "pbe": "PBE", "wc": "WC", "blyp": "BLYP", "lyp": "BLYP"}
    return next((name for words, name in _FUNCTIONALS if words in low), short.get(low, printed))


def _width(printed: str) -> float | None:
    """Return the electronic temperature in eV, None where its few decimals (K or Ry) leave nothing."""
    words = printed.split()
    factor = {"K": BOLTZMANN, "Ry": RYDBERG, "eV": 1.0}.get(words[1] if len(words) > 1 else "")
    return (_leading(printed) * factor or None) if factor else None


def _mesh(text: bytes) -> tuple[int, int, int] | None:
    """Return the mesh where each row of its supercell has one entry, so that the cell's vectors are only multiplied."""
    rows = np.array([[int(field) for field in row] for row in _GRID.findall(text)[:3]])
    if rows.shape != (3, 3) or not bool(((rows != 0).sum(axis=0) == 1).all() and ((rows != 0).sum(axis=1) == 1).all()):
        return None
    counts = np.abs(rows).sum(axis=0)
    return int(counts[0]), int(counts[1]), int(counts[2])


def _identities(text: bytes, species: dict[int, tuple[str, int]]) -> tuple[tuple[str, str], ...]:
    """Return (element, pseudopotential's file and shells of the basis with their radii in bohr), for energies depend on both."""
    files = [name.decode("latin-1").rsplit("/", 1)[-1] for name in _PSEUDO.findall(text)]
    block = _PAO.search(text)
    basis = _shells(block.group(1), [label for label, _ in species.values()]) if block else {}
    found = set()
    for place, kind in enumerate(sorted(species)):
        label, z = species[kind]
        if 0 < z < len(SYMBOLS):
            names = [files[place] if place < len(files) else label, basis.get(label, "")]
            found.add((SYMBOLS[z], " / ".join(name for name in names if name)))
    return tuple(sorted(found))


def _shells(block: bytes, labels: list[str]) -> dict[str, str]:
    """Return the shells of each species in words: '3s2(4.884 4.419) 3p2P(6.116 4.945)'."""
    starts = {}
    for label in labels:
        match = re.search(rb"(?:^|\n)" + re.escape(label.encode("latin-1")) + rb" +\d", block)
        if match:
            starts[label] = match.start()
    order = sorted(starts, key=lambda label: starts[label])
    found = {}
    for k, label in enumerate(order):
        part = block[starts[label] : starts[order[k + 1]] if k + 1 < len(order) else len(block)]
        found[label] = " ".join(_shell(*shell) for shell in _SHELL.findall(part))
    return found


def _shell(n: bytes, momentum: bytes, zeta: bytes, polarised: bytes, radii: bytes) -> str:
    words = f"{n.decode()}{'spdfg'[min(int(momentum), 4)]}{zeta.decode()}{'P' if polarised else ''}"
    return f"{words}({' '.join(radii.decode('latin-1').split())})"
