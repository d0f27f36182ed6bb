"""Reader of a log of NWChem's DFT, with a Gaussian basis or plane waves (6 and 7).

The energy is 'Total DFT energy', in hartree; forces are the printed gradient with the other sign. A log may hold several tasks with other
bases and charges: each is a run of its own. Energies on the way of a line search are printed without their geometry and are counted, not
kept. Plane waves (pspw, band, paw) are read by `nwchem_plane_waves`; wave-function modules and Car-Parrinello dynamics are not.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import numpy as np

from lake.readers.base import ReaderSpec
from lake.readers.cross_checks import notes_of
from lake.readers.nwchem.geometry import Geometries, read_gradient
from lake.readers.nwchem.others import (
    CHARGES,
    OTHERS,
    SOLVATED,
    ZEROED,
    has_electrons,
    other_energy,
    refuse_parts,
    without_zeroed,
)  # fmt: skip
from lake.readers.nwchem.plane_waves import MOVES, STARTS, count_energies, read_plane_waves
from lake.readers.nwchem.settings import Settings, level_of, updated
from lake.readers.rows import number
from lake.readers.step_log import as_numbers
from lake.readers.text_steps import NAN, Cutter, Step, make_frames
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.theory import LevelOfTheory
from schemas.units import HARTREE

FORMAT: Final = "NWChem log"
_ENERGY: Final = b"\n         Total DFT energy ="
_GEOMETRY: Final = b"\n Output coordinates in "
_TASK: Final = b"\n Task  times"
_BANNER: Final = re.compile(rb"Northwest Computational Chemistry Package \(NWChem\) (\S+)")
_VALUE: Final = re.compile(rb"\n +Total DFT energy = +(\S+) *(?=\n)")
_OPTIMISES: Final = b"NWChem Geometry Optimization"
_RESPONSE: Final = (b"NWChem Analytic Hessian", b"NWChem Finite-difference Hessian", b"NWChem Nuclear Hessian and Frequency")
_AGREES: Final = 2e-5
"""Å; the table of the gradient has places with six decimals of a bohr."""
_DISPERSED: Final = b"\n    Dispersion correction = "
"""Stands among the parts of an energy that has one."""
_DOUBLE_HYBRID: Final = b"Total DFT+MP2 energy"
"""The total DFT energy above it lacks the part of second order."""


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of an NWChem log."""
    del name
    return _BANNER.search(head) is not None


class _Task:
    """What one task of the input gave so far."""

    def __init__(self) -> None:
        self.symbols: list[str] = []
        self.level: LevelOfTheory | None = None
        self.kind = "static"
        self.pbc = False
        self.steps: list[Step] = []
        self.energies = 0
        self.lost = 0
        self.held = False

    def run(self, version: str, *, complete: bool) -> Run | None:
        """Return the run of the task, or None where it has no step."""
        numbers = as_numbers(self.symbols)
        if not self.steps or self.level is None or numbers is None:
            return None
        flags = [*(["malformed_steps"] if self.lost else []), *([] if complete else ["truncated"])]
        steps, zeroed = without_zeroed(self.steps, held=self.held)
        source = "NWChem plane-wave energy" if self.level.basis == "plane waves" else "NWChem total DFT energy"
        note = f"{self.lost} of {self.energies} energies have no geometry of their own, as on the way of a line search, and are left out"
        return Run(
            code="nwchem",
            code_version=version,
            kind=self.kind,
            format=FORMAT,
            level_of_theory=self.level,
            frames=make_frames(numbers, np.full(3, self.pbc), steps, (source, "")),
            complete=complete,
            flags=tuple(flags),
            notes=(*((note,) if self.lost else ()), *((ZEROED.format(zeroed),) if zeroed else ()), *notes_of(self.steps)),
            n_malformed_steps=self.lost,
        )


class NwchemReader:
    """Push reader of a log, cut at geometries, energies and ends of tasks."""

    def __init__(self) -> None:
        self._cutter = Cutter((_ENERGY, _GEOMETRY, _TASK, *STARTS))
        self._version = ""
        self._geometries = Geometries()
        self._fresh = False
        self._solved: list[LevelOfTheory] = []
        """Levels of plane waves that have an energy of the geometry."""
        self._task = _Task()
        self._settings = Settings()
        self._waiting: tuple[bytes, Settings] | None = None
        self._runs: list[Run] = []
        self._cores = False
        self._other = b""
        """The first module that is met whose energies are not read."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; line ends may be LF or CRLF."""
        for piece in self._cutter.add(chunk):
            self._take(piece)

    def close(self) -> tuple[Run, ...]:
        """Return a run for each task with a DFT energy; raises UnreadableOutput where there is none."""
        for piece in self._cutter.rest():
            self._take(piece)
        self._end(complete=False)
        if not self._runs and self._other:
            raise UnreadableOutput(*OTHERS[self._other], "deposit runs of the DFT module with a Gaussian basis")
        if not self._runs:
            raise UnreadableOutput(
                "no_complete_step",
                "the log of NWChem has no total DFT energy with a geometry and an end",
                "deposit the run when its task is done",
            )
        return tuple(self._runs)

    def _take(self, piece: bytes) -> None:
        """Read the energy that waits, whose piece is now seen to be whole, and then what begins the next one."""
        refuse_parts(piece)
        self._other = self._other or next((words for words in OTHERS if words in piece), b"")
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._add_plane_waves(waiting[0]) if waiting[0].startswith(STARTS) else self._add(*waiting)
            self._move(waiting[0])
        if piece.startswith(_TASK):
            self._end(complete=True)
        self._cores = self._cores or b"ECP" in piece
        if piece.startswith(_GEOMETRY):
            self._geometries.add(piece)
            self._fresh, self._solved = True, []
            if b"\n                         DFT ENERGY GRADIENTS" in piece:
                self._task.energies += 1
                self._task.lost += 1
        stray = count_energies(piece) - piece.startswith(STARTS)
        self._task.energies += max(stray, 0)
        self._task.lost += max(stray, 0)
        if piece.startswith((_ENERGY, *STARTS)):
            self._waiting = (piece, self._settings)
        self._settings = updated(self._settings, piece)
        self._geometries.follow(piece)
        if self._waiting is None:
            self._move(piece)
        if _OPTIMISES in piece:
            self._task.kind = "relax"
        elif any(words in piece for words in _RESPONSE):
            self._task.kind = "phonon"
        version = _BANNER.search(piece)
        self._version = version.group(1).decode("latin-1") if version else self._version

    def _move(self, piece: bytes) -> None:
        """Forget the geometry where a module moves the atoms without printing where to."""
        if any(words in piece for words in MOVES):
            self._geometries.current = None

    def _end(self, *, complete: bool) -> None:
        run = self._task.run(self._version, complete=complete)
        if run is not None:
            self._runs.append(run)
        self._solved = self._solved if self._task.kind == "relax" else []
        self._task, self._fresh = _Task(), True
        self._geometries.end_task()
        self._settings = replace(self._settings, held=False, restrained=False, charged=False)

    def _add_plane_waves(self, piece: bytes) -> None:
        """Read one energy of plane waves; a second one of its level, without a geometry between, is of a line search.

        The same structure at a lower cutoff, which the code solves before, is a run of its own.
        """
        found, geometry = read_plane_waves(piece), self._geometries.current
        if geometry is not None and geometry.charged:
            self._other = self._other or CHARGES
            return
        kind = self._task.kind
        if found is not None and self._task.level not in (None, found.level):
            self._flush()
        task = self._task
        task.kind, task.energies = kind, task.energies + 1
        again = found is not None and found.level in self._solved
        if found is None or geometry is None or again or (task.symbols and task.symbols != geometry.symbols):
            task.lost += 1
            return
        self._solved.append(found.level)
        task.level, task.symbols, task.pbc = found.level, geometry.symbols, found.pbc
        torn = found.step.forces is not None and list(found.symbols) != geometry.symbols
        cell = found.step.cell if found.pbc else np.zeros((3, 3))
        forces = np.full(geometry.positions.shape, NAN) if torn else found.step.forces
        task.steps.append(replace(found.step, number=task.energies - 1, cell=cell, positions=geometry.positions, forces=forces))

    def _flush(self) -> None:
        """End the run of the task's level so far; the task goes on with another level."""
        run = self._task.run(self._version, complete=True)
        self._runs += [run] if run is not None else []
        self._task = _Task()

    def _add(self, piece: bytes, settings: Settings) -> None:
        """Read one energy; its geometry was printed since the one before, or stands in the table of its gradient."""
        task, value = self._task, _VALUE.match(piece)
        geometry, fresh = self._geometries.current, self._fresh
        self._fresh = False
        if settings.charged or settings.cores or (geometry is not None and geometry.charged):
            self._other = self._other or CHARGES
            return
        task.energies += 1
        if geometry is not None and not has_electrons(geometry.symbols, settings.electrons + settings.charge, cores=self._cores):
            task.lost += 1
            return
        if task.level is None:
            level = level_of(settings, dispersed=_DISPERSED in piece)
            task.level = replace(level, extra=(*settings.ghosts, *settings.hamiltonian, *(settings.solvent if SOLVATED in piece else ())))
            task.symbols = geometry.symbols if geometry is not None else []
        if value is None or geometry is None or geometry.symbols != task.symbols or _DOUBLE_HYBRID in piece:
            task.lost += 1
            return
        table = read_gradient(piece, geometry.real)
        positions = geometry.positions if fresh else None
        if table is not None and bool(np.isfinite(table[0]).all()):
            near = positions is not None and bool((np.abs(table[0] - positions) < _AGREES).all())
            positions = positions if near else table[0]
        if positions is None:
            task.lost += 1
            return
        task.held = task.held or settings.held
        told = table is not None and not settings.restrained
        step = Step(
            number=task.energies - 1,
            cell=np.zeros((3, 3)),
            positions=positions,
            energy=number(value.group(1)) * HARTREE,
            forces=table[1] if table is not None else None,
            converged=settings.converged,
            n_scf=settings.n_scf,
            contradictions=other_energy(piece, value.group(1)) if told else (),
        )
        task.steps.append(step)


NWCHEM_LOG: Final = ReaderSpec(name=FORMAT, code="nwchem", recognises=recognises, open=NwchemReader, rank=0)
