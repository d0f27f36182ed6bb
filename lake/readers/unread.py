"""Outputs of programs that are known by their first bytes, but are not read: each is refused by name, never passed over in silence.

The words are those of the banners that the programs print, and of the first lines of files that have none.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Final

from lake.readers.hdf5 import MAGIC
from lake.readers.words import Words

_LOOKED_AT: Final = 8192
"""Bytes from the start in which a banner must stand."""
_TEXT: Final = 64
"""Bytes from the start among which a text has no zero."""


@dataclass(frozen=True)
class UnreadOutput:
    """A kind of file that is recognised and refused."""

    what: str
    """The program and the file, for people."""
    marks: tuple[bytes, ...]
    """Words of the banner; any one of them is enough."""
    reason: str = "unsupported_format"
    remedy: str = "write its frames as extended XYZ, and say keys and units with `atomlake put --units`"
    at_start: bool = False
    """The marks stand at the very start of the file, blanks aside."""


_NOT_DFT: Final = "deposit the runs of density-functional theory that it was made from, or goes with"
_DEEPMD: Final = "write it again with dpdata as `deepmd/npy`, a folder of type.raw and set.* that is read"
_TYPES: Final = (
    "write the frames as extended XYZ with the symbols of their elements, say keys and units with `atomlake put --units`, or deposit the "
    "outputs of the code that computed them; PlusStress is minus the stress times the volume, in eV"
)

UNREAD: Final[tuple[UnreadOutput, ...]] = (
    UnreadOutput("exciting (INFO.OUT)", (b"| EXCITING ",)),
    UnreadOutput("exciting (info.xml)", (b"<groundstate status=",)),
    UnreadOutput("FLEUR", (b"This is FLEUR", b"<fleurOutput")),
    UnreadOutput("CRYSTAL", (b"   CRYSTAL09   ", b"   CRYSTAL14   ", b"   CRYSTAL17   ", b"   CRYSTAL23   ")),
    UnreadOutput("Octopus", (b"Running octopus",)),
    UnreadOutput("WIEN2k (case.scf)", (b":ITE001:",)),
    UnreadOutput("CONQUEST", (b"Concurrent Order N QUantum Electronic STructure",)),
    UnreadOutput("PySCF", (b"\nPySCF version ",)),
    UnreadOutput("Psi4", (b"Psi4: An Open-Source Ab Initio", b"PSI4: An Open-Source Ab Initio")),
    UnreadOutput("Q-Chem", (b"Welcome to Q-Chem",)),
    UnreadOutput("TURBOMOLE", (b") : TURBOMOLE V", b") : TURBOMOLE rev")),
    UnreadOutput("Molpro", (b"***  PROGRAM SYSTEM MOLPRO  ***",)),
    UnreadOutput("DMol3", (b"Materials Studio DMol^3 version",)),
    UnreadOutput("JDFTx", (b"*************** JDFTx ",)),
    UnreadOutput("BigDFT", (b"A fast and precise DFT wavelet code",)),
    UnreadOutput("CPMD", (b"PROGRAM CPMD STARTED AT",)),
    UnreadOutput("GAMESS", (b"GAMESS VERSION =",)),
    UnreadOutput("ADF", (b"Amsterdam Density Functional  (ADF)",)),
    UnreadOutput("ONETEP", (b"Linear-Scaling Ab Initio Total Energy Program",)),
    UnreadOutput("Qbox", (b"<fpmd:simulation",)),
    UnreadOutput("PWmat (MOVEMENT)", (b" atoms,Iteration (fs) =", b" atoms,Iteration= ")),
    UnreadOutput("DFTB+ (tight binding)", (b"|  DFTB+ ",), "not_dft", _NOT_DFT),
    UnreadOutput("xTB (tight binding)", (b"* xtb version ",), "not_dft", _NOT_DFT),
    UnreadOutput("LAMMPS (dump)", (b"ITEM: TIMESTEP",), "not_dft", _NOT_DFT, at_start=True),
    UnreadOutput("LAMMPS (log)", (b"LAMMPS (",), "not_dft", _NOT_DFT, at_start=True),
    UnreadOutput("MLIP (.cfg of moment tensor potentials), which numbers the types of its atoms and names no element", (b"BEGIN_CFG",),
                 remedy=_TYPES, at_start=True),
)  # fmt: skip
"""Asked in this order, when no reader knows a file."""

_DPDATA: Final = UnreadOutput("dpdata (`deepmd/hdf5`)", (b"type.raw",), remedy=_DEEPMD)
_WORDS: Final = Words(*(mark for each in UNREAD for mark in each.marks))
_QUOTES: Final = (".py", ".ipynb", ".md", ".rst", ".sh", ".tex", ".html", ".f90", ".F90", ".c", ".cpp", ".java")
"""Ends of names of texts that may quote a banner."""


def unread_output(name: str, head: bytes) -> UnreadOutput | None:
    """Return what is known of a file that no reader takes, by its base name and first bytes; None for a file of an unknown kind."""
    if head.startswith(MAGIC):
        return _DPDATA if _DPDATA.marks[0] in head else None
    beginning = head[:_LOOKED_AT]
    if b"\0" in beginning[:_TEXT] or name.endswith(_QUOTES):
        return None
    found = _WORDS.places(beginning, 0, len(beginning))
    if not found:
        return None
    start = beginning.lstrip()
    return next((each for each in UNREAD if _is(each, found.keys(), start)), None)


def _is(each: UnreadOutput, found: Set[bytes], start: bytes) -> bool:
    return any(mark in found and (not each.at_start or start.startswith(mark)) for mark in each.marks)


ALL_UNREAD: Final = (*UNREAD, _DPDATA)
