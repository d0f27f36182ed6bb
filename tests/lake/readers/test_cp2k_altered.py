"""CP2K: restraints, outer potentials, ghosts and fixed atoms that alter energies or forces, as far as only the input tells of them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from made_up_cp2k_low import input_text, low_text, read
from made_up_logs import cp2k_text, make_steps, xyz_text

from schemas.errors import UnreadableOutput

RESTRAINT = b"\n RESTRAINT| Active restraint on COLVAR section Nr.1. K [a.u.]= 0.100000\n"


def test_restraints_are_in_energies_and_forces() -> None:
    steps = make_steps(2)
    log = cp2k_text(steps).replace(b"\n CELL| Volume", RESTRAINT + b" CELL| Volume")
    run = read(log)
    assert run.frames.flags == (("altered_potential",),)
    assert any("restraint on COLVAR" in note for note in run.notes)


@pytest.mark.parametrize(
    ("section", "altered"),
    [
        ("&EXTERNAL_POTENTIAL\nFUNCTION A*X^2\n&END", True),
        ("&RESCALE_FORCES\nMAX_FORCE 1\n&END", True),
        ("&PRINT\n&FORCES ON\n&END\n&END", False),
    ],
)
def test_potentials_that_only_the_input_tells_of(section: str, altered: bool) -> None:
    (step,) = make_steps(1)
    text = input_text(step, "ENERGY").replace(b"&FORCE_EVAL\n", f"&FORCE_EVAL\n{section}\n".encode(), 1)
    run = read(low_text([step], "ENERGY"), inp=text)
    assert any("altered_potential" in flags for flags in run.frames.flags) == altered


def test_ghost_atoms_are_no_atoms() -> None:
    text = cp2k_text(make_steps(1)).replace(
        b"\n  2. Atomic kind", b"\n     The atoms of this atomic kind are GHOST atoms!\n  2. Atomic kind"
    )
    with pytest.raises(UnreadableOutput) as refusal:
        read(text)
    assert refusal.value.reason == "not_energies"


@pytest.mark.parametrize(
    "told",
    [b"RT_PROPAGATION", b"EHRENFEST_DYN", b"ENERGY_FORCE\n !--------------------------- Excited State Energy -----------------------!"],
)
def test_energies_that_are_not_of_the_ground_state(told: bytes) -> None:
    with pytest.raises(UnreadableOutput) as refusal:
        read(cp2k_text(make_steps(1)).replace(b" ENERGY_FORCE", b" " + told, 1))
    assert refusal.value.reason == "not_energies"


def test_fields_solvents_and_correlation_are_in_the_level_of_theory() -> None:
    (step,) = make_steps(1)
    log = low_text([step], "ENERGY")
    lines = {
        b" PERIODIC_EFIELD| Polarisation vector:       x                      0.000000E+00\n"
        b" PERIODIC_EFIELD| Intensity List [a.u.]          1                  1.000000E-03\n": (
            "electric_field",
            "0.000000E+00 1.000000E-03",
        ),
        b"  Electric field interaction energy:     0.01\n": ("electric_field", "of a strength that is not told"),
        b" SCCS| Relative permittivity of the solvent (medium)       78.36\n": ("solvent", "SCCS 78.36"),
        b"   Second order perturbation energy  =    -0.1\n": ("correlation", "MP2"),
    }
    for line, pair in lines.items():
        assert read(cp2k_text([step]).replace(b" CELL| Volume", line + b" CELL| Volume", 1)).level_of_theory.extra == (pair,)
    field = b"&DFT\n&PERIODIC_EFIELD\nINTENSITY 0.001\nPOLARISATION 1 0 0\n&END\n"
    given = read(log, inp=input_text(step, "ENERGY").replace(b"&DFT\n", field, 1))
    assert given.level_of_theory.extra == (("electric_field", "0.001 1 0 0"),)


def test_zero_forces_of_fixed_atoms_in_a_trajectory() -> None:
    steps = make_steps(2)
    for step in steps:
        step.forces[0] = 0.0
    log = re.sub(rb"\n ATOMIC FORCES.*?SUM OF ATOMIC FORCES[^\n]*", b"", cp2k_text(steps, run="MD"), flags=re.DOTALL)
    run = read(log, pos=xyz_text(steps, [0, 1]), frc=xyz_text(steps, [0, 1], forces=True))
    assert np.isnan(run.frames.forces).all()
    assert run.frames.fixed is not None
    assert run.frames.fixed.tolist() == [[True] * 3, [False] * 3]


def test_a_single_component_may_be_fixed() -> None:
    (step,) = make_steps(1)
    step.forces[0, 2] = 0.0
    run = read(cp2k_text([step]))
    assert np.isnan(run.frames.forces).all()
    assert run.frames.fixed is not None
    assert run.frames.fixed.tolist() == [[False, False, True], [False] * 3]


def test_plumed_that_only_measures_biases_nothing() -> None:
    steps = make_steps(2)
    motion = "&MOTION\n&FREE_ENERGY\n&METADYN\nUSE_PLUMED\nPLUMED_INPUT_FILE ./plumed.dat\n&END\n&END\n&END"
    beside = {"inp": input_text(steps[0], "MD", motion=motion), "pos": xyz_text(steps, [0, 1]), "frc": xyz_text(steps, [0, 1], forces=True)}
    log, measured = low_text(steps, "MD"), b"# METAD later\nphi: TORSION ATOMS=1,2,3,4\nPRINT ARG=phi\n"
    assert np.isfinite(read(log, **beside, **{"plumed.dat": measured}).frames.forces).all()
    assert np.isnan(read(log, **beside, **{"plumed.dat": measured + b"b: BIASVALUE ARG=phi\n"}).frames.forces).all()
    assert np.isnan(read(log, **beside).frames.forces).all()
