"""What a log of NWChem may have instead of, or around, plain energies of density-functional theory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from lake.readers.cross_checks import differ
from lake.readers.rows import number
from lake.readers.text_steps import Step
from schemas.elements import NUMBERS
from schemas.errors import UnreadableOutput
from schemas.units import HARTREE_PER_BOHR

OTHERS: Final = {
    b"NWPW PSPW Calculation": ("no_complete_step", "a log of NWChem's plane waves, none of whose energies has a geometry and an end"),
    b"NWPW BAND Calculation": ("no_complete_step", "a log of NWChem's plane waves, none of whose energies has a geometry and an end"),
    b"Car-Parrinello microcluster": ("not_energies", "a log of NWChem's Car-Parrinello steps, whose electrons are not in the ground state"),
    b"Total SCF energy": ("not_dft", "a log of NWChem with Hartree-Fock or a wave-function method, without a DFT energy"),
    b"Total DFT+MP2 energy": ("not_dft", "a log of NWChem with a double hybrid, whose total DFT energy lacks the part of second order"),
    b"CCSD(T) Energy": ("not_dft", "a log of NWChem with coupled clusters, without a DFT energy"),
    b"NWChem QMD Module": ("no_complete_step", "a log of NWChem's dynamics whose energies are not of the DFT module"),
    b"Bq Structure Information": ("not_dft", "a log of NWChem with energies in the field of point charges, which are no atoms"),
    b"Molecular Dynamics Module": ("not_dft", "a log of NWChem's dynamics with a force field"),
}
"""What a log without a DFT energy has instead: reason and words, by a word in it."""
_PARTS: Final = {
    b"NWChem QM/MM Interface Module": ("not_dft", "energies of a part in the field of a force field (QM/MM)"),
    b"NWChem ONIOM Module": ("not_dft", "ONIOM energies of several layers, each of other atoms than the geometry"),
    b"BSSE Module - Counter Poise": ("not_energies", "a counterpoise calculation of fragments"),
}
"""Modules whose DFT energies are not those of the atoms that are printed."""
SOLVATED: Final = b" COSMO energy ="
"""Stands among the parts of an energy that has one."""
_SOLVENT: Final = re.compile(rb"\n +-cosmo- solvent\n(?:[^\n]*\n){1,12}? dielectric constant -eps- +=  *(\S+)")
_RANGE: Final = re.compile(rb"\n +Range-Separation Parameters *\n +-+ *\n +Alpha +: +(\S+) *\n +Beta +: +(\S+) *\n +Gamma +: +(\S+)")
_RELATIVISTIC: Final = re.compile(
    rb"\n Using Relativistic ([^\n]*?) Approach|\n *(Douglas-Kroll) (?:Hamiltonian|integrals are switched on)"
    rb"|\n +Performing (ZORA) calculations"
)
_SPRING: Final = re.compile(rb"\n adding spring # +(\d+)[^\n]*\n[^\n]*\n +spring length and energy +: +\S+ +(\S+)")
_RESTRAINED: Final = re.compile(rb"\n spring (?:bond|angle|dihedral|torsion) \(|\n spring # +:")
"""A restraint whose energy the steps do not print."""
HELD: Final = b"\n fixed atoms   "
_NET: Final = 1e-3 * HARTREE_PER_BOHR
"""eV/Å; the grid of the exchange leaves a tenth of it, or less, as the sum of all forces."""
_NET_OF_MANY: Final = 5e-5 * HARTREE_PER_BOHR
CHARGES: Final = b"Bq Structure Information"
_IN_FIELD: Final = re.compile(rb"\n Bq nuclear interaction energy = +(\S+)")
_CORE: Final = re.compile(rb"\n +[bB][qQ]\S* *\n +-+ *\n")
"""A core potential on a ghost, as embedded clusters have: '  bq_zn'."""
ZEROED: Final = "the gradient is printed as zero for atoms that are held fixed, and the forces of {} steps are left out"
_OPTIMISER: Final = re.compile(rb"\n@ +\d+ +(-?\d+\.\d{8}) ")


def refuse_parts(piece: bytes) -> None:
    """Raise UnreadableOutput where the DFT energies of a log are those of a part of its atoms."""
    for words, (reason, what) in _PARTS.items():
        if words in piece:
            raise UnreadableOutput(reason, f"the log of NWChem has {what}", "deposit runs of the DFT module with all atoms")


def solvent_of(piece: bytes) -> tuple[tuple[str, str], ...]:
    """Return the continuum that a text sets up around the atoms."""
    found = _SOLVENT.findall(piece)
    return (("solvent", f"COSMO eps {number(found[-1]):g}"),) if found else ()


def hamiltonian_of(piece: bytes) -> tuple[tuple[str, str], ...]:
    """Return the shares and the range of a separated exchange, and the relativistic approach."""
    ranges, approach = _RANGE.search(piece), _RELATIVISTIC.search(piece)
    words = next((group.decode("latin-1") for group in approach.groups() if group), "") if approach else ""
    shares = " ".join(f"{number(field):g}" for field in ranges.groups()) if ranges else ""
    return tuple((name, value) for name, value in (("hamiltonian", words), ("range_separation", shares)) if value)


def other_energy(piece: bytes, energy: bytes) -> tuple[str, ...]:
    """Return a sentence where the optimiser printed another energy for a step than the DFT module and the springs of its restraints.

    The springs are not in the energy and the gradient of the DFT module, which are what is read.
    """
    printed = _OPTIMISER.search(piece)
    springs = {index: number(value) for index, value in _SPRING.findall(piece[: printed.start()])} if printed else {}
    if printed is None or not differ(printed.group(1), number(energy) + sum(springs.values()), share=0.0):
        return ()
    words = f"is {energy.decode('latin-1')} by what else is printed"
    return (f"the energy is printed as {printed.group(1).decode('latin-1')} by the optimiser, and {words}",)


def restrained(piece: bytes) -> bool:
    """Return whether a text sets up restraints, whose energy the optimiser adds and no step prints."""
    return _RESTRAINED.search(piece) is not None


def in_field(piece: bytes) -> bool:
    """Return whether an energy of the nuclei in the field of point charges is printed."""
    return any(number(value) != 0.0 for value in _IN_FIELD.findall(piece))


def has_electrons(symbols: Sequence[str], electrons: float, *, cores: bool) -> bool:
    """Return whether atoms have so many electrons when neutral, or more where core potentials replace some; NaN says nothing.

    Where an input names several geometries, that printed last is not always the one of the energy.
    """
    neutral = sum(NUMBERS.get(symbol, 0) for symbol in symbols)
    return not electrons > neutral if cores else not abs(electrons - neutral) > 0.5


def has_cores(piece: bytes) -> bool:
    """Return whether a text sets up core potentials at places that are no atoms, as around an embedded cluster."""
    place = piece.find(b"\n                 ECP   ")
    return place >= 0 and _CORE.search(piece, place) is not None


def without_zeroed(steps: Sequence[Step], *, held: bool) -> tuple[list[Step], int]:
    """Return steps without the forces that NWChem did not compute for all atoms, and how many lost theirs.

    It prints zero for fixed atoms, which it lists (held), and for those that are not active (geometry:actlist, numerical Hessians), which
    it does not: where several rows are zero and the others do not add up to zero, there and behind it. A molecule has one atom at most
    whose forces vanish by symmetry.
    """
    found, count = list(steps), 0
    for k, step in enumerate(steps):
        still = np.zeros(0, dtype=bool) if step.forces is None else ~step.forces.any(axis=1)
        if step.forces is None or not bool(still.any()) or bool(still.all()):
            continue
        held = held or float(np.abs(step.forces.sum(axis=0)).max()) > (_NET_OF_MANY if still.sum() > 1 else _NET)
        if held:
            found[k], count = replace(step, forces=None), count + 1
    return found, count
