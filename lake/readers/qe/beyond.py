"""What is in the energies of a pw.x stdout beside its functional: fields, solvents, held moments, terms that it does not tell."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import numpy as np

from lake.readers.qe.level import (
    EXTERNAL_FORCES,
    FORCE_FIELD,
    HELD_MOMENTS,
    SELF_INTERACTION,
    UNTOLD_TERM,
    berry_field,
    is_in_berry_field,
    sawtooth,
    two_fermi_levels,
)
from lake.readers.rows import number
from schemas.theory import LevelOfTheory

_SLABS: Final = (b"Vacuum-Slab-Vacuum", b"Metal-Slab-Metal", b"Vacuum-Slab-Metal")
_ABOVE: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"Martyna-Tuckerman method", "isolated", "martyna-tuckerman"),
    *((b"Boundary Conditions: " + words, "isolated", f"esm bc{n}") for n, words in enumerate(_SLABS, 1)),
    (b"The code is running with the 2D cutoff", "isolated", "2d"),
    (b"Adding charged plate", "gate", "charged plate"),
    (b"A smooth kinetic-energy cutoff is imposed", "kinetic_cutoff", "smoothed (constant-pressure form)"),
    (b"RISM Calculation", "solvent", "rism"),
    (b"Grand-Canonical SCF is activated", "electrons", "grand canonical"),
    (b"External force field information", *FORCE_FIELD),
    (b"FCP Relaxation is activated", "electrons", "fictitious charge particle"),
)
_BESIDE: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"\nOSCDFT: ", "oscdft", "on"),
    (b"\n     External forces energy    =", *EXTERNAL_FORCES),
    (b"\n     lambda                    =", *HELD_MOMENTS),
    (b"\n     Magnetic field            =", "magnetic_field", "on"),
    (b"\n     correction to one-el term =", "solvent", "environ"),
    (b"\n     EH[np] =", *SELF_INTERACTION),
)
_BERRY: Final = b"Using Berry phase electric field"
_ALONG: Final = re.compile(rb"Direction : +(\d)\s+Intensity \(Ry a\.u\.\) :([^\n]*)\n")
_VECTOR: Final = re.compile(rb"cartesian system of reference *\n([^\n]*)\n([^\n]*)\n([^\n]*)\n")
_SAWTOOTH: Final = b"Adding external electric field"
_AMPLITUDE: Final = re.compile(rb"E field amplitude \[Ha a\.u\.\]:([^\n]*)\n")
_CONDUCTION: Final = re.compile(rb"\n *([\d.]+) electrons are placed in the conduction manifold")
_TERMS: Final = b"sum of the following terms:\n"
_TERM: Final = re.compile(rb"^ +[A-Za-z][^=\n]*=([^\n]*)Ry *$", re.M)
"""Parts of the contribution of PAW begin with an arrow."""
_TOTAL: Final = re.compile(rb"\n!+ +total energy +=([^\n]*?)Ry *\n")
_SMEARING: Final = b"smearing contrib. (-TS)"
_TERM_DIGITS: Final = 1e-6
"""Ry; every term is printed with eight decimals."""


def told_above(text: bytes) -> tuple[tuple[str, str], ...]:
    """Return what the part before the first cycle tells, as sorted pairs of name and value."""
    found = {(name, value) for words, name, value in _ABOVE if words in text}
    if _BERRY in text:
        found |= set(_berry(text))
    elif _SAWTOOTH in text:
        amplitude = _AMPLITUDE.search(text)
        found.add(sawtooth(number(amplitude.group(1)) if amplitude else 0.0))
    if (electrons := _CONDUCTION.search(text)) is not None:
        found.add(two_fermi_levels(number(electrons.group(1))))
    return tuple(sorted(found))


def _berry(text: bytes) -> tuple[tuple[str, str], ...]:
    start = text.find(_BERRY)
    vector, along = (pattern.search(text, start, start + 600) for pattern in (_VECTOR, _ALONG))
    if vector is not None:
        return berry_field([number(value) for value in vector.groups()])
    return berry_field([number(along.group(2))], int(along.group(1))) if along else berry_field([])


def told_beside(level: LevelOfTheory, text: bytes) -> LevelOfTheory:
    """Return a level with what stands beside the first energy: held or corrected occupations, fields, forces, a solvent, untold terms."""
    seen = {(name, value) for words, name, value in _BESIDE if words in text}
    if not is_in_berry_field(level) and abs(untold(text)) > _TERM_DIGITS:
        seen.add(UNTOLD_TERM)
    return replace(level, extra=tuple(sorted({*level.extra, *seen}))) if seen else level


def untold(text: bytes) -> float:
    """Return what the last total energy of text has beside the terms that are printed as its sum (Ry); 0 where the text has no such list.

    `electrons.f90` adds the corrections of sic and scissor, the field of a Berry phase and what plugins give, and lists none of them.
    """
    place = text.rfind(_TERMS)
    start = text.rfind(b"\n!", 0, place) if place >= 0 else -1
    total = _TOTAL.match(text, start) if start >= 0 else None
    first = place + len(_TERMS)
    first += len(text[first : first + 2]) - len(text[first : first + 2].lstrip(b"\n"))
    end = text.find(b"\n\n", first)
    if total is None or end < 0:
        return 0.0
    listed = text[first:end]
    terms = [number(value) for value in _TERM.findall(listed)]
    if _SMEARING in text[start:place] and _SMEARING not in listed:
        terms += [number(value) for value in _TERM.findall(text[text.find(_SMEARING, start) - 5 : place].split(b"\n", 1)[0])]
    apart = number(total.group(1)) - float(np.sum(terms))
    return apart if terms and np.isfinite(apart) else 0.0
