"""Reader of the text that GPAW writes (0.9 to 24).

The energy is 'Free energy', to which the forces belong ('Extrapolated' or 'Zero Kelvin' is that of zero broadening); both are relative to
the sum of the energies of reference atoms, which the text names once. Stress is positive under tension.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.base import PushReader, ReaderSpec
from lake.readers.gpaw.header import ROW, altered, read_level
from lake.readers.rows import number
from lake.readers.step_log import Heading, LogReader, RunLog, as_numbers
from lake.readers.text_steps import NAN, Step, as_floats, even_decimals, lines_after, numbered, symmetric, token_table
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import Floats

FORMAT: Final = "GPAW text"

_OPENING: Final = b"\n  ___ ___ ___ _ _ _"
_BANNER: Final = re.compile(rb"\n \|__ \|  _\|___\|_____\| +(\S+)")
_NEW: Final = b"\n |__||  | ||/\\| - "
"""The emblem of the text that the rewritten GPAW (gpaw.new) prints since 25.7."""
_POSITIONS: Final = b"\nPositions:"
_AXIS: Final = re.compile(rb"\n +([123])\. axis: +(yes|no) +(\S+) +(\S+) +(\S+)(?: +\d+ +\S+)? *(?=\n)")
_ENERGY: Final = re.compile(rb"\n[Ff]ree [Ee]nergy: +(\S+) *\n(?:[Ee]xtrapolated|Zero Kelvin): +(\S+) *(?=\n)")
_LABELLED: Final = (b"\nForces in eV/Ang", b"\nFree energy:", b"\nExtrapolated:", b"\nStress tensor:")
_TERM: Final = re.compile(rb"\n(?:Kinetic|Potential|External|XC|Entropy \(-ST\)|Local|SIC): +(\S+)(?= *\n)")
_EXTERNAL: Final = re.compile(rb"\nExternal: +(\S+)(?= *\n)")
_SOLVENT: Final = b"\nInteractions"
"""Heads the terms that a solvent adds, which are not among those of `_TERM`."""
_SOLVENT_PAIR: Final = ("solvent", "of parameters that are not told")
_ROUNDED: Final = 1e-5
"""eV; each term of the energy is printed with six decimals."""
_ITERATION: Final = re.compile(rb"\niter: +(\d{1,6}) +\S+([^\n]*)(?=\n)")
_FORCES: Final = re.compile(rb"\n[Ff]orces in eV/Ang(?:strom)?:\n")
_STRESS: Final = re.compile(rb"\n[Ss]tress tensor:[^\n]*\n")
_STOPS: Final = re.compile(rb"\nSystem changes:|\nTiming:|\nMemory usage:|\nWriting to ")
_END: Final = re.compile(rb"\nTotal: +\S+ +100\.0% *(?=\n)")
"""Last row of the table of timings, which stands at the end."""
_ENERGY_LIMIT: Final = re.compile(
    rb"Maximum (?:\[total\] |\[total energy\] |total )(?:energy )?change[^:\n]*: +(\S+) eV / (?:valence )?electron"
)
_DENSITY_LIMIT: Final = re.compile(rb"Maximum integral of absolute (?:\[dens\]ity|density) change: +(\S+) ")
_VALENCE: Final = re.compile(rb"\n(?:Number of valence electrons|Valence electrons): +(\S+) *\n")
_CONVERGED: Final = re.compile(rb"\n(?:Converged after|SCF converged after) +\d+ iter")


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of GPAW's text."""
    del name
    if _NEW in head[:4096].replace(b"\r", b""):
        return True
    return b"  ___ ___ ___ _ _ _" in head[:4096] and _BANNER.search(b"\n" + head.replace(b"\r", b"")) is not None


class GpawRun(RunLog):
    """One text; a step is what stands between two lists of positions."""

    CODE = "gpaw"
    FORMAT = FORMAT
    SOURCES = ("GPAW free energy, relative to reference atoms", "GPAW stress tensor")
    ANCHORS = (_POSITIONS,)
    ENDS = (b"\nSystem changes:", b"\nTiming:", b"\nMemory usage:")
    LAST = ()
    ONCE = (b"\nFree energy:",)

    def __init__(self) -> None:
        super().__init__()
        self._symbols: list[bytes] = []
        self._head = b""
        self._limits = (NAN, NAN)
        self._found = 0

    def run(self) -> Run | None:
        """Return the run; what moves the atoms is outside of GPAW, so a text of several steps does not tell its kind."""
        run = super().run()
        return replace(run, kind="unknown") if run is not None and run.frames.count > 1 else run

    def read_heading(self, text: bytes) -> Heading | None:
        """Return nothing: the atoms are listed where the first step begins."""
        self._head = text
        return None

    def take(self, piece: bytes, *, closed: bool) -> None:
        """Take the next piece; the first list of positions completes the heading; raises UnreadableOutput for the text of gpaw.new."""
        if _NEW in piece[:4096]:
            words = "the text of the rewritten GPAW (gpaw.new) has another layout and is not read"
            raise UnreadableOutput("unreadable_output", words, "deposit the .gpw or the trajectory of the run, which are read")
        if self.heading is None and piece.startswith(_POSITIONS):
            self.heading = self._first(self.head, piece)
        super().take(piece, closed=closed)
        self.complete = self.complete or _END.search(piece) is not None

    def _first(self, head: bytes, piece: bytes) -> Heading | None:
        rows, axes = _rows(piece), _AXIS.findall(piece)[:3]
        numbers = as_numbers([row[0].decode("latin-1") for row in rows])
        if numbers is None or len(axes) != 3:
            return None
        version = _BANNER.search(head)
        electrons = _VALENCE.search(head)
        per_electron, density = _ENERGY_LIMIT.search(head), _DENSITY_LIMIT.search(head)
        total = number(per_electron.group(1)) * number(electrons.group(1)) if per_electron and electrons else NAN
        self._limits = (total, number(density.group(1)) if density else NAN)
        self._symbols = [row[0] for row in rows]
        cell = _cell(piece)
        self.altered = altered(head)
        return Heading(
            version=version.group(1).decode("latin-1") if version else "",
            kind="static",
            numbers=numbers,
            pbc=np.array([axis[1] == b"yes" for axis in axes], dtype=bool),
            level=read_level(head, cell if cell is not None else np.zeros((3, 3))),
        )

    def read_step(self, piece: bytes, heading: Heading) -> Step | None:
        """Return the step; one whose cycle failed has no energy and is none."""
        stop = _STOPS.search(piece)
        own = piece if stop is None else piece[: stop.end()]
        energy = next(reversed(list(_ENERGY.finditer(own))), None)
        if energy is None:
            self.lost += any(words in own for words in _LABELLED)
            return None
        self._found += 1
        rows, cell = _rows(own), _cell(own)
        positions = as_floats([field for row in rows for field in row[1:]]).reshape(-1, 3)
        same = [row[0] for row in rows] == self._symbols
        if cell is None or not same or not bool(np.isfinite(positions).all()):
            self.lost += 1
            return None
        if not self.altered and any(number(value) != 0.0 for value in _EXTERNAL.findall(own)):
            self.altered = ("an external potential",)
        if _SOLVENT in own and _SOLVENT_PAIR not in heading.level.extra:
            self.heading = replace(heading, level=replace(heading.level, extra=(*heading.level.extra, _SOLVENT_PAIR)))
        converged, n_scf = self._cycle(own)
        tensor = _STRESS.search(own)
        lines = lines_after(own, tensor.end(), 3) if tensor else None
        return Step(
            number=self._found - 1,
            cell=cell,
            positions=positions,
            energy=number(energy.group(1)),
            forces=_forces(own, heading.numbers),
            stress=symmetric(token_table(lines, 3, 0, 3)) if lines is not None else None,
            sigma0=number(energy.group(2)),
            converged=converged,
            n_scf=n_scf,
            contradictions=_other_sum(own[: energy.start() + 1], number(energy.group(1))),
        )

    def _cycle(self, text: bytes) -> tuple[int, int]:
        """Return whether the cycle met its criteria of energy and density where they are printed, and its number of iterations."""
        rows = _ITERATION.findall(text)
        if not rows:
            return -1, -1
        n_scf = int(rows[-1][0])
        if _CONVERGED.search(text) is None:
            return (0 if b"Did not converge" in text else -1), n_scf
        fields = [row[1].replace(b"c", b" ").split() for row in rows]
        energies, (limit, density) = as_floats([row[0] for row in fields if row][-3:]), self._limits
        modern = b"total  log10-change:" in text
        spread = float(np.ptp(energies)) if modern and len(energies) == 3 else NAN
        change = number(fields[-1][2]) if modern and len(fields[-1]) > 2 else NAN
        over = spread > limit * 1.05 + 1e-6 or (density > 0 and change > math.log10(density) + 0.02)
        return int(not over), n_scf


def _other_sum(text: bytes, energy: float) -> tuple[str, ...]:
    """Return a sentence where the terms printed above the free energy (eV) add up to another one."""
    terms = _TERM.findall(text, max(0, text.rfind(b"\nEnergy contributions")))
    total = sum(number(term) for term in terms)
    if not terms or _SOLVENT in text or not abs(total - energy) > _ROUNDED:
        return ()
    return (f"the free energy is printed as {energy}, and is {total:.6f} by the sum of its terms",)


def _rows(text: bytes) -> list[tuple[bytes, ...]]:
    """Return symbol and place of each atom in the list that a piece begins with."""
    place, rows = text.find(b"\n", 1), []
    while (match := ROW.match(text, place)) is not None:
        rows.append(match.groups())
        place = match.end()
    return rows if even_decimals([field for row in rows for field in row[1:]]) else []


def _cell(text: bytes) -> Floats | None:
    axes = _AXIS.findall(text)
    fields = [field for axis in axes for field in axis[2:]]
    cell = as_floats(fields) if [axis[0] for axis in axes] == [b"1", b"2", b"3"] and even_decimals(fields) else np.zeros(0)
    return cell.reshape(3, 3) if cell.shape == (9,) and bool(np.isfinite(cell).all()) else None


def _forces(text: bytes, numbers: NDArray[np.int16]) -> Floats | None:
    table, natoms = _FORCES.search(text), len(numbers)
    if table is None:
        return None
    lines = lines_after(text, table.end(), natoms)
    whole = lines is not None and numbered(lines, natoms, first=0)
    return token_table(lines, natoms, 2, 5) if whole and lines is not None else np.full((natoms, 3), NAN)


def _open() -> PushReader:
    return LogReader(_OPENING, GpawRun)


GPAW_TEXT: Final = ReaderSpec(name=FORMAT, code="gpaw", recognises=recognises, open=_open, rank=0)
