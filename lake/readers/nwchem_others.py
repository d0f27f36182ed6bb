"""What a log of NWChem may have instead of, or around, plain energies of density-functional theory."""

from __future__ import annotations

import re
from typing import Final

from lake.readers.cross_checks import differ
from lake.readers.rows import number
from schemas.errors import UnreadableOutput

OTHERS: Final = {
    b"NWPW PSPW Calculation": ("no_complete_step", "a log of NWChem's plane waves, none of whose energies has a geometry and an end"),
    b"NWPW BAND Calculation": ("no_complete_step", "a log of NWChem's plane waves, none of whose energies has a geometry and an end"),
    b"Car-Parrinello microcluster": ("not_energies", "a log of NWChem's Car-Parrinello steps, whose electrons are not in the ground state"),
    b"Total SCF energy": ("not_dft", "a log of NWChem with Hartree-Fock or a wave-function method, without a DFT energy"),
    b"Total DFT+MP2 energy": ("not_dft", "a log of NWChem with a double hybrid, whose total DFT energy lacks the part of second order"),
    b"CCSD(T) Energy": ("not_dft", "a log of NWChem with coupled clusters, without a DFT energy"),
    b"NWChem QMD Module": ("no_complete_step", "a log of NWChem's dynamics whose energies are not of the DFT module"),
    b"Molecular Dynamics Module": ("not_dft", "a log of NWChem's dynamics with a force field"),
}
"""What a log without a DFT energy has instead: reason and words, by a word in it."""
_PARTS: Final = {
    b"NWChem QM/MM Interface Module": ("not_dft", "energies of a part in the field of a force field (QM/MM)"),
    b"NWChem ONIOM Module": ("not_dft", "ONIOM energies of several layers, each of other atoms than the geometry"),
    b"BSSE Module - Counter Poise": ("not_energies", "a counterpoise calculation of fragments"),
}
"""Modules whose DFT energies are not those of the atoms that are printed."""
_OPTIMISER: Final = re.compile(rb"\n@ +\d+ +(-?\d+\.\d{8}) ")


def refuse_parts(piece: bytes) -> None:
    """Raise UnreadableOutput where the DFT energies of a log are those of a part of its atoms."""
    for words, (reason, what) in _PARTS.items():
        if words in piece:
            raise UnreadableOutput(reason, f"the log of NWChem has {what}", "deposit runs of the DFT module with all atoms")


def other_energy(piece: bytes, energy: bytes) -> tuple[str, ...]:
    """Return a sentence where the optimiser printed another energy for a step than the DFT module: restraints add to it."""
    printed = _OPTIMISER.search(piece)
    if printed is None or not differ(printed.group(1), number(energy), share=0.0):
        return ()
    words = f"is {energy.decode('latin-1')} by what else is printed"
    return (f"the energy is printed as {printed.group(1).decode('latin-1')} by the optimiser, and {words}",)
