"""Reader of what SIESTA prints (3 to 5).

The energy is the free energy of the electrons, FreeEng = E_KS - TS, to which the forces belong. A single-point run prints it with six
decimals; steps of a relaxation or dynamics print E_KS with four, and the entropy of the last line of their cycle is added. Stress is
printed positive under tension: the pressure beside the final tensor has the other sign. That of dynamics is the static tensor: what they
print in Voigt's order has the part of the moving atoms in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lake.readers.anchors import search
from lake.readers.base import ReaderSpec
from lake.readers.cross_checks import CrossCheck, contradictions, largest_component, notes_of, pressure, volume
from lake.readers.rows import number
from lake.readers.siesta.header import Header, read_header, told_later
from lake.readers.text_steps import NAN, Cutter, Step, as_floats, fixed_table, lines_after, make_frames, numbered, symmetric, token_table
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.units import BOHR, KBAR

FORMAT: Final = "SIESTA output"

_SINGLE: Final = b"\n                        Single-point calculation"
_MOVE: Final = b"\n                        Begin "
_MOVE_3: Final = b"\n                            Begin "
"""Version 3."""
_SCRIPTED: Final = b"\n                        LUA coord. step ="
"""A relaxation or band of images that a script in Lua leads."""
_BEGINNINGS: Final = (_SINGLE, _MOVE, _MOVE_3, _SCRIPTED)
_WELCOME: Final = b"*  WELCOME TO SIESTA  *"
_CYCLE_HEAD: Final = re.compile(rb"\n[ :a-z]*iscf +(Eharris[^\n]*)\n")
_CYCLE_ROW: Final = re.compile(rb"\n +scf: +(\d+)( [^\n]*)(?=\n)")
_CYCLE_ROW_3: Final = re.compile(rb"\nsiesta: +(\d+)( +-?\d[^\n]*)(?=\n)")
"""Version 3; rows of the final forces look alike, behind the energy."""
_KS: Final = re.compile(rb"\nsiesta: E_KS\(eV\) = +(\S+) *\n")
_FREE: Final = re.compile(rb"\nsiesta: FreeEng = +(\S+) *\n")
_TOTAL: Final = re.compile(rb"\nsiesta: Etot +=? +(\S+) *\n")
_FORCES: Final = b"\nsiesta: Atomic forces (eV/Ang):\n"
_VOIGT: Final = re.compile(rb"\nStress-tensor-Voigt \(kbar\):([^\n]*)\n")
_VOIGT_5: Final = re.compile(rb"\nStress tensor Voigt\[x,y,z,yz,xz,xy\] \(kbar\):([^\n]*)\n")
"""From 4.1-b4-351 on, with another order of the components."""
_TS_SCF: Final = re.compile(rb"\n *ts-scf: +\d")
_OPEN_WORDS: Final = "the SIESTA run has open boundaries (TranSiesta), whose energy is not that of the atoms"
_TENSOR: Final = b"\nsiesta: Stress tensor (static) (eV/Ang**3):\n"
_CELL: Final = b"\noutcell: Unit cell vectors (Ang):\n"
_COORDINATES: Final = re.compile(rb"\noutcoor: Atomic coordinates \((\w+)\): *\n")
_ENDED: Final = (b"\nTarget enthalpy (eV/cell)", b"\nsiesta: Temp_ion", b"\nsiesta: Final energy (eV):", b"\n>> End of run")
_REPORTED: Final = (b"\nsiesta: Cell volume", b"\n>> End of run")
"""Behind the forces and the stress of the final report."""
_DYNAMICS: Final = ("md", "vc-md")
"""Their stress in Voigt's order has the part of the moving atoms in it, their static tensor has not."""
_ENERGY: Final = b"\nsiesta: E_KS(eV) ="
_CHECKS: Final = (
    CrossCheck("volume of the cell", b"\noutcell: Cell volume", re.compile(rb"\noutcell: Cell volume \(Ang\*\*3\) +: +(\S+)"), volume),
    CrossCheck("largest component of the forces", b"\n   Max ", re.compile(rb"\n   Max +(\S+) *\n"), largest_component),
    CrossCheck(
        "pressure", b"\nsiesta: Pressure (static):",
        re.compile(rb"\nsiesta: Pressure \(static\):\n[^\n]*\n[^\n]*\nsiesta: +(\S+) +\S+ +eV/Ang\*\*3"), pressure, least=2e-6,
    ),
)  # fmt: skip
_CRITERIA_SLACK: Final = 1.05


@dataclass(frozen=True)
class _Cycle:
    steps: int
    converged: int
    entropy: float
    """FreeEng - E_KS of its last line, eV"""


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of a SIESTA output."""
    del name
    return _WELCOME in head and re.search(rb"(?:^|\n) *(?:Siesta )?Version *:", head, re.I) is not None


class SiestaReader:
    """Push reader of one output; the text is cut where a step begins."""

    def __init__(self) -> None:
        self._cutter = Cutter(_BEGINNINGS)
        self._head = b""
        self._header: Header | None = None
        self._pieces = 0
        self._steps: list[Step] = []
        self._lost: dict[str, int] = {}
        self._complete = False
        self._of_header = False
        """The positions of the first step are those of the header."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; line ends may be LF or CRLF."""
        for piece in self._cutter.add(chunk):
            self._take(piece, closed=True)

    def close(self) -> tuple[Run, ...]:
        """Return the run of the output; raises UnreadableOutput where it has no complete step."""
        pieces = self._cutter.rest()
        for k, piece in enumerate(pieces):
            self._take(piece, closed=k + 1 < len(pieces))
        header = self._header
        if header is None or not self._steps:
            raise self._refusal()
        lost = sum(self._lost.values())
        sources = ("SIESTA free energy FreeEng", "SIESTA stress tensor")
        flags = {"truncated": not self._complete, "malformed_steps": lost > 0}
        notes = [f"{count} steps {words}" for words, count in self._lost.items()] + notes_of(self._steps)
        if not header.exact and self._of_header:
            notes.append("the positions of the first step have five decimals of a bohr")
        return (
            Run(
                code="siesta",
                code_version=header.version,
                kind=header.kind,
                format=FORMAT,
                level_of_theory=header.level,
                frames=make_frames(header.numbers, np.ones(3, dtype=bool), self._steps, sources),
                complete=self._complete,
                flags=tuple(sorted(name for name, holds in flags.items() if holds)),
                notes=tuple(notes),
                n_malformed_steps=lost,
            ),
        )

    def _take(self, piece: bytes, *, closed: bool) -> None:
        self._complete = self._complete or b"\n>> End of run" in piece or b"\nJob completed" in piece
        if not piece.startswith(_BEGINNINGS):
            self._head += piece
            return
        if self._header is None:
            cell = _cell(piece)
            if cell is not None:
                self._header = read_header(self._head, cell)
            self._lose("run into what stands before them", count=_ENERGY in self._head)
            self._head = self._head[:4000]
            self._lose("have no cell that can be read", count=self._header is None)
        if b"ts-scf:" in piece and _TS_SCF.search(piece):
            raise UnreadableOutput("not_energies", _OPEN_WORDS, "deposit runs that are periodic")
        if self._header is not None:
            level = told_later(self._header.level, piece)
            self._header = self._header if level is self._header.level else replace(self._header, level=level)
        if self._header is not None and (closed or _is_whole(piece, self._header)):
            self._add(piece, self._header)
        self._pieces += 1

    def _add(self, piece: bytes, header: Header) -> None:
        """Read a step whose end was seen; one without an energy is no step, one without positions is lost."""
        single = piece.startswith(_SINGLE)
        cycle, ks = _read_cycle(piece, header), search(_KS, _ENERGY, piece)
        reported = any(words in piece for words in _REPORTED)
        merged = piece.count(_ENERGY)
        if merged > 1:
            self._lost["run into each other, for a line that begins one is missing"] = merged
            return
        if cycle is None or ks is None or (single and not reported):
            whole = b"\nsiesta: Atomic forces" in piece or _ENERGY in piece
            self._lose("have no energy that can be read", count=whole and (reported or not single))
            return
        cell, positions = _cell(piece), _positions(piece, header)
        if positions is None and self._pieces == 0:
            positions, self._of_header = header.positions, True
        if positions is None or cell is None:
            self._lose("have no coordinates in the output (WriteCoorStep is off)")
            return
        step = Step(
            number=self._pieces,
            cell=cell,
            positions=positions,
            energy=number(ks.group(1)) + cycle.entropy,
            forces=_forces(piece, len(header.real)),
            stress=_static(piece) if header.kind in _DYNAMICS else _voigt(piece),
            internal=number(ks.group(1)),
            converged=cycle.converged,
            n_scf=cycle.steps,
        )
        step = _with_final(step, piece) if single else step
        told = contradictions(piece, step, _CHECKS)
        step = _atoms_of(step, header)
        self._steps.append(replace(step, contradictions=told) if told else step)

    def _lose(self, words: str, *, count: bool = True) -> None:
        if count:
            self._lost[words] = self._lost.get(words, 0) + 1

    def _refusal(self) -> UnreadableOutput:
        if self._header is None and self._pieces:
            return UnreadableOutput(
                "unreadable_output", "the output of SIESTA names no species or atoms that are read", "deposit the file as SIESTA wrote it"
            )
        return UnreadableOutput(
            "no_complete_step",
            f"the output of SIESTA has {self._pieces} steps, none with energy, geometry and end",
            "deposit the run when its cycle of self-consistency is converged",
        )


def _atoms_of(step: Step, header: Header) -> Step:
    """Return a step with the rows of its tables that are atoms."""
    if bool(header.real.all()):
        return step
    return replace(step, positions=step.positions[header.real], forces=step.forces[header.real] if step.forces is not None else None)


def _with_final(step: Step, piece: bytes) -> Step:
    """Return the step of a single-point run with the digits of its final report, six decimals, behind the forces."""
    place = piece.find(_FORCES)
    free, total = _FREE.search(piece, max(0, place)), _TOTAL.search(piece, max(0, place))
    if free is not None and abs(number(free.group(1)) - step.energy) < 1e-3:
        step = replace(step, energy=number(free.group(1)))
    if total is not None and abs(number(total.group(1)) - step.internal) < 1e-3:
        step = replace(step, internal=number(total.group(1)))
    static = _static(piece)
    return replace(step, stress=static) if static is not None else step


def _is_whole(piece: bytes, header: Header) -> bool:
    """Return whether the last piece of an output has all numbers of its step, which a step that is followed by another one has.

    Those of a step that prints the sums of its forces alone stand in the final report, the static stress of dynamics behind the enthalpy.
    """
    if _FORCES + b"---" in piece:
        return any(words in piece for words in _REPORTED)
    return any(words in piece for words in (_ENDED[1:] if header.kind in _DYNAMICS else _ENDED))


def _read_cycle(text: bytes, header: Header) -> _Cycle | None:
    """Return the cycle of a step, judged by its last line and the tolerances in force."""
    head, energy = search(_CYCLE_HEAD, b"iscf", text), search(_KS, _ENERGY, text)
    rows = _CYCLE_ROW.findall(text) or _CYCLE_ROW_3.findall(text, 0, energy.start() + 1 if energy else len(text))
    if head is None or not rows:
        return None
    names = head.group(1).decode("latin-1").split()
    fields = rows[-1][1].split()
    last = dict(zip(names, as_floats(fields if len(fields) == len(names) else [b""] * len(names)), strict=True))
    entropy = last.get("FreeEng(eV)", NAN) - last.get("E_KS(eV)", NAN)
    measured = [last[name] <= _CRITERIA_SLACK * limit for name, limit in header.tolerances if name in last]
    steps = int(rows[-1][0])
    if b"SCF_NOT_CONV" in text:
        return _Cycle(steps, 0, entropy)
    return _Cycle(steps, int(all(measured)) if measured else -1, entropy)


def _cell(text: bytes) -> Floats | None:
    place = text.find(_CELL)
    lines = lines_after(text, place + len(_CELL), 3) if place >= 0 else None
    cell = token_table(lines, 3, 0, 3) if lines is not None else None
    return cell if cell is not None and bool(np.isfinite(cell).all()) else None


def _positions(text: bytes, header: Header) -> Floats | None:
    """Return the positions of a step in Å, or None where it prints none that can be read."""
    table, natoms = search(_COORDINATES, b"\noutcoor: ", text), len(header.real)
    lines = lines_after(text, table.end(), natoms) if table else None
    if table is None or lines is None:
        return None
    if not numbered(lines, natoms, 4):
        return None
    values, unit = token_table(lines, natoms, 0, 6), table.group(1).decode("latin-1").lower()
    cell = _cell(text)
    if unit == "fractional" and cell is not None:
        values = values @ cell
    else:
        values = values * {"ang": 1.0, "bohr": BOHR, "scaled": header.alat}.get(unit, NAN)
    return np.asarray(values) if bool(np.isfinite(values).all()) else None


def _forces(text: bytes, natoms: int) -> Floats | None:
    """Return the forces before constraints, or None where only their largest is printed; NaN where the table is torn.

    Behind the table stands a line of dashes. Without WriteForces a step prints none, and the final report, behind the last step, all of
    them.
    """
    place = text.find(_FORCES)
    while place >= 0:
        start = place + len(_FORCES)
        if not text.startswith(b"---", start):
            lines = lines_after(text, start, natoms)
            whole = lines is not None and text.startswith((b"---", b"siesta: ---"), start + len(lines))
            return fixed_table(lines, natoms) if whole and lines is not None else np.full((natoms, 3), NAN)
        place = text.find(_FORCES, start)
    return None


def _static(text: bytes) -> Floats | None:
    """Return the stress without the part of the moving atoms, in eV/Å³ with six decimals, or None where it is not printed."""
    place = text.find(_TENSOR)
    lines = lines_after(text, place + len(_TENSOR), 3) if place >= 0 else None
    if lines is None:
        return None
    prefixed = lines.startswith(b"siesta:")
    return symmetric(token_table(lines, 3, int(prefixed), 3 + prefixed))


def _voigt(text: bytes) -> Floats | None:
    """Return the stress of a step in kbar, printed as xx yy zz xy yz xz, or xx yy zz yz xz xy by newer versions."""
    match = search(_VOIGT, b"\nStress-tensor-Voigt", text) or search(_VOIGT_5, b"\nStress tensor Voigt", text)
    if match is None:
        return None
    values = fixed_table(match.group(1) + b"\n", 1, 6)[0]
    xx, yy, zz, xy, yz, xz = values if match.re is _VOIGT else values[[0, 1, 2, 5, 3, 4]]
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) * KBAR


SIESTA_OUTPUT: Final = ReaderSpec(name=FORMAT, code="siesta", recognises=recognises, open=SiestaReader, rank=0)
