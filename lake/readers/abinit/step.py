"""One configuration of an ABINIT dataset: its self-consistency cycle, and what is printed behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from lake.readers.abinit.level import Variables
from lake.readers.rows import number
from lake.readers.text_steps import NAN, lines_after, token_table
from schemas.frames import Floats

_CYCLE_HEAD: Final = re.compile(rb"\n +iter +Etot[^\n]*\n")
_CYCLE_ROW: Final = re.compile(rb" ETOT *(\d+)([^\n]*)\n")
_LOG_ROW: Final = re.compile(rb"\n ETOT *(\d+)([^\n]*)(?=\n)")
_STRESS_HEAD: Final = b"artesian components of stress tensor (hartree/bohr^3)\n"
_STRESS_FIELD: Final = re.compile(rb"sigma\(([123]) ([123])\)= *(\S+)(?= *\n| +sigma)")
_ENTROPY: Final = re.compile(rb"\n +-kT\*entropy += *(\S+)|\n'?-kT\*entropy'? *: *(\S+)")
_ETOTAL: Final = re.compile(rb"\n Total energy \(etotal\) \[Ha\]= *(\S+) *\n")
_VOLUME: Final = re.compile(rb"\n Unit cell volume ucvol= +(\S+) bohr\^3")
_OWN_VOLUME: Final = re.compile(rb"\n Unitary Cell Volume \(ucvol\) \[Bohr\^3\]= +(\S+)")
_PRESSURE: Final = re.compile(rb"\[Pressure= +(\S+) GPa\]")
_DONE: Final = b"\n ----iterations are completed or convergence reached----"
_SLACK: Final = 1.05
"""Residuals are printed with four digits or fewer."""


@dataclass(frozen=True)
class Cycle:
    """The self-consistency cycle of one configuration."""

    energy: float
    """Ha, as its last line prints it"""
    steps: int
    converged: int
    """1, 0, or -1 where no criterion is known"""


@dataclass(frozen=True, eq=False)
class Tables:
    """What is printed for one configuration, in Ha and bohr."""

    energy: float
    positions: Floats
    """(natoms, 3): fractional coordinates, or Cartesian ones in bohr where `cartesian`"""
    cartesian: bool
    forces: Floats | None
    """(natoms, 3)"""
    stress: Floats | None
    """(3, 3), positive under tension: ABINIT prints -trace/3 as [Pressure=] beside it"""
    cell: Floats | None
    """(3, 3), where the step prints its own"""
    entropy: float
    """-TS"""
    volume: bytes = b""
    """As printed beside the cell, in bohr³; '' where it is not."""
    pressure: bytes = b""
    """As printed beside the stress, in GPa."""


def read_cycle(text: bytes, variables: Variables, dataset: int) -> Cycle | None:
    """Return the last cycle in text judged by its residuals and the tolerances of the input, or None where there is none."""
    heads = list(_CYCLE_HEAD.finditer(text))
    if heads:
        names = heads[-1].group().split()[2:]
        rows, place = [], heads[-1].end()
        while (match := _CYCLE_ROW.match(text, place)) is not None:
            rows.append(match)
            place = match.end()
    else:
        names, rows = _log_columns(variables, dataset), list(_LOG_ROW.finditer(text))
    if not rows:
        return None
    values = [[number(field) for field in row.group(2).split()] for row in rows[-2:]]
    columns = [dict(zip((b"energy", *names), row, strict=False)) for row in values]
    torn = bool(heads) and len(values[-1]) != len(names) + 1
    return Cycle(NAN if torn else columns[-1].get(b"energy", NAN), int(rows[-1].group(1)), _judge(columns, variables, dataset))


def _log_columns(variables: Variables, dataset: int) -> list[bytes]:
    """Return the columns behind the energy in a log, which has messages between the rows of a cycle and no heading above them."""
    forces = any(variables.value(name, dataset, 0.0) > 0 for name in ("toldff", "tolrff"))
    return [b"deltaE(h)", b"residm", b"vres2", *([b"diffor", b"maxfor"] if forces else [])]


def _judge(rows: list[dict[bytes, float]], variables: Variables, dataset: int) -> int:
    """Compare the residuals of the last rows with tolvrs, toldfe, toldff, tolrff and tolwfr, of which ABINIT uses one.

    Differences of energies and of forces must be small twice running.
    """
    last = rows[-1]
    residual = last.get(b"vres2", last.get(b"nres2", NAN))
    twice = len(rows) == 2
    worst_energy = max((abs(row.get(b"deltaE(h)", NAN)) for row in rows), default=NAN) if twice else np.inf
    worst_force = max((row.get(b"diffor", NAN) for row in rows), default=NAN) if twice else np.inf
    measured = {
        "tolvrs": residual,
        "toldfe": worst_energy,
        "toldff": worst_force,
        "tolrff": worst_force / (last.get(b"maxfor", NAN) or NAN),
        "tolwfr": last.get(b"residm", NAN),
    }
    used = {name: value for name in measured if (value := variables.value(name, dataset, 0.0)) > 0}
    if not used or any(np.isnan(measured[name]) for name in used):
        return -1
    return int(any(measured[name] <= _SLACK * value for name, value in used.items()))


def read_static(text: bytes, natoms: int, energy: float) -> Tables | None:
    """Return the tables of a dataset with one configuration, or None where its end is not reached."""
    place = text.find(_DONE)
    head = b"\n reduced coordinates (array xred) for"
    positions = _rows(text, text.find(head, place), natoms, 0) if place >= 0 else None
    if positions is None:
        return None
    forces = _rows(text, text.find(b"\n cartesian forces (hartree/bohr) at end:", place), natoms, 1)
    return Tables(energy, positions, False, forces, _stress(text), None, _entropy(text), _last(_VOLUME, text), _last(_PRESSURE, text))


def read_logged(text: bytes, positions: Floats, energy: float) -> Tables | None:
    """Return what a log tells of a dataset with one configuration, whose positions (natoms, 3) only the input has; it prints no forces."""
    if _DONE not in text or not bool(np.isfinite(positions).all()):
        return None
    return Tables(energy, positions, False, None, _stress(text), None, _entropy(text), _last(_VOLUME, text), _last(_PRESSURE, text))


def read_moving(text: bytes, natoms: int) -> Tables | None:
    """Return the tables of one step of a dataset with moving atoms, or None where its total energy is not reached."""
    place = text.find(b"\n---OUTPUT---")
    energy = _ETOTAL.search(text, place) if place >= 0 else None
    if energy is None:
        return None
    end = energy.start() + 1
    positions = _rows(text, text.find(b"\n Cartesian coordinates (xcart) [bohr]", place, end), natoms, 0)
    if positions is None:
        return None
    return Tables(
        energy=number(energy.group(1)),
        positions=positions,
        cartesian=True,
        forces=_rows(text, text.find(b"\n Cartesian forces (fcart) [Ha/bohr]", place, end), natoms, 0),
        stress=_stress(text[:end]),
        cell=_rows(text, text.find(b"\n Real space primitive translations (rprimd) [bohr]", place, end), 3, 0),
        entropy=NAN,
        volume=_last(_OWN_VOLUME, text[place:end]),
        pressure=_last(_PRESSURE, text[:end]),
    )


def _rows(text: bytes, head: int, count: int, first: int) -> Floats | None:
    """Return the rows behind the heading that begins at head, or None where there is none; NaN where the table is torn."""
    if head < 0:
        return None
    lines = lines_after(text, text.find(b"\n", head + 1) + 1, count)
    return token_table(lines, count, first, first + 3) if lines is not None else np.full((count, 3), NAN)


def _stress(text: bytes) -> Floats | None:
    place = text.rfind(_STRESS_HEAD)
    if place < 0:
        return None
    stress = np.full((3, 3), NAN)
    lines = lines_after(text, place + len(_STRESS_HEAD), 3) or b""
    for row, column, field in _STRESS_FIELD.findall(lines):
        stress[int(row) - 1, int(column) - 1] = stress[int(column) - 1, int(row) - 1] = number(field)
    return stress


def _last(pattern: re.Pattern[bytes], text: bytes) -> bytes:
    found = pattern.findall(text)
    return found[-1] if found else b""


def _entropy(text: bytes) -> float:
    match = _ENTROPY.search(text)
    return number(match.group(1) or match.group(2)) if match else NAN
