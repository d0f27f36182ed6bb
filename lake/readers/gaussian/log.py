"""Reader of a Gaussian log (03 to 16).

The energy is that of 'SCF Done', in hartree; solvent and empirical dispersion are in it. Forces are printed in the input orientation, so
positions are taken from there, never from the standard orientation, which is turned. Translation vectors of a periodic run stand below the
atoms, with the atomic number -2; what is printed as the forces on them is no stress and is left out. Where one geometry has several
energies (a cycle that another algorithm ends, a state that was found unstable), the last counts. What has another basis, solvent or field
than the first step is left out. What is no density functional, or not of the atoms alone, is refused (`lake.readers.gaussian.others`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import numpy as np

from lake.readers.base import PushReader, ReaderSpec
from lake.readers.cross_checks import CrossCheck, other_value, rms_component
from lake.readers.gaussian.geometry import ORIENTATION, Geometry, contradictions_of, read_geometry
from lake.readers.gaussian.level import basis_name, kind_of, read_level, route_of, surroundings, with_method
from lake.readers.gaussian.others import refuse_route, refuse_text
from lake.readers.rows import number
from lake.readers.step_log import Heading, LogReader, RunLog
from lake.readers.text_steps import NAN, Step, as_floats, lines_after, numbered, token_table
from schemas.calculations import Run
from schemas.frames import Floats
from schemas.units import HARTREE, HARTREE_PER_BOHR

FORMAT: Final = "Gaussian log"

_OPENING: Final = b"\n Entering Link 1 = "
_DONE: Final = b"\n SCF Done:"
_VERSION: Final = re.compile(rb"\n Gaussian (\d+): +(\S+) ")
_ENERGY: Final = re.compile(
    rb"\n SCF Done: +E\(([A-Za-z0-9+-]+)\) = +(\S+) +(?:A\.U\.|a\.u\.) after +(\d{1,5}) cycles[^\n]*\n"
    rb" +(?:NFock=[^\n]*?)?Conv(?:g *=|=) *(\S+)"
)
_WANTED: Final = re.compile(rb"\n Requested convergence on RMS density matrix=(\S+) within +\d+ cycles")
_FORCES: Final = re.compile(rb"\n Center +Atomic +Forces \(Hartrees/Bohr\)\n Number +Number +X +Y +Z\n -+\n")
_TURNED: Final = b"\n Forces in standard orientation:"
"""Begins a table (with #P and frequencies) of forces that are turned; those of the input orientation stand behind it."""
_TURNED_BEFORE: Final = 200
_RMS: Final = re.compile(rb"\n Cartesian Forces: +Max +\S+ +RMS +(\S+)")
_RATIO: Final = re.compile(rb" -V/T *=")
"""Stands once below each energy of self-consistency."""
_MOVED: Final = re.compile(
    rb" orientation:|Rotational constants|Stoichiometry|Distance matrix|GradGradGrad|Forces \(Hartrees|Proceeding to internal job"
    rb"|finite field\(s\) will be applied"
)
"""Stands between two energies that are not of the same atoms in the same field."""
_STOPS: Final = re.compile(rb"\n Cartesian Forces: +Max|\n Normal termination of Gaussian|\n Error termination ")


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of a Gaussian log."""
    del name
    return b"Entering Link 1 = " in head or b"Entering Gaussian System, Link 0=" in head


def _rms(step: Step) -> float:
    """Return the root mean square of the forces of a molecule; in that of a periodic run are the translation vectors too."""
    return NAN if step.cell.any() else rms_component(step)


class GaussianRun(RunLog):
    """One job; a step is the text from 'SCF Done' to the next one."""

    CODE = "gaussian"
    FORMAT = FORMAT
    SOURCES = ("Gaussian SCF energy", "")
    ANCHORS = (_DONE,)
    ENDS = (b"\n Cartesian Forces:", b"\n Normal termination of Gaussian", b"\n Error termination ")
    LAST = (b"\n Normal termination of Gaussian",)
    CHECKS = (CrossCheck("root mean square of the forces", b"\n Cartesian Forces:", _RMS, _rms, HARTREE_PER_BOHR, least=1e-7),)

    def __init__(self) -> None:
        super().__init__()
        self._geometry: Geometry | None = None
        self._method = ""
        self._wanted = NAN
        self._fresh = False
        self._again = False
        """The next energy is of the same geometry as the one before."""
        self._taken = False
        """The energy read last became a step."""
        self._bare = False
        """No potential stands for electrons of the atoms."""
        self._first: tuple[bytes, str, str] | None = None
        """Basis, solvent and field of the first step; what is printed of those of the next one."""
        self._now = (b"", "", "")
        self._told: tuple[str, ...] = ()
        """What is printed of the geometry otherwise than it is."""
        self._open_cycles = 0
        """Cycles begun in the text taken last, without those that are counted as lost."""
        self._found = 0
        self._turned: set[int] = set()
        """Steps of which only the standard orientation was read."""
        self._other_orientation = False

    def read_heading(self, text: bytes) -> Heading | None:
        """Return atoms and level of theory; the functional is named by the first step."""
        self._count_lost(text, energies=0)
        self._bare = bool(basis_name(text)) and b"seudo" not in text
        self._prepare(text)
        if self._geometry is None:
            return None
        version = _VERSION.search(text)
        numbers = np.array(self._geometry.numbers, dtype=np.int16)
        words, route = version.group(2).decode("latin-1") if version else "", route_of(text)
        level = read_level(text, route, self._geometry)
        return Heading(words, kind_of(route), numbers, np.arange(3) < len(self._geometry.vectors), level)

    def read_step(self, piece: bytes, heading: Heading) -> Step | None:
        """Return the step with the geometry printed before it; raises UnreadableOutput where the forces belong to another energy."""
        own = _own(piece)
        if own is None:
            self.lost += 1
            return None
        again, told = self._again and self._taken, self._told
        geometry = self._geometry if self._fresh or again else None
        wanted, energy, other = self._wanted, _ENERGY.match(own), self._now != self._first
        self._prepare(piece)
        self._found += self._count_lost(piece, energies=1)
        self._taken = False
        replaced = self.steps.pop().number if again and self.steps else -1
        if energy is None:
            self.lost += 1
            return None
        method = energy.group(1).decode("latin-1").upper()
        self._first_method(method, heading)
        self._found += replaced < 0
        if geometry is None or other or not _alike(geometry, heading) or method != self._method:
            self.lost += 1
            self._once("steps of another method, basis, solvent or field, or without a geometry are left out")
            return None
        self._taken = True
        place = replaced if replaced >= 0 else self._found - 1
        self._turned |= {place} if geometry.turned else set()
        self._other_orientation = self._other_orientation or not geometry.turned
        change = number(energy.group(4))
        return Step(
            number=place,
            cell=geometry.cell(),
            positions=geometry.positions,
            energy=number(energy.group(2)) * HARTREE,
            forces=self._forces(own, geometry),
            converged=_converged(change, wanted, own[energy.end() : own.find(b"\n", energy.end())]),
            n_scf=int(energy.group(3)),
            contradictions=told + _other_rms(piece, len(own), geometry),
        )

    def _count_lost(self, text: bytes, energies: int) -> int:
        """Count, and return, the cycles whose 'SCF Done' is missing: a text has what stands once above and below each of its energies."""
        begun, ended = len(_WANTED.findall(text)), len(_RATIO.findall(text)) - energies
        lost = max(begun - 1, ended, 0)
        self._open_cycles = begun - lost
        if lost:
            self.lost += lost
            self._once("steps whose line of the energy is missing are left out")
        return lost

    def run(self) -> Run | None:
        """Return the run; a cycle without an energy at its regular end counts among the lost steps.

        Steps in another orientation than the others are left out: a line of their geometry is damaged. So is a last step of whose geometry
        the text was giving another energy when it ended.
        """
        self.lost += self.complete and self._open_cycles > 0
        if self.pieces and not self.whole and self._again and self._taken:
            self.steps = self.steps[:-1]
        if self._other_orientation and self._turned:
            kept = [step for step in self.steps if step.number not in self._turned]
            self.lost += len(self.steps) - len(kept)
            self.steps = kept
        return super().run()

    def _first_method(self, method: str, heading: Heading) -> None:
        if self._method:
            return
        self._method = method
        self.heading = replace(heading, level=with_method(heading.level, method))

    def _prepare(self, text: bytes) -> None:
        """Keep what a text prints for the next step: its geometry, its surroundings, and how far its cycle has to converge."""
        refuse_route(route_of(text))
        refuse_text(text)
        wanted = _WANTED.findall(text)
        self._wanted = number(wanted[-1]) if wanted else self._wanted
        seen, known = (basis_name(text), *surroundings(text)), self._first or self._now
        self._now = (seen[0] or self._now[0], seen[1] or self._now[1], seen[2] or known[2])
        self._first = self._first or self._now
        tables = ORIENTATION.findall(text)
        self._fresh, self._again = bool(tables), not tables and _MOVED.search(text) is None
        given = [table for table in tables if table[0] != b"Standard"] or tables
        if given:
            self._geometry = read_geometry(given[-1][1], turned=given[-1][0] == b"Standard")
            self._told = contradictions_of(text, self._geometry, whole=self._bare)

    def _forces(self, text: bytes, geometry: Geometry) -> Floats | None:
        tables, natoms = list(_FORCES.finditer(text)), len(geometry.numbers)
        table = next((each for each in tables if _TURNED not in text[max(0, each.start() - _TURNED_BEFORE) : each.start()]), None)
        if not tables:
            return None
        if geometry.turned or table is None:
            what = "the forces" if table is None else "the atoms"
            self._once(f"{what} are printed in the standard orientation alone, and the others are not: the forces are left out")
            return None
        lines = lines_after(text, table.end(), natoms)
        whole = lines is not None and numbered(lines, natoms)
        return token_table(lines, natoms, 2, 5) * HARTREE_PER_BOHR if whole and lines is not None else np.full((natoms, 3), NAN)

    def _once(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _own(piece: bytes) -> bytes | None:
    """Return the text of a piece up to the end of its step, behind the second table where the first is of turned forces; None without."""
    stop = _STOPS.search(piece)
    if stop is not None and _TURNED in piece[: stop.start()]:
        stop = _STOPS.search(piece, stop.end())
        if stop is None:
            return None
    return piece if stop is None else piece[: stop.end()]


def _converged(change: float, wanted: float, rest: bytes) -> int:
    """Return whether a cycle met its criterion, -1 where that is not told: the quadratic algorithm prints a gradient for the change."""
    if np.isnan(wanted) or np.isnan(change):
        return -1
    return 1 if change <= 1.05 * wanted else (-1 if b"Fock formations" in rest else 0)


def _alike(geometry: Geometry, heading: Heading) -> bool:
    return geometry.numbers == tuple(heading.numbers.tolist()) and len(geometry.vectors) == heading.pbc.sum()


def _other_rms(text: bytes, end: int, geometry: Geometry) -> tuple[str, ...]:
    """Return a sentence where the forces of a periodic run, those on its vectors among them, have another mean square than printed."""
    table, printed = _FORCES.search(text, 0, end), _RMS.search(text, text.rfind(b"\n", 0, end))
    if not len(geometry.vectors) or table is None or printed is None:
        return ()
    rows = [line.split() for line in text[table.end() :].split(b"\n", len(geometry.numbers) + len(geometry.vectors))[:-1]]
    forces = as_floats([field for row in rows for field in row[-3:]])
    told = other_value("root mean square of the forces", printed.group(1), float(np.sqrt(np.mean(forces**2))), 1.0)
    return (told,) if told else ()


def _open() -> PushReader:
    return LogReader(_OPENING, GaussianRun)


GAUSSIAN_LOG: Final = ReaderSpec(name=FORMAT, code="gaussian", recognises=recognises, open=_open, rank=0)
