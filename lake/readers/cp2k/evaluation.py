"""One evaluation of energy and forces in a CP2K log: what is printed from its ENERGY line to the next one."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lake import native
from lake.readers.cross_checks import other_value
from lake.readers.rows import number
from lake.readers.text_steps import NAN, as_floats, fixed_table, lines_after, symmetric, token_table
from lake.readers.words import Found
from schemas.frames import Floats
from schemas.units import GPA, HARTREE, HARTREE_PER_BOHR, KBAR

_ENERGY: Final = re.compile(rb"\n ENERGY\| Total FORCE_EVAL \( (\w+) \) energy [(\[]([^)\]\n]+)[)\]]:? +(\S+) *\n")
_FORCES: Final = re.compile(rb"\n ATOMIC FORCES in \[([^\]\n]+)\] *\n *\n # Atom[^\n]*\n")
_NEW_FORCES: Final = re.compile(rb"\n FORCES\| Atomic forces \[([^\]\n]+)\] *\n FORCES\| +Atom[^\n]*\n")
_STRESS: Final = re.compile(rb"\n (?:NUMERICAL )?STRESS TENSOR \[([^\]\n]+)\] *\n *\n[^\n]*\n")
_NEW_STRESS: Final = re.compile(rb"\n STRESS\| (?:Analytical|Numerical) stress tensor \[([^\]\n]+)\] *\n[^\n]*\n")
_OUTER: Final = re.compile(rb"outer SCF loop (?:converged in|FAILED to converge after) +(\d+) iterations or +(\d+) steps")
_INNER: Final = (
    (re.compile(rb"SCF run converged in +(\d+) steps"), b"SCF run converged"),
    (re.compile(rb"Leaving inner SCF loop after reaching +(\d+) steps"), b"Leaving inner SCF loop"),
)
_GRADIENT: Final = re.compile(rb"outer SCF iter = +\d+ RMS gradient = +(\S+)")
_CYCLE_ROW: Final = re.compile(rb"\n +\d+ [A-Z]\S*(?: [A-Z]+)? +\S+ +\S+ +(\S+) +-?\d+\.\d+ +-?\d\.\d+E[+-]\d+ *(?=\n)")
_SUM: Final = b"\n SUM OF ATOMIC FORCES "
_SUM_ROW: Final = re.compile(rb"\n SUM OF ATOMIC FORCES +(\S+) +(\S+) +(\S+)")
_LAST_DIGIT: Final = 1e-8
_TRACE: Final = re.compile(rb"1/3 Trace(?:\(stress tensor\)  ?:)? +(\S+)")
_ENTROPY: Final = re.compile(rb"Electronic entropic energy: +(\S+)")
_LENGTHS: Final = re.compile(rb"\n MD\| Cell lengths \[ang\] +(\S+) +(\S+) +(\S+)")
_ANGLES: Final = re.compile(rb"\n MD\| Cell angles \[deg\] +(\S+) +(\S+) +(\S+)")
_ENDED: Final = (
    b"\n MD| ", b"\n MD_INI| ", b"\n OPT| ", b"OPTIMIZATION STEP:", b"Informations at step", b"ENSEMBLE TYPE", b"INITIAL POTENTIAL ENERGY",
    b"\n Number of electrons:", b"\n Spin 1", b"SCF WAVEFUNCTION", b"Extrapolation method", b"STATISTICS", b"T I M I N G",
    b"PROGRAM ENDED", b"Reevaluating", b"R E F E R E N C E S", b"DISTRIBUTION OF THE", b"\n MODULE QUICKSTEP", b"OPTIMIZATION COMPLETED",
    b"MAXIMUM NUMBER OF OPTIMIZATION", b"\n VIB|",
)  # fmt: skip
"""What CP2K prints only when forces and stress of an evaluation are done."""

_TABLES: Final = (
    b"\n ATOMIC FORCES in [", b"\n FORCES| Atomic forces [", b"STRESS TENSOR [", b"\n STRESS| ", _SUM, b"1/3 Trace",
    b"\n MD| Cell lengths [ang]", b"\n MD| Cell angles",
)  # fmt: skip
_CYCLE: Final = (
    b"outer SCF loop", *(words for _, words in _INNER), b"Electronic entropic energy:", b"SCF run NOT converged", b"FAILED to converge",
    b"outer SCF loop converged", b"outer SCF iter = ",
)  # fmt: skip
WORDS: Final = (*_TABLES, *_CYCLE, *_ENDED)
"""What is looked for."""

_ENERGY_UNITS: Final = {"a.u.": HARTREE, "hartree": HARTREE, "ev": 1.0}
_FORCE_UNITS: Final = {"a.u.": HARTREE_PER_BOHR, "hartree/bohr": HARTREE_PER_BOHR, "ev/angstrom": 1.0}
_STRESS_UNITS: Final = {"gpa": GPA, "bar": KBAR / 1000, "kbar": KBAR, "pa": GPA * 1e-9, "mpa": GPA / 1000}
_DECIMALS: Final = 5e-9
"""Half of the last digit with which the convergence of a cycle is printed."""


@dataclass(frozen=True)
class Cycle:
    """The self-consistency cycle before an energy."""

    converged: int = -1
    """1, 0, or -1 where the text does not tell or contradicts itself."""
    steps: int = -1
    entropy: float = NAN
    """-TS in eV"""
    contradiction: str = ""


@dataclass(frozen=True, eq=False)
class Labels:
    """What one evaluation gives, in eV, eV/Å and eV/Å³ (tension positive)."""

    program: str
    """'QS', 'FIST', ...: which part of CP2K the energy comes from."""
    energy: float
    forces: Floats | None
    stress: Floats | None
    ended: bool
    """The text shows that nothing more was to come for this evaluation."""
    lengths: Floats | None
    """(6,) lengths in Å and angles in degrees of the cell, where the dynamics prints them."""
    unit_notes: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    """What is printed beside forces and stress and does not fit them."""


def read_cycle(text: Found, threshold: float) -> Cycle:
    """Return how the self-consistency cycle in text ended; threshold is eps_scf.

    The word of CP2K is compared with the last accuracy that it prints: 'NOT converged' and 'FAILED' count as they stand, 'converged'
    counts only where the accuracy is below the threshold.
    """
    outer = text.matches(_OUTER, b"outer SCF loop")
    counts = [int(match.group(1)) for pattern, words in _INNER for match in text.matches(pattern, words)]
    steps = int(outer[-1].group(2)) if outer else sum(counts) if counts else -1
    entropies = text.matches(_ENTROPY, b"Electronic entropic energy:")
    entropy = number(entropies[-1].group(1)) * HARTREE if entropies else NAN
    if b"SCF run NOT converged" in text or b"FAILED to converge" in text:
        return Cycle(0, steps, entropy)
    if b"SCF run converged" not in text and b"outer SCF loop converged" not in text:
        return Cycle(-1, steps, entropy)
    gradients = text.matches(_GRADIENT, b"outer SCF iter = ")
    end = max(text.last(b"SCF run converged"), text.last(b"outer SCF loop converged"))
    last = gradients[-1] if gradients else _last_row(text.text, end)
    accuracy = number(last.group(1)) if last else NAN
    if np.isfinite(accuracy) and np.isfinite(threshold) and accuracy > 1.1 * threshold + _DECIMALS:
        words = f"the log says 'converged', but its last convergence is {accuracy:g} where eps_scf is {threshold:g}"
        return Cycle(-1, steps, entropy, words)
    return Cycle(1, steps, entropy)


def _last_row(text: bytes, end: int) -> re.Match[bytes] | None:
    """Return the last row of the table of a cycle before a place: lines are asked from there on backwards, for the table is long."""
    while (end := text.rfind(b"\n", 0, end)) >= 0:
        if (match := _CYCLE_ROW.match(text, end)) is not None:
            return match
    return None


def read_labels(text: Found, natoms: int, *, more: bool = False) -> Labels | None:
    """Return what the evaluation that begins text gives, or None where its ENERGY line is torn; more: another cycle follows text."""
    energy = _ENERGY.match(text.text)
    if energy is None:
        return None
    factor = _ENERGY_UNITS.get(_unit(energy.group(2)))
    notes = [] if factor is not None else [f"the unit of energy {_unit(energy.group(2))!r} is not known"]
    forces, force_note = _forces(text, natoms)
    stress, stress_note = _stress(text)
    return Labels(
        program=energy.group(1).decode("latin-1"),
        energy=number(energy.group(3)) * factor if factor is not None else NAN,
        forces=forces,
        stress=stress,
        ended=more or any(words in text for words in _ENDED),
        lengths=_lengths(text),
        unit_notes=tuple(note for note in (*notes, force_note, stress_note) if note),
        contradictions=_contradictions(text, forces, stress),
    )


def with_tables(labels: Labels, text: Found, natoms: int) -> Labels:
    """Return labels with the forces and the stress of tables beside the log, where the log has none."""
    forces, force_note = (labels.forces, "") if labels.forces is not None else _forces(text, natoms)
    stress, stress_note = (labels.stress, "") if labels.stress is not None else _stress(text)
    return replace(
        labels,
        forces=forces,
        stress=stress,
        unit_notes=(*labels.unit_notes, *(note for note in (force_note, stress_note) if note)),
        contradictions=(*labels.contradictions, *_contradictions(text, forces, stress)),
    )


def _contradictions(text: Found, forces: Floats | None, stress: Floats | None) -> tuple[str, ...]:
    """Return a sentence where the sum below the forces, or the trace below the stress, is not theirs."""
    found = []
    place = text.first(_SUM) if forces is not None else -1
    row = _SUM_ROW.match(text.text, place) if place >= 0 else None
    if forces is not None and row is not None:
        total, printed = forces.sum(axis=0), as_floats(row.groups()) * HARTREE_PER_BOHR
        if bool((np.abs(total - printed) > (len(forces) + 1) * _LAST_DIGIT * HARTREE_PER_BOHR).any()):
            found.append(f"the sum of the forces is printed as {printed.round(6).tolist()} eV/Å, and is {total.round(6).tolist()}")
    place = text.first(b"1/3 Trace") if stress is not None else -1
    trace = _TRACE.match(text.text, place) if place >= 0 else None
    table = text.line(_STRESS, b"STRESS TENSOR [") or text.match(_NEW_STRESS, b"\n STRESS| ")
    if stress is not None and trace is not None and table is not None:
        unit = _STRESS_UNITS.get(_unit(table.group(1)), NAN)
        found.append(other_value("third of the trace of the stress", trace[1], -float(np.trace(stress)) / 3, unit))
    return tuple(words for words in found if words)


def _forces(text: Found, natoms: int) -> tuple[Floats | None, str]:
    """Return the forces; NaN where the table is torn: behind its natoms rows stands their sum."""
    old, new = text.match(_FORCES, b"\n ATOMIC FORCES in ["), text.match(_NEW_FORCES, b"\n FORCES| Atomic forces [")
    table = old or new
    if table is None or natoms == 0:
        return None, ""
    factor = _FORCE_UNITS.get(_unit(table.group(1)))
    if factor is None:
        return None, f"the unit of forces {_unit(table.group(1))!r} is not known"
    compiled = _plain_forces(text.text, table.end(), natoms) if old else None
    if compiled is not None:
        return compiled * factor, ""
    lines = lines_after(text.text, table.end(), natoms)
    behind = (b" SUM OF ATOMIC FORCES", b" FORCES| Sum")
    if lines is None or not text.text.startswith(behind, table.end() + len(lines)):
        return np.full((natoms, 3), NAN), ""
    return (fixed_table(lines, natoms) if old else token_table(lines, natoms, 2, 6)) * factor, ""


def _plain_forces(text: bytes, start: int, natoms: int) -> Floats | None:
    """Return the numbers of a table that is printed evenly, None for any other and without a compiler."""
    made = native.loops()
    if made is None:
        return None
    found = np.empty((natoms, 3))
    return found if made.cp2k_forces(text, start, len(text), natoms, native.address(found)) >= 0 else None


def _stress(text: Found) -> tuple[Floats | None, str]:
    """Return the stress: CP2K prints it positive under compression.

    Evidence for the sign: a third of its trace plus 2/3 of the kinetic energy per volume is the pressure that CP2K prints (MD of an
    ionic liquid, CP2K 2022.1: -9123 + 3306 = -5817 bar).
    """
    old, new = text.line(_STRESS, b"STRESS TENSOR ["), text.match(_NEW_STRESS, b"\n STRESS| ")
    table = old or new
    if table is None:
        return None, ""
    factor = _STRESS_UNITS.get(_unit(table.group(1)))
    if factor is None:
        return None, f"the unit of stress {_unit(table.group(1))!r} is not known"
    lines = lines_after(text.text, table.end(), 3)
    if lines is None:
        return np.full((3, 3), NAN), ""
    return symmetric(token_table(lines, 3, 1, 4) if old else token_table(lines, 3, 2, 5)) * -factor, ""


def _lengths(text: Found) -> Floats | None:
    lengths, angles = text.match(_LENGTHS, b"\n MD| Cell lengths [ang]"), text.match(_ANGLES, b"\n MD| Cell angles")
    if lengths is None:
        return None
    return as_floats([*lengths.groups(), *(angles.groups() if angles else (b"90.0",) * 3)])


def _unit(printed: bytes) -> str:
    return printed.decode("latin-1").strip().lower()
