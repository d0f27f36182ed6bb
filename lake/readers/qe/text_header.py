"""The part of a pw.x stdout before the first SCF cycle: species, first geometry, level of theory."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.cross_checks import other_volume
from lake.readers.qe.beyond import told_above, told_beside
from lake.readers.qe.level import (
    find_mesh,
    functional_name,
    hubbard_shell,
    mesh_spacing,
    smearing_name,
    unique_pseudopotentials,
)
from lake.readers.rows import decode_rows, number
from schemas.elements import NUMBERS, SYMBOLS
from schemas.theory import U_NOT_TOLD, LevelOfTheory
from schemas.units import BOHR, RYDBERG

Floats = NDArray[np.float64]

_FLOAT: Final = rb"([-+.\dEeDd]+)"
_SITE: Final = re.compile(rb"^ *[\d*]+ +(\S+) +tau\([ \d*]+\) = \((.*)\) *$", re.M)
_AXIS: Final = re.compile(rb"^ +a\([123]\) = \((.*)\) *$", re.M)
_VOLUME: Final = re.compile(rb"\n +unit-cell volume +=([^\n]*?)\((?:a\.u\.\)\^3)")
_PSEUDO: Final = re.compile(rb"PseudoPot\. # *(\d+) +for +(\S+) +read from file:?\s+(\S+)(?:\s+MD5 check sum: *([0-9a-f]+))?")
_KPOINT: Final = re.compile(rb"^ +k\([ \d*]+\) = \((.*)\), wk = *([\d.]+)", re.M)
_XC: Final = re.compile(rb"Exchange-correlation *= *([^\n(]*?) *\n? *\(((?: *\d+)+) *\)")
_XC_NAME: Final = re.compile(rb"Exchange-correlation *= *([^\n(]*)")
_FIXED: Final = re.compile(rb"^ +(\d+) +([01]) +([01]) +([01]) *$", re.M)
_OLD_U: Final = re.compile(rb"(Simplified|Full) (?:LDA|DFT)\+U calculation[^\n]*\n[^\n]*atomic species[^\n]*\n((?: +\S+ +\d[^\n]*\n)+)")
_NEW_U: Final = re.compile(rb"^ +([UJ])\((\S+?)-(\d?[spdf])\) *= *([-\d.]+)", re.M)


@dataclass(frozen=True, eq=False)
class Species:
    """One entry of the table of species: label ('Fe1'), element, valence charge."""

    label: str
    element: str
    valence: float
    mass: float
    mixed: bool
    """Several elements share it (virtual crystal)."""


@dataclass(frozen=True, eq=False)
class Header:
    """What stands before the first SCF cycle of a run."""

    version: str
    natoms: int
    alat: float
    """Å"""
    cell: Floats
    """(3, 3) Å"""
    site_rows: bytes
    """Rows of the first positions, in alat, one line each."""
    labels: tuple[str, ...]
    species: tuple[Species, ...]
    fixed: NDArray[np.bool_]
    """(natoms, 3)"""
    level: LevelOfTheory
    hybrid: bool
    told: str = ""
    """A volume printed beside the cell that is not that of its vectors."""


def read_header(text: bytes) -> Header | None:
    """Return the header of a run, or None where it is too short to hold a whole first geometry."""
    version = _first(rb"Program PWSCF +v\.? *(\S+)", text)
    natoms, alat = _whole(rb"number of atoms/cell +=", text), _alat(text)
    axes = [found.group(1) for found in islice(_AXIS.finditer(text, _line_of(text, b" a(")), 3)]
    sites = list(islice(_SITE.finditer(text, _line_of(text, b" tau(")), natoms or 0))
    if natoms is None or alat is None or natoms < 1 or len(axes) != 3 or len(sites) != natoms:
        return None
    cell = decode_rows(axes, 3) * (alat * BOHR)
    labels = tuple(found.group(1).decode("latin-1") for found in sites)
    pseudos = {int(found.group(1)): found for found in _PSEUDO.finditer(text)}
    species = _species(text, pseudos)
    return Header(
        version=version.decode("latin-1") if version else "",
        natoms=natoms,
        alat=alat * BOHR,
        cell=cell,
        site_rows=b"".join(found.group(2) + b"\n" for found in sites),
        labels=labels,
        species=species,
        fixed=_fixed(text, natoms),
        level=_level(text, species, labels, cell, alat),
        hybrid=b"EXX-fraction" in text or b"EXX: grid" in text,
        told=other_volume(text, _VOLUME, cell, BOHR**3) if cell.shape == (3, 3) else "",
    )


def element_numbers(header: Header) -> NDArray[np.int16] | None:
    """Return the atomic numbers of the atoms, or None where a label belongs to no known species or element."""
    known = {entry.label: NUMBERS.get(entry.element, 0) for entry in header.species}
    numbers = [known.get(label) or NUMBERS.get(letters(label), 0) for label in header.labels]
    return None if 0 in numbers else np.array(numbers, dtype=np.int16)


@lru_cache(maxsize=4096)
def letters(label: str) -> str:
    """Return the element symbol that a label ('Fe1', 'O_a', 'MN2') begins with, or an empty string."""
    head = re.match(r"[A-Za-z]{1,2}", label)
    if head is None:
        return ""
    two = head.group().capitalize()
    return two if two in NUMBERS else two[0] if two[0] in NUMBERS else ""


def _species(text: bytes, pseudos: dict[int, re.Match[bytes]]) -> tuple[Species, ...]:
    start = text.find(b"atomic species   valence    mass")
    if start < 0:
        return ()
    found: list[Species] = []
    for line in text[start:].split(b"\n")[1:]:
        match = re.match(rb" +(\S{1,6}?) *([-\d.]+) +([\d.]+) +(.*\( *[\d.]+\).*)$", line)
        if match is None:
            break
        label, parts = match.group(1).decode("latin-1"), re.findall(rb"([A-Za-z]{0,2}) *\(", match.group(4))
        mass = number(match.group(3))
        pseudo = pseudos.get(len(found) + 1)
        named = [part.decode("latin-1").capitalize() for part in (*parts, *((pseudo.group(2),) if pseudo else ()))]
        element = next((name for name in (*named, letters(label)) if name in NUMBERS), _by_mass(mass))
        found.append(Species(label, element, number(match.group(2)), mass, len(parts) > 1))
    return tuple(found)


def _by_mass(mass: float) -> str:
    """Return the element whose atomic weight is within 0.3 u of mass, or an empty string."""
    from ase.data import atomic_masses

    if not np.isfinite(mass):
        return ""
    nearest = int(np.argmin(np.abs(atomic_masses[1 : len(SYMBOLS)] - mass))) + 1
    return SYMBOLS[nearest] if abs(float(atomic_masses[nearest]) - mass) < 0.3 else ""


def _level(text: bytes, species: tuple[Species, ...], labels: tuple[str, ...], cell: Floats, alat: float) -> LevelOfTheory:
    functional, fraction = _functional(text)
    elements = {entry.label: entry.element for entry in species}
    points, weights = _kpoints(text)
    mesh = find_mesh(points @ (cell / (alat * BOHR)).T, weights) if len(points) else None
    if b"gamma-point specific algorithms" in text:
        mesh = (1, 1, 1)
    smearing, width = _smearing(text)
    return LevelOfTheory(
        code="qe",
        functional=functional,
        dispersion=_dispersion(text),
        hubbard_u=_hubbard(text, elements),
        exact_exchange=fraction,
        basis="plane waves",
        cutoff=_energy(rb"kinetic-energy cutoff +=", text),
        density_cutoff=_energy(rb"charge density cutoff +=", text),
        pseudopotentials=unique_pseudopotentials(_pseudopotentials(text, species)),
        kpoints=mesh,
        n_kpoints=_whole(rb"number of k points=", text),
        kpoint_spacing=mesh_spacing(mesh, cell),
        smearing=smearing,
        smearing_width=width,
        spin=_spin(text),
        charge=_charge(text, species, labels),
        extra=told_above(text),
    )


_DISPERSED: Final = re.compile(rb"\n +(Dispersion XDM|Dispersion T-S|DFT-D3|MBD|Dispersion) (?:Correction|Dispersion) +=")
_DISPERSED_BY: Final = {b"Dispersion XDM": "XDM", b"Dispersion T-S": "TS", b"DFT-D3": "D3", b"MBD": "MBD", b"Dispersion": "D2"}
_HUBBARD_ENERGY: Final = re.compile(rb"\n +Hubbard energy +=([^\n]*?)Ry")


def _functional(text: bytes) -> tuple[str, float | None]:
    fraction = _first(rb"EXX-fraction +=\s*([\d.]+)", text)
    exact = number(fraction) if fraction else float("nan")
    match = list(_XC.finditer(text))
    if match:
        indices = tuple(int(token) for token in match[-1].group(2).split())
        return functional_name(match[-1].group(1).decode("latin-1"), indices), exact if exact > 0 else None
    plain = _XC_NAME.search(text)
    return (functional_name(plain.group(1).decode("latin-1")) if plain else ""), exact if exact > 0 else None


def _dispersion(text: bytes) -> str:
    if b"DFT-D3 Dispersion" in text or b"DFT-D3 version" in text:
        version = _first(rb"DFT-D3 version: +(\d+)", text)
        return {b"3": "D3(0)", b"4": "D3(BJ)", b"5": "D3M(0)", b"6": "D3M(BJ)", b"2": "D2"}.get(version or b"", "D3")
    if b"Parameters for Dispersion Correction" in text or b"Parameters for Dispersion (Grimme-D2) Correction" in text:
        return "D2"
    for words, name in ((b"mbdlib", "MBD"), (b"MBD@rsSCS", "MBD"), (b"TS-vdW initialization", "TS"), (b"XDM dispersion", "XDM")):
        if words in text:
            return name
    return ""


def seen_later(level: LevelOfTheory, text: bytes) -> LevelOfTheory:
    """Return a level with what the parts of an energy betray, of which the header says nothing that is read:
    a dispersion, a U, and what `told_beside` finds."""
    dispersion = _DISPERSED.search(text) if not level.dispersion else None
    if dispersion is not None:
        level = replace(level, dispersion=_DISPERSED_BY[dispersion.group(1)])
    hubbard = _HUBBARD_ENERGY.search(text) if not level.hubbard_u and U_NOT_TOLD not in level.extra else None
    if hubbard is not None and number(hubbard.group(1)) != 0.0:
        level = replace(level, extra=tuple(sorted({*level.extra, U_NOT_TOLD})))
    return told_beside(level, text)


def _hubbard(text: bytes, elements: dict[str, str]) -> tuple[tuple[str, str, float], ...]:
    values: dict[tuple[str, str], float] = {}
    for kind, label, shell, value in _NEW_U.findall(text) if b" U(" in text or b" J(" in text else ():
        element = elements.get(label.decode("latin-1")) or letters(label.decode("latin-1"))
        sign = 1.0 if kind == b"U" else -1.0
        key = (element, hubbard_shell(shell.decode()))
        values[key] = values.get(key, 0.0) + sign * number(value)
    for kind, rows in _OLD_U.findall(text) if b"+U calculation" in text else ():
        for row in rows.splitlines():
            label, shell, *numbers = row.decode("latin-1").split()
            element = elements.get(label) or letters(label)
            u, j = (number(part.encode()) for part in (*numbers, "0", "0")[:2])
            values[element, hubbard_shell(shell)] = u - (j if kind == b"Full" else 0.0)
    return tuple(sorted((element, shell, value) for (element, shell), value in values.items() if np.isfinite(value) and value != 0.0))


def _pseudopotentials(text: bytes, species: tuple[Species, ...]) -> list[tuple[str, str]]:
    pairs = []
    for found in _PSEUDO.finditer(text):
        place = int(found.group(1)) - 1
        element = species[place].element if place < len(species) else letters(found.group(2).decode("latin-1"))
        title = found.group(3).decode("latin-1").rsplit("/", 1)[-1]
        pairs.append((element, f"{title} md5:{found.group(4).decode()}" if found.group(4) else title))
    return pairs


def _kpoints(text: bytes) -> tuple[Floats, Floats]:
    """Return the Cartesian k points in 2 pi/alat, shape (n, 3), and their weights; the crystal list that may follow is left out."""
    start = text.find(b"cart. coord. in units 2pi/alat")
    end = text.find(b"cryst. coord.", start)
    rows = _KPOINT.findall(text[start : end if end > 0 else None]) if start >= 0 else []
    return decode_rows([row for row, _ in rows], 3), np.array([number(weight) for _, weight in rows])


_NGAUSS: Final = {0: "gaussian", -1: "marzari-vanderbilt", -99: "fermi-dirac"}
"""Version 4 prints the number of the smearing; others are orders of Methfessel and Paxton."""


def _smearing(text: bytes) -> tuple[str, float | None]:
    match = re.search(rb"number of k points= *\d+ +([A-Za-z][^\n]*?) +smearing, width \(Ry\)= *([\d.]+)", text)
    if match:
        return smearing_name(match.group(1).decode("latin-1")), number(match.group(2)) * RYDBERG
    old = re.search(rb"number of k points= *\d+ +gaussian broad\. \(Ry\)= *([\d.]+) +ngauss = *(-?\d{1,3}) *\n", text)
    if old:
        return _NGAUSS.get(int(old.group(2)), "methfessel-paxton"), number(old.group(1)) * RYDBERG
    if re.search(rb"number of k points= *\d+ *\(.*tetrahedr", text):
        return "tetrahedra", None
    return "none", None


def _spin(text: bytes) -> str:
    if b"calculation with spin-orbit" in text:
        return "spin-orbit"
    if b"Noncollinear calculation without spin-orbit" in text:
        return "noncollinear"
    magnetic = b"Starting magnetic structure" in text or b"(up:" in text
    return "collinear" if magnetic else "none"


def _charge(text: bytes, species: tuple[Species, ...], labels: tuple[str, ...]) -> float:
    """Return what is left of the valence charges when the electrons are taken away, to 0.01 e as printed."""
    electrons = _first(rb"number of electrons +=\s*" + _FLOAT, text)
    valence = {entry.label: entry.valence for entry in species}
    total = sum(valence.get(label, float("nan")) for label in labels)
    charge = total - number(electrons) if electrons else 0.0
    return round(charge, 2) + 0.0 if np.isfinite(charge) else 0.0


def _fixed(text: bytes, natoms: int) -> NDArray[np.bool_]:
    fixed = np.zeros((natoms, 3), dtype=bool)
    start = text.find(b"\n     Fixed atoms")
    if start < 0:
        return fixed
    end = text.find(b"\n\n", start + 20)
    for site, *free in _FIXED.findall(text[start : end if end > 0 else None]):
        if 1 <= int(site) <= natoms:
            fixed[int(site) - 1] = [flag == b"0" for flag in free]
    return fixed


def _alat(text: bytes) -> float | None:
    """Return alat in bohr: celldm(1) has two more decimals than 'lattice parameter (alat)'."""
    for pattern in (rb"celldm\(1\)= *([\d.]+)", rb"lattice parameter \((?:alat|a_0)\) +=\s*([\d.]+)"):
        value = number(_first(pattern, text) or b"")
        if value > 0:
            return value
    return None


def _energy(pattern: bytes, text: bytes) -> float | None:
    value = number(_first(pattern + rb"\s*([\d.]+) +Ry", text) or b"")
    return value * RYDBERG if np.isfinite(value) else None


def _line_of(text: bytes, words: bytes) -> int:
    """Return where the first line with some words begins; the end for none."""
    place = text.find(words)
    return text.rfind(b"\n", 0, place) + 1 if place >= 0 else len(text)


def _whole(pattern: bytes, text: bytes) -> int | None:
    found = _first(pattern + rb"\s*(\d{1,9})(?!\d)", text)
    return int(found) if found else None


def _first(pattern: bytes, text: bytes) -> bytes | None:
    match = re.search(pattern, text)
    return match.group(1) if match else None
