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
from lake.readers.rows import number
from lake.readers.step_log import Heading, LogReader, RunLog, as_numbers
from lake.readers.text_steps import NAN, Step, as_floats, even_decimals, lines_after, numbered, token_table
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.theory import LevelOfTheory
from schemas.units import HARTREE, HARTREE_PER_BOHR

FORMAT: Final = "ORCA output"

_OPENING: Final = b"\n                                 * O   R   C   A *"
_PLACES: Final = b"\nCARTESIAN COORDINATES (ANGSTROEM)\n"
_VERSION: Final = re.compile(rb"\n +Program Version (\S+)")
_PLACE: Final = re.compile(rb"\n +([A-Z][a-z]?|-) +(-?\d+\.\d+) +(-?\d+\.\d+) +(-?\d+\.\d+) *(?=\n)")
_NO_ATOM: Final = re.compile(rb"Q[,:]?|[A-Z][a-z]?[>:]")
_ENERGY: Final = re.compile(rb"\nFINAL SINGLE POINT ENERGY(?: \([^)\n]*\))? +(\S+)([^\n]*)(?=\n)")
_GRADIENT: Final = re.compile(rb"\nCARTESIAN GRADIENT(?: \(NUMERICAL\))?\n-+\n\n")
_CYCLES: Final = re.compile(rb"SCF CONVERGED AFTER +(\d{1,5}) CYCLES")
_CHANGE: Final = re.compile(rb"\n +Last Energy change +\.\.\. +(\S+) +Tolerance : +(\S+)")
_INPUT: Final = re.compile(rb"\n\| +\d+> *([^\n]*)")
_GIVEN: Final = re.compile(rb"\n\| +\d+> *\* *(xyz|xyzfile|gzmtfile|int|gzmt) +-?\d+ +\d+ *([^\n]*)((?:\n\| +\d+> *[^*\n]*)*)", re.I)
"""Coordinates of the input: their form, the name of a file, and the lines behind."""
_GIVEN_PLACE: Final = re.compile(rb"\| +\d+> +([A-Z][a-z]?) +(-?\d+\.\d+) +(-?\d+\.\d+) +(-?\d+\.\d+) *\Z")
_CORRELATED: Final = re.compile(r"CCSD|MP2|MP3|CASSCF|NEVPT|CISD|CEPA|QCISD|CPF|MRCI|ADC2|STEOM")
_SETTING: Final = re.compile(rb"\n +([A-Z][^\n]*?) +\.{4} +(\S[^\n]*?) *(?=\n)")
_BASIS: Final = re.compile(rb"\nYour calculation utilizes the basis: +([^\n]*?) *\n")
_STOPS: Final = re.compile(rb"\n +\* +GEOMETRY OPTIMIZATION CYCLE |\*{4}ORCA TERMINATED NORMALLY\*{4}|\n +\*{3} FINAL ENERGY EVALUATION")

_NAMES: Final = {
    "PBE": "PBE", "RPBE": "RPBE", "REVPBE": "revPBE", "BP86": "BP86", "BP": "BP86", "BLYP": "BLYP", "PBE0": "PBE0", "B3LYP/G": "B3LYP",
    "B3LYP": "B3LYP(VWN5)", "TPSS": "TPSS", "TPSSH": "TPSSh", "M06-2X": "M06-2X", "M062X": "M06-2X", "M06L": "M06-L", "M06": "M06",
    "R2SCAN": "r2SCAN", "R2SCAN-3C": "r2SCAN-3c", "B97-3C": "B97-3c", "PBEH-3C": "PBEh-3c", "WB97X-D3": "wB97X-D3", "WB97X-V": "wB97X-V",
    "WB97M-V": "wB97M-V", "WB97X-D3BJ": "wB97X-D3(BJ)", "WB97M-D3BJ": "wB97M-D3(BJ)", "CAM-B3LYP": "CAM-B3LYP", "PW91": "PW91",
    "LDA": "LDA-PW92", "SCANFUNC": "SCAN", "HSE06": "HSE06", "WB97X": "wB97X", "HF-3C": "HF-3c", "B97-D3": "B97-D3",
}  # fmt: skip
_RELATIVISTIC: Final = ("ZORA", "DKH", "X2C")
"""Keywords of Hamiltonians; names of basis sets for them, which begin so too, are used with nothing else."""
_DISPERSION: Final = {"D3BJ": "D3(BJ)", "D3": "D3(BJ)", "D3ZERO": "D3(0)", "D4": "D4", "D2": "D2", "NL": "VV10", "D3TZ": "D3(0)"}
_METHOD: Final = re.compile(rb"\n (?:Density Functional|Ab initio Hamiltonian) +Method +\.{4} +(?:DFT|Hartree-Fock)")
_UNNAMED: Final = "the output of ORCA names neither a density functional nor Hartree-Fock (semi-empirical, or another program's energies)"
_FOREIGN: Final[tuple[tuple[re.Pattern[bytes], str, str], ...]] = (
    (
        re.compile(rb"Method +\.\.\.\. +NDDO|\n +GFN\d?-xTB"),
        "not_dft",
        "a semi-empirical method",
    ),
    (
        re.compile(rb"\n +ORCA-MATRIX DRIVEN CI|\n +ORCA +MP2 |\n +ORCA[- ]CASSCF|HFTyp +\.+ CASSCF"),
        "not_dft",
        "a wave-function method",
    ),
    (re.compile(rb"ORCA TD-DFT|ORCA CIS/TDA|TD-DFT/TDA|\n +ORCA ROCIS "), "not_energies", "excited states"),
    (
        re.compile(rb"\nFINAL SINGLE POINT ENERGY \((?:From external|[^)\n]*(?:QM|MM))"),
        "not_dft",
        "an energy of several layers or of another program",
    ),
    (re.compile(rb"\$\$ +JOB NUMBER +[2-9]"), "unreadable_output", "several jobs in one output; deposit each alone"),
)


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of an ORCA output."""
    del name
    return b"* O   R   C   A *" in head


class OrcaRun(RunLog):
    """One job; a step is the text from one list of coordinates to the next."""

    CODE = "orca"
    FORMAT = FORMAT
    SOURCES = ("ORCA final single point energy", "")
    ANCHORS = (_PLACES,)
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

    def read_heading(self, text: bytes) -> Heading | None:
        """Return nothing: atoms and settings are printed with the first step."""
        del text
        return None

    def take(self, piece: bytes, *, closed: bool) -> None:
        """Take the next piece; the first list of coordinates completes the heading."""
        if self.heading is None and piece.startswith(_PLACES):
            self._symbols = [symbol.decode("latin-1") for symbol, *_ in _rows(piece, first=True)]
            numbers = as_numbers(self._symbols)
            if numbers is not None:
                version = _VERSION.search(self.head)
                keywords = _keywords(self.head)
                kind = "relax" if any("OPT" in word for word in keywords) else "md" if b"%md" in self.head.lower() else "static"
                kind = "phonon" if kind == "static" and {"FREQ", "NUMFREQ", "ANFREQ"} & set(keywords) else kind
                level = _level(self.head, piece, keywords, self._symbols)
                words = version.group(1).decode("latin-1") if version else ""
                self.heading = Heading(words, kind, numbers, np.zeros(3, dtype=bool), level)
                self._self_consistent = _METHOD.search(piece) is not None
        super().take(piece, closed=closed)

    def run(self) -> Run | None:
        """Return the run, or None where it has no step; a single point without coordinates takes those that its input gives."""
        method = _METHOD.search(self.head)
        if self.pieces == 0 and self.complete and method and self.head.count(self.ONCE[0]) == 1 and self._foreign() is None:
            places = _given_places(self.head)
            if places and "OPT" not in " ".join(_keywords(self.head)):
                self.head, piece = self.head[: method.start()], places + self.head[method.start() :]
                self.take(piece, closed=True)
                self.notes.append("the output prints no coordinates; they are those of the input that it repeats")
        return super().run()

    def refusal(self) -> UnreadableOutput | None:
        """Return what a run without coordinates is, or where they are."""
        if self.pieces or b"\nFINAL SINGLE POINT ENERGY" not in self.head:
            return None
        given = _GIVEN.search(self.head)
        file = given.group(2).decode("latin-1").strip() if given and given.group(1).lower().endswith(b"file") else ""
        where = f"its input takes them from {file}, which ORCA does not repeat" if file else "its input gives none that can be read"
        return self._foreign() or UnreadableOutput(
            "no_complete_step",
            f"the ORCA output prints an energy and no coordinates (Print[P_Cartesian] 0), and {where}",
            "deposit a run that prints its coordinates, or whose input gives them as '* xyz'",
        )

    def _foreign(self) -> UnreadableOutput | None:
        """Return what else than density-functional theory a run without coordinates is, None where it is nothing else."""
        remedy = "deposit runs of plain density-functional theory"
        for pattern, reason, what in _FOREIGN:
            if pattern.search(self.head):
                return UnreadableOutput(reason, f"the output of ORCA has {what}", remedy)
        if any(_CORRELATED.search(word) for word in _keywords(self.head)):
            return UnreadableOutput("not_dft", "the output of ORCA has a wave-function method", remedy)
        return None if _METHOD.search(self.head) else UnreadableOutput("not_dft", _UNNAMED, remedy)

    def read_step(self, piece: bytes, heading: Heading) -> Step | None:
        """Return the step; raises UnreadableOutput where the energy is not that of density-functional theory."""
        stop = _STOPS.search(piece)
        own = piece if stop is None else piece[: stop.start()]
        del heading
        for pattern, reason, what in _FOREIGN:
            if pattern.search(own):
                raise UnreadableOutput(reason, f"the output of ORCA has {what}", "deposit runs of plain density-functional theory")
        energy = next(reversed(list(_ENERGY.finditer(own))), None)
        if energy is None:
            self.lost += b"\nCARTESIAN GRADIENT" in own or b"FINAL SINGLE POINT ENERGY" in own
            return None
        if not self._self_consistent:
            raise UnreadableOutput("not_dft", _UNNAMED, "deposit runs of plain density-functional theory")
        self._found += 1
        rows = _rows(own)
        positions = as_floats([field for row in rows for field in row[1:]]).reshape(-1, 3)
        if [row[0].decode("latin-1") for row in rows] != self._symbols or not bool(np.isfinite(positions).all()):
            self.lost += 1
            return None
        cycles, change = _CYCLES.findall(own), _CHANGE.findall(own)
        met = bool(cycles) and b"not fully converged" not in energy.group(2) and b"SCF NOT CONVERGED" not in own
        met = met and all(abs(number(value)) <= 1.05 * number(limit) for value, limit in change[-1:])
        return Step(
            number=self._found - 1,
            cell=np.zeros((3, 3)),
            positions=positions,
            energy=number(energy.group(1)) * HARTREE if energy.group(2).strip()[:1] in (b"", b"(") else NAN,
            forces=_forces(own, len(self._symbols)),
            converged=int(met),
            n_scf=int(cycles[-1]) if cycles else -1,
        )


def _rows(text: bytes, *, first: bool = False) -> list[tuple[bytes, ...]]:
    """Return symbol and place of each atom in the list that a piece begins with; a dummy ('-') is no atom.

    Raises UnreadableOutput, in the first list, for centres that only lend a potential or functions: charges 'Q', embedding cores 'Ca>',
    ghosts 'O:'.
    """
    place, rows = text.find(b"\n", len(_PLACES)), []
    while (match := _PLACE.match(text, place)) is not None:
        rows.append(match.groups())
        place = match.end()
    line = text[place + 1 : text.find(b"\n", place + 1)].split()
    if first and len(line) > 3 and _NO_ATOM.fullmatch(line[0]):
        words = f"the ORCA output has centres that are no atoms ({line[0].decode('latin-1')}): charges, embedding potentials or ghosts"
        raise UnreadableOutput("not_dft", words, "deposit runs of atoms alone")
    atoms = [row for row in rows if row[0] != b"-"]
    return atoms if not line and even_decimals([field for row in rows for field in row[1:]]) else []


def _given_places(head: bytes) -> bytes:
    """Return a list of coordinates, as ORCA prints it, of those in Å that its input gives; '' where it gives none that are certain.

    With symmetry ORCA turns the molecule.
    """
    given = list(_GIVEN.finditer(head))
    elsewhere = {"BOHRS", "BOHR", "USESYM"} & set(_keywords(head)) or any(block in head.lower() for block in (b"%coords", b"%sym"))
    if len(given) != 1 or given[0].group(1).lower() != b"xyz" or elsewhere:
        return b""
    lines = [line for line in given[0].group(3).split(b"\n")[1:] if line.partition(b">")[2].strip()]
    rows = [_GIVEN_PLACE.match(line) for line in lines]
    fields = [row.groups() for row in rows if row is not None]
    if len(fields) != len(lines):
        return b""
    longest = max((len(field.partition(b".")[2]) for row in fields for field in row[1:]), default=0)
    even = [[field.ljust(field.index(b".") + 1 + longest, b"0") for field in row[1:]] for row in fields]
    places = [b"  %s  %s" % (row[0], b"  ".join(numbers)) for row, numbers in zip(fields, even, strict=True)]
    return _PLACES + b"-" * 33 + b"\n" + b"\n".join(places) + b"\n\n"


def _forces(text: bytes, natoms: int) -> Floats | None:
    table = next(reversed(list(_GRADIENT.finditer(text))), None)
    if table is None:
        return None
    lines = lines_after(text, table.end(), natoms)
    whole = lines is not None and numbered(lines, natoms)
    return token_table(lines, natoms, 3, 6) * -HARTREE_PER_BOHR if whole and lines is not None else np.full((natoms, 3), NAN)


def _keywords(text: bytes) -> list[str]:
    """Return the words of the lines of the input that begin with '!', in capitals."""
    lines = [line.decode("latin-1").split("#", 1)[0].strip() for line in _INPUT.findall(text)]
    return [word.upper() for line in lines if line.startswith("!") for word in line[1:].split()]


def _level(head: bytes, piece: bytes, keywords: list[str], symbols: list[str]) -> LevelOfTheory:
    settings: dict[str, str] = {}
    for name, value in _SETTING.findall(piece):
        settings.setdefault(" ".join(name.decode("latin-1").split()), value.decode("latin-1"))
    bases = [" ".join(name.decode("latin-1").split()) for name in _BASIS.findall(head)]
    fraction = number(settings.get("Fraction HF Exchange ScalHFX", "").encode("latin-1"))
    charge = number(settings.get("Total Charge Charge", "").encode("latin-1"))
    spin = "none" if settings.get("Hartree-Fock type HFTyp", "RHF") in ("RHF", "RKS") else "collinear"
    dft = "Density Functional Method" in settings
    return LevelOfTheory(
        code="orca",
        functional=_functional(settings, keywords) if dft else "HF",
        dispersion=next((_DISPERSION[word] for word in keywords if word in _DISPERSION), ""),
        exact_exchange=(fraction if fraction > 0 else None) if dft else 1.0,
        basis="GTO",
        pseudopotentials=tuple((symbol, bases[0]) for symbol in sorted(set(symbols))) if bases else (),
        smearing="none",
        spin=spin,
        charge=charge if np.isfinite(charge) else 0.0,
        extra=_surroundings(head, keywords),
    )


def _surroundings(head: bytes, keywords: list[str]) -> tuple[tuple[str, str], ...]:
    """Return what changes energies beside the functional: solvent, external field, geometrical counterpoise correction, Hamiltonian.

    Raises UnreadableOutput for charges around the atoms.
    """
    lines = [line.decode("latin-1").split("#", 1)[0].strip().lower() for line in _INPUT.findall(head)]
    words = " ".join(line for line in lines if not line.startswith("!")).split()
    if "%pointcharges" in words:
        raise UnreadableOutput("not_dft", "the ORCA run stands in the field of point charges", "deposit runs without them")
    solvent = next((word for word in keywords if word.startswith(("CPCM", "SMD", "ALPB", "COSMO", "C-PCM"))), "")
    if not solvent and "%cpcm" in words:
        block = words[words.index("%cpcm") + 1 :]
        solvent = " ".join(block[: block.index("end")] if "end" in block else block[:12])
    field = " ".join(words[words.index("efield") + 1 :][:3]) if "efield" in words else ""
    hamiltonian = next((start for word in keywords for start in _RELATIVISTIC if word.startswith(start)), "")
    counterpoise = next((word for word in keywords if word.startswith("GCP(")), "")
    found = (("electric_field", field), ("geometrical_counterpoise", counterpoise), ("hamiltonian", hamiltonian), ("solvent", solvent))
    return tuple((name, value) for name, value in found if value)


def _functional(settings: dict[str, str], keywords: list[str]) -> str:
    named = next((_NAMES[word] for word in keywords if word in _NAMES), "")
    parts = [settings.get("Exchange Functional Exchange", ""), settings.get("Correlation Functional Correlation", "")]
    library = next((word[6:].strip("()") for word in keywords if word.startswith("LIBXC(")), "")
    return named or _NAMES.get(library, library) or "/".join(part for part in parts if part)


def _open() -> PushReader:
    return LogReader(_OPENING, OrcaRun)


ORCA_OUTPUT: Final = ReaderSpec(name=FORMAT, code="orca", recognises=recognises, open=_open, rank=0)
