"""Trajectories that CP2K writes beside its log: PROJECT-pos-1.xyz, PROJECT-frc-1.xyz and PROJECT-1.cell.

A frame of the positions belongs to the evaluation of the log whose energy it repeats: numbers of steps do not tell, for a restarted
run and a line search evaluate energies that they do not write. The .stress file of a dynamics is not used: it holds the kinetic part
(its trace is the printed pressure), and the kinetic tensor is printed nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.qe.text_header import letters
from lake.readers.rows import RowBatch, number
from lake.readers.text_steps import as_floats, lines_after
from lake.readers.tokens import read_table
from schemas.elements import NUMBERS
from schemas.frames import Floats
from schemas.units import HARTREE, HARTREE_PER_BOHR

_KINDS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("positions", re.compile(r"-pos-(\d+)\.xyz$")),
    ("forces", re.compile(r"-frc-(\d+)\.xyz$")),
    ("cells", re.compile(r"-(\d+)\.cell$")),
)
_PLUMED_BIAS: Final = rb"^[^#\n]*\b(?:METAD|PBMETAD|OPES_\w+|RESTRAINT|MOVINGRESTRAINT|UPPER_WALLS|LOWER_WALLS)\b"
_BIASED: Final[tuple[tuple[re.Pattern[str], re.Pattern[bytes]], ...]] = (
    (re.compile(r"\.metadynLog$|^HILLS$"), re.compile(rb"")),
    (re.compile(r"\.inp$", re.I), re.compile(rb"^[ \t]*&METADYN\b", re.M | re.I)),
    (re.compile(r"^plumed[^/]*\.(?:dat|inp)$", re.I), re.compile(_PLUMED_BIAS, re.M)),
)
"""Names of files, and what in them tells that a dynamics was biased."""
_PLUMED_FILE: Final = re.compile(rb"^[ \t]*PLUMED_INPUT_FILE[ \t]+['\"]?([^\s'\"]+)", re.M | re.I)
_OWN_BIAS: Final = re.compile(
    rb"^[ \t]*(?:&METAVAR|&SPAWNED_HILLS|DO_HILLS[ \t]+\.?T|WW[ \t]|&MULTIPLE_WALKERS|&EXT_LAGRANGE|&PRINT[ \t]*HILLS)", re.M | re.I
)
_ACTION: Final = re.compile(rb"^[ \t]*(?:[^\s:#]+:[ \t]*)?([A-Za-z_]\w*)", re.M)
_MEASURES: Final = frozenset(
    b"PRINT FLUSH UNITS DISTANCE ANGLE TORSION COORDINATION ENERGY POSITION CELL VOLUME CENTER COM GROUP WHOLEMOLECULES RMSD GYRATION"
    b" DUMPATOMS DUMPFORCES ENDPLUMED".split()
)
"""Actions of PLUMED that compute and write and push nothing."""
_COMMENT: Final = re.compile(rb"i = +(\d+),[^\n]*?E = +(-?\d+\.\d+)")
_SAME_ENERGY: Final = 6e-11 * HARTREE
"""eV; a trajectory repeats an energy with ten decimals of a hartree."""
_SAME_PLACE: Final = 1e-4
"""Å"""


@dataclass(frozen=True)
class Companions:
    """Texts of the files of one project beside a log; empty where there is none."""

    project: str = ""
    """What their names begin with."""
    positions: bytes = b""
    forces: bytes = b""
    cells: bytes = b""
    names: tuple[str, ...] = ()

    def with_text(self, kind: str, name: str, text: bytes) -> Companions:
        """Return these companions with one more."""
        texts = {kind: text.replace(b"\r", b"")}
        return replace(self, names=(*self.names, name), **texts)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Printed:
    """What the log says of one evaluation that a trajectory can be recognised by."""

    energy: float
    """eV"""
    positions: Floats | None
    """(natoms, 3) Å"""


@dataclass(frozen=True, eq=False)
class Geometry:
    """What the trajectories give for one evaluation."""

    positions: Floats
    """(natoms, 3) Å"""
    forces: Floats | None
    """(natoms, 3) eV/Å"""
    cell: Floats | None
    """(3, 3) Å"""


@dataclass(frozen=True, eq=False)
class Match:
    """The evaluations that have a geometry in the trajectories."""

    geometries: Mapping[int, Geometry] = field(default_factory=dict)
    """By the number of the evaluation, from 0."""
    stranger: bool = False
    """The positions belong to another run."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Units:
    """What the numbers of trajectories are multiplied with; NaN where that is not known."""

    positions: float = 1.0
    """to Å"""
    forces: float = HARTREE_PER_BOHR
    """to eV/Å"""


USUAL: Final = Units()


@dataclass(frozen=True, eq=False)
class _Trajectory:
    steps: list[int]
    energies: Floats
    """eV"""
    rows: Floats
    """(frames, natoms, 3)"""


def companion_kind(name: str) -> str:
    """Return 'positions', 'forces' or 'cells' for the name of a file that CP2K writes beside a log, else an empty string."""
    return next((kind for kind, pattern in _KINDS if pattern.search(name)), "")


def companion_set(name: str) -> tuple[str, int]:
    """Return the project and the number in the name of a companion: files that share both belong together."""
    match = next(match for _, pattern in _KINDS if (match := pattern.search(name)))
    return name[: match.start()], int(match.group(1)[:9])


def is_trajectory(name: str) -> bool:
    """Return whether a file of this name is a trajectory of CP2K."""
    return bool(companion_kind(name))


def may_tell_of_bias(name: str) -> bool:
    """Return whether a file of this name may tell of a biased dynamics."""
    return any(pattern.search(name) for pattern, _ in _BIASED)


def tells_of_bias(name: str, text: bytes, plumed: bytes | None = None) -> bool:
    """Return whether a file beside a log tells that its dynamics was biased (metadynamics, walls, PLUMED).

    plumed is the text of the PLUMED input that an input of CP2K names, where it lies beside it: one that only measures biases nothing.

    CP2K adds the bias to the forces after it has computed them and before it writes them to PROJECT-frc-1.xyz (`metadyn_integrator`,
    called in src/motion/integrator.F); the energy has none of it.
    """
    if plumed is not None and not _OWN_BIAS.search(text) and {word.upper() for word in _ACTION.findall(plumed)} <= _MEASURES:
        return False
    return any(pattern.search(name) and told.search(text) for pattern, told in _BIASED)


def plumed_input(text: bytes) -> str:
    """Return the base name of the PLUMED input that an input of CP2K names, '' where it has none."""
    found = _PLUMED_FILE.search(text)
    return found.group(1).decode("latin-1").rpartition("/")[2] if found else ""


def without_forces(match: Match, bias: str) -> Match:
    """Return what trajectories give, less their forces, which a file beside the log tells to be biased."""
    if all(geometry.forces is None for geometry in match.geometries.values()):
        return match
    note = f"{bias} beside the log tells of a biased dynamics, and CP2K adds the bias to the forces of its trajectory: they are left out"
    kept = {number: replace(geometry, forces=None) for number, geometry in match.geometries.items()}
    return replace(match, geometries=kept, notes=(*match.notes, note))


def choose_geometries(
    candidates: Sequence[Companions], project: str, numbers: NDArray[np.int16], printed: Sequence[Printed], units: Units = USUAL
) -> tuple[Match, tuple[str, ...]]:
    """Return what the files beside a log give for it, and their names: of those that fit, the ones of its project come first.

    Files that fit nothing are strangers where they bear the project's name, or where the log names no project.
    """
    stranger = False
    notes: list[str] = []
    for each in sorted(candidates, key=lambda each: (each.project != project, each.project, each.names)):
        match = match_geometries(each, numbers, printed, units)
        if match.geometries:
            return match, each.names
        if match.stranger and project in ("", each.project):
            stranger = True
            notes += match.notes
    return Match(stranger=stranger, notes=tuple(notes)), ()


def match_geometries(companions: Companions, numbers: NDArray[np.int16], printed: Sequence[Printed], units: Units = USUAL) -> Match:
    """Return positions, forces and cells of those evaluations of a log that the trajectories hold."""
    track = _read(companions.positions, numbers)
    if track is None or not np.isfinite(units.positions):
        return Match(stranger=bool(companions.positions))
    forces = _read(companions.forces, numbers) if np.isfinite(units.forces) else None
    places = track.rows if units.positions == 1.0 else track.rows * units.positions
    cells = _cells(companions.cells)
    by_step = {step: k for k, step in enumerate(forces.steps)} if forces else {}
    geometries: dict[int, Geometry] = {}
    own_energies = np.array([each.energy for each in printed])
    following = 0
    for k, energy in enumerate(track.energies):
        equal = np.flatnonzero(np.abs(own_energies[following:] - energy) <= _SAME_ENERGY)
        found = following + int(equal[0]) if len(equal) else -1
        if found < 0:
            continue
        if not _same_place(printed[found].positions, places[k]):
            words = f"step {track.steps[k]} of the positions beside the log has an energy of it, and other places: they are not used"
            return Match(stranger=True, notes=(f"{words} (is their unit another than Å?)",))
        twin = by_step.get(track.steps[k])
        own = forces.rows[twin] * units.forces if forces and twin is not None and forces.energies[twin] == energy else None
        geometries[found] = Geometry(places[k], own, cells.get(track.steps[k]))
        following = found + 1
    unmatched = len(track.steps) - len(geometries)
    notes = (f"{unmatched} of {len(track.steps)} frames of the positions beside the log repeat no energy of it",) if unmatched else ()
    return Match(geometries, stranger=not geometries, notes=notes)


def _same_place(printed: Floats | None, positions: Floats) -> bool:
    return printed is None or bool((np.abs(printed - positions) < _SAME_PLACE).all())


def _read(text: bytes, numbers: NDArray[np.int16]) -> _Trajectory | None:
    """Return the whole frames of a trajectory, or None where its atoms are others than those of the log."""
    natoms = len(numbers)
    batch = RowBatch(natoms)
    steps: list[int] = []
    energies: list[float] = []
    place = 0
    while (end := text.find(b"\n", place)) >= 0:
        count = text[place:end].strip()
        comment_end = text.find(b"\n", end + 1)
        if not count.isdigit() or comment_end < 0:
            break
        comment = _COMMENT.search(text, end, comment_end)
        lines = lines_after(text, comment_end + 1, natoms)
        if int(count) != natoms or comment is None or lines is None:
            break
        if not steps and not _same_atoms(lines, numbers):
            return None
        batch.add(lines)
        steps.append(int(comment.group(1)))
        energies.append(number(comment.group(2)) * HARTREE)
        place = comment_end + 1 + len(lines)
    if not steps:
        return None
    return _Trajectory(steps, np.array(energies), batch.values())


def _same_atoms(lines: bytes, numbers: NDArray[np.int16]) -> bool:
    table = read_table(lines, 4, (0,))
    labels = [line.split(maxsplit=1)[0] for line in lines.split(b"\n") if line.strip()] if table is None else table.labels[:, 0].tolist()
    known = {label: NUMBERS.get(letters(label.decode("latin-1")), 0) for label in set(labels)}
    return bool([known[label] for label in labels] == numbers.tolist())


def _cells(text: bytes) -> dict[int, Floats]:
    """Return the cell of each step: rows of step, time, nine components in Å, volume."""
    cells = {}
    for line in text.split(b"\n"):
        fields = line.split()
        if len(fields) == 12 and fields[0].isdigit():
            cell = as_floats(fields[2:11]).reshape(3, 3)
            if bool(np.isfinite(cell).all()):
                cells[int(fields[0])] = cell
    return cells
