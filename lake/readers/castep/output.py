"""Reader of a .castep file (CASTEP 5 to 24).

The energy is 'Final free energy (E-TS)', to which the forces belong, with the dispersion where the code adds one, and without the constant
for the finite basis set; an insulator with fixed occupations has only 'Final energy', with or without the letter E behind it. The energies
of the other cutoffs from which that constant is made are steps of the same structure in another basis, and flagged so. Stress is positive
under tension: the pressure below the table has the other sign. A run that was continued appends to the same file and is a run of its own.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import numpy as np

from lake.readers.base import PushReader, ReaderSpec
from lake.readers.castep.header import ENERGY_UNITS, LENGTH_UNITS, Settings, read_settings
from lake.readers.cross_checks import differ, other_volume, pressure
from lake.readers.rows import number
from lake.readers.step_log import Heading, LogReader, RunLog, as_numbers, element_of
from lake.readers.text_steps import NAN, Step, as_floats, even_decimals, lines_after, symmetric
from schemas.frames import Floats
from schemas.units import GPA, KBAR

FORMAT: Final = "CASTEP output"

_OPENING: Final = b"\n |      CCC   AA    SSS  TTTTT  EEEEE  PPPP        |"
_CYCLE: Final = b"\nSCF loop      Energy "
_ROW: Final = re.compile(rb"\n +(\d{1,6}) +(\S+) +(?:\S+ +)?(\S+) +\S+ +<-- SCF(?=\n)")
_ENERGY: Final = re.compile(
    rb"\n(Dispersion corrected f|F)inal (free )?energy\*?,? *(?:E|Ecor|\(E-TS\)|\(Ecor-TS\))? *= +(\S+) +(\S+) *(?=\n)"
)
_SIGMA0: Final = re.compile(rb"\nNB (?:dispersion corrected )?est\. 0K energy\*? \((?:E|Ecor)-0\.5TS\) += +(\S+) +(\S+) *(?=\n)")
_FORCES: Final = re.compile(
    rb"\n \*+ ([A-Za-z ]*)Forces \*+\n \* +\*\n \* +Cartesian components \(([^)\n]+)\) +\*\n \* -+ \*\n \* +x +y +z +\*\n \* +\*\n"
)
_STRESS: Final = re.compile(
    rb"\n \*+ (?:Symmetrised )?Stress Tensor \*+\n \* +\*\n \* +Cartesian components \(([^)\n]+)\) +\*\n"
    rb" \* -+ \*\n \* +x +y +z +\*\n \* +\*\n"
)
_CELL: Final = re.compile(rb"\n +Real Lattice\((\w+)\) +Reciprocal Lattice[^\n]*\n")
_VOLUME: Final = re.compile(rb"\n +Current cell volume = +(\S+) +A\*\*3")
_PRESSURE: Final = re.compile(rb"\n \* +Pressure: +(\S+) +\*")
_PLACES: Final = re.compile(
    rb"\n +x[^\n]* Fractional coordinates [^\n]*\n(?: +x[^\n]*x *\n)?? +x-+x *\n((?: +x +[^\n]*x *\n)+?) +x{10,} *\n"
)
_PLACE: Final = re.compile(rb" +x +(\S+)(?: \[[^\]\n]*\])? +\d+ +(\S+) +(\S+) +(\S+) +x *\Z")
_CUTOFF: Final = re.compile(rb"\n ?Calculating total energy with cut-off of +([0-9.]+) *eV")
_NOT_GROUND_STATE: Final = b"has not reached the groundstate"
_FINAL: Final = re.compile(rb"\n \w+: (?:Final Configuration:|Geometry optimization completed|Geometry optimization failed)")
_STOPS: Final = re.compile(
    rb": finished iteration +\d+ |finished MD iteration +\d+ *\n|\n Starting MD iteration +1 |\nInitialisation time +="
)
_STOP_WORDS: Final = (b"finished iteration ", b"finished MD iteration ", b"\n Starting MD iteration ", b"\nInitialisation time ")
_PRESSURES: Final = {b"GPa": GPA, b"kB": KBAR, b"kbar": KBAR, b"MPa": GPA / 1000}
_FORCE_UNITS: Final = {b"eV/A": 1.0}
_DELTA_SCF: Final = b"* Constrained DFT - deltaSCF *"
_FIELD: Final = re.compile(rb"\* External Efield and/or dipole \*+\n(?: \*[^\n]*\n){1,8} \* [A-Z]\w* [^\n]*(?:\.0*[1-9]|[1-9]\d*\.)")
"""A table of forces of a field of the input or a dipole correction, with one that is not zero."""
_FIELD_PAIR: Final = ("electric_field", "of the input or a dipole correction")


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of a .castep file."""
    del name
    return _OPENING.strip() in head


class CastepRun(RunLog):
    """One run; a step is the text from the table of its cycle to the next one."""

    CODE = "castep"
    FORMAT = FORMAT
    SOURCES = ("CASTEP final free energy (E-TS)", "CASTEP stress tensor")
    ANCHORS = (_CYCLE,)
    ENDS = (b": finished iteration", b"finished MD iteration", b"\n Starting MD iteration", b"\nInitialisation time")
    LAST = (b"\nTotal time          =",)
    ONCE = (b"\nFinal energy",)

    def __init__(self) -> None:
        super().__init__()
        self._settings: Settings | None = None
        self._cell: Floats | None = None
        self._places: Floats | None = None
        self._cutoff = NAN
        self._energies = 0
        self._fresh = True
        self._other_volume = ""

    def read_heading(self, text: bytes) -> Heading | None:
        """Return atoms and settings from the text before the first cycle."""
        cell, found = _read_cell(text), _read_places(text)
        labels = [element_of(label) for label in found[0]] if found is not None else []
        numbers = as_numbers(labels)
        if cell is None or found is None or numbers is None:
            return None
        self._cell, self._places = cell, found[1]
        self._other_volume = other_volume(text, _VOLUME, cell)
        self._settings = settings = read_settings(text, cell)
        self._announced(text)
        if settings.response:
            self.flags.add("linear_response_run")
        if _DELTA_SCF in text:
            self.altered = ("occupations are held away from the ground state (deltaSCF)",)
        return Heading(settings.version, settings.kind, numbers, np.ones(3, dtype=bool), settings.level)

    def read_step(self, piece: bytes, heading: Heading) -> Step | None:
        """Return the step of a cycle, with the geometry that was printed before it."""
        stops = [place for words in _STOP_WORDS if (place := piece.find(words)) >= 0]
        stop = _STOPS.search(piece, max(0, min(stops) - 2)) if stops else None
        own = piece if stop is None else piece[: stop.end()]
        final = _FINAL.search(own)
        own = own if final is None else own[: final.start()]
        cell, places, cutoff, fresh, told = self._cell, self._places, self._cutoff, self._fresh, self._other_volume
        self._next_geometry(piece, len(heading.numbers))
        energies = _read_energies(own)
        settings = self._settings
        if energies is None or settings is None:
            return None
        self._energies += 1
        if cell is None or places is None or not fresh:
            self.lost += 1
            self._once("energies whose geometry is not printed before them are left out")
            return None
        if _FIELD.search(own) is not None and _FIELD_PAIR not in heading.level.extra:
            self.heading = replace(heading, level=replace(heading.level, extra=(*heading.level.extra, _FIELD_PAIR)))
        internal, free, sigma0 = energies
        converged, n_scf = _read_cycle(own, settings)
        step = Step(
            number=self._energies - 1,
            cell=cell,
            positions=np.asarray(places @ cell),
            energy=free,
            forces=self._forces(own, len(heading.numbers)),
            stress=_read_stress(own),
            internal=internal,
            sigma0=sigma0,
            converged=converged,
            n_scf=n_scf,
        )
        told = told or _other_pressure(own, step)
        return self._flagged(replace(step, contradictions=(told,)) if told else step, cutoff, settings)

    def _flagged(self, step: Step, cutoff: float, settings: Settings) -> Step:
        flags = set()
        nominal = settings.level.cutoff or NAN
        if abs(cutoff - nominal) > 1e-3:
            flags.add("final_scf_other_basis")
        moved = bool(self.steps) and not np.array_equal(step.cell, self.steps[0].cell)
        if moved and settings.fixed_basis:
            flags.add("pulay_suspect")
        return replace(step, flags=tuple(flags)) if flags else step

    def _announced(self, text: bytes) -> None:
        """Keep the cutoff of the next cycle where the text announces it."""
        found = _CUTOFF.findall(text)
        self._cutoff = number(found[-1]) if found else NAN

    def _next_geometry(self, piece: bytes, natoms: int) -> None:
        """Keep the geometry that a piece prints behind its step; one that is torn makes the next step unknown."""
        final = _FINAL.search(piece)
        text = piece if final is None else piece[: final.start()]
        self._announced(text)
        listed = b"Cell Contents" in text or _PLACES.search(text) is not None
        self._fresh = bool(np.isfinite(self._cutoff)) or _CELL.search(text) is not None or listed
        if b"\n" + b" " * 38 + b"Unit Cell" in text or _CELL.search(text) is not None:
            self._cell = _read_cell(text)
            self._other_volume = other_volume(text, _VOLUME, self._cell) if self._cell is not None else ""
        if listed:
            found = _read_places(text)
            self._places = found[1] if found is not None and len(found[1]) == natoms else None

    def _forces(self, text: bytes, natoms: int) -> Floats | None:
        """Return the forces before constraints, or with no other constraint than that of the centre of mass."""
        tables = list(_FORCES.finditer(text))
        constrained = [table for table in tables if table.group(1).startswith(b"Constrained")]
        free = [table for table in tables if table not in constrained]
        if not free and (not constrained or self._settings is None):
            return None
        table = (free or constrained)[0]
        factor, lines = _FORCE_UNITS.get(table.group(2)), lines_after(text, table.end(), natoms)
        held = not free and self._settings is not None and self._settings.constraints > 3
        if factor is None or held or (lines is not None and b"cons" in lines):
            words = "the printed forces have constraints in them" if factor else f"the forces are in {table.group(2).decode('latin-1')}"
            self._once(f"{words} and are left out")
            return None
        if lines is None:
            return np.full((natoms, 3), NAN)
        rows = [line.strip(b" *").split() for line in lines.split(b"\n")[:natoms]]
        labels = [tuple(row[:2]) for row in rows]
        fields = [field for row in rows for field in row[2:]]
        if any(len(row) != 5 for row in rows) or len(set(labels)) < natoms or not even_decimals(fields):
            return np.full((natoms, 3), NAN)
        return as_floats(fields).reshape(-1, 3) * factor

    def _once(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _read_energies(text: bytes) -> tuple[float, float, float] | None:
    """Return internal, free and zero-broadening energy in eV, the last that are printed, with the dispersion where there is one."""
    found = _ENERGY.findall(text)
    if not found:
        return None
    best = [row for row in found if row[0].startswith(b"Disp")] or found
    values = {bool(free): number(value) * ENERGY_UNITS.get(unit, NAN) for _, free, value, unit in best}
    zero = _SIGMA0.findall(text)
    sigma0 = number(zero[-1][0]) * ENERGY_UNITS.get(zero[-1][1], NAN) if zero else NAN
    internal = values.get(False, NAN)
    torn = (zero or b"Final free energy (E-TS)" in text) and True not in values
    return internal, NAN if torn else values.get(True, internal), sigma0


def _read_cycle(text: bytes, settings: Settings) -> tuple[int, int]:
    """Return whether the last gain of energy met the tolerance, and the number of iterations."""
    rows = _ROW.findall(text)
    if not rows:
        return -1, -1
    n_scf = int(rows[-1][0])
    if _NOT_GROUND_STATE in text:
        return 0, n_scf
    if settings.tolerance is None:
        return -1, n_scf
    return int(abs(number(rows[-1][2])) <= settings.tolerance), n_scf


def _read_stress(text: bytes) -> Floats | None:
    table = _STRESS.search(text)
    lines = lines_after(text, table.end(), 3) if table else None
    if table is None or lines is None:
        return None
    rows = [line.strip(b" *").split() for line in lines.split(b"\n")[:3]]
    whole = [row[:1] for row in rows] == [[b"x"], [b"y"], [b"z"]] and even_decimals([field for row in rows for field in row[1:]])
    values = np.array([as_floats(row[1:]) if whole and len(row) == 4 else np.full(3, NAN) for row in rows])
    return symmetric(values) * _PRESSURES.get(table.group(1), NAN)


def _other_pressure(text: bytes, step: Step) -> str:
    """Return a sentence where the pressure below the table is not that of the stress, in the unit of the table."""
    table, printed = _STRESS.search(text), _PRESSURE.search(text)
    unit = _PRESSURES.get(table.group(1), NAN) if table else NAN
    if printed is None or not differ(printed[1], pressure(step), unit=unit, least=1e-4 * unit):
        return ""
    return f"the pressure is printed as {printed[1].decode('latin-1')}, and is {pressure(step) / unit:.6f} by the printed stress"


def _read_cell(text: bytes) -> Floats | None:
    """Return the last cell that a text prints, in Å, or None where there is none whole."""
    tables = list(_CELL.finditer(text))
    lines = lines_after(text, tables[-1].end(), 3) if tables else None
    if lines is None:
        return None
    rows = [line.split() for line in lines.split(b"\n")[:3]]
    if any(len(row) != 6 for row in rows) or not even_decimals([field for row in rows for field in row[:3]]):
        return None
    cell = as_floats([field for row in rows for field in row[:3]]).reshape(3, 3) * LENGTH_UNITS.get(tables[-1].group(1), NAN)
    return cell if bool(np.isfinite(cell).all()) else None


def _read_places(text: bytes) -> tuple[list[str], Floats] | None:
    """Return the labels and fractional coordinates of the last table of atoms, or None where it is not whole."""
    tables = _PLACES.findall(text)
    found = [_PLACE.match(line) for line in tables[-1].split(b"\n")[:-1]] if tables else []
    rows = [row.groups() for row in found if row is not None]
    fields = [field for row in rows for field in row[1:]]
    if not rows or len(rows) != len(found) or not even_decimals(fields):
        return None
    values = as_floats(fields).reshape(-1, 3)
    return ([row[0].decode("latin-1") for row in rows], values) if bool(np.isfinite(values).all()) else None


def _open() -> PushReader:
    return LogReader(_OPENING, CastepRun)


CASTEP_OUTPUT: Final = ReaderSpec(name=FORMAT, code="castep", recognises=recognises, open=_open, rank=0)
