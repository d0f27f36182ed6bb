"""Logs of CP2K at PRINT_LEVEL LOW with the input that they need beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from made_up_logs import Made, cp2k_text

from lake.readers.cp2k.log import Cp2kReader, is_companion
from schemas.calculations import Run
from schemas.errors import UnreadableOutput

INPUT = """&GLOBAL ! names
  PROJECT X
  RUN_TYPE {run}
  PRINT_LEVEL LOW
&END GLOBAL
@SET EDGE 4.25
{motion}
&FORCE_EVAL
  &DFT
    CHARGE 0
    &MGRID
      CUTOFF 400
    &END
    &XC
      &XC_FUNCTIONAL PBE
      &END XC_FUNCTIONAL
      &VDW_POTENTIAL
        POTENTIAL_TYPE PAIR_POTENTIAL
        &PAIR_POTENTIAL
          TYPE DFTD3(BJ)
        &END
      &END
    &END XC
  &END DFT
  &SUBSYS
    &CELL
      ABC [angstrom] ${{EDGE}} $EDGE \\
        4.25
    &END CELL
    {atoms}
    &KIND Mg
      BASIS_SET DZVP-MOLOPT-SR-GTH
      POTENTIAL GTH-PBE-q6
    &END KIND
    &KIND O1
      ELEMENT O
      BASIS_SET DZVP-MOLOPT-SR-GTH
      POTENTIAL GTH-PBE-q10
    &END KIND
  &END SUBSYS
&END FORCE_EVAL
"""


def low_text(steps: Sequence[Made], run: str, *, atoms: int = 2, electrons: int = 16) -> bytes:
    """Return a log that prints energies, numbers of atoms and electrons, and little else."""
    text = re.sub(rb"\n MODULE QUICKSTEP.*?\n\n   Atom.*?\n\n.*?\n\n", b"\n", cp2k_text(steps, run=run), flags=re.DOTALL)
    text = re.sub(rb"\n ATOMIC FORCES.*?SUM OF ATOMIC FORCES[^\n]*|\n STRESS\|[^\n]*", b"", text, flags=re.DOTALL)
    text = re.sub(
        rb"\n (?:CELL|DFT|FUNCTIONAL)\|[^\n]*|\n +\d\. Atomic kind.*|\n +(?:Orbital Basis|GTH Pot).*|\n QS\| Dens[^\n]*", b"", text
    )
    names = "\n CP2K| Input file name     x.inp\n GLOBAL| Project name    X\n"
    head = f"{names}       - Atoms:      {atoms}\n Number of electrons:   {electrons}\n"
    return text.replace(b"\n GLOBAL| Run", head.encode() + b" GLOBAL| Run", 1)


def input_text(step: Made, run: str, *, motion: str = "", unit: str = "") -> bytes:
    """Return an input with the places of a step."""
    rows = "\n".join(f"{label} {' '.join(map(str, row))}" for label, row in zip(("Mg", "O1"), step.positions.tolist(), strict=True))
    return INPUT.format(run=run, motion=motion, atoms=f"&COORD\n{unit}\n{rows}\n&END COORD").encode()


def read(log: bytes, **beside: bytes) -> Run:
    """Return the one run of a log with files beside it, named by their part of the name."""
    reader = Cp2kReader()
    reader.feed(log)
    for name, text in beside.items():
        full = {"inp": "x.inp", "restart": "X-1.restart", "pos": "X-pos-1.xyz", "frc": "X-frc-1.xyz", "cell": "X-1.cell"}.get(name, name)
        assert is_companion(full)
        reader.take_companion(full, text)
    (run,) = reader.close()
    return run


def refused(log: bytes, **beside: bytes) -> UnreadableOutput:
    """Return the refusal of a log with files beside it."""
    with pytest.raises(UnreadableOutput) as refusal:
        read(log, **beside)
    return refusal.value
