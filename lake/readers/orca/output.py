"""Reader of an ORCA output (3 to 6).

The energy is 'FINAL SINGLE POINT ENERGY', in hartree, dispersion and solvent included; forces are the printed gradient with the other sign.
A single point that prints no coordinates (`Print[P_Cartesian] 0`) has those of its input, where the output repeats them.
Semi-empirical and tight-binding methods, energies of perturbation or coupled-cluster theory, and excited states are refused.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from lake.readers.base import PushReader, ReaderSpec
from lake.readers.cross_checks import CrossCheck, norm_of_forces
from lake.readers.orca.given import GIVEN, PLACES, given_places, read_given
from lake.readers.orca.level import read_level
from lake.readers.orca.others import METHOD, altered, foreign_input, foreign_method, foreign_text, several_jobs
from lake.readers.orca.symmetry import has_left, imposed
from lake.readers.rows import number
from lake.readers.step_log import Heading, LogReader, RunLog, as_numbers
from lake.readers.text_steps import NAN, Step, as_floats, even_decimals, lines_after, numbered, token_table
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.units import HARTREE, HARTREE_PER_BOHR

FORMAT: Final = "ORCA output"

_OPENING: Final = b"\n                                 * O   R   C   A *"
_VERSION: Final = re.compile(rb"\n +Program Version (\S+)")
_PLACE: Final = re.compile(rb"\n +([A-Z][a-z]?|-) +(-?\d+\.\d+) +(-?\d+\.\d+) +(-?\d+\.\d+) *(?=\n)")
_NO_ATOM: Final = re.compile(rb"Q[,:]?|[A-Z][a-z]?[>:]")
_ENERGY: Final = re.compile(rb"\nFINAL SINGLE POINT ENERGY(?: \([^)\n]*\))? +(\S+)([^\n]*)(?=\n)")
_GRADIENT: Final = re.compile(rb"\nCARTESIAN GRADIENT(?: \(NUMERICAL\))?\n-+\n\n(WARNING: THERE ARE \d+ CONSTRAINED[^\n]*\n)?")
_HELD: Final = "orbitals are held in the symmetry of the first step, which the atoms have left (UseSym)"
_CONSTRAINED: Final = "the printed gradient is zero along constrained coordinates: the forces are left out"
_CYCLES: Final = re.compile(rb"SCF CONVERGED AFTER +(\d{1,5}) CYCLES")
_CHANGE: Final = re.compile(rb"\n +Last Energy change +\.\.\. +(\S+) +Tolerance : +(\S+)")
_TOTAL: Final = re.compile(rb"\nTotal Energy(?: after [^\n:=]*)? *[:=] *(-?\d+\.\d+)")
_ADDED: Final = re.compile(rb"\n(?:(?:Dispersion|gCP|gCP\+bas|SRB) correction|SMD CDS \(Gcds\) *:) +(-?\d+\.\d+)")
_NON_LOCAL: Final = re.compile(rb"E\(C,NL\)|NL +[Ee]nergy|VV10")
"""Corrections that are printed in several ways."""
_SUM_TOLERANCE: Final = 2e-6
"""Hartree."""
_STOPS: Final = re.compile(rb"\n +\* +GEOMETRY OPTIMIZATION CYCLE |\*{4}ORCA TERMINATED NORMALLY\*{4}|\n +\*{3} FINAL ENERGY EVALUATION")


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of an ORCA output."""
    del name
    return b"* O   R   C   A *" in head


class OrcaRun(RunLog):
    """One job; a step is the text from one list of coordinates to the next."""

    CODE = "orca"
    FORMAT = FORMAT
    SOURCES = ("ORCA final single point energy", "")
    ANCHORS = (PLACES,)
    ENDS = (b"* GEOMETRY OPTIMIZATION CYCLE", b"GEOMETRY OPTIMIZATION CYCLE", b"****ORCA TERMINATED NORMALLY****", b"*** FINAL ENERGY EVAL")
    LAST = (b"****ORCA TERMINATED NORMALLY****",)
    ONCE = (b"\nFINAL SINGLE POINT ENERGY",)
    CHECKS = (
        CrossCheck(
            "norm of the gradient", b"Norm of the cartesian gradient", re.compile(rb"Norm of the cartesian gradient +\.\.\. +(\S+)"),
            norm_of_forces, HARTREE_PER_BOHR, least=1e-6,
        ),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._self_consistent = False
        self._symbols: list[str] = []
        self._found = 0
        self._operations: tuple[Floats, ...] | None = None
        """Of the symmetry that the orbitals keep."""

    def read_heading(self, text: bytes) -> Heading | None:
        """Return nothing: atoms and settings are printed with the first step."""
        del text
        return None

    def take(self, piece: bytes, *, closed: bool) -> None:
        """Take the next piece; the first list of coordinates completes the heading."""
        if self.heading is None and piece.startswith(PLACES):
            self._symbols = [symbol.decode("latin-1") for symbol, *_ in _rows(piece, first=True)]
            numbers = as_numbers(self._symbols)
            if numbers is not None:
                version = _VERSION.search(self.head)
                given = read_given(self.head)
                keywords = given.keywords
                kind = "relax" if any("OPT" in word for word in keywords) else "md" if b"%md" in self.head.lower() else "static"
                kind = "phonon" if kind == "static" and {"FREQ", "NUMFREQ", "ANFREQ"} & set(keywords) else kind
                _raise(foreign_input(given) or several_jobs(self.head, 1))
                level = read_level(self.head, piece, given, self._symbols)
                self.altered = altered(given)
                words = version.group(1).decode("latin-1") if version else ""
                self.heading = Heading(words, kind, numbers, np.zeros(3, dtype=bool), level)
                self._self_consistent = METHOD.search(piece) is not None
        super().take(piece, closed=closed)

    def run(self) -> Run | None:
        """Return the run, or None where it has no step; a single point without coordinates takes those that its input gives."""
        method = METHOD.search(self.head)
        if self.pieces == 0 and self.complete and method and self.head.count(self.ONCE[0]) == 1 and self._foreign() is None:
            places = given_places(self.head)
            if places and "OPT" not in " ".join(read_given(self.head).keywords):
                self.head, piece = self.head[: method.start()], places + self.head[method.start() :]
                self.take(piece, closed=True)
                self.notes.append("the output prints no coordinates; they are those of the input that it repeats")
        return super().run()

    def refusal(self) -> UnreadableOutput | None:
        """Return what a run without coordinates is, or where they are."""
        if self.pieces or b"\nFINAL SINGLE POINT ENERGY" not in self.head:
            return None
        given = GIVEN.search(self.head)
        file = given.group(2).decode("latin-1").strip() if given and given.group(1).lower().endswith(b"file") else ""
        where = f"its input takes them from {file}, which ORCA does not repeat" if file else "its input gives none that can be read"
        return self._foreign() or UnreadableOutput(
            "no_complete_step",
            f"the ORCA output prints an energy and no coordinates (Print[P_Cartesian] 0), and {where}",
            "deposit a run that prints its coordinates, or whose input gives them as '* xyz'",
        )

    def _foreign(self) -> UnreadableOutput | None:
        """Return what else than density-functional theory a run without coordinates is, None where it is nothing else."""
        given = foreign_input(read_given(self.head)) or several_jobs(self.head, 1)
        return foreign_text(self.head) or given or foreign_method(self.head)

    def read_step(self, piece: bytes, heading: Heading) -> Step | None:
        """Return the step; raises UnreadableOutput where the energy is not that of density-functional theory."""
        stop = _STOPS.search(piece)
        own = piece if stop is None else piece[: stop.start()]
        _raise(foreign_text(own) or several_jobs(piece, 0))
        energy = next(reversed(list(_ENERGY.finditer(own))), None)
        if energy is None:
            self.lost += b"\nCARTESIAN GRADIENT" in own or b"FINAL SINGLE POINT ENERGY" in own
            return None
        if not self._self_consistent:
            _raise(foreign_method(b""))
        self._found += 1
        rows = _rows(own)
        positions = as_floats([field for row in rows for field in row[1:]]).reshape(-1, 3)
        if [row[0].decode("latin-1") for row in rows] != self._symbols or not bool(np.isfinite(positions).all()):
            self.lost += 1
            return None
        cycles, change = _CYCLES.findall(own), _CHANGE.findall(own)
        met = bool(cycles) and b"not fully converged" not in energy.group() and b"SCF NOT CONVERGED" not in own
        met = met and all(abs(number(value)) <= 1.05 * number(limit) for value, limit in change[-1:])
        return Step(
            number=self._found - 1,
            cell=np.zeros((3, 3)),
            positions=positions,
            energy=number(energy.group(1)) * HARTREE if energy.group(2).strip()[:1] in (b"", b"(") else NAN,
            forces=self._forces(own),
            converged=int(met),
            n_scf=int(cycles[-1]) if cycles else -1,
            flags=self._symmetry(own, heading, positions),
            contradictions=_other_total(own[: energy.start()], number(energy.group(1))),
        )

    def _symmetry(self, text: bytes, heading: Heading, positions: Floats) -> tuple[str, ...]:
        """Return a flag for a step whose atoms have left the symmetry in which the orbitals are held."""
        if self._operations is None:
            self._operations = imposed(text, heading.numbers, positions)
        if not self._operations or not has_left(self._operations, heading.numbers, positions):
            return ()
        if _HELD not in self.notes:
            self.notes.append(_HELD)
        return ("altered_potential",)

    def _forces(self, text: bytes) -> Floats | None:
        """Return the forces of a step; none where constraints of the optimiser are projected out of the printed gradient."""
        natoms, table = len(self._symbols), next(reversed(list(_GRADIENT.finditer(text))), None)
        if table is None:
            return None
        if table.group(1):
            if _CONSTRAINED not in self.notes:
                self.notes.append(_CONSTRAINED)
            return None
        lines = lines_after(text, table.end(), natoms)
        whole = lines is not None and numbered(lines, natoms)
        return token_table(lines, natoms, 3, 6) * -HARTREE_PER_BOHR if whole and lines is not None else np.full((natoms, 3), NAN)


def _rows(text: bytes, *, first: bool = False) -> list[tuple[bytes, ...]]:
    """Return symbol and place of each atom in the list that a piece begins with; a dummy ('-') is no atom.

    Raises UnreadableOutput, in the first list, for centres that only lend a potential or functions: charges 'Q', embedding cores 'Ca>',
    ghosts 'O:'.
    """
    place, rows = text.find(b"\n", len(PLACES)), []
    while (match := _PLACE.match(text, place)) is not None:
        rows.append(match.groups())
        place = match.end()
    line = text[place + 1 : text.find(b"\n", place + 1)].split()
    if first and len(line) > 3 and _NO_ATOM.fullmatch(line[0]):
        words = f"the ORCA output has centres that are no atoms ({line[0].decode('latin-1')}): charges, embedding potentials or ghosts"
        raise UnreadableOutput("not_dft", words, "deposit runs of atoms alone")
    atoms = [row for row in rows if row[0] != b"-"]
    return atoms if not line and even_decimals([field for row in rows for field in row[1:]]) else []


def _other_total(text: bytes, final: float) -> tuple[str, ...]:
    """Return a sentence where a final energy is none of self-consistency with some of the corrections printed before it, in hartree."""
    totals = [number(value) for value in _TOTAL.findall(text)]
    if not totals or not np.isfinite(final) or _NON_LOCAL.search(text):
        return ()
    sums = {0.0}
    for value in set(_ADDED.findall(text)):
        sums |= {total + number(value) for total in sums}
    if any(abs(final - total - added) < _SUM_TOLERANCE for total in totals for added in sums):
        return ()
    return (
        f"the final energy is {final:.8f} hartree, that of self-consistency {totals[-1]:.8f}; no printed correction makes the difference",
    )


def _raise(refusal: UnreadableOutput | None) -> None:
    if refusal is not None:
        raise refusal


def _open() -> PushReader:
    return LogReader(_OPENING, OrcaRun)


ORCA_OUTPUT: Final = ReaderSpec(name=FORMAT, code="orca", recognises=recognises, open=_open, rank=0)
