"""What the <output> section of a pw.x XML is, where steps stand before it; releases that wrote steps beside the wrong geometry.

`add_qexsd_step` of 6.1 to 6.5 runs behind `move_ions`: each <step> has its energy and forces with the geometry of the next one. In all
releases the <output> is written behind `move_ions`: with the geometry that comes next where the run stopped before its goal, with
etot + press * omega where BFGS moves the cell, with the deviatoric stress where the volume or area is held, and with the
stress times the volume behind a dynamics of the cell (`run_pwscf.f90`, `move_ions.f90`, `vcsmd.f90`).
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.qe.xml_level import Node
from schemas.units import BOHR, HARTREE, KBAR

Floats = NDArray[np.float64]

EARLY_STEPS: Final = "pw.x 6.1 to 6.5 writes energy and forces of a step beside the geometry of the next one: its steps were left out"
MOVED_ON: Final = "the output section has the energy of the last step with another geometry or with p V in it; it was left out"
_SAME_ENERGY: Final = 1e-10
"""Ha"""
_SAME_ENTHALPY: Final = 1e-6
"""Relative: pw.x's unit of pressure differs from ours in a later digit."""
_SAME_PLACE: Final = 1e-6
"""bohr"""


def geometry_of_the_next(version: str) -> bool:
    """Return whether a release writes its <step>s behind the move of the atoms."""
    found = re.match(r"\s*v?\.?\s*(\d+)\.(\d+)", version)
    return found is not None and int(found.group(1)) == 6 and int(found.group(2)) < 6


def repeats(inputs: Node, energy: float, last_energy: float, last_cell: Floats) -> bool:
    """Return whether an output's energy (Ha) is that of the last step, or that with the p V that BFGS adds; last_cell (3, 3) in bohr."""
    difference = energy - last_energy
    if abs(difference) <= _SAME_ENERGY:
        return True
    pressure = inputs.value("cell_control", "pressure") * KBAR / HARTREE * BOHR**3
    enthalpy = pressure * abs(float(np.linalg.det(last_cell)))
    return bool(np.isfinite(enthalpy)) and abs(difference - enthalpy) <= _SAME_ENERGY + _SAME_ENTHALPY * abs(enthalpy)


def stands_still(output: Node, here: tuple[Floats, Floats], last: tuple[Floats, Floats]) -> bool:
    """Return whether an output with an energy of its own has the geometry of that energy: the optimisation ended, or nothing moved.

    here and last are (positions, cell) in bohr of the output and of the last step.
    """
    if output.words("convergence_info", "opt_conv", "convergence_achieved") == "true":
        return True
    return all(bool((np.abs(one - other) <= _SAME_PLACE).all()) for one, other in zip(here, last, strict=True))


def keeps_the_stress(inputs: Node) -> bool:
    """Return whether an output that repeats the last step has its stress as computed: cell moves change it where it lies."""
    if not inputs.words("control_variables", "calculation").startswith("vc-"):
        return True
    held = inputs.words("cell_control", "cell_dofree") or inputs.words("cell_control", "cell_do_free")
    fixed = any(inputs.words("cell_control", name) == "true" for name in ("fix_volume", "fix_area"))
    by_bfgs = (
        inputs.words("cell_control", "cell_dynamics") in {"", "bfgs"} and inputs.words("control_variables", "calculation") == "vc-relax"
    )
    return by_bfgs and not fixed and held.lower() not in {"shape", "2dshape"}


def ends_at_its_step(inputs: Node, output: Node, *, same_energy: bool) -> bool:
    """Return whether the output of an early release (see `geometry_of_the_next`) has the geometry of its energy.

    BFGS that ended leaves the atoms where they are; behind a moving cell the last SCF of its own has them too.
    """
    calculation = inputs.words("control_variables", "calculation")
    ended = output.words("convergence_info", "opt_conv", "convergence_achieved") == "true"
    by_bfgs = inputs.words("ion_control", "ion_dynamics") == "bfgs"
    return ended and ((calculation == "relax" and by_bfgs) or (calculation == "vc-relax" and not same_energy))
