"""What an ORCA output holds that is not the ground-state energy of a density functional, or not that of the atoms alone.

Keywords: the manuals of ORCA 4 to 6 (https://www.faccts.de/docs/orca).
"""

from __future__ import annotations

import re
from typing import Final

from lake.readers.orca.given import Given
from schemas.errors import UnreadableOutput

METHOD: Final = re.compile(rb"\n (?:Density Functional|Ab initio Hamiltonian) +Method +\.{4} +(?:DFT|Hartree-Fock)")
_REMEDY: Final = "deposit runs of plain density-functional theory"
_UNNAMED: Final = "the output of ORCA names neither a density functional nor Hartree-Fock (semi-empirical, or another program's energies)"
_WAVE: Final = "a wave-function method"
_EXCITED: Final = "excited states"
_LAYERS: Final = "an energy of several layers or of another program"
_JOBS: Final = "several jobs in one output; deposit each alone"
_INPUT: Final = re.compile(rb"\n +INPUT FILE *\n=+\n")

_TEXTS: Final[tuple[tuple[re.Pattern[bytes], str, str], ...]] = (
    (re.compile(rb"Method +\.\.\.\. +NDDO|\n +GFN\d?-xTB"), "not_dft", "a semi-empirical method"),
    (re.compile(rb"\n +ORCA-MATRIX DRIVEN CI|\n +ORCA +MP2 |\n +ORCA[- ]CASSCF|HFTyp +\.+ CASSCF"), "not_dft", _WAVE),
    (
        re.compile(rb"ORCA TD-DFT|ORCA CIS/TDA|TD-DFT/TDA|\n +ORCA (?:RO)?CIS |\nCIS/TD-DFT TOTAL ENERGY|\n +ORCA TDDFT"),
        "not_energies",
        _EXCITED,
    ),
    (re.compile(rb"\nFINAL SINGLE POINT ENERGY \((?:From external|[^)\n]*(?:QM|MM))"), "not_dft", _LAYERS),
    (re.compile(rb"\$\$ +JOB NUMBER +[2-9]"), "unreadable_output", _JOBS),
)
_KEYWORDS: Final[tuple[tuple[re.Pattern[str], str, str], ...]] = (
    (re.compile(r"CCSD|MP2|MP3|CASSCF|NEVPT|CISD|CEPA|QCISD|CPF|MRCI|ADC2|STEOM|EOM-|ICE-CI"), "not_dft", _WAVE),
    (
        re.compile(r"B2(?:GP|K|T|NC)?-?PLYP|PWPB95|DSD-|2PLYP|PR2SCAN\d|QIDH|PBE0-(?:DH|2)\Z|88PP86|PBEPP86|SCANDH|RSX-"),
        "not_dft",
        "a double hybrid, part of whose energy is a perturbation's",
    ),
    (re.compile(r"EXTRAPOLATE|EP[123]\("), "not_dft", "an energy extrapolated from several basis sets"),
    (re.compile(r"DELTASCF\Z|ROCIS|TDDFT|STDA\Z|STDDFT\Z"), "not_energies", _EXCITED),
    (re.compile(r"QM/|ONIOM|(?:MOL|IONIC)-CRYSTAL|CRYSTAL-QMMM|QMMM|EXTOPT"), "not_dft", _LAYERS),
    (re.compile(r"COMPOUND"), "unreadable_output", _JOBS),
)
_BLOCKS: Final[tuple[tuple[str, str, str], ...]] = (
    ("%pointcharges", "not_dft", "point charges around the atoms"),
    ("%qmmm", "not_dft", _LAYERS),
    ("%casscf", "not_dft", _WAVE),
    ("%mrci", "not_dft", _WAVE),
    ("%rocis", "not_energies", _EXCITED),
    ("%tddft", "not_energies", _EXCITED),
    ("%cis", "not_energies", _EXCITED),
    ("%compound", "unreadable_output", _JOBS),
)
_WALLS: Final = re.compile(r"(?:ellipse|sphere|box|bond)pot\w*|potentials")


def foreign_text(text: bytes) -> UnreadableOutput | None:
    """Return why a text holds other energies, None where it does not."""
    return next((_refusal(reason, what) for pattern, reason, what in _TEXTS if pattern.search(text)), None)


def several_jobs(text: bytes, most: int) -> UnreadableOutput | None:
    """Return why a text is not read that lists more inputs than it may: scripts (%compound) run jobs of other levels behind each other."""
    return _refusal("unreadable_output", _JOBS) if len(_INPUT.findall(text)) > most else None


def foreign_input(given: Given) -> UnreadableOutput | None:
    """Return why an input asks for other energies, also where the output ends before they are printed."""
    for pattern, reason, what in _KEYWORDS:
        if any(pattern.search(word) for word in given.keywords):
            return _refusal(reason, what)
    for start, reason, what in _BLOCKS:
        if any(word.startswith(start) for word in given.words):
            return _refusal(reason, what)
    return None


def foreign_method(text: bytes) -> UnreadableOutput | None:
    """Return why a text names no method that is read."""
    return None if METHOD.search(text) else UnreadableOutput("not_dft", _UNNAMED, _REMEDY)


def altered(given: Given) -> tuple[str, ...]:
    """Return what of its own the optimiser adds to energies or gradients."""
    found = sorted({word for word in given.block("%geom").replace("{", " ").split() if _WALLS.fullmatch(word)})
    return tuple(f"a potential on the atoms ({word} of %geom)" for word in found)


def _refusal(reason: str, what: str) -> UnreadableOutput:
    return UnreadableOutput(reason, f"the output of ORCA has {what}", _REMEDY)
