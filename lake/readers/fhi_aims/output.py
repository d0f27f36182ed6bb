"""Reader of what FHI-aims prints (2013 to 2024).

The energy is the electronic free energy, to which the forces belong; beside it the 'uncorrected' one is the internal energy and the
'corrected' one that of zero broadening. Energies are printed in eV, made by the code with its own hartree (27.2113845 eV, CODATA 2002), and
are taken as printed. Stress is positive under tension: the pressure in the same box has the other sign.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import numpy as np

from lake.readers.base import PushReader, ReaderSpec
from lake.readers.cross_checks import CrossCheck, pressure, volume
from lake.readers.fhi_aims.input import Given, read_input
from lake.readers.rows import number
from lake.readers.step_log import Heading, LogReader, RunLog, as_numbers
from lake.readers.text_steps import NAN, Step, as_floats, even_decimals, lines_after, numbered, symmetric, token_table
from schemas.frames import Floats

FORMAT: Final = "FHI-aims output"

_OPENING: Final = b"\n          Invoking FHI-aims"
_BEGIN: Final = b"\n          Begin self-consistency loop:"
_VERSION: Final = re.compile(rb"\n +(?:FHI-aims v|V)ersion *:? *(\S+)")
_COMPACT: Final = re.compile(
    rb"\n +\| Total energy uncorrected +: +(\S+) eV\n +\| Total energy corrected +: +(\S+) eV[^\n]*\n"
    rb" +\| (?:Electronic f|F)ree energy +: +(\S+) eV\n"
)
_COMPONENTS: Final = re.compile(
    rb"\n +\| Total energy +: +\S+ Ha +(\S+) eV\n +\| Total energy, T -> 0 +: +\S+ Ha +(\S+) eV[^\n]*\n"
    rb" +\| (?:Electronic f|F)ree energy +: +\S+ Ha +(\S+) eV\n"
)
_FORCES: Final = re.compile(rb"\n +Total atomic forces \(([^)\n]*)\) \[eV/Ang\]:\n")
_RAW_FORCE: Final = re.compile(rb"\n +Total forces\( *(\d+)\) +: +([^\n]*)")
_STRESS: Final = re.compile(rb"\| +(?:Analytical|Numerical) stress tensor - Symmetrized +\|\n(?:[^\n]*\n){4}((?: +\| +[xyz] [^\n]*\n)+)")
_MOVED: Final = re.compile(rb"\n +Updated atomic structure:[^\n]*\n")
_USED: Final = re.compile(rb"\n +(?:A|Final a)tomic structure (?:\(and velocities\) as|that was) used in the preceding time step[^\n]*\n")
_PLACE: Final = re.compile(rb"\n +atom +(\S+) +(\S+) +(\S+) +\S+ *(?=\n)")
_VECTOR: Final = re.compile(rb"\n +lattice_vector +(\S+) +(\S+) +(\S+) *(?=\n)")
_CONVERGED: Final = b"Self-consistency cycle converged."
_CHANGE: Final = re.compile(rb"\n +\| Change of (charge density|sum of eigenvalues|total energy) +: +(\S+)")
_SHORT: Final = re.compile(rb"\n +SCF +(\d+) : +\S+ +\| +(\S+) +\| +(\S+) +\| +(\S+) ")
_POINTS: Final = re.compile(rb"\n  \| Number of k-points +: +(\d{1,7}) *\n")
_CYCLES: Final = re.compile(rb"\n +End self-consistency iteration # +(\d{1,6}) ")
_ENDED: Final = (b"\n  Final output of selected total energy values:", b"\n          Leaving FHI-aims.")
_STRAINS: Final = b"numerical_stress.f90"
_STRAINED: Final = b"Calculation of numerical stress completed"
_LAST_ITERATIONS: Final = 4
"""The forces are made in one or two iterations behind the one that met the criteria."""


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of an FHI-aims output."""
    del name
    return b"Invoking FHI-aims" in head


class FhiAimsRun(RunLog):
    """One run; a step is the text from the beginning of its cycle to that of the next one."""

    CODE = "fhi-aims"
    FORMAT = FORMAT
    SOURCES = ("FHI-aims electronic free energy", "FHI-aims stress tensor, symmetrized")
    ANCHORS = (_BEGIN,)
    ENDS = _ENDED
    LAST = (b"\n          Have a nice day.",)
    ONCE = (b"\n  Energy and forces in a compact form:",)
    CHECKS = (CrossCheck("pressure", b"|  Pressure:", re.compile(rb"\|  Pressure: +(\S+) +\[eV/A\*\*3\]"), pressure),)
    HEAD_CHECKS = (CrossCheck("volume of the cell", b"| Unit cell volume ", re.compile(rb"\| Unit cell volume +: +(\S+) +A\^3"), volume),)

    def __init__(self) -> None:
        super().__init__()
        self._given: Given | None = None
        self._cell = np.zeros((3, 3))
        self._positions = np.zeros((0, 3))
        self._known = True
        self._straining = False
        self._number = 0

    def read_heading(self, text: bytes) -> Heading | None:
        """Return atoms and level of theory, from the input that is repeated."""
        given, version = read_input(text), _VERSION.search(text)
        numbers = as_numbers(given.labels) if given is not None else None
        if given is None or numbers is None:
            return None
        self._given, self._cell, self._positions = given, given.cell, given.positions
        self.altered = given.altered
        pbc = np.full(3, bool(given.cell.any()))
        return Heading(version.group(1).decode("latin-1") if version else "", given.kind, numbers, pbc, given.level, given.fixed)

    def read_step(self, piece: bytes, heading: Heading) -> Step | None:
        """Return the step; a cycle that starts anew without a result is none, nor are those of strained cells for a numerical stress."""
        points = _POINTS.search(piece)
        if points is not None and heading.level.n_kpoints is None:
            self.heading = replace(heading, level=replace(heading.level, n_kpoints=int(points.group(1))))
        cell, positions = self._geometry(piece, len(heading.numbers))
        if self._straining:
            self._straining = _STRAINED not in piece
            return None
        own = piece.partition(_STRAINS)[0]
        self._straining = _STRAINS in piece and _STRAINED not in piece
        energies = _COMPACT.search(own)
        if energies is None and (_CONVERGED in own or any(words in own for words in _ENDED)):
            energies = next(reversed(list(_COMPONENTS.finditer(own))), None)
        if energies is None:
            self.lost += _FORCES.search(own) is not None
            return None
        self._known = self._known and _MOVED.search(piece) is not None
        self._number += 1
        if positions is None:
            self.lost += 1
            return None
        internal, sigma0, free = (number(field) for field in energies.groups())
        converged, n_scf = self._cycle(own)
        return Step(
            number=self._number - 1,
            cell=cell,
            positions=positions,
            energy=free,
            forces=self._forces(own, heading),
            stress=_stress(own),
            internal=internal,
            sigma0=sigma0,
            converged=converged,
            n_scf=n_scf,
        )

    def _geometry(self, piece: bytes, natoms: int) -> tuple[Floats, Floats | None]:
        """Return cell and positions of this step, and keep those that the piece prints for the next one."""
        cell, positions, known = self._cell, self._positions, self._known
        used = _USED.search(piece)
        if used is not None:
            found = _structure(piece, used.end(), natoms, self._cell)
            known = found is not None
            cell, positions = found if found is not None else (cell, positions)
        moved = _MOVED.search(piece)
        after = _structure(piece, moved.end(), natoms, self._cell) if moved is not None else None
        dynamics = self._given is not None and self._given.kind == "md"
        self._known = after is not None or (known and moved is None and not dynamics)
        if after is not None:
            self._cell, self._positions = after
        return cell, positions if known else None

    def _cycle(self, piece: bytes) -> tuple[int, int]:
        """Return whether the cycle met the criteria that were set, in its last iterations, and its number of iterations."""
        changes: dict[bytes, list[float]] = {}
        for words, value in _CHANGE.findall(piece):
            changes.setdefault(words, []).append(abs(number(value)))
        short = _SHORT.findall(piece)
        for row in short:
            for words, value in zip((b"charge density", b"sum of eigenvalues", b"total energy"), row[1:], strict=True):
                changes.setdefault(words, []).append(abs(number(value)))
        cycles = [int(found) for found in _CYCLES.findall(piece)] + [int(row[0]) for row in short if len(row[0]) < 7]
        limits = self._given.limits if self._given is not None else ()
        met = all(min(changes[words][-_LAST_ITERATIONS:]) <= limit for words, limit in limits if words in changes)
        return int(met and _CONVERGED in piece), max(cycles, default=-1)

    def _forces(self, piece: bytes, heading: Heading) -> Floats | None:
        """Return the forces without the action of constraints; where only constrained ones are printed there are none."""
        table, natoms = _FORCES.search(piece), len(heading.numbers)
        if table is None:
            return None
        if b"constraints were applied" in table.group(1) and not (self._given is not None and self._given.free):
            raw = _RAW_FORCE.findall(piece)[-natoms:]
            if [index for index, _ in raw] != [b"%d" % (k + 1) for k in range(natoms)]:
                words = "the printed forces have relaxation constraints in them and are left out"
                self.notes += [words] if words not in self.notes else []
                return None
            return np.array([as_floats(fields.split()) if len(fields.split()) == 3 else np.full(3, NAN) for _, fields in raw])
        lines = lines_after(piece, table.end(), natoms)
        whole = lines is not None and numbered(lines, natoms, 1)
        return token_table(lines, natoms, 2, 5) if whole and lines is not None else np.full((natoms, 3), NAN)


def _structure(piece: bytes, start: int, natoms: int, cell: Floats) -> tuple[Floats, Floats] | None:
    """Return cell and positions of a printed structure, or None where it is not whole; a structure without vectors has those given."""
    end = piece.find(b"\n-----", start)
    text = b"\n" + (piece[start:end] if end >= 0 else piece[start:]) + b"\n"
    rows, vectors = _PLACE.findall(text), _VECTOR.findall(text)
    if not even_decimals([field for row in rows for field in row]) or not even_decimals([field for row in vectors for field in row]):
        return None
    positions = as_floats([field for row in rows for field in row]).reshape(-1, 3)
    if vectors:
        found = as_floats([field for row in vectors for field in row])
        cell = found.reshape(3, 3) if found.shape == (9,) else np.full((3, 3), NAN)
    whole = len(rows) == natoms and bool(np.isfinite(positions).all() and np.isfinite(cell).all())
    return (cell, positions) if whole else None


def _stress(piece: bytes) -> Floats | None:
    tables = _STRESS.findall(piece)
    if not tables:
        return None
    rows = [line.split()[1:2] for line in tables[-1].split(b"\n")[:-1]]
    whole = rows == [[b"x"], [b"y"], [b"z"]]
    return symmetric(token_table(tables[-1], 3, 2, 6)) if whole else np.full((3, 3), NAN)


def _open() -> PushReader:
    return LogReader(_OPENING, FhiAimsRun)


FHI_AIMS_OUTPUT: Final = ReaderSpec(name=FORMAT, code="fhi-aims", recognises=recognises, open=_open, rank=0)
