"""Readers of what OpenMX writes: System.Name.out (3.6 to 3.9) and the trajectory System.Name.md.

The energy is Utot. OpenMX prints no entropy term; its forces are derived from Utot with fixed occupations of the electronic temperature
(300 K unless set), so they agree with it as far as the entropy is negligible. Stress is not printed in either file.
An .out prints positions of the first step, in the input that it repeats, and positions and forces of the last one. The .md beside it has
all steps with five decimals; taken as a companion it gives the .out the steps between.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lake.readers.base import ReaderSpec
from lake.readers.cross_checks import notes_of, other_volume
from lake.readers.openmx.input import Input, nearest, read_input
from lake.readers.openmx.md import MD_FORMAT, OpenmxMdReader, Snapshot, read_snapshots, recognises_md, split_runs
from lake.readers.rows import number
from lake.readers.text_steps import Cutter, Step, lines_after, make_frames, token_table
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR

FORMAT: Final = "OpenMX output"

_VECTORS: Final = re.compile(rb"^[^#\n]*(?:<Atoms\.UnitVectors|Atoms\.UnitVectors>)", re.I | re.M)
_HISTORY: Final = b"\n                  SCF history at MD="
_RESULT: Final = b"\n       xyz-coordinates (Ang) and forces (Hartree/Bohr)"
_NUMBER: Final = re.compile(rb"\n +SCF history at MD= *(\d{1,9})")
_MOST_MISSING: Final = 1000
_ENERGY: Final = b"\n  Utot. "
_VOLUME: Final = re.compile(rb"\n +Cell_Volume = +(\S+) \(Bohr\^3\)")
_CYCLE_ROW: Final = re.compile(rb"\n +SCF= *(\d+) +NormRD= *(\S+) +Uele= *(\S+)")
_UTOT: Final = re.compile(rb"\n +Utot\. +(-?\d+\.\d+) *\n")
_TABLE: Final = re.compile(rb"\n<coordinates\.forces\n +(\d+)\n")
_FRACTIONS: Final = re.compile(rb"\n +Fractional coordinates of the final structure[^\n]*\n(?:\**\n)*\n*")
_NAME: Final = re.compile(rb"\n *System\.Name +(\S+)", re.IGNORECASE)
_SAME_PLACE: Final = 2e-5
"""Å; the table of forces and the .md have positions with five decimals."""
_SAME_ENERGY: Final = 1.1e-5 * HARTREE
"""eV; the .md has energies with five decimals of a hartree."""


@dataclass(frozen=True)
class _Cycle:
    energy: float
    """eV"""
    converged: int
    steps: int


@dataclass(frozen=True, eq=False)
class _Final:
    """Geometry and forces at the end of a run."""

    positions: Floats
    forces: Floats


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of an OpenMX output."""
    del name
    return b"This calculation was performed by OpenMX" in head


class OpenmxReader:
    """Push reader of one .out; the text is cut at the histories of its cycles, and at the final geometry."""

    def __init__(self) -> None:
        self._cutter = Cutter((_HISTORY, _RESULT))
        self._head = b""
        self._input: Input | None = None
        self._cycles: list[_Cycle | None] = []
        self._final: _Final | None = None
        self._trajectories: dict[str, list[list[Snapshot]]] = {}
        self._used: tuple[str, ...] = ()
        self._complete = False
        self._told = ""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; line ends may be LF or CRLF."""
        for piece in self._cutter.add(chunk):
            self._take(piece)

    def take_companion(self, name: str, text: bytes) -> bool:
        """Take the .md that was written beside the output; returns whether it is used."""
        runs = split_runs(read_snapshots(text)) if is_companion(name) else []
        if runs:
            self._trajectories[name] = runs
        return bool(runs)

    @property
    def companions_used(self) -> tuple[str, ...]:
        """Return the name of the .md that the run was read from."""
        return self._used

    def close(self) -> tuple[Run, ...]:
        """Return the run; raises UnreadableOutput where no step has positions and an energy."""
        for piece in self._cutter.rest():
            self._take(piece)
        given = self._input or _read_input(self._head)
        if given is None:
            raise UnreadableOutput(
                "unreadable_output", "the output of OpenMX repeats no input with a geometry", "deposit the file as OpenMX wrote it"
            )
        if given.solver == "negf":
            words = "the run has open boundaries (scf.EigenvalueSolver NEGF); the atoms of its leads are not in the geometry"
            raise UnreadableOutput("not_energies", words, "deposit runs with periodic boundaries")
        torn = 0
        while self._cycles and self._cycles[-1] is None:
            self._cycles.pop()
            torn += self._final is not None
        self._final = None if torn else self._final
        named = _NAME.search(self._head)
        system = named.group(1).decode("latin-1").rpartition("/")[2] if named else ""
        track = self._track(given, system)
        steps = self._steps(given, track)
        if not steps:
            raise UnreadableOutput(
                "no_complete_step", f"the output of OpenMX {given.version} has no energy", "deposit the run when a step is complete"
            )
        if given.altered:
            steps = [replace(step, flags=(*step.flags, "altered_potential")) for step in steps]
        if self._told:
            steps = [replace(step, contradictions=(self._told,)) for step in steps]
        lost = len(self._cycles) - len(steps) + torn
        flags = {
            "truncated": not self._complete,
            "malformed_steps": lost > 0,
            "companion_of_other_run": not track and any(system in ("", _stem(name)) for name in self._trajectories),
        }
        notes = (
            [f"{lost} of {len(self._cycles) + torn} steps have no positions in the output; deposit System.Name.md beside it"]
            if lost
            else []
        )
        return (
            Run(
                code="openmx",
                code_version=given.version,
                kind=given.kind,
                format=FORMAT,
                level_of_theory=given.level,
                frames=make_frames(given.numbers, np.full(3, bool(given.cell.any())), steps, ("OpenMX Utot", "")),
                complete=self._complete,
                flags=tuple(sorted(name for name, holds in flags.items() if holds)),
                notes=(*given.altered, *notes, *notes_of(steps[:1])),
                n_malformed_steps=lost,
            ),
        )

    def _take(self, piece: bytes) -> None:
        self._complete = self._complete or b"\n   Elapsed.Time." in piece
        if piece.startswith(_HISTORY):
            if self._input is None:
                self._input = _read_input(self._head)
                periodic = self._input is not None and bool(self._input.cell.any())
                self._told = other_volume(self._head, _VOLUME, self._input.cell, BOHR**3) if self._input and periodic else ""
                named = _NAME.search(self._head)
                self._head = self._head[:2000] + (named.group() if named else b"")
            if self._input is not None:
                counted = _NUMBER.match(piece)
                missing = int(counted.group(1)) - 1 - len(self._cycles) if counted else 0
                self._cycles += [None] * (missing if 0 < missing < _MOST_MISSING else 0)
                merged = piece.count(_ENERGY)
                self._cycles += [_read_cycle(piece, self._input)] if merged < 2 else [None] * merged
        elif piece.startswith(_RESULT):
            self._final = _read_final(piece, self._input) if self._input is not None else None
        else:
            self._head += piece

    def _steps(self, given: Input, track: Sequence[Snapshot]) -> list[Step]:
        """Return the steps that have a geometry: the first from the input, the last from the end, others from the .md beside.

        The end of a dynamics, or of a relaxation that was given up, can be the geometry after the last energy: it is not taken.
        """
        steps = []
        flexible = given.kind in ("vc-relax", "vc-md")
        for k, cycle in enumerate(self._cycles):
            if cycle is None:
                continue
            snapshot = track[k] if k < len(track) and abs(track[k].energy - cycle.energy) <= _SAME_ENERGY else None
            final = self._final if k + 1 == len(self._cycles) and not flexible else None
            cell, positions, forces = given.cell, given.positions if k == 0 else None, None
            if snapshot is not None:
                cell = snapshot.cell if flexible and k > 0 and snapshot.cell is not None else cell
                positions, forces = snapshot.positions if positions is None else positions, snapshot.forces
            if final is not None and _is_settled(final, given):
                positions, forces = final.positions, final.forces
            if positions is not None:
                steps.append(Step(k, cell, positions, cycle.energy, forces=forces, converged=cycle.converged, n_scf=cycle.steps))
        return steps

    def _track(self, given: Input, system: str) -> Sequence[Snapshot]:
        """Return the steps of this run in an .md beside the output, that of System.Name first; none where all begin elsewhere."""
        ordered = sorted(self._trajectories.items(), key=lambda item: (_stem(item[0]) != system, item[0]))
        for name, run in ((name, run) for name, runs in ordered for run in reversed(runs)):
            if np.array_equal(run[0].numbers, given.numbers):
                near = bool((np.abs(nearest(run[0].positions - given.positions, given.cell)) < _SAME_PLACE).all())
                first = next(iter(self._cycles), None)
                if near and first is not None and abs(first.energy - run[0].energy) <= _SAME_ENERGY:
                    self._used = (name,)
                    return run
        return ()


def _read_input(text: bytes) -> Input | None:
    """Return the repeated input; one without vectors is that of a molecule, around which OpenMX puts a box that it does not print.

    Where only one end of their block is there, or its rows are no vectors, it is torn.
    """
    return read_input(text) or (None if _VECTORS.search(text) else read_input(text, np.zeros((3, 3))))


def is_companion(name: str) -> bool:
    """Return whether a file of this name may be read together with an .out of OpenMX."""
    return name.endswith(".md")


def _stem(name: str) -> str:
    return name.removesuffix(".md")


def _is_settled(final: _Final, given: Input) -> bool:
    if given.kind == "static":
        return True
    return given.kind == "relax" and bool((np.linalg.norm(final.forces, axis=1) <= given.force_criterion * HARTREE_PER_BOHR).all())


def _read_cycle(text: bytes, given: Input) -> _Cycle | None:
    """Return a cycle and its energy, or None where the energy was not reached.

    OpenMX stops when the band energy Uele changes by less than scf.criterion (DFT.c of OpenMX 3.9), or after scf.maxIter cycles.
    """
    energy, rows = _UTOT.search(text), _CYCLE_ROW.findall(text)
    if energy is None or b"\n  Chemical potential (Hartree)" not in text:
        return None
    if len(rows) < 2:
        return _Cycle(number(energy.group(1)) * HARTREE, -1, len(rows) or -1)
    change = abs(number(rows[-1][2]) - number(rows[-2][2]))
    converged = int(change <= 1.01 * given.criterion) if np.isfinite(change) else -1
    return _Cycle(number(energy.group(1)) * HARTREE, converged, int(rows[-1][0]))


def _read_final(text: bytes, given: Input) -> _Final | None:
    """Return the geometry at the end; the fractional coordinates (14 decimals) where they agree with the Cartesian ones (5)."""
    table, natoms = _TABLE.search(text), len(given.numbers)
    lines = lines_after(text, table.end(), natoms) if table else None
    if table is None or lines is None or int(table.group(1)) != natoms:
        return None
    if not text.startswith(b"coordinates.forces>", table.end() + len(lines)):
        return None
    positions, forces = token_table(lines, natoms, 2, 8), token_table(lines, natoms, 5, 8) * HARTREE_PER_BOHR
    fractions = _FRACTIONS.search(text)
    rows = lines_after(text, fractions.end(), natoms) if fractions else None
    if rows is None and b"\n   Elapsed.Time." not in text:
        return None
    if rows is not None and given.cell.any():
        exact = token_table(rows, natoms, 2, 5) @ given.cell
        shift = (exact - positions) @ np.linalg.inv(given.cell)
        exact = exact - np.round(shift) @ given.cell
        if bool((np.abs(exact - positions) < _SAME_PLACE).all()):
            positions = exact
    return _Final(positions, forces) if bool(np.isfinite(positions).all()) else None


OPENMX_OUTPUT: Final = ReaderSpec(name=FORMAT, code="openmx", recognises=recognises, open=OpenmxReader, rank=0, companions=is_companion)
OPENMX_MD: Final = ReaderSpec(name=MD_FORMAT, code="openmx", recognises=recognises_md, open=OpenmxMdReader, rank=1)
