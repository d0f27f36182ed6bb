"""Reader of a Gaussian log (03 to 16).

The energy is that of 'SCF Done', in hartree; solvent and empirical dispersion are in it. Forces are printed in the input orientation, so
positions are taken from there, never from the standard orientation, which is turned. Translation vectors of a periodic run stand below the
atoms, with the atomic number -2; what is printed as the forces on them is no stress and is left out. Runs whose forces belong to another
energy (MP2, coupled cluster, excited states, ONIOM layers, counterpoise fragments) and semi-empirical methods are refused with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lake.readers.base import PushReader, ReaderSpec
from lake.readers.cross_checks import CrossCheck, other_value, rms_component
from lake.readers.rows import number
from lake.readers.step_log import Heading, LogReader, RunLog
from lake.readers.text_steps import NAN, Step, as_floats, even_decimals, lines_after, numbered, token_table
from schemas.calculations import Run
from schemas.elements import SYMBOLS
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.theory import LevelOfTheory
from schemas.units import HARTREE, HARTREE_PER_BOHR

FORMAT: Final = "Gaussian log"

_OPENING: Final = b"\n Entering Link 1 = "
_DONE: Final = b"\n SCF Done:"
_VERSION: Final = re.compile(rb"\n Gaussian (\d+): +(\S+) ")
_ROUTE: Final = re.compile(rb"\n -{4,}\n (#.*?)\n -{4,}\n", re.S)
_STATE: Final = re.compile(rb"\n Charge = +(-?\d{1,4}) Multiplicity = +(\d{1,3})")
_BASIS: Final = re.compile(rb"\n (?:Standard basis: ([^\n]*?)|(General basis) read from [^\n]*?) *\n")
_ENERGY: Final = re.compile(
    rb"\n SCF Done: +E\(([A-Za-z0-9+-]+)\) = +(\S+) +(?:A\.U\.|a\.u\.) after +(\d{1,5}) cycles[^\n]*\n"
    rb" +(?:NFock=[^\n]*?)?Conv(?:g *=|=) *(\S+)"
)
_WANTED: Final = re.compile(rb"\n Requested convergence on RMS density matrix=(\S+) within +\d+ cycles")
_ORIENTATION: Final = re.compile(
    rb"\n +(Input|Standard|Z-Matrix) orientation: *\n -+\n[^\n]*\n[^\n]*\n -+\n((?: +\d+ +-?\d+ +-?\d+ [^\n]*\n)+) -+(?=\n)"
)
_FORCES: Final = re.compile(rb"\n Center +Atomic +Forces \(Hartrees/Bohr\)\n Number +Number +X +Y +Z\n -+\n")
_TURNED: Final = b"\n Forces in standard orientation:"
"""Begins a table (with #P and frequencies) of forces that are turned; those of the input orientation stand behind it."""
_TURNED_BEFORE: Final = 200
_RMS: Final = re.compile(rb"\n Cartesian Forces: +Max +\S+ +RMS +(\S+)")
_VECTOR: Final = b"-2"
"""The atomic number that a translation vector has in the tables."""
_LENGTHS: Final = re.compile(rb"\n Lengths of translation vectors: +([^\n]*)")
_MESH: Final = re.compile(rb"\n Using k point mesh[^\n]*\n K space mesh: X= *(\d{1,5}) Y= *(\d{1,5}) Z= *(\d{1,5}) *(?=\n)")
_POINTS: Final = re.compile(rb"\n CountK=T Total number of k points: +(\d{1,7}) *(?=\n)")
_RATIO: Final = re.compile(rb" -V/T *=")
"""Stands once below each energy of self-consistency."""
_STOPS: Final = re.compile(rb"\n Cartesian Forces: +Max|\n Normal termination of Gaussian|\n Error termination ")

_FUNCTIONALS: Final = {
    "PBEPBE": "PBE", "PBE1PBE": "PBE0", "HSEH1PBE": "HSE06", "TPSSTPSS": "TPSS", "SVWN": "LDA-VWN", "SVWN5": "LDA-VWN", "B-LYP": "BLYP",
    "PBE-PBE": "PBE", "S-VWN": "LDA-VWN", "PBEH1PBE": "PBEh", "REVPBEPBE": "revPBE", "PW91PW91": "PW91", "BP86": "BP86",
    "CAM-B3LYP": "CAM-B3LYP", "B-P86": "BP86", "B+HF-LYP": "B3LYP", "B+HF-PW91": "B3PW91", "B+HF-P86": "B3P86", "M062X": "M06-2X",
    "M06L": "M06-L", "WB97X": "wB97X", "WB97XD": "wB97X-D", "WB97": "wB97",
}  # fmt: skip
_EXCHANGE: Final = {"PBE0": 0.25, "HSE06": 0.25, "B3LYP": 0.2, "HF": 1.0, "MN15": 0.44, "M06-2X": 0.54, "M06": 0.27, "B3PW91": 0.2}
_SEMI_EMPIRICAL: Final = re.compile(r"(?:AM1|PM\d\w*|MNDO\w*|DFTB\w*|INDO|ZINDO|CNDO|MINDO\w*)\Z")
_FOREIGN: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"EUMP2 =", "not_dft", "a perturbation or coupled-cluster energy above the one of self-consistency"),
    (b"\n E2(", "not_energies", "a double hybrid, whose perturbative part stands apart from the energy of self-consistency"),
    (b"ONIOM: extrapolated energy", "not_dft", "an ONIOM energy of several layers"),
    (b"Excited State   1:", "not_energies", "excited states, whose forces do not belong to the ground-state energy"),
    (b"Counterpoise: corrected energy", "not_energies", "a counterpoise calculation of fragments"),
)
_DISPERSION: Final = (("gd3bj", "D3(BJ)"), ("gd3", "D3(0)"), ("gd2", "D2"), ("pfd", "PFD"))


@dataclass(frozen=True, eq=False)
class _Geometry:
    numbers: tuple[int, ...]
    positions: Floats
    vectors: Floats
    """(k, 3), the translation vectors; none for a molecule."""
    turned: bool
    """In the standard orientation, in which the forces are not printed."""

    def cell(self) -> Floats:
        """Return the cell (3, 3), with rows of zeros where the run is not periodic."""
        return np.vstack([self.vectors, np.zeros((3 - len(self.vectors), 3))])


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
        self._geometry: _Geometry | None = None
        self._method = ""
        self._wanted = NAN
        self._fresh = False
        self._lengths: tuple[str, ...] = ()
        """Where the lengths of the translation vectors are printed otherwise than they are."""
        self._open_cycles = 0
        """Cycles begun in the text taken last, without those that are counted as lost."""
        self._found = 0
        self._turned: set[int] = set()
        """Steps of which only the standard orientation was read."""
        self._other_orientation = False

    def read_heading(self, text: bytes) -> Heading | None:
        """Return atoms and level of theory; the functional is named by the first step."""
        self._count_lost(text, energies=0)
        self._prepare(text)
        if self._geometry is None:
            return None
        version = _VERSION.search(text)
        numbers = np.array(self._geometry.numbers, dtype=np.int16)
        route = _route(text)
        kind = next((kind for word, kind in (("opt", "relax"), ("freq", "phonon"), ("irc", "relax")) if _asks(route, word)), "static")
        words = version.group(2).decode("latin-1") if version else ""
        return Heading(words, kind, numbers, np.arange(3) < len(self._geometry.vectors), _level(text, route, self._geometry))

    def read_step(self, piece: bytes, heading: Heading) -> Step | None:
        """Return the step with the geometry printed before it; raises UnreadableOutput where the forces belong to another energy."""
        own = _own(piece)
        if own is None:
            self.lost += 1
            return None
        for words, reason, what in _FOREIGN:
            if words in piece:
                raise UnreadableOutput(reason, f"the log of Gaussian has {what}", "deposit runs of plain density-functional theory")
        geometry, wanted, energy = self._geometry if self._fresh else None, self._wanted, _ENERGY.match(own)
        told = self._lengths
        self._prepare(piece)
        self._found += self._count_lost(piece, energies=1)
        if energy is None:
            self.lost += 1
            return None
        method = energy.group(1).decode("latin-1").upper()
        self._first_method(method, heading)
        self._found += 1
        same = geometry is not None and geometry.numbers == tuple(heading.numbers.tolist())
        same = same and geometry is not None and len(geometry.vectors) == heading.pbc.sum()
        if geometry is None or not same or method != self._method:
            self.lost += 1
            self._once("steps of another method or without a geometry are left out")
            return None
        change = number(energy.group(4))
        self._turned |= {self._found - 1} if geometry.turned else set()
        self._other_orientation = self._other_orientation or not geometry.turned
        return Step(
            number=self._found - 1,
            cell=geometry.cell(),
            positions=geometry.positions,
            energy=number(energy.group(2)) * HARTREE,
            forces=self._forces(own, geometry),
            converged=-1 if np.isnan(wanted) or np.isnan(change) else int(change <= 1.05 * wanted),
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

        Steps in another orientation than the others are left out: a line of their geometry is damaged.
        """
        self.lost += self.complete and self._open_cycles > 0
        if self._other_orientation and self._turned:
            kept = [step for step in self.steps if step.number not in self._turned]
            self.lost += len(self.steps) - len(kept)
            self.steps = kept
        return super().run()

    def _first_method(self, method: str, heading: Heading) -> None:
        if self._method:
            return
        self._method = method
        spin, name = _split(method)
        if _SEMI_EMPIRICAL.match(name):
            raise UnreadableOutput("not_dft", f"the energies are those of {name}", "deposit runs of density-functional theory")
        functional = _FUNCTIONALS.get(name, name)
        level = replace(heading.level, functional=functional, spin=spin, exact_exchange=_EXCHANGE.get(functional))
        self.heading = replace(heading, level=level)

    def _prepare(self, text: bytes) -> None:
        """Keep what a text prints for the next step: its geometry, and how far its cycle has to converge."""
        wanted = _WANTED.findall(text)
        self._wanted = number(wanted[-1]) if wanted else self._wanted
        tables = _ORIENTATION.findall(text)
        self._fresh = bool(tables)
        given = [table for table in tables if table[0] != b"Standard"] or tables
        if given:
            self._geometry = _geometry(given[-1][1], turned=given[-1][0] == b"Standard")
            self._lengths = _other_lengths(text, self._geometry)

    def _forces(self, text: bytes, geometry: _Geometry) -> Floats | None:
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


def _geometry(table: bytes, *, turned: bool) -> _Geometry | None:
    """Return what a table of places holds: the atoms, and behind them three translation vectors at most."""
    rows = [line.split() for line in table.split(b"\n") if line.strip()]
    natoms = next((k for k, row in enumerate(rows) if row[1:2] == [_VECTOR]), len(rows))
    atoms, vectors = rows[:natoms], rows[natoms:]
    if any(len(row) != 6 or not row[1].isdigit() or not 0 < int(row[1]) < len(SYMBOLS) for row in atoms):
        return None
    if not atoms or len(vectors) > 3 or any(len(row) != 6 or row[1] != _VECTOR for row in vectors):
        return None
    places = as_floats([field for row in rows for field in row[3:]]).reshape(-1, 3)
    if not numbered(table.lstrip(b"\n"), len(rows)) or not even_decimals([field for row in rows for field in row[3:]]):
        return None
    if not bool(np.isfinite(places).all()):
        return None
    return _Geometry(tuple(int(row[1]) for row in atoms), places[:natoms], places[natoms:], turned)


def _other_lengths(text: bytes, geometry: _Geometry | None) -> tuple[str, ...]:
    """Return a sentence for each length of a translation vector, printed last in a text, that is not the vector's."""
    found = _LENGTHS.findall(text)
    if geometry is None or not found:
        return ()
    pairs = zip(found[-1].split(), np.linalg.norm(geometry.vectors, axis=1).tolist(), strict=False)
    told = (other_value("length of a translation vector", printed, length, 1.0) for printed, length in pairs)
    return tuple(words for words in told if words)


def _other_rms(text: bytes, end: int, geometry: _Geometry) -> tuple[str, ...]:
    """Return a sentence where the forces of a periodic run, those on its vectors among them, have another mean square than printed."""
    table, printed = _FORCES.search(text, 0, end), _RMS.search(text, text.rfind(b"\n", 0, end))
    if not len(geometry.vectors) or table is None or printed is None:
        return ()
    rows = [line.split() for line in text[table.end() :].split(b"\n", len(geometry.numbers) + len(geometry.vectors))[:-1]]
    forces = as_floats([field for row in rows for field in row[-3:]])
    told = other_value("root mean square of the forces", printed.group(1), float(np.sqrt(np.mean(forces**2))), 1.0)
    return (told,) if told else ()


def _split(method: str) -> tuple[str, str]:
    """Return the spin and the name of a method: 'UMN15' is MN15 with two spins."""
    if method.startswith("RO"):
        return "collinear", method[2:]
    return ("collinear" if method.startswith("U") else "none"), method[1:] if method[:1] in ("R", "U") else method


def _route(text: bytes) -> str:
    found = _ROUTE.search(text)
    return found.group(1).decode("latin-1").replace("\n ", "").lower() if found else ""


def _asks(route: str, word: str) -> bool:
    return re.search(rf"(?:^|[ #,/]){word}(?:[ =(]|$)", route) is not None


def _mesh(text: bytes, route: str, geometry: _Geometry) -> tuple[tuple[int, int, int] | None, float | None]:
    """Return the k mesh of a periodic run, one point along what is not periodic, and its spacing in 1/Å."""
    found = [(b"1", b"1", b"1")] if "gammaonly" in route else _MESH.findall(text)
    if not found or not len(geometry.vectors):
        return None, None
    mesh = (max(1, int(found[-1][0])), max(1, int(found[-1][1])), max(1, int(found[-1][2])))
    reciprocal = 2.0 * np.pi * np.linalg.norm(np.linalg.pinv(geometry.cell()), axis=0)
    return mesh, float(np.max(reciprocal / np.asarray(mesh)))


def _level(text: bytes, route: str, geometry: _Geometry) -> LevelOfTheory:
    if _asks(route, "charge"):
        raise UnreadableOutput("not_dft", "the Gaussian run stands in the field of point charges", "deposit runs without them")
    state, basis = _STATE.search(text), _BASIS.findall(text)
    name = (basis[-1][0] or basis[-1][1]).decode("latin-1") if basis else ""
    solvent = re.search(r"scrf(?:=?\([^)]*\)|=\S+)?", route)
    field = re.search(r"field=\S+", route)
    points, (mesh, spacing) = _POINTS.findall(text), _mesh(text, route, geometry)
    extra = [("solvent", solvent.group())] if solvent else []
    extra += [("field", field.group())] if field else []
    extra += [("hamiltonian", "DKH")] if re.search(r"\b(?:dkh|douglaskroll)", route) else []
    extra += [("iop", ",".join(options))] if (options := sorted(set(re.findall(r"\b3/\d+ *= *-?\d+", _options(route))))) else []
    return LevelOfTheory(
        code="gaussian",
        dispersion=next((label for word, label in _DISPERSION if word in route), ""),
        basis="GTO",
        pseudopotentials=tuple((symbol, name) for symbol in sorted({SYMBOLS[z] for z in geometry.numbers})) if name else (),
        kpoints=mesh,
        n_kpoints=int(points[-1]) if points and mesh else None,
        kpoint_spacing=spacing,
        smearing="none",
        charge=float(state.group(1)) if state else 0.0,
        extra=tuple(extra),
    )


def _options(route: str) -> str:
    """Return the internal options of a route; those of overlay 3 change the functional: shares and range of exchange, dispersion."""
    return " ".join(re.findall(r"iop=?\(([^)]*)\)", route))


def _open() -> PushReader:
    return LogReader(_OPENING, GaussianRun)


GAUSSIAN_LOG: Final = ReaderSpec(name=FORMAT, code="gaussian", recognises=recognises, open=_open, rank=0)
