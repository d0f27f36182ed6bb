"""What the input of CP2K gives for a log that prints no coordinates (PRINT_LEVEL LOW): atoms, cell, units of the trajectories."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.cp2k.companions import Units
from lake.readers.cp2k.header import Header
from lake.readers.cp2k.input import Section, UnclearInput, read_sections
from lake.readers.qe.text_header import letters
from schemas.elements import NUMBERS, SYMBOLS
from schemas.frames import Floats
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR

_RESTART: Final = re.compile(r"-\d+\.restart$")
_INPUT: Final = re.compile(r"\.inp$", re.I)
_PARTS: Final = re.compile(
    r"\.inc$|^(?:coords?|coordinates?|box|cell)$|^(?:(?:.*[._-])?coords?|init|input|start|struct|structure|geometry|geo)\.xyz$", re.I
)
_LENGTHS: Final = {"ANGSTROM": 1.0, "BOHR": BOHR, "AU_L": BOHR, "NM": 10.0, "PM": 0.01}
_FORCES: Final = {
    "HARTREE*BOHR^-1": HARTREE_PER_BOHR, "BOHR^-1*HARTREE": HARTREE_PER_BOHR, "AU_F": HARTREE_PER_BOHR, "EV*ANGSTROM^-1": 1.0,
    "ANGSTROM^-1*EV": 1.0, "HARTREE*ANGSTROM^-1": HARTREE,
}  # fmt: skip
_RIGHT_ANGLED: Final = frozenset({"", "NONE", "TRICLINIC", "ORTHORHOMBIC", "TETRAGONAL", "TETRAGONAL_AB", "CUBIC"})
"""Symmetries of a cell for which CP2K puts a along x and b into the plane xy."""
_CHARGE: Final = re.compile(r"-Q(\d+)$")
_SINGLE: Final = frozenset({"ENERGY", "ENERGY_FORCE"})


@dataclass(frozen=True, eq=False)
class Given:
    """An input that belongs to a log."""

    name: str
    root: Section
    files: tuple[str, ...]
    """Names of the files that it was read from."""
    is_restart: bool
    """CP2K wrote it: its coordinates are those behind the last step."""

    @property
    def subsystem(self) -> Section:
        """Return the only SUBSYS; raises UnclearInput."""
        found = self.root.one("FORCE_EVAL", "SUBSYS")
        if found is None:
            raise UnclearInput("it has no section FORCE_EVAL/SUBSYS")
        return found


@dataclass(frozen=True, eq=False)
class GivenAtoms:
    """Atoms in the order of the run."""

    numbers: NDArray[np.int16]
    labels: tuple[str, ...]
    """In capitals: names of the kinds."""
    positions: Floats
    """(natoms, 3) Å"""


def is_input(name: str) -> bool:
    """Return whether a file of this name may be an input of CP2K, one that it wrote, or a part of one."""
    return any(pattern.search(name) for pattern in (_RESTART, _INPUT, _PARTS))


def inputs_of(files: Mapping[str, bytes], header: Header) -> tuple[list[Given], list[str]]:
    """Return the inputs beside a log that are its own, the one that was given to CP2K first, and why others are not used.

    An input is that of a log by its name, and says the same project and run type; a restart file bears the project's name.
    """
    found, reasons = [], []
    names = [name for name in files if name == header.input_name]
    names += sorted(name for name in files if header.project and _RESTART.sub("", name) == header.project and _RESTART.search(name))
    for name in names:
        used: set[str] = set()
        try:
            root = read_sections(name, files, used)
            _same_run(root, header)
        except UnclearInput as fault:
            reasons.append(f"{name} beside the log is not used: {fault}")
            continue
        found.append(Given(name, root, tuple(sorted(used)), bool(_RESTART.search(name))))
    return found, reasons


def _same_run(root: Section, header: Header) -> None:
    head = root.one("GLOBAL") or Section("GLOBAL")
    project = (head.words("PROJECT_NAME", "PROJECT") or ["PROJECT"])[0].rpartition("/")[2]
    run_type = head.word("RUN_TYPE") or "ENERGY_FORCE"
    for name, own, printed in (("project", project, header.project), ("run type", run_type, header.run_type)):
        if own.upper() != printed.upper():
            raise UnclearInput(f"its {name} is {own}, that of the log is {printed}")


def cell_of(given: Given) -> Floats:
    """Return the cell of an input, (3, 3) in Å; raises UnclearInput where it is not told in full."""
    cell = given.subsystem.one("CELL")
    if cell is None:
        raise UnclearInput("it has no section CELL")
    if cell.words("CELL_FILE_NAME") is not None or cell.switch("CANONICALIZE"):
        raise UnclearInput("its cell is read from another file or turned")
    if cell.word("SYMMETRY") not in _RIGHT_ANGLED:
        raise UnclearInput(f"its cell has SYMMETRY {cell.word('SYMMETRY')}")
    if given.root.one("EXT_RESTART") is not None:
        raise UnclearInput("it goes on from a restart file (EXT_RESTART)")
    many = _numbers(cell.words("MULTIPLE_UNIT_CELL") or ["1", "1", "1"], 3)
    if cell.words("ABC") is not None:
        vectors = _from_lengths(_length(cell.words("ABC")), cell.words("ALPHA_BETA_GAMMA", "ANGLES"))
    else:
        vectors = np.array([_length(cell.words(name)) for name in "ABC"])
    return np.asarray(vectors * many[:, None])


def _from_lengths(lengths: Floats, angles: Sequence[str] | None) -> Floats:
    if angles and angles[0].startswith("["):
        if angles[0].lower() != "[deg]":
            raise UnclearInput(f"its angles are in {angles[0]}")
        angles = angles[1:]
    found = _numbers(angles, 3) if angles is not None else np.full(3, 90.0)
    alpha, beta, gamma = np.where(found == 90.0, 0.0, np.cos(np.radians(found)))
    sine = np.sqrt(1.0 - gamma**2)
    y = (alpha - beta * gamma) / sine
    height = 1.0 - beta**2 - y**2
    if not height > 0:
        raise UnclearInput("the angles of its cell are impossible")
    unit = np.array([[1.0, 0.0, 0.0], [gamma, sine, 0.0], [beta, y, np.sqrt(height)]])
    return np.asarray(unit * lengths[:, None])


def periodicity_of(given: Given) -> NDArray[np.bool_]:
    """Return along which axes an input repeats its cell, (3,)."""
    poisson, cell = given.root.one("FORCE_EVAL", "DFT", "POISSON"), given.subsystem.one("CELL")
    words = [section.word("PERIODIC") for section in (poisson, cell) if section is not None]
    axes = next((word for word in words if word), "XYZ")
    return np.array([axis in axes for axis in "XYZ"] if axes != "NONE" else [False] * 3)


def atoms_of(given: Given, files: Mapping[str, bytes], cell: Floats, *, where: bool = True) -> tuple[GivenAtoms, tuple[str, ...]]:
    """Return the atoms that an input gives to CP2K, and names of other files that they come from; raises UnclearInput.

    Without where only the elements are wanted: the positions may be those of another step.
    """
    subsystem = given.subsystem
    if where and (given.is_restart or given.root.one("EXT_RESTART") is not None):
        raise UnclearInput("its coordinates may be those of another step")
    topology = subsystem.one("TOPOLOGY") or Section("TOPOLOGY")
    many = [*(topology.words("MULTIPLE_UNIT_CELL") or ()), *((subsystem.one("CELL") or topology).words("MULTIPLE_UNIT_CELL") or ())]
    if set(many) - {"1"}:
        raise UnclearInput("it repeats a unit cell (MULTIPLE_UNIT_CELL)")
    reordered = any(each.switch("REORDER") for each in topology.all("GENERATE"))
    if reordered or (where and topology.one("CENTER_COORDINATES") is not None):
        raise UnclearInput("CP2K moves or sorts its coordinates (TOPOLOGY)")
    coordinates = subsystem.one("COORD")
    if coordinates is not None:
        rows = [line.split() for line in coordinates.lines]
        unit = _LENGTHS.get(coordinates.word("UNIT") or "ANGSTROM")
        atoms = [row for row in rows if row[0].upper() not in {"UNIT", "SCALED"}]
        labels, places = _rows(atoms)
        if unit is None:
            raise UnclearInput(f"its coordinates are in {coordinates.word('UNIT')}")
        return _known(subsystem, labels, places @ cell if coordinates.switch("SCALED") else places * unit), ()
    name = (
        (topology.words("COORD_FILE_NAME", "COORDINATE_FILE_NAME", "COORDINATE_FILE", "COORD_FILE") or [""])[0]
        .strip("'\"")
        .rpartition("/")[2]
    )
    kind = topology.word("COORD_FILE_FORMAT", "COORDINATE", "COORDINATE_FILE_FORMAT", "COORD_FILE_TYPE")
    if kind != "XYZ" or name not in files:
        raise UnclearInput(f"its coordinates are in {name or 'no file'} ({kind or 'of no format'}), which is not beside it as XYZ")
    lines = files[name].decode("latin-1").splitlines()
    count = int(lines[0].strip()[:9]) if lines and lines[0].strip().isdecimal() else -1
    rows = [line.split() for line in lines[2 : 2 + count]]
    if count < 1 or len(rows) != count or any(line.strip() for line in lines[2 + count :]):
        raise UnclearInput(f"{name} is not one frame of {count} atoms")
    labels, places = _rows(rows)
    return _known(subsystem, labels, places), (name,)


def _rows(rows: Sequence[Sequence[str]]) -> tuple[list[str], Floats]:
    if not rows or any(len(row) < 4 for row in rows):
        raise UnclearInput("its coordinates are no table")
    return [row[0].upper() for row in rows], np.array([_numbers(row[1:4], 3) for row in rows])


def _known(subsystem: Section, labels: Sequence[str], positions: Floats) -> GivenAtoms:
    """Return the atoms with the elements of their kinds; a kind may have a name of its own, or be a ghost."""
    kinds = {kind.parameter.upper(): kind for kind in subsystem.all("KIND")}
    elements = {}
    for label in sorted(set(labels)):
        kind = kinds.get(label, Section("KIND"))
        if kind.switch("GHOST") or label.startswith("GHOST"):
            raise UnclearInput(f"its kind {label} is of ghost atoms")
        elements[label] = NUMBERS.get(letters((kind.words("ELEMENT", "ELEMENT_SYMBOL") or [label])[0]), 0)
        if not elements[label]:
            raise UnclearInput(f"the element of its kind {label} is not known")
    return GivenAtoms(np.array([elements[label] for label in labels], dtype=np.int16), tuple(labels), positions)


def electrons_of(given: Given, atoms: GivenAtoms) -> int | None:
    """Return how many electrons the named pseudopotentials leave, None where their names do not tell ('GTH-PBE-q4' does)."""
    kinds = {kind.parameter.upper(): kind for kind in given.subsystem.all("KIND")}
    total = 0
    for label in set(atoms.labels):
        words = kinds.get(label, Section("KIND")).words("POTENTIAL", "POT") or [""]
        charge = _CHARGE.search(words[-1].upper())
        if charge is None:
            return None
        total += int(charge[1]) * atoms.labels.count(label)
    dft = given.root.one("FORCE_EVAL", "DFT") or Section("DFT")
    return total - int(_numbers(dft.words("CHARGE") or ["0"], 1)[0])


def cores_of(given: Given, atoms: GivenAtoms) -> list[tuple[str, str]]:
    """Return element and name of the pseudopotential of each atom."""
    kinds = {kind.parameter.upper(): (kind.words("POTENTIAL", "POT") or [""])[-1] for kind in given.subsystem.all("KIND")}
    return [(SYMBOLS[number], kinds.get(label, "")) for number, label in zip(atoms.numbers.tolist(), atoms.labels, strict=True)]


def trajectory_units(given: Given) -> Units:
    """Return what an input says of the units of positions and forces in the trajectories."""
    found = []
    for section, usual, units in (("TRAJECTORY", 1.0, _LENGTHS), ("FORCES", HARTREE_PER_BOHR, _FORCES)):
        written = next(given.root.all("MOTION", "PRINT", section), None)
        unit = written.word("UNIT").strip("[]") if written is not None else ""
        found.append(units.get(unit, float("nan")) if unit else usual)
    return Units(found[0], found[1])


def _length(words: Sequence[str] | None) -> Floats:
    if words is None:
        raise UnclearInput("its cell is not given by A, B and C or by ABC")
    unit = 1.0
    if words[:1] and words[0].startswith("["):
        unit = _LENGTHS.get(words[0].strip("[]").upper(), float("nan"))
        words = words[1:]
    found = _numbers(words, 3) * unit
    if not bool(np.isfinite(found).all()):
        raise UnclearInput("the unit of its cell is not known")
    return found


def _numbers(words: Sequence[str], count: int) -> Floats:
    try:
        found = np.array([float(word.lower().replace("d", "e")) for word in words[:count]])
    except ValueError:
        raise UnclearInput(f"{' '.join(words[:count])} are no numbers") from None
    if len(found) != count or not bool(np.isfinite(found).all()):
        raise UnclearInput(f"{' '.join(words[:count])} are not {count} numbers")
    return found


def is_single_point(run_type: str) -> bool:
    """Return whether a run evaluates only the structure that it was given."""
    return run_type.upper() in _SINGLE
