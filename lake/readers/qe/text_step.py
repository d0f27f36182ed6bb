"""One configuration of a pw.x stdout: geometry blocks, and the labels printed between it and the next one."""

from __future__ import annotations

import ctypes
import re
from math import isfinite
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lake import native
from lake.readers.anchors import seek_back
from lake.readers.rows import number
from schemas.errors import UnreadableOutput

Floats = NDArray[np.float64]

_NAN: Final = float("nan")
_ENERGY: Final = re.compile(rb"\n(!!?) +total energy +=([^\n]*?)Ry *(?=\n)")
_ACCURACY: Final = re.compile(rb"estimated scf accuracy +<([^\n]*?)Ry *\n")
_THRESHOLD: Final = re.compile(rb"\n *(?:(?:scf )?convergence threshold|new conv_thr) +=([^\n]*?)(?:Ry *)?\n")
_ITERATIONS: Final = re.compile(rb"convergence has been achieved in +(\d{1,6}) iterations")
_CYCLE_END: Final = b"End of self-consistent calculation"
_ACHIEVED: Final = b"convergence has been achieved in"
_SMEARING: Final = re.compile(rb"smearing contrib\. \(-TS\) +=([^\n]*?)Ry *\n")
_ENDED: Final = (
    b"\n     Writing output data", b"\n     Writing all to output", b"\n     Writing config", b"\n     init_run  ", b"JOB DONE.",
    b"\n     Entering ", b"Geometry Optimization", b"number of scf cycles", b"Dynamics Calculation", b"Minimization", b"Cell Dynamics",
    b"\nBegin final coordinates", b"new conv_thr", b"new lattice vectors", b"convergence achieved, Efinal",
)  # fmt: skip
"""What pw.x prints only when forces and stress of a configuration are done."""

SLACK: Final = 1.1
"""The threshold is printed with two digits, so a converged accuracy can look 5 % above it."""
_LONGS: Final = ctypes.c_long * 8
_DOUBLES: Final = ctypes.c_double * 5
"""What qe.c fills for a usual step."""


class Labels(NamedTuple):
    """What was printed for one configuration, without its tables."""

    energy: float
    """Ry, NaN where the field cannot be read."""
    internal: float
    """Ry"""
    converged: int
    """1, 0, or -1 where the text does not tell."""
    n_scf: int
    has_forces: bool
    has_stress: bool
    stress_in_kbar: bool
    torn: bool
    """A table was begun but its rows cannot be read."""
    hybrid: bool
    merged: int = 1
    """Steps whose results the text holds: more than one where the line of a geometry is lost."""
    pressure: float = _NAN
    """kbar, as printed beside the stress"""
    total_force: float = _NAN
    """Ry/bohr, the norm of all forces as printed below their table"""


class Tables(NamedTuple):
    """The raw rows of one configuration's tables, None for a table that is not there."""

    forces: bytes | None
    stress: bytes | None
    after: bytes
    """The text from the energy line on."""

    @property
    def ended(self) -> bool:
        """Return whether the text shows that nothing more was to come for this configuration."""
        return any(words in self.after for words in _ENDED)


def read_labels(
    text: bytes, natoms: int, threshold: float, *, hybrid: bool, plain: bool = False, steady: bool = False
) -> tuple[Labels, Tables] | None:
    """Return the labels of the configuration that text follows, or None where no final energy line stands in it.

    The last '!!' line of a hybrid counts, else the last '!' line (with iprint each iteration has one). threshold (Ry) is the one in force
    before text; steady says that text sets no other, plain that it has no word about convergence or exact exchange. Raises
    UnreadableOutput for all_currents.x, which uses the banner of pw.x.
    """
    if b"!" not in text:
        return None
    if plain and not hybrid and (made := native.loops()) is not None:
        places, numbers = _LONGS(), _DOUBLES()
        usual = made.pw_labels(text, len(text), natoms, places, numbers)
        if usual:
            return _usual_labels(text, list(places), list(numbers), threshold, steady=steady) if usual == 1 else None
    return _any_labels(text, natoms, threshold, hybrid=hybrid, plain=plain, steady=steady)


def _usual_labels(text: bytes, places: list[int], numbers: list[float], threshold: float, *, steady: bool) -> tuple[Labels, Tables]:
    """Return labels from the places and numbers that qe.c found."""
    line, forces, forces_end, stress, stress_end, in_kbar, iterations, decimals = places
    energy, smearing, accuracy, pressure, total_force = numbers
    threshold = threshold if steady else last_threshold(text, threshold, line)
    half_digit = 0.0 if decimals < 0 else 0.5 * 10.0**-decimals
    labels = Labels(
        energy=energy,
        internal=energy - smearing,
        converged=_reached(accuracy, half_digit, threshold),
        n_scf=iterations,
        has_forces=forces >= 0,
        has_stress=stress >= 0,
        stress_in_kbar=in_kbar > 0,
        torn=False,
        hybrid=False,
        pressure=pressure,
        total_force=total_force,
    )
    tables = (text[forces:forces_end] if forces >= 0 else None, text[stress:stress_end] if stress >= 0 else None)
    return labels, Tables(*tables, text[line:])


def _any_labels(text: bytes, natoms: int, threshold: float, *, hybrid: bool, plain: bool, steady: bool) -> tuple[Labels, Tables] | None:
    hybrid = hybrid or (not plain and b"EXX: now go back" in text)
    lines = _energy_lines(text)
    outer = [match for match in lines if match.group(1) == b"!!"]
    not_achieved = not plain and b"convergence NOT achieved" in text
    if not lines or (hybrid and not outer and not not_achieved):
        return None
    match = (outer or lines)[-1]
    place = match.start()
    inner = place if len(lines) == 1 else max((line.start() for line in lines if line.group(1) == b"!"), default=place)
    energy = number(match.group(2))
    if not hybrid and len(lines) > 1 and b" CURRENT CALCULATED" in text:
        raise UnreadableOutput(
            "not_energies",
            "output of all_currents.x (QEHeat): energies of displaced atoms whose places are not printed",
            "send the output of the pw.x run before it",
        )
    forces, force_torn = _force_rows(text, place, natoms)
    stress, in_kbar, stress_torn = _stress_rows(text, place)
    threshold = threshold if steady else last_threshold(text, threshold, inner)
    labels = Labels(
        energy=energy,
        internal=_internal(text, inner, energy),
        converged=0 if not_achieved else _converged(text, inner, threshold),
        n_scf=_iterations(text, hybrid=hybrid),
        has_forces=forces is not None,
        has_stress=stress is not None,
        stress_in_kbar=in_kbar,
        torn=force_torn or stress_torn,
        hybrid=hybrid,
        merged=1 if hybrid else max(1, min(len(lines), text.count(_CYCLE_END))),
        pressure=_behind(text, b"P=", text.find(b" total   stress ", place), 120) if stress is not None else _NAN,
        total_force=_behind(text, b"Total force =", place, None) if forces is not None else _NAN,
    )
    return labels, Tables(forces, stress, text[place:])


def _energy_lines(text: bytes) -> list[re.Match[bytes]]:
    found, place = [], text.find(b"!")
    while place >= 0:
        match = _ENERGY.match(text, place - 1) if place > 0 else None
        if match is not None:
            found.append(match)
        place = text.find(b"!", place + 1)
    return found


def _iterations(text: bytes, *, hybrid: bool) -> int:
    """Return the iterations of the last cycle, of all cycles of a hybrid together; -1 where they are not printed."""
    if hybrid:
        counts = [int(found) for found in _ITERATIONS.findall(text)]
        return sum(counts) if counts else -1
    place = text.rfind(_ACHIEVED)
    while place >= 0:
        match = _ITERATIONS.match(text, place)
        if match is not None:
            return int(match.group(1))
        place = text.rfind(_ACHIEVED, 0, place)
    return -1


def last_threshold(text: bytes, current: float, end: int | None = None) -> float:
    """Return the SCF threshold (Ry) in force behind text[:end], or current where that states none."""
    end = len(text) if end is None else end
    start = max(seek_back(text, b"convergence threshold ", b"v", 0, end), seek_back(text, b"new conv_thr", b"_", 0, end))
    match = _THRESHOLD.match(text, text.rfind(b"\n", 0, start)) if start > 0 else None
    value = number(match.group(1)) if match else _NAN
    return value if value > 0 else current


def _converged(text: bytes, place: int, threshold: float) -> int:
    """Compare the accuracy behind the energy line with the threshold (Ry) in force there; pw.x's own word is not asked."""
    start = text.find(b"estimated scf accuracy", place, place + 1200)
    match = _ACCURACY.match(text, start) if start >= 0 else None
    if match is None:
        return -1
    printed = match.group(1).strip()
    half_digit = 0.0 if b"E" in printed.upper() else 0.5 * 10.0 ** -(len(printed) - printed.find(b".") - 1)
    return _reached(number(printed), half_digit, threshold)


def _reached(accuracy: float, half_digit: float, threshold: float) -> int:
    """Return 1 where an accuracy (Ry) is below the threshold, 0 where it is not, -1 where one of them is not known."""
    if not isfinite(accuracy) or not isfinite(threshold):
        return -1
    return int(accuracy - half_digit <= SLACK * threshold)


def _internal(text: bytes, place: int, energy: float) -> float:
    """Return E of F = E - TS from the printed -TS, NaN where there is no smearing."""
    end = text.find(b"convergence has been", place)
    start = text.find(b"smearing contrib. (-TS)", place, end if end > 0 else place + 2500)
    match = _SMEARING.match(text, start) if start > 0 else None
    return energy - number(match.group(1)) if match else _NAN


def _behind(text: bytes, words: bytes, start: int, reach: int | None) -> float:
    """Return the number behind words that stand at most reach bytes behind a place, NaN for none."""
    place = text.find(words, start, None if reach is None else start + reach) if start >= 0 else -1
    fields = text[place + len(words) : place + len(words) + 24].split(None, 1) if place >= 0 else []
    return number(fields[0]) if fields else _NAN


def _force_rows(text: bytes, place: int, natoms: int) -> tuple[bytes | None, bool]:
    """Return the rows of the table of total forces; those of its contributions come after it and are left alone."""
    title = text.find(b"\n     Forces acting on atoms", place)
    if title < 0:
        return None, False
    first = text.find(b"force =", title)
    start = text.rfind(b"\n", 0, first) + 1
    length = text.find(b"\n", start) + 1 - start
    block = text[start : start + length * natoms]
    if first < 0 or length <= 0:
        return None, True
    if len(block) == length * natoms and block.count(b"force =") == block.count(b"\n") == natoms and block.endswith(b"\n"):
        return (block, False) if block[-length:].split()[1:2] == [b"%d" % natoms] else (None, True)
    lines = text[start:].split(b"\n", natoms)[:natoms]
    whole = (
        len(lines) == natoms
        and all(line.split()[:2] == [b"atom", b"%d" % (k + 1)] and b"force =" in line for k, line in enumerate(lines))
        and text.count(b"\n", start) >= natoms
    )
    return (b"".join(line + b"\n" for line in lines), False) if whole else (None, True)


def _stress_rows(text: bytes, place: int) -> tuple[bytes | None, bool, bool]:
    title = text.find(b" total   stress ", place)
    if title < 0:
        return None, False, False
    first = end = text.find(b"\n", title) + 1
    for _ in range(3 if first > 0 else 0):
        end = text.find(b"\n", end) + 1
        if end == 0:
            break
    rows = text[first:end]
    lines = rows.split(b"\n")[:3]
    if first == 0 or end == 0 or any(not row.strip() for row in lines) or len({len(row.rstrip()) for row in lines}) != 1:
        return None, False, True
    return rows, text.find(b"(kbar)", title, first) >= 0, False
