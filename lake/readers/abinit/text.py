"""Reader of what ABINIT prints (.abo, .out; 7 to 10): each dataset that computes a ground state is a run of its own.

The energy is etotal, which holds -kT times the entropy where states are smeared, so that the forces belong to it. A dataset that was
relaxed has a run with all its steps. The log repeats the tables between messages, less the forces of datasets without moving atoms;
it is read for runs whose output is not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.abinit.altered import altered, not_plain_forces
from lake.readers.abinit.level import Variables, level_of_theory, read_cell, read_pseudopotentials, read_variables
from lake.readers.abinit.step import Cycle, Tables, read_cycle, read_logged, read_moving, read_static
from lake.readers.base import ReaderSpec
from lake.readers.cross_checks import notes_of, other_value, pressure, volume
from lake.readers.text_steps import Cutter, Step, make_frames, symmetric
from schemas.calculations import Run
from schemas.elements import SYMBOLS
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.units import BOHR, GPA, HARTREE, HARTREE_PER_BOHR, HARTREE_PER_BOHR3

FORMAT: Final = "ABINIT output"
LOG_FORMAT: Final = "ABINIT log"

_BANNER: Final = re.compile(rb"\s*\.Version +(\S+) +of ABINIT")
_DATASET: Final = re.compile(rb"\n== DATASET +(\d+) =")
_END: Final = b"\n== END DATASET"
_ITERATION: Final = b"\n--- Iteration: ("
_ANCHORS: Final = (b"\n== DATASET ", _END, _ITERATION, b"\n.Version ")
_RESULTS: Final = b"\n---OUTPUT---"
"""Once in a step of moving atoms."""
_DYNAMICS: Final = {1, 6, 8, 9, 12, 13, 14, 16, 24, 25}
"""ionmov of molecular dynamics (ABINIT manual); 13 moves the cell too."""
_MOST_ATOMS: Final = 1_000_000
"""Bounds the memory that a damaged number of atoms can ask for."""
_CELL_DECIMALS: Final = 2e-6
"""bohr; the cell of a dataset is printed with seven decimals, its variables with eleven digits."""
_MOVED: Final = 1e-5
"""Å"""


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of the main output of ABINIT."""
    del name
    return _BANNER.match(head) is not None


def recognises_log(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of what ABINIT prints to the screen: lines of its own before the same banner."""
    del name
    return re.search(rb"\n\.Version +\S+ +of ABINIT", head[:4096]) is not None and b"ABINIT" in head[:256]


@dataclass
class _Dataset:
    """What has been read of one dataset."""

    number: int
    natoms: int
    cell: Floats | None
    """(3, 3) bohr"""
    steps: list[tuple[Tables, Cycle]] = field(default_factory=list)
    torn: int = 0
    first: bytes = b""
    moving: bool = False
    closed: bool = False
    """What follows the dataset was seen."""


class AbinitReader:
    """Push reader of one main output; the text is cut at datasets and at the steps of moving atoms."""

    def __init__(self, name: str = FORMAT) -> None:
        self._format = name
        self._cutter = Cutter(_ANCHORS)
        self._head = b""
        self._version = ""
        self._variables = Variables({})
        self._pseudos: dict[int, str] = {}
        self._current: _Dataset | None = None
        self._runs: list[Run] = []
        self._failures: list[UnreadableOutput] = []
        self._complete = False
        self._open: list[_Dataset] = []

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; line ends may be LF or CRLF."""
        for piece in self._cutter.add(chunk):
            self._take(piece)

    def close(self) -> tuple[Run, ...]:
        """Return one run for each dataset with a ground state; raises UnreadableOutput where there is none."""
        for piece in self._cutter.rest():
            self._take(piece)
        self._end_dataset()
        self._end_output()
        if self._runs:
            return tuple(self._runs)
        raise self._failures[0] if self._failures else self._refusal()

    def _take(self, piece: bytes) -> None:
        if piece.startswith(b"\n.Version ") or not self._version:
            self._begin(piece)
        dataset = _DATASET.match(piece)
        if dataset is not None:
            self._end_dataset(closed=True)
            self._pseudos |= read_pseudopotentials(piece)
            number = int(dataset.group(1))
            natoms = min(max(self._variables.integer("natom", number, 1), 1), _MOST_ATOMS)
            cell = read_cell(piece)
            if cell is None and self._format == LOG_FORMAT:
                cell = _echoed_cell(self._variables, number)
            self._current = _Dataset(number, natoms, cell, first=piece)
        elif piece.startswith(_END):
            self._end_dataset(closed=True)
        elif piece.startswith(_ITERATION) and self._current is not None:
            self._move(piece, self._current)
        self._complete = self._complete or b"\n Calculation completed." in piece

    def _begin(self, piece: bytes) -> None:
        """Begin an output: its banner and, up to the first dataset, its variables."""
        banner = _BANNER.match(piece)
        if banner is None:
            return
        self._end_dataset()
        self._end_output()
        self._version = banner.group(1).decode("latin-1")
        self._variables = read_variables(piece)
        self._pseudos = {}
        self._complete = False

    def _move(self, piece: bytes, dataset: _Dataset) -> None:
        dataset.torn += 0 if dataset.moving else dataset.first.count(_RESULTS)
        dataset.moving = True
        tables, cycle = read_moving(piece, dataset.natoms), read_cycle(piece, self._variables, dataset.number)
        merged = piece.count(_RESULTS)
        if tables is None or cycle is None or merged > 1:
            dataset.torn += max(1, merged)
        else:
            dataset.steps.append((tables, cycle))

    def _end_dataset(self, *, closed: bool = False) -> None:
        """Close the dataset at hand; one whose end was not seen gives its steps, but no static result."""
        dataset, self._current = self._current, None
        if dataset is None:
            return
        dataset.closed = closed
        if closed and not dataset.moving:
            cycle = read_cycle(dataset.first, self._variables, dataset.number)
            tables = self._static(dataset, cycle.energy) if cycle else None
            if cycle is not None and tables is not None:
                dataset.steps.append((tables, cycle))
        dataset.torn -= int(dataset.torn > 0 and not closed)
        dataset.first = dataset.first[:1]
        self._open.append(dataset)

    def _static(self, dataset: _Dataset, energy: float) -> Tables | None:
        if self._format == FORMAT:
            return read_static(dataset.first, dataset.natoms, energy)
        places = np.array(self._variables.numbers("xred", dataset.number) or (0.0, 0.0, 0.0))
        return read_logged(dataset.first, places.reshape(-1, 3), energy) if places.size == 3 * dataset.natoms else None

    def _end_output(self) -> None:
        """Make the runs of all datasets; what they are worth depends on the end of the output."""
        for dataset in self._open:
            try:
                self._runs.append(self._run(dataset))
            except UnreadableOutput as failure:
                self._failures.append(failure)
        self._open = []

    def _run(self, dataset: _Dataset) -> Run:
        _refuse(self._variables, dataset)
        numbers, charges = _elements(self._variables, dataset)
        start = _cell(self._variables, dataset)
        steps = [_step(k, tables, cycle, start) for k, (tables, cycle) in enumerate(dataset.steps)]
        moved = [bool((np.abs(step.cell - steps[0].cell) > _MOVED).any()) for step in steps]
        steps = [_flagged(step, "pulay_suspect") if far else step for step, far in zip(steps, moved, strict=True)]
        told, no_forces = altered(self._variables, dataset.number), not_plain_forces(self._variables, dataset.number)
        steps = [_flagged(step, "altered_potential") if told else step for step in steps]
        steps = [replace(step, forces=None) if no_forces else step for step in steps]
        held = self._variables.numbers("iatfix", dataset.number)
        fixed = np.array(held).reshape(-1, 3) != 0 if len(held) == 3 * dataset.natoms else None
        sources = ("ABINIT etotal", "ABINIT stress tensor")
        flags = {"truncated": not self._complete, "malformed_steps": dataset.torn > 0}
        return Run(
            code="abinit",
            code_version=self._version,
            kind=_kind(self._variables, dataset),
            format=self._format,
            level_of_theory=level_of_theory(self._variables, dataset.number, self._pseudos, charges, start),
            frames=make_frames(numbers, np.ones(3, dtype=bool), steps, sources, fixed),
            complete=self._complete,
            flags=tuple(sorted(name for name, holds in flags.items() if holds)),
            notes=(
                *((f"dataset {dataset.number}",) if self._variables.integer("ndtset", 0, 1) > 1 else ()),
                *told,
                *((no_forces,) if no_forces else ()),
                *notes_of(steps),
            ),
            n_malformed_steps=dataset.torn,
        )

    def _refusal(self) -> UnreadableOutput:
        return UnreadableOutput(
            "no_complete_step", f"the output of ABINIT {self._version} has no dataset", "deposit the run when a dataset is complete"
        )


def _refuse(variables: Variables, dataset: _Dataset) -> None:
    driver, mixing = variables.integer("optdriver", dataset.number, 0), variables.integer("iscf", dataset.number, 7)
    if driver != 0 or mixing < 0:
        what = f"optdriver {driver}" if driver else f"iscf {mixing}, without self-consistency"
        raise UnreadableOutput("not_energies", f"dataset {dataset.number} has {what}", "deposit the ground-state run before it")
    if variables.integer("macro_uj", dataset.number, 0):
        what = f"dataset {dataset.number} is disturbed by a potential to find U or J (macro_uj)"
        raise UnreadableOutput("not_energies", what, "deposit the ground-state run before it")
    if variables.integer("nimage", dataset.number, 1) > 1:
        raise UnreadableOutput(
            "unreadable_output", f"dataset {dataset.number} moves several images", "deposit each image as a run of its own"
        )
    if not dataset.steps:
        raise UnreadableOutput(
            "no_complete_step", f"dataset {dataset.number} of ABINIT has no step with its end", "deposit the run when a step is complete"
        )
    if dataset.cell is None:
        raise UnreadableOutput("unreadable_output", f"dataset {dataset.number} prints no cell", "deposit the file as ABINIT wrote it")


def _elements(variables: Variables, dataset: _Dataset) -> tuple[NDArray[np.int16], list[int]]:
    """Return the atomic numbers, and the nuclear charges of the types."""
    charges = [round(charge) for charge in variables.numbers("znucl", dataset.number)]
    types = [int(kind) for kind in variables.numbers("typat", dataset.number)][: dataset.natoms]
    types = types or [1] * (dataset.natoms if len(charges) == 1 else 0)
    known = len(types) == dataset.natoms and all(1 <= kind <= len(charges) for kind in types)
    found = [charges[kind - 1] for kind in types] if known else [0]
    if not all(0 < charge < len(SYMBOLS) for charge in found):
        raise UnreadableOutput(
            "unreadable_output",
            f"znucl {charges} and typat {types} do not tell the elements of {dataset.natoms} atoms",
            "deposit the file as ABINIT wrote it",
        )
    return np.array(found, dtype=np.int16), charges


def _echoed_cell(variables: Variables, number: int) -> Floats | None:
    """Return acell times rprim in bohr as the input variables say, or None where they do not."""
    lengths, vectors = variables.numbers("acell", number) or (1.0, 1.0, 1.0), variables.numbers("rprim", number)
    if len(lengths) != 3 or len(vectors) not in (0, 9):
        return None
    return np.asarray(np.array(lengths)[:, None] * (np.array(vectors).reshape(3, 3) if vectors else np.eye(3)))


def _cell(variables: Variables, dataset: _Dataset) -> Floats:
    """Return the first cell in Å: acell times rprim where that is the cell which the dataset prints with fewer digits."""
    assert dataset.cell is not None
    echoed = _echoed_cell(variables, dataset.number)
    if echoed is not None and bool((np.abs(echoed - dataset.cell) < _CELL_DECIMALS).all()):
        return np.asarray(echoed * BOHR)
    return np.asarray(dataset.cell * BOHR)


def _step(k: int, tables: Tables, cycle: Cycle, start: Floats) -> Step:
    cell = start if tables.cell is None or not bool(np.isfinite(tables.cell).all()) else tables.cell * BOHR
    step = Step(
        number=k,
        cell=cell,
        positions=tables.positions * BOHR if tables.cartesian else tables.positions @ cell,
        energy=tables.energy * HARTREE,
        forces=tables.forces * HARTREE_PER_BOHR if tables.forces is not None else None,
        stress=symmetric(tables.stress) * HARTREE_PER_BOHR3 if tables.stress is not None else None,
        internal=(tables.energy - tables.entropy) * HARTREE,
        converged=cycle.converged,
        n_scf=cycle.steps,
    )
    told = [
        words
        for words in (
            other_value("volume of the cell", tables.volume, volume(step), BOHR**3),
            other_value("pressure", tables.pressure, pressure(step), GPA),
        )
        if words
    ]
    return replace(step, contradictions=tuple(told)) if told else step


def _flagged(step: Step, flag: str) -> Step:
    return replace(step, flags=(*step.flags, flag))


def _kind(variables: Variables, dataset: _Dataset) -> str:
    motion, free = variables.integer("ionmov", dataset.number, 0), variables.integer("optcell", dataset.number, 0)
    if motion in _DYNAMICS:
        return "vc-md" if motion == 13 and free else "md"
    if motion or dataset.moving:
        return "vc-relax" if free else "relax"
    return "static"


def _open_log() -> AbinitReader:
    return AbinitReader(LOG_FORMAT)


ABINIT_LOG: Final = ReaderSpec(name=LOG_FORMAT, code="abinit", recognises=recognises_log, open=_open_log, rank=3)
ABINIT_OUTPUT: Final = ReaderSpec(name=FORMAT, code="abinit", recognises=recognises, open=AbinitReader, rank=0)
