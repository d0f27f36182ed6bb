"""Reader of ABACUS's running_*.log (2.2 to 3.11).

The energy is 'final etot' ('#TOTAL ENERGY#' since 3.11), E_KohnSham with the smearing's entropy in it, to which the forces belong.
Stress is printed positive under compression: the pressure below the table is a third of its trace. A cycle that does not converge
prints no final energy and is no frame (2), or prints it behind the words that it did not (3), or has that of its last iteration (3.10),
and is flagged. Logs of force fields have the same energies, but no cycles.
Of dynamics only the first step has its places in the log; those of the others come from MD_dump beside it (`abacus_dump`), those of
relaxations, where the log leaves them out, from STRU_ION1_D and so on (`abacus_structures`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import numpy as np

from lake.readers.abacus.dump import DUMP_NAME, Snapshot, find_step, read_dump
from lake.readers.abacus.level import INPUT_NAMES, altered, read_input, read_level, read_species, seen_later, with_input
from lake.readers.abacus.structures import STRUCTURE_NAME, Structure, read_structure, same_cell
from lake.readers.base import PushReader, ReaderSpec
from lake.readers.cross_checks import CrossCheck, differ, other_volume, pressure
from lake.readers.rows import number
from lake.readers.step_log import Heading, LogReader, RunLog, as_numbers, element_of
from lake.readers.text_steps import NAN, Step, as_floats, symmetric, token_table
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.units import BOHR, KBAR

FORMAT: Final = "ABACUS log"

_OPENING: Final = b"\n                             WELCOME TO ABACUS"
_FINAL: Final = b"\n final etot is "
_TOTAL: Final = b"\n #TOTAL ENERGY# "
_UNCONVERGED: Final = (b"\n !!SCF IS NOT CONVERGED!!", b"\n !! convergence has not been achieved @_@")
"""Of 3.11 and of versions before it: no final energy is printed behind them."""
_ANCHORS: Final = (_FINAL, _TOTAL, *_UNCONVERGED)
_BANNER: Final = re.compile(rb"(?:WELCOME TO ABACUS|ABACUS v\d)")
_VERSION: Final = re.compile(rb"\n +(?:Version: +([^\n]*?)|ABACUS v(\S+)) *\n")
_ETOT: Final = re.compile(rb"\n (?:final etot is|#TOTAL ENERGY#) +(\S+) eV")
_LATTICE_CONSTANT: Final = re.compile(rb"\n +[Ll]attice constant \(Bohr\) += +(\S+)")
_VECTORS: Final = re.compile(
    rb"\n +Lattice vectors: \(Cartesian coordinate: in unit of a_0\) *\n"
    rb" +(\S+) +(\S+) +(\S+) *\n +(\S+) +(\S+) +(\S+) *\n +(\S+) +(\S+) +(\S+) *\n(?! *[-+.\d]+ +[-+.\d]+ +[-+.\d]+ *\n)"
)
_VOLUME: Final = re.compile(rb"\n +(?:Cell v|V)olume \(A\^3\) = (\S+)")
_PLACES: Final = re.compile(
    rb"\n *(CARTESIAN|DIRECT) COORDINATES[^\n]*\n *atom +x +y +z[^\n]*\n"
    rb"((?: *tau[cd]_\w+ [^\n]*\n)+|(?: *[A-Z]\w*(?: +[-+]?\d+\.\d+){3}[^\n]*\n)+)"
)
_PREFIX: Final = re.compile(rb"\Atau[cd]_")
_MD_STEP: Final = re.compile(rb"\n +STEP OF MOLECULAR DYNAMICS( ?): +(\d{1,9}) *\n")
"""From 0, with a blank before the colon; from 1 without one (3.11)."""
_CELL_STEP: Final = re.compile(rb"\n +(?:RELAX CELL : +|RELAX STEP: +\d+ \(CELL_CHANGE# +)(\d{1,6})")
_RELAX_STEP: Final = re.compile(rb"\n (?:RELAX IONS : +\d{1,6} \(in total: |STEP OF (?:ION )?RELAXATION : +|RELAX STEP: +)(\d{1,6})(?!\d)")
_IONS_ALONE: Final = re.compile(rb"\n RELAX STEP: +\d+ *\n")
_KOHN_SHAM: Final = re.compile(rb"\n *E_KohnSham +\S+ +(\S+) *(?=\n|\Z)")
"""A row of each iteration, in Ry and eV."""
_PRESSURE: Final = re.compile(rb"#TOTAL-PRESSURE# \(EXCLUDE KINETIC PART OF IONS\): +(\S+) +kbar")
_LAST_ENERGY: Final = re.compile(rb"!FINAL_ETOT_IS +(\S+) eV")
_ITERATION: Final = re.compile(rb"\n [^\n]*(?:ALGORITHM -+ ?ION= *\+?\d+ +ELEC= *\+?|--> #ION MOVE# +\d+ +#ELEC ITER# +)(\d{1,6})")
_REACHED: Final = re.compile(rb"charge density convergence is achieved|#SCF IS CONVERGED#")
_FAILED: Final = re.compile(rb"convergence has (?:NOT|not) been achieved(?! @_@)")
_FORCES: Final = re.compile(
    rb"TOTAL-FORCE \(eV/Angstrom\)[^\n]*\n(?:[^\n]*\n){1,10}?((?: *[A-Z]\w* +[-+.\dEe]+ +[-+.\dEe]+ +[-+.\dEe]+ *\n)+)"
)
_STRESS: Final = re.compile(rb"TOTAL-STRESS \((?:KBAR|kbar)\)[^\n]*\n(?:[^\n]*\n){1,8}?((?: +[-+.\d*Ee]+ +[-+.\d*Ee]+ +[-+.\d*Ee]+ *\n)+)")
_SOLVER: Final = re.compile(rb"\n (?:#ENERGY SOLVER#|The esolver type has been set to :) +(\w+_pot)\b")
_STOPS: Final = re.compile(rb"\n *(?:CARTESIAN|DIRECT) COORDINATES|\n Start  Time  :")


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of ABACUS's log of a run."""
    del name
    return b"global_out_dir" in head and _BANNER.search(head[:4096]) is not None


class AbacusRun(RunLog):
    """One run; a step is the text from its final energy to the next one."""

    CODE = "abacus"
    FORMAT = FORMAT
    SOURCES = ("ABACUS final etot", "ABACUS TOTAL-STRESS")
    ANCHORS = _ANCHORS
    ENDS = (b"CARTESIAN COORDINATES", b"DIRECT COORDINATES", b"\n Start  Time  :")
    LAST = (b"\n Finish Time  :",)
    CHECKS = (
        CrossCheck("pressure", b" TOTAL-PRESSURE:", re.compile(rb" TOTAL-PRESSURE: +(\S+) +KBAR"), pressure, KBAR),
        CrossCheck("pressure", b"#TOTAL-PRESSURE#", _PRESSURE, pressure, KBAR),
        CrossCheck("final energy", b"!FINAL_ETOT_IS", _LAST_ENERGY, lambda step: step.energy, share=1e-9, least=1e-6),
    )

    def __init__(self, dump: list[Snapshot], given: dict[str, str], structures: dict[str, Structure]) -> None:
        super().__init__()
        self._dump, self._given, self._structures = dump, given, structures
        self._placeless: dict[int, int] = {}
        """Steps without their places, and their numbers in the dynamics or the relaxation."""
        self._md_step = -1
        self._relax_step = -1
        self._total = b""
        """The energy of the last iteration."""
        self._first_cell: Floats | None = None
        self.used: set[str] = set()
        """Names of files beside the log that gave places."""
        self._species: list[str] = []
        self._constant = NAN
        self._cell: Floats | None = None
        self._positions: Floats | None = None
        self._cell_step = 1
        self._iterations = -1
        self._reached = False
        self._failed = False
        self._dft = False
        self._found = 0
        self._other_volume = ""

    def read_heading(self, text: bytes) -> Heading | None:
        """Return atoms and level of theory from the text before the first energy."""
        constant, version = _LATTICE_CONSTANT.search(text), _VERSION.search(text)
        tables = _PLACES.findall(text)
        self._constant = number(constant.group(1)) * BOHR if constant else NAN
        self._dft = b"xchange-correlation functional" in text
        solver = _SOLVER.search(text)
        if solver is not None:
            name = solver.group(1).decode("latin-1")
            raise UnreadableOutput(
                "not_dft", f"the log of ABACUS is of the force field {name}", "deposit runs of density-functional theory"
            )
        rows = tables[-1][1].split(b"\n")[:-1] if tables else []
        numbers = as_numbers([element_of(_PREFIX.sub(b"", row.split()[0]).decode("latin-1")) for row in rows])
        self._species = read_species(text)
        self._prepare(text, len(rows))
        if numbers is None or self._cell is None:
            return None
        words = next((group for group in version.groups() if group), b"") if version else b""
        kind = (
            "vc-relax"
            if b"RELAX CELL" in text or b"(CELL_CHANGE#" in text
            else "relax"
            if any(words in text for words in (b"RELAX IONS", b"STEP OF RELAXATION", b"STEP OF ION RELAXATION", b"\n RELAX STEP:"))
            else "md"
            if b"STEP OF MOL" in text
            else "static"
        )
        return Heading(words.decode("latin-1"), kind, numbers, np.ones(3, dtype=bool), seen_later(read_level(text), text))

    def read_step(self, piece: bytes, heading: Heading) -> Step | None:
        """Return the step with the geometry printed before it."""
        natoms = len(heading.numbers)
        stop = _STOPS.search(piece)
        own = piece if stop is None else piece[: stop.start() + 1]
        cell, positions, n_scf, told, total = self._cell, self._positions, self._iterations, self._other_volume, self._total
        self._first_cell = cell if self._first_cell is None else self._first_cell
        unconverged = piece.startswith(_UNCONVERGED)
        converged = 0 if self._failed or unconverged else 1 if self._reached else -1
        if not self._dft and n_scf < 0:
            words = "the log of ABACUS has neither cycles of self-consistency nor a functional (esolver_type lj or dp)"
            raise UnreadableOutput("not_dft", words, "deposit runs of density-functional theory")
        self.heading = replace(heading, level=seen_later(heading.level, piece))
        place = max(self._md_step, self._relax_step)
        self._prepare(piece, natoms)
        self._found += 1
        energy = _ETOT.match(own)
        if energy is None and not (unconverged and total):
            self._lose_cycles(1)
            return None
        stress = _STRESS.search(own)
        value = number(energy.group(1) if energy is not None else total)
        if differ(total, value, share=1e-9, least=1e-6):
            words = f"the energy of the last iteration is printed as {total.decode('latin-1')}, the final one as {value:.10g}"
            told = f"{told}; {words}" if told else words
        step = Step(
            number=self._found - 1,
            cell=np.full((3, 3), NAN) if cell is None else cell,
            positions=np.full((natoms, 3), NAN) if positions is None else positions,
            energy=value,
            forces=_forces(own, natoms),
            stress=_tensor(stress.group(1)) * -KBAR if stress else None,
            converged=converged,
            n_scf=n_scf,
            contradictions=(told,) if told else (),
        )
        if cell is None or positions is None:
            self._placeless[step.number] = place
        return step

    def run(self) -> Run | None:
        """Return the run; a cycle that failed at its end, and printed no energy, counts among the lost steps.

        So does a step whose places are neither in the log nor in the trajectory.
        """
        self.lost += self._failed or (self.complete and self._reached)
        if self.heading is not None and self._given:
            self.heading = replace(self.heading, level=with_input(self.heading.level, self._species, self._given))
            self.altered = altered(self._given)
        left = self._place()
        if left:
            self.lost += left
            self.notes.append(f"steps whose cell or positions are not printed in the log are left out{self._beside()}")
        return super().run()

    def _place(self) -> int:
        """Give steps their places from the trajectory, and return for how many there are none."""
        steps, self.steps = self.steps, []
        for step in steps:
            if step.number not in self._placeless:
                self.steps.append(step)
                continue
            found, name = self._find(step)
            if found is not None:
                self.steps.append(replace(step, cell=found.cell, positions=found.positions))
                self.used.add(name)
        return len(steps) - len(self.steps)

    def _find(self, step: Step) -> tuple[Snapshot | Structure | None, str]:
        """Return the cell and the places of a step from the files beside the log, and the name of the file; None for none.

        A STRU_ION file has to be of this run: INPUT asks for it, or its cell is another one than the first and that of the log.
        """
        if self.heading is None:
            return None, ""
        place, numbers = self._placeless[step.number], self.heading.numbers
        snapshot = find_step(self._dump, numbers, step.forces, place)
        if snapshot is not None:
            return snapshot, DUMP_NAME
        name = f"STRU_ION{place - 1}_D"
        found = self._structures.get(name)
        if found is None or self._first_cell is None or not np.array_equal(found.numbers, numbers) or not same_cell(found.cell, step.cell):
            return None, ""
        asked = self._given.get("out_stru", "0").lower() in ("1", "true", "t", ".true.")
        return (found, name) if asked or not same_cell(found.cell, self._first_cell) else (None, "")

    def _beside(self) -> str:
        if self._structures:
            return "; nothing tells that the STRU_ION files beside it are of this run (the cell of the log, INPUT with out_stru)"
        return "" if self._dump else ", and neither MD_dump nor STRU_ION files (out_stru) are beside it"

    def _prepare(self, text: bytes, natoms: int) -> None:
        """Keep geometry and cycle that a text prints for the next step.

        Where the stress is computed, the cell may move: only 'RELAX CELL' or the vectors themselves tell that it did not.
        """
        vectors, tables, moved = _VECTORS.findall(text), _PLACES.findall(text), _CELL_STEP.findall(text)
        dynamics = _MD_STEP.findall(text)
        self._md_step = int(dynamics[-1][1]) - (not dynamics[-1][0]) if dynamics else -1
        relaxed = _RELAX_STEP.findall(text)
        self._relax_step = int(relaxed[-1]) if relaxed else -1
        totals = _KOHN_SHAM.findall(text)
        self._total = totals[-1] if totals else b""
        if vectors:
            cell = as_floats(vectors[-1]).reshape(3, 3) * self._constant
            self._cell = cell if bool(np.isfinite(cell).all()) else None
            self._other_volume = other_volume(text, _VOLUME, cell)
        elif (moved and int(moved[-1]) != self._cell_step) or (not moved and b"TOTAL-STRESS" in text and _IONS_ALONE.search(text) is None):
            self._cell = None
        self._cell_step = int(moved[-1]) if moved else self._cell_step
        if tables:
            form, rows = tables[-1]
            values = token_table(rows, natoms, 1, even=False) if rows.count(b"\n") == natoms else np.full((natoms, 3), NAN)
            values = values * self._constant if form == b"CARTESIAN" else values @ (np.eye(3) * NAN if self._cell is None else self._cell)
            self._positions = values if bool(np.isfinite(values).all()) else None
        else:
            self._positions = None
        iterations, failures = list(_ITERATION.finditer(text)), list(_FAILED.finditer(text))
        self._iterations = int(iterations[-1].group(1)) if iterations else -1
        self._failed = bool(failures) and (not iterations or failures[-1].start() > iterations[-1].start())
        lost = len(failures) - self._failed
        unnamed = text.count(b"TOTAL-FORCE (eV") - text.startswith(_ANCHORS) - len(failures)
        reached = len(_REACHED.findall(text))
        unexplained = max(unnamed, reached - 1, 0)
        self._reached = reached > unexplained
        if unexplained:
            self.lost += unexplained
            self.notes.append(f"{unexplained} steps without a line of the energy are left out")
        if lost:
            self._lose_cycles(lost)

    def _lose_cycles(self, count: int) -> None:
        """Count cycles that failed and whose energy is not printed."""
        self.lost += count
        note = "cycles of self-consistency that did not converge print no final energy and are left out"
        self.notes += [note] if note not in self.notes else []


def _tensor(rows: bytes) -> Floats:
    """Return the rows of a stress, all of the table, or NaN where they are not three."""
    return symmetric(token_table(rows, 3, 0, 3, even=False)) if rows.count(b"\n") == 3 else np.full((3, 3), NAN)


def _forces(text: bytes, natoms: int) -> Floats | None:
    if b"TOTAL-FORCE" not in text:
        return None
    table = _FORCES.search(text)
    if table is None or table.group(1).count(b"\n") != natoms:
        return np.full((natoms, 3), NAN)
    return token_table(table.group(1), natoms, 1, 4, even=False)


class AbacusReader(LogReader):
    """Push reader of a log, with the trajectory beside it."""

    def __init__(self) -> None:
        self._dump: list[Snapshot] = []
        self._given: dict[str, str] = {}
        self._structures: dict[str, Structure] = {}
        self._made: list[AbacusRun] = []
        self._input = ""
        super().__init__(_OPENING, self._start)

    def _start(self) -> AbacusRun:
        self._made.append(AbacusRun(self._dump, self._given, self._structures))
        return self._made[-1]

    def take_companion(self, name: str, text: bytes) -> bool:
        """Take MD_dump, INPUT or a STRU_ION file; they are those of the last run, for ABACUS writes them anew."""
        if name == DUMP_NAME:
            self._dump[:] = read_dump(text)
            return bool(self._dump)
        if name in INPUT_NAMES:
            self._given.clear()
            self._given.update(read_input(text))
            self._input = name
            return bool(self._given)
        structure = read_structure(text) if STRUCTURE_NAME.match(name) else None
        if structure is not None:
            self._structures[name] = structure
        return structure is not None

    @property
    def companions_used(self) -> tuple[str, ...]:
        """Return the names of the files that the runs were read from."""
        places = {name for run in self._made for name in run.used}
        return tuple(sorted(places)) + ((self._input,) if self._given else ())


def is_companion(name: str) -> bool:
    """Return whether a base name is that of a file which ABACUS writes beside its log."""
    return name in (DUMP_NAME, *INPUT_NAMES) or STRUCTURE_NAME.match(name) is not None


def _open() -> PushReader:
    return AbacusReader()


ABACUS_LOG: Final = ReaderSpec(name=FORMAT, code="abacus", recognises=recognises, open=_open, rank=0, companions=is_companion)
