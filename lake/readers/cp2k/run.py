"""One run of CP2K: the evaluations of its log, given positions from the log itself or from the trajectories beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.cp2k.altered import holds_atoms, told_by_input
from lake.readers.cp2k.companions import USUAL, Companions, Geometry, Printed, choose_geometries, without_forces
from lake.readers.cp2k.evaluation import WORDS as EVALUATION_WORDS
from lake.readers.cp2k.evaluation import Cycle, Labels, read_cycle, read_labels, with_tables
from lake.readers.cp2k.given import Given, inputs_of, trajectory_units
from lake.readers.cp2k.header import WORDS as HEADER_WORDS
from lake.readers.cp2k.header import Atoms, Header, read_atoms, read_cell, read_header
from lake.readers.cp2k.low import Settled, settled, table_text
from lake.readers.cp2k.refused import refuse
from lake.readers.cross_checks import notes_of, other_volume
from lake.readers.text_steps import Step, make_frames
from lake.readers.words import Found, Words
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import Floats, FrameBlock

FORMAT: Final = "CP2K log"

_ENERGY: Final = b"\n ENERGY| Total FORCE_EVAL"
_VOLUME: Final = re.compile(rb"\n CELL\| Volume \[angstrom\^3\]: +(\S+)")
_CYCLE: Final = b"SCF WAVEFUNCTION OPTIMIZATION"
_POPULATIONS: Final = b"\n !-----"
"""Not looked for with the others: every ruler of a log has its dashes."""
_WORDS: Final = Words(*HEADER_WORDS, *EVALUATION_WORDS, _CYCLE, b"PROGRAM ENDED AT")
_CELL_DECIMALS: Final = 1e-3
"""Å; vectors of a cell are printed with three decimals."""
_NET_FORCE: Final = 5e-3
"""eV/Å; the printed forces of a free system add up to less, as a rule."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One evaluation with what the log says about its geometry."""

    number: int
    labels: Labels
    cycle: Cycle
    atoms: Atoms | None
    cell: Floats | None
    positions: Floats | None = None
    """(natoms, 3) Å of a single point whose log does not print them"""
    told: str = ""
    """A volume printed beside the cell that is not that of its vectors."""


@dataclass(frozen=True, eq=False)
class Beside:
    """What lies beside a log."""

    trajectories: Sequence[Companions] = ()
    texts: Mapping[str, bytes] = field(default_factory=dict)
    """Inputs, parts of inputs and tables, by base name."""
    bias: str = ""
    """Name of a file that tells of a biased dynamics."""


@dataclass(frozen=True, eq=False)
class Log:
    """All that one run printed."""

    header: Header
    evaluations: tuple[Evaluation, ...]
    complete: bool
    torn: int
    """Evaluations whose ENERGY line could not be read."""


class LogBuilder:
    """Takes the pieces of one run in order; each but the first begins with an ENERGY line."""

    def __init__(self) -> None:
        self._head = b""
        self._header: Header | None = None
        self._before: Found | None = None
        self._cycle: Found | None = None
        self._evaluations: list[Evaluation] = []
        self._torn = 0
        self._told = ""
        self._complete = False

    @property
    def begun(self) -> bool:
        """Whether the banner of a run has been taken."""
        return b"PROGRAM STARTED AT" in self._head or bool(self._evaluations)

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        if not piece.startswith(_ENERGY):
            self._head += piece
            return
        if self._header is None:
            head = Found(self._head, _WORDS)
            self._header = read_header(head)
            self._before, self._cycle = _halves(head)
            told = head.matches(_VOLUME, b"\n CELL| Volume")
            if told and self._header.cell is not None:
                self._told = other_volume(told[-1].group(), _VOLUME, self._header.cell, share=1e-3)
            self._head = self._head[:2000] + b"PROGRAM STARTED AT"
        found = Found(piece, _WORDS)
        self._complete = b"PROGRAM ENDED AT" in found
        self._evaluate(found, self._header)

    def _evaluate(self, piece: Found, header: Header) -> None:
        """Read the labels that follow an energy, with the geometry and the cycle that stood before it."""
        natoms = header.natoms
        before, cycle = self._before, self._cycle
        self._before, self._cycle = _halves(piece)
        labels = read_labels(self._before, natoms, more=self._cycle is not None)
        if labels is None or before is None:
            self._torn += 1
            return
        first = not self._evaluations and not self._torn
        self._evaluations.append(
            Evaluation(
                number=len(self._evaluations) + self._torn,
                labels=labels,
                cycle=read_cycle(cycle or before, header.threshold),
                atoms=header.atoms if first else read_atoms(before),
                cell=header.cell if first else read_cell(before),
                told=self._told if first else "",
            )
        )

    def log(self) -> Log:
        """Return what the run printed; an evaluation that something more could belong to is left out."""
        header = self._header or read_header(Found(self._head, _WORDS))
        evaluations = list(self._evaluations)
        if evaluations and not evaluations[-1].labels.ended:
            evaluations.pop()
        return Log(header, tuple(evaluations), self._complete, self._torn)


def _halves(text: Found) -> tuple[Found, Found | None]:
    """Return what stands before a cycle of self-consistency, and the cycle up to the analysis of its populations."""
    place = text.first(_CYCLE)
    if place < 0:
        return text, None
    end = text.text.find(_POPULATIONS, place)
    return text.part(0, place), text.part(place, end if end >= 0 else len(text.text))


def finish(log: Log, beside: Beside) -> tuple[Run, tuple[str, ...]]:
    """Return the run of a log and of the files beside it, and their names; raises UnreadableOutput where no step is whole."""
    refuse(log.header, {each.labels.program for each in log.evaluations})
    inputs = inputs_of(beside.texts, log.header) if beside.texts else ([], [])
    low = log.header.atoms is None
    told = settled(log.header, inputs, beside.texts, len(log.evaluations)) if low else _printed(log.header)
    header = told.header
    units = trajectory_units(inputs[0][0]) if inputs[0] else USUAL
    printed = [Printed(e.labels.energy, e.atoms.positions if e.atoms else told.positions) for e in log.evaluations]
    found, names = choose_geometries(beside.trajectories, header.project, told.numbers, printed, units)
    if beside.bias:
        found = without_forces(found, beside.bias)
    if told.positions is not None:
        tables, more = table_text(beside.texts, told)
        log = _placed(log, told.positions, tables)
        names = (*names, *more)
    fixed = _held(log.evaluations, found.geometries, inputs[0])
    altered, sources = _altered(header, inputs[0])
    steps = _steps(log, told, found.geometries, fixed, altered)
    if not steps:
        raise UnreadableOutput(
            "no_complete_step",
            f"the log of CP2K {header.version} has {len(log.evaluations)} energies, but positions of none of them",
            f"deposit {header.project or 'PROJECT'}-pos-1.xyz{' and its .cell' if told.cells_change else ''} beside the log",
        )
    lost = log.torn + len(log.evaluations) - len(steps)
    frames = make_frames(told.numbers, header.pbc, steps, (_energy_source(log), "CP2K stress tensor, sign changed"), fixed)
    flags = {"truncated": not log.complete, "malformed_steps": lost > 0, "companion_of_other_run": found.stranger}
    notes = _notes(log, lost, fixed, frames)
    if low:
        notes = (*notes, f"the log prints no coordinates: atoms, cell and level of theory are from {', '.join(told.files)}")
    if altered:
        notes = (*notes, f"in energies and forces is also {'; '.join(altered)}")
    run = Run(
        code="cp2k",
        code_version=header.version,
        kind=header.kind,
        format=FORMAT,
        level_of_theory=header.level,
        frames=frames,
        complete=log.complete,
        flags=tuple(sorted(name for name, holds in flags.items() if holds)),
        notes=(*notes, *found.notes, *notes_of(steps)),
        n_malformed_steps=lost,
    )
    return run, tuple(dict.fromkeys((*names, *told.files, *sources)))


def _printed(header: Header) -> Settled:
    """Return what a log prints that has coordinates."""
    if header.atoms is None or header.cell is None:
        raise UnreadableOutput(
            "no_complete_step", f"the log of CP2K {header.version} prints no cell", "run it with PRINT_LEVEL MEDIUM, which prints it"
        )
    return Settled(header, header.atoms.numbers, header.cell)


def _placed(log: Log, positions: Floats, tables: bytes) -> Log:
    """Return the log of a single point with its positions, and with the tables that it wrote beside the log."""
    (only,) = log.evaluations
    natoms = len(positions)
    labels = with_tables(only.labels, Found(tables, _WORDS), natoms) if tables else only.labels
    return replace(log, evaluations=(replace(only, labels=labels, positions=positions),))


def _altered(header: Header, inputs: Sequence[Given]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what is in energies and forces beside the functional, and the files that tell more of it than the log."""
    for given in inputs[:1]:
        if more := told_by_input(given.root):
            return (*header.altered, *more), given.files
    return header.altered, ()


def _steps(
    log: Log, told: Settled, geometries: Mapping[int, Geometry], fixed: NDArray[np.bool_] | None, altered: Sequence[str]
) -> list[Step]:
    steps = []
    cell = told.cell
    flags = ("altered_potential",) if altered else ()
    for evaluation in log.evaluations:
        labels, cycle = evaluation.labels, evaluation.cycle
        given = geometries.get(evaluation.number)
        if evaluation.cell is not None:
            cell = evaluation.cell
        elif labels.lengths is not None and cell is not None:
            cell = _resized(cell, labels.lengths)
        positions = given.positions if given else evaluation.atoms.positions if evaluation.atoms else evaluation.positions
        own_cell = given.cell if given and given.cell is not None else None if told.cells_change else cell
        if positions is None or own_cell is None:
            continue
        forces = labels.forces if labels.forces is not None else given.forces if given else None
        steps.append(
            Step(
                number=evaluation.number,
                cell=own_cell,
                positions=positions,
                energy=labels.energy,
                forces=forces if fixed is None else None,
                stress=labels.stress,
                internal=labels.energy - cycle.entropy,
                converged=cycle.converged,
                n_scf=cycle.steps,
                flags=flags,
                contradictions=(*labels.contradictions, *((evaluation.told,) if evaluation.told else ())),
            )
        )
    return steps


def _resized(cell: Floats, lengths: Floats) -> Floats:
    """Return cell with the printed lengths and angles: stretched where the angles stay, else set up anew with a along x, b in xy.

    CP2K keeps the cell of a flexible run upper triangular, so the second form is its own.
    """
    norms = np.linalg.norm(cell, axis=1)
    unit = cell / norms[:, None]
    cosines = np.array([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]])
    wanted = np.cos(np.radians(lengths[3:]))
    if not bool(np.isfinite(lengths).all()) or bool((lengths[:3] <= 0).any()):
        return cell
    if bool((np.abs(cosines - wanted) < 1e-7).all()) or abs(cell[0, 1]) + abs(cell[0, 2]) + abs(cell[1, 2]) > _CELL_DECIMALS:
        return np.asarray(unit * lengths[:3, None])
    a, b, c = lengths[:3]
    sine = np.sqrt(1.0 - wanted[2] ** 2)
    y = (wanted[0] - wanted[1] * wanted[2]) / sine
    return np.array([[a, 0, 0], [b * wanted[2], b * sine, 0], [c * wanted[1], c * y, c * np.sqrt(max(0.0, 1.0 - wanted[1] ** 2 - y**2))]])


def _held(evaluations: Sequence[Evaluation], geometries: Mapping[int, Geometry], inputs: Sequence[Given]) -> NDArray[np.bool_] | None:
    """Return which coordinates are held: those whose force is zero in every table, where the sum of the forces along them is not.

    CP2K removes the forces on FIXED_ATOMS before it writes them to the log or to a trajectory, and does not say there which atoms those
    are. A force that is zero by symmetry makes the sum along its direction zero too.
    """
    given = [each.forces for each in geometries.values()]
    found = [table for table in (*(e.labels.forces for e in evaluations), *given) if table is not None and bool(np.isfinite(table).all())]
    if not found:
        return None
    tables = np.array(found)
    uneven = (np.abs(tables.sum(axis=1)) >= _NET_FORCE).any(axis=0)
    if any(holds_atoms(each.root) for each in inputs[:1]):
        uneven[:] = True
    if not bool(uneven.any()):
        return None
    zero = (tables == 0.0).all(axis=0)
    whole = zero.all(axis=1)
    held = whole[:, None] | (zero & uneven)
    return held if bool(held.any()) and not bool(whole.all()) else None


def _energy_source(log: Log) -> str:
    return f"CP2K Total FORCE_EVAL ({log.evaluations[0].labels.program}) energy"


def _notes(log: Log, lost: int, fixed: NDArray[np.bool_] | None, frames: FrameBlock) -> tuple[str, ...]:
    notes = [note for evaluation in log.evaluations for note in evaluation.labels.unit_notes]
    notes += [f"step {e.number}: {e.cycle.contradiction}" for e in log.evaluations if e.cycle.contradiction]
    if fixed is not None:
        notes.append(f"{int(fixed.any(axis=1).sum())} atoms are held fixed and CP2K prints zero for their forces: the forces are left out")
    if lost > log.torn:
        notes.append(f"{lost - log.torn} of {len(log.evaluations)} steps have no positions in the log; deposit PROJECT-pos-1.xyz beside it")
    if not np.isfinite(frames.energy).all():
        notes.append("an energy could not be read")
    return tuple(dict.fromkeys(notes))
