"""Reader of Elk's INFO.OUT (1 to 10).

The energy is the last 'total energy', which has the entropic term in it, so the forces belong to it; without that term it is the internal
energy. Everything is in atomic units. The INFO.OUT of Elk 1 goes on with positions that it prints ('Updated atomic positions'); later
versions write it anew in each step of an optimisation, so that it tells the last one: the others stand in files beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.base import ReaderSpec
from lake.readers.cross_checks import CrossCheck, volume
from lake.readers.elk.input import INPUT, asks_for_dynamics, first_step
from lake.readers.elk.optimisation import FILES, Last, Record, number_of_last, read_records, steps_of
from lake.readers.qe.level import mesh_spacing
from lake.readers.rows import number
from lake.readers.step_log import Heading, LogReader, RunLog, as_numbers, element_of
from lake.readers.text_steps import NAN, Step, as_floats, numbered
from schemas.calculations import Run
from schemas.frames import Floats
from schemas.theory import U_NOT_TOLD, LevelOfTheory
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR

FORMAT: Final = "Elk INFO.OUT"

_OPENING: Final = b"\n| Elk version "
_LOOP: Final = b"\n| Self-consistent loop started |"
_VERSION: Final = re.compile(rb"\n\| Elk version (\S+) started \|")
_VECTORS: Final = re.compile(rb"\nLattice vectors :\n +(\S+) +(\S+) +(\S+) *\n +(\S+) +(\S+) +(\S+) *\n +(\S+) +(\S+) +(\S+) *\n(?! +\S)")
_SPECIES: Final = re.compile(
    rb"\nSpecies : +\d+ \((\w+)\)\n((?: [^\n]*\n)*?) atomic positions \((lattice|Cartesian)\)[^\n]*\n((?: +\d+ : [^\n]*\n)+)"
)
_UPDATED: Final = b"\n| Updated atomic positions |"
_MOVED: Final = re.compile(rb"\nSpecies : +\d+ \((\w+)\)\n atomic positions \((lattice)\) :\n((?: +\d+ : [^\n]*\n)+)")
_COUNT: Final = re.compile(rb"\nTotal number of atoms per unit cell : +(\d{1,7}) *\n")
_FILE: Final = re.compile(rb" parameters loaded from : (\S+)")
_RADIUS: Final = re.compile(rb" muffin-tin radius : +(\S+)")
_TOTAL: Final = re.compile(rb"\n total energy +: +(\S+) *(?=\n)")
_ENTROPY: Final = re.compile(rb"\n electron entropic +: +(\S+) *(?=\n)")
_NUMBER: Final = re.compile(rb"\n\| Loop number : +(\d{1,6}) \|")
_TARGETS: Final = re.compile(rb"\n(?:RMS|Absolute) change in [^\n]*?\(target\)[^:\n]*: +(\S+) \( *(\S+)\)")
_FORCES: Final = re.compile(rb"\n +total force +: +(\S+) +(\S+) +(\S+) *(?=\n)")
_GRID: Final = re.compile(rb"\nk-point grid : +(\d{1,4}) +(\d{1,4}) +(\d{1,4})")
_POINTS: Final = re.compile(rb"\nTotal number of k-points : +(\d{1,7})")
_CUTOFF: Final = re.compile(rb"\nMaximum \(1/2\)\|G\+k\|[^:\n]*: +(\S+)")
_XC: Final = re.compile(rb"\nExchange-correlation (?:functional|type)[^:\n]*: +(\d{1,4}) +(\d{1,4}) +(\d{1,4})([^\n]*\n[^\n]*)")
_SMEARING: Final = re.compile(rb"\nSmearing type : +\d+\n ([^\n]*)\nSmearing width : +(\S+)")
_EXCESS: Final = re.compile(rb"\nTotal excess charge +: +(\S+)")

_FIELDS: Final = (
    ("electric_field", re.compile(rb"\nConstant electric field applied across unit cell\n field strength : ([^\n]+)")),
    ("vector_potential", re.compile(rb"\nConstant A-field applied across unit cell\n field strength : ([^\n]+)")),
    ("magnetic_field", re.compile(rb"\n global magnetic field \(Cartesian\) : ([^\n]+)")),
    ("fixed_moment", re.compile(rb"\n fixed spin moment \(FSM\) calculation, type : ([^\n]+)")),
    ("fixed_total_moment", re.compile(rb"\n  fixing total moment to \(Cartesian\) :\n([^\n]+)")),
    ("fixed_tensor_moment", re.compile(rb"\n fixed tensor moment \(FTM\) calculation, type : ([^\n]+)")),
    ("scaled_exchange_of_spins", re.compile(rb"\n scaled spin exchange-correlation \(SSXC\) enabled\n +scaling factor : ([^\n]+)")),
    ("spin_spiral", re.compile(rb"\n spin-spiral state assumed\n +q-vector \(lattice\) +: ([^\n]+)")),
)
"""As routine writeinfo prints them."""
_FIELDS_OF_ATOMS: Final = re.compile(rb"\n atomic positions \([^)\n]*\), magnetic fields \(Cartesian\) :\n((?: +\d+ : [^\n]*\n)+)")
_MOMENTS_OF_ATOMS: Final = re.compile(rb"\n  fixing local muffin-tin moments to \(Cartesian\) :\n((?:  [^\n]*\n)+)")
_VECTOR_OF_ATOM: Final = re.compile(rb"(?:^|\n) +\d+(?: : +\S+ +\S+ +\S+)? +([-+.\dE]+ +[-+.\dE]+ +[-+.\dE]+)(?= *\n)")
_FUNCTIONALS: Final = {2: "LDA", 3: "LDA-PW92", 4: "Xalpha", 5: "LDA-vBH", 20: "PBE", 21: "revPBE", 22: "PBEsol", 26: "WC", 30: "AM05"}
"""Names by Elk's numbers (manual of Elk 8.4, variable xctype)."""


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of an INFO.OUT of Elk."""
    del name
    return b"| Elk version " in head and _VERSION.search(b"\n" + head.replace(b"\r", b"")) is not None


class ElkRun(RunLog):
    """One run; a step is a loop of self-consistency with the forces behind it."""

    CODE = "elk"
    FORMAT = FORMAT
    SOURCES = ("Elk total energy (entropic term included)", "")
    ANCHORS = (_LOOP,)
    ENDS = (b" stopped |\n\n+", b"\nTimings (CPU seconds)")
    LAST = (b"\nTimings (CPU seconds)",)
    ONCE = (b"\n| Self-consistent loop stopped |",)
    HEAD_CHECKS = (CrossCheck("volume of the cell", b"\nUnit cell volume ", re.compile(rb"\nUnit cell volume +: +(\S+)"), volume, BOHR**3),)

    def __init__(self, beside: dict[str, bytes] | None = None) -> None:
        super().__init__()
        self._beside = {} if beside is None else beside
        self.used: tuple[str, ...] = ()
        self._cell = np.zeros((3, 3))
        self._positions: Floats | None = None

    def read_heading(self, text: bytes) -> Heading | None:
        """Return atoms, geometry and level of theory."""
        vectors, species, version = _VECTORS.search(text), _SPECIES.findall(text), _VERSION.search(text)
        if vectors is None or not species:
            return None
        self._cell = as_floats(vectors.groups()).reshape(3, 3) * BOHR
        numbers, self._positions = _read_positions([(name, form, rows) for name, _, form, rows in species], self._cell)
        total = _COUNT.search(text)
        if total is not None and numbers is not None and int(total.group(1)) != len(numbers):
            return None
        if numbers is None or self._positions is None or not bool(np.isfinite(self._cell).all()):
            return None
        kind = "relax" if b"tructural optimisation" in text or b"Geometry optimisation" in text else "static"
        words = version.group(1).decode("latin-1") if version else ""
        periodic = np.ones(3, dtype=bool)
        return Heading(words, kind, numbers, periodic, _level(text, self._cell))

    def read_step(self, piece: bytes, heading: Heading) -> Step | None:
        """Return the step of a loop of self-consistency; one that follows no positions in the text is lost."""
        positions, self._positions = self._positions, None
        if _UPDATED in piece:
            numbers, moved = _read_positions(_MOVED.findall(piece, piece.index(_UPDATED)), self._cell)
            self._positions = moved if numbers is not None and np.array_equal(numbers, heading.numbers) else None
            self.heading = replace(heading, kind="relax")
        totals, entropy, loops = _TOTAL.findall(piece), _ENTROPY.findall(piece), _NUMBER.findall(piece)
        if not totals:
            self.lost += b"\n total energy" in piece or b"\nForces :" in piece
            return None
        if positions is None:
            self.lost += 1
            note = "INFO.OUT has no positions for some steps"
            self.notes += [note] if note not in self.notes else []
            return None
        energy = number(totals[-1]) * HARTREE
        targets = _TARGETS.findall(piece)
        last = dict(zip(range(2), targets[-2:], strict=False))
        met = all(number(found) <= 1.05 * number(target) for found, target in last.values())
        reached = b"Convergence targets achieved" in piece
        return Step(
            number=self.pieces - 1,
            cell=self._cell,
            positions=positions,
            energy=energy,
            forces=_forces(piece, len(heading.numbers)),
            internal=energy - number(entropy[-1]) * HARTREE if entropy else NAN,
            converged=int(reached and met) if targets else -1,
            n_scf=int(loops[-1]) if loops else -1,
        )

    def run(self) -> Run | None:
        """Return the run, with the steps that the files beside INFO.OUT tell, or None where it has no step."""
        if self.heading is not None and self.heading.kind == "relax" and self.pieces < 2:
            self._add_earlier(self.heading)
        elif self.heading is not None and asks_for_dynamics(self._beside.get(INPUT, b"")):
            self.heading = replace(self.heading, kind="md")
            self.notes.append("elk.in asks for molecular dynamics (task 420 or 421): INFO.OUT has one step of it, the others are not read")
            self.used = (*self.used, INPUT)
        return super().run()

    def _add_earlier(self, heading: Heading) -> None:
        records = read_records(self._beside, len(heading.numbers)) if self._beside else []
        own = self.steps[0] if self.steps else None
        positions = self._positions if own is None else own.positions
        if positions is None or (own is not None and not np.isfinite(own.energy)):
            return
        last = Last(self._cell, positions, own.energy if own else NAN)
        earlier = steps_of(records, last) if records else None
        if records and earlier is None:
            self.flags.add("companion_of_other_run")
            self.notes.append("GEOMETRY_OPT.OUT beside INFO.OUT does not lead to its geometry and was not used")
        elif earlier is None:
            self.notes.append(
                "INFO.OUT has one step of the optimisation; deposit GEOMETRY_OPT.OUT, TOTENERGY_OPT.OUT and FORCES_OPT.OUT too"
            )
        else:
            self._take_earlier(records, earlier, last, own)

    def _take_earlier(self, records: Sequence[Record], earlier: list[Step], last: Last, own: Step | None) -> None:
        number_of_own = number_of_last(records, last)
        first = first_step(self._beside[INPUT], records) if INPUT in self._beside and (earlier or number_of_own) else None
        self.steps = [*([first] if first else []), *earlier, *([replace(own, number=number_of_own)] if own else [])]
        if first or earlier:
            self.used = (*sorted(FILES & set(self._beside)), *([INPUT] if first else []))
        if first is None and (earlier or number_of_own):
            self.lost += 1
            self.notes.append("the geometry of the first step of the optimisation is in elk.in alone: deposit it as it was for the run")


def is_companion(name: str) -> bool:
    """Return whether a file of this name may be read together with an INFO.OUT."""
    return name in FILES or name == INPUT


class ElkReader(LogReader):
    """Push reader of an INFO.OUT, with the files of an optimisation beside it."""

    def __init__(self) -> None:
        self._beside: dict[str, bytes] = {}
        self._elk_runs: list[ElkRun] = []
        super().__init__(_OPENING, self._make_run)

    def take_companion(self, name: str, text: bytes) -> bool:
        """Take a file of the optimisation; returns whether it is of a kind that is used."""
        if is_companion(name):
            self._beside[name] = text
        return is_companion(name)

    @property
    def companions_used(self) -> tuple[str, ...]:
        """Return the names of the files beside INFO.OUT that its runs were read from."""
        return tuple(dict.fromkeys(name for run in self._elk_runs for name in run.used))

    def _make_run(self) -> ElkRun:
        self._elk_runs.append(ElkRun(self._beside))
        return self._elk_runs[-1]


def _read_positions(species: list[tuple[bytes, bytes, bytes]], cell: Floats) -> tuple[NDArray[np.int16] | None, Floats | None]:
    """Return atomic numbers and positions in Å of (name, 'lattice' or 'Cartesian', rows) of each species; None where a row is wrong."""
    labels: list[str] = []
    places = []
    for name, form, rows in species:
        if not numbered(rows.lstrip(b"\n"), rows.count(b":")):
            return None, None
        fields = [row.split(b":", 1)[1].split() for row in rows.split(b"\n") if b":" in row]
        values = [as_floats(row[:3]) for row in fields if len(row) == len(fields[0]) and len(row) in (3, 6)]
        if len(values) != len(fields) or any(row.shape != (3,) for row in values):
            return None, None
        labels += [element_of(name.decode("latin-1"))] * len(values)
        places.append(np.array(values) @ cell if form == b"lattice" else np.array(values) * BOHR)
    numbers = as_numbers(labels)
    if numbers is None or not bool(np.isfinite(np.concatenate(places)).all()):
        return None, None
    return numbers, np.concatenate(places)


def _forces(text: bytes, natoms: int) -> Floats | None:
    place = text.rfind(b"\nForces :")
    if place < 0:
        return None
    rows = _FORCES.findall(text, place)
    values = as_floats([field for row in rows for field in row]).reshape(-1, 3)
    return values * HARTREE_PER_BOHR if len(values) == natoms else np.full((natoms, 3), NAN)


def _level(text: bytes, cell: Floats) -> LevelOfTheory:
    grid, points, cutoff, xc = _GRID.search(text), _POINTS.search(text), _CUTOFF.search(text), _XC.search(text)
    smearing, excess = _SMEARING.search(text), _EXCESS.search(text)
    mesh = (int(grid.group(1)), int(grid.group(2)), int(grid.group(3))) if grid else None
    mesh = mesh if mesh is None or all(mesh) else None
    kind = int(xc.group(1)) if xc else 0
    words = " ".join(xc.group(4).decode("latin-1").split()) if xc else ""
    width, charge = (number(smearing.group(2)) if smearing else NAN), (number(excess.group(1)) if excess else 0.0)
    energy = number(cutoff.group(1)) * HARTREE if cutoff else NAN
    spin = "spin-orbit" if b"pin-orbit coupling" in text else "collinear" if b"spin-polarised" in text else "none"
    return LevelOfTheory(
        code="elk",
        functional=_FUNCTIONALS.get(kind, f"{kind} {words}".strip()),
        basis="LAPW",
        cutoff=energy if np.isfinite(energy) else None,
        pseudopotentials=_identities(text),
        kpoints=mesh,
        n_kpoints=int(points.group(1)) if points else None,
        kpoint_spacing=mesh_spacing(mesh, cell) if abs(np.linalg.det(cell)) > 1e-6 else None,
        smearing=smearing.group(1).decode("latin-1").strip().lower() if smearing else "",
        smearing_width=width * HARTREE if np.isfinite(width) else None,
        spin="noncollinear" if b"noncollinear" in text.lower() and spin == "collinear" else spin,
        charge=charge if np.isfinite(charge) else 0.0,
        relativity="scalar",
        extra=(*_fields(text), *((U_NOT_TOLD,) if b"DFT+U" in text or b"LDA+U" in text else ())),
    )


def _fields(text: bytes) -> tuple[tuple[str, str], ...]:
    """Return outer fields (atomic units), also those on atoms, fixed moments and the vector of a spin spiral, where INFO.OUT names them."""
    found = [(name, _words(match.group(1))) for name, pattern in _FIELDS if (match := pattern.search(text))]
    blocks = [*_FIELDS_OF_ATOMS.findall(text), *_MOMENTS_OF_ATOMS.findall(text)]
    local = dict.fromkeys(_words(vector) for block in blocks for vector in _VECTOR_OF_ATOM.findall(block))
    told = "; ".join(words for words in local if _is_any(words))
    return (*((name, words) for name, words in found if _is_any(words)), *((("local_fields_or_moments", told),) if told else ()))


def _words(text: bytes) -> str:
    return " ".join(text.decode("latin-1").split())


def _is_any(words: str) -> bool:
    """Return whether one of some numbers is not zero."""
    return any(number(word.encode("latin-1")) != 0.0 for word in words.split())


def _identities(text: bytes) -> tuple[tuple[str, str], ...]:
    """Return (element, species file and muffin-tin radius in bohr)."""
    found = set()
    for name, block, _, _ in _SPECIES.findall(text):
        file, radius = _FILE.search(block), _RADIUS.search(block)
        words = [file.group(1).decode("latin-1") if file else "", f"R_MT {radius.group(1).decode('latin-1')}" if radius else ""]
        found.add((element_of(name.decode("latin-1")), " ".join(word for word in words if word)))
    return tuple(sorted(found))


ELK_INFO: Final = ReaderSpec(name=FORMAT, code="elk", recognises=recognises, open=ElkReader, rank=0, companions=is_companion)
