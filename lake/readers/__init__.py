"""Readers of the outputs of DFT codes, and the registry that names them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from lake.readers.abacus.log import ABACUS_LOG
from lake.readers.abinit.netcdf import ABINIT_GSR, ABINIT_HIST
from lake.readers.abinit.text import ABINIT_LOG, ABINIT_OUTPUT
from lake.readers.base import PushReader, ReaderSpec
from lake.readers.castep.output import CASTEP_OUTPUT
from lake.readers.castep.trajectory import CASTEP_TRAJECTORY
from lake.readers.collections.ase_database import ASE_DATABASE
from lake.readers.collections.ase_json import ASE_JSON
from lake.readers.collections.ase_trajectory import ASE_TRAJECTORY
from lake.readers.collections.deepmd import DEEPMD_NPY
from lake.readers.collections.extxyz import EXTXYZ
from lake.readers.collections.runner_data import RUNNER_DATA
from lake.readers.cp2k.log import CP2K_LOG
from lake.readers.elk.info import ELK_INFO
from lake.readers.fhi_aims.output import FHI_AIMS_OUTPUT
from lake.readers.gaussian.log import GAUSSIAN_LOG
from lake.readers.gpaw.file import GPAW_FILE
from lake.readers.gpaw.text import GPAW_TEXT
from lake.readers.nwchem.log import NWCHEM_LOG
from lake.readers.openmx.output import OPENMX_MD, OPENMX_OUTPUT
from lake.readers.orca.output import ORCA_OUTPUT
from lake.readers.qe.text import PW_STDOUT
from lake.readers.qe.xml import PW_XML
from lake.readers.siesta.output import SIESTA_OUTPUT
from lake.readers.vasp.outcar import OUTCAR
from lake.readers.vasp.vaspout import VASPOUT
from lake.readers.vasp.xml import VASPRUN_XML

READERS: Final[tuple[ReaderSpec, ...]] = (
    VASPRUN_XML,
    OUTCAR,
    VASPOUT,
    PW_STDOUT,
    PW_XML,
    CP2K_LOG,
    ABINIT_OUTPUT,
    ABINIT_HIST,
    ABINIT_GSR,
    ABINIT_LOG,
    SIESTA_OUTPUT,
    OPENMX_OUTPUT,
    OPENMX_MD,
    FHI_AIMS_OUTPUT,
    CASTEP_OUTPUT,
    CASTEP_TRAJECTORY,
    GPAW_TEXT,
    GPAW_FILE,
    NWCHEM_LOG,
    GAUSSIAN_LOG,
    ORCA_OUTPUT,
    ABACUS_LOG,
    ELK_INFO,
    EXTXYZ,
    RUNNER_DATA,
    DEEPMD_NPY,
    ASE_TRAJECTORY,
    ASE_DATABASE,
    ASE_JSON,
)
"""All readers, in the order in which they are asked."""


_SMALL: Final = 1024
"""Files of at most so many bytes are mostly inputs, the same in all runs of a campaign."""


def find_reader(name: str, head: bytes, readers: Sequence[ReaderSpec] = READERS) -> ReaderSpec | None:
    """Return the reader that recognises an output by its base name and first bytes, or None."""
    if len(head) <= _SMALL and readers is READERS:
        return _reader_of_small(name, head)
    return next((spec for spec in readers if spec.recognises(name, head)), None)


@lru_cache(maxsize=512)
def _reader_of_small(name: str, head: bytes) -> ReaderSpec | None:
    return next((spec for spec in READERS if spec.recognises(name, head)), None)


__all__ = ["READERS", "PushReader", "ReaderSpec", "find_reader"]
