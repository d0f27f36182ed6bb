"""Which logs of CP2K are not read: energies that are not of the ground state of the atoms by density-functional theory."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from lake.readers.cp2k.header import Header
from schemas.errors import UnreadableOutput

_NOT_DFT: Final = {"FIST", "QMMM", "QMMMX", "EIP", "NNP", "MIXED", "EMBED", "IPI"}
_NOT_DFT_METHODS: Final = {"xtb", "dftb", "se", "pm3", "pm6", "pm6-fm", "am1", "mndo", "mndod", "pdg", "rm1", "pnnl"}


def refuse(header: Header, programs: Set[str]) -> None:
    """Raise UnreadableOutput for a log whose energies are none of a ground state by DFT; programs are the parts of CP2K they come from."""
    strange = sorted(programs & _NOT_DFT)
    method = header.method
    if strange or method.lower() in _NOT_DFT_METHODS:
        raise UnreadableOutput(
            "not_dft",
            f"energies of CP2K come from {strange[0] if strange else method}",
            "deposit runs of METHOD Quickstep with a density functional",
        )
    if "SIRIUS" in programs:
        raise UnreadableOutput(
            "no_complete_step",
            "energies of CP2K come from SIRIUS (plane waves), whose output is not read",
            "deposit runs of METHOD Quickstep",
        )
    if header.excited:
        raise UnreadableOutput(
            "not_energies",
            "the energies are those of an excited state, or of electrons that are propagated in time",
            "deposit runs of the ground state",
        )
    if header.ghosts or header.run_type == "BSSE":
        raise UnreadableOutput(
            "not_energies",
            "the run has ghost atoms (basis functions where no atom is), as a counterpoise correction has",
            "deposit runs of the structure itself",
        )
    if not programs:
        raise UnreadableOutput(
            "no_complete_step",
            f"the log of CP2K {header.version} has no energy with its end",
            "deposit the run when a step is complete",
        )
