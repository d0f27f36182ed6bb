"""The reader of pw.x's stdout: functional, smearing and corrections in the level of theory."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_pw_text import END, header, read, scf

from schemas.units import RYDBERG


@pytest.mark.parametrize(("ngauss", "name"), [(0, "gaussian"), (1, "methfessel-paxton"), (-1, "marzari-vanderbilt"), (-99, "fermi-dirac")])
def test_version_4_prints_the_number_of_its_smearing(ngauss: int, name: str) -> None:
    points = "number of k points=     1"
    line = f"{points}  gaussian broad. (Ry)=  0.0200     ngauss = {ngauss:3d}"
    (run,) = read((header() + scf(-10.0) + "\n" + END).replace(points, line).encode())
    assert (run.level_of_theory.smearing, run.level_of_theory.smearing_width) == (name, 0.02 * RYDBERG)


@pytest.mark.parametrize(
    ("xc", "name"),
    [
        ("SLA  PZ   NOGX NOGC ( 1  1  0  0 0 0)", "LDA"),
        ("SLA  PW   PBX  PBC\n                           (   1   4   3   4   0   0   0)", "PBE"),
        ("PBESOL ( 1  4 10  8 0 0)", "PBEsol"),
        ("HSE ( 1  4 12  4 0 0)", "HSE06"),
        ("B3LYP ( 7 12  9  7 0 0)", "B3LYP"),
        ("RVV10\n                           (   1   4  13   4  26   0   0)", "rVV10"),
        ("VDW-DF\n                           (   1   4   4   0   1   0   0)", "vdW-DF"),
        ("SCAN ( 0  0  0  0 0 4)", "SCAN"),
        ("SLA PW RPBE XYZ (   1   4  44   4   0   0   0)", "RPBE"),
        ("NEW THING ( 99 98 97 96 0 0)", "NEW THING"),
    ],
)
def test_functional_names(xc: str, name: str) -> None:
    (run,) = read((header(xc=xc) + scf(-1.0) + END).encode())
    assert run.level_of_theory.functional == name


@pytest.mark.parametrize(
    ("line", "dispersion", "extra"),
    [
        ("     Dispersion XDM Correction =      -0.03716278 Ry", "XDM", ()),
        ("     Dispersion Correction     =      -0.03997490 Ry", "D2", ()),
        ("     Hubbard energy            =       0.14000918 Ry", "", (("hubbard_u", "on"),)),
        ("     Hubbard energy            =       0.00000000 Ry", "", ()),
        ("OSCDFT: iteration type 0: micro-iteration of OS-CDFT multipliers inside iteration of rho", "", (("oscdft", "on"),)),
        ("     External forces energy    =       0.00010000 Ry", "", (("external_forces", "on"),)),
        ("     lambda                    =       5.00 Ry", "", (("constrained_magnetization", "on"),)),
        ("     Magnetic field            =   0.0000000   0.0000000   0.0100000 Ry", "", (("magnetic_field", "on"),)),
    ],
)
def test_parts_of_the_energy_tell_what_the_header_does_not(line: str, dispersion: str, extra: tuple[tuple[str, str], ...]) -> None:
    (run,) = read((header() + scf(-10.0) + "\n" + line + "\n" + END).encode())
    assert (run.level_of_theory.dispersion, run.level_of_theory.extra) == (dispersion, extra)
    words = {"external_forces": "ATOMIC_FORCES", "constrained_magnetization": "a penalty holds magnetic moments"}
    told = [note for name, note in words.items() if (name, "on") in extra]
    assert ("altered_potential" in run.flags) == bool(told)
    assert [any(note in each for each in run.notes) for note in words.values()] == [note in told for note in words.values()]


def terms(**values: float) -> str:
    """Return the list of terms that pw.x prints below a total energy, Ry."""
    rows = "".join(f"     {name.replace('_', ' '):26s}={value:17.8f} Ry\n" for name, value in values.items())
    return f"     The total energy is the sum of the following terms:\n{rows}      -> PAW hartree energy AE =     301.05661058 Ry\n\n"


@pytest.mark.parametrize(
    ("more", "extra"),
    [
        ({}, ()),
        ({"electrostatic_embedding": -0.02, "correction_to_one-el_term": 0.02}, (("solvent", "environ"),)),
        ({"scissor": -0.25}, (("energy", "with a term that is not told"),)),
    ],
)
def test_a_total_energy_that_is_not_the_sum_of_its_terms_is_flagged(more: dict[str, float], extra: tuple[tuple[str, str], ...]) -> None:
    total = -10.0 + more.pop("scissor", 0.0)
    listed = terms(**{"one-electron_contribution": -15.0, "ewald_contribution": 5.0, **more})
    accuracy = "     convergence has been"
    (run,) = read((header() + scf(total).replace(accuracy, listed + accuracy) + END).encode())
    told = extra == (("energy", "with a term that is not told"),)
    assert (run.level_of_theory.extra, "altered_potential" in run.flags) == (extra, told)
    assert any("scissor" in note for note in run.notes) == told


def test_a_polaron_without_self_interaction_is_flagged() -> None:
    (run,) = read((header() + "     EH[np] =   0.12345678 eV\n" + scf(-10.0) + END).encode())
    assert (run.level_of_theory.extra, run.flags) == ((("self_interaction", "polaron"),), ("altered_potential",))


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (" cartesian system of reference\n        0.0000000000\n        0.0000000000\n        0.0010000000\n", "0 0 0.001 Ry a.u."),
        ("Direction :    3\n     Intensity (Ry a.u.) : 0.0010000000\n", "0.001 Ry a.u. along 3"),
        ("Direction :    3\n     Intensity (Ry a.u.) : 0.0000000000\n", ""),
    ],
)
def test_the_stress_lacks_what_a_homogeneous_field_adds(words: str, extra: str) -> None:
    stress = "\n          total   stress  (Ry/bohr**3)                   (kbar)     P=        1.00\n" + 3 * (
        3 * f"{0.0:13.8f}" + "    " + 3 * "        1.00" + "\n"
    )
    (run,) = read((header(more=f"     Using Berry phase electric field\n     {words}") + scf(-10.0) + stress + "\n" + END).encode())
    assert run.level_of_theory.extra == ((("electric_field", f"berry phase, {extra}"),) if extra else ())
    assert bool(np.isnan(run.frames.stress).all()) == bool(extra)


def test_electrons_of_the_conduction_bands_and_the_strength_of_a_sawtooth_are_in_the_level() -> None:
    above = "      0.1000 electrons are placed in the conduction manifold\n"
    above += "     Adding external electric field\n        E field amplitude [Ha a.u.]:  1.0000E-03\n"
    (run,) = read((header(more=above) + scf(-10.0) + END).encode())
    assert run.level_of_theory.extra == (("electric_field", "sawtooth, 0.001 Ha a.u."), ("electrons", "0.1 in the conduction bands"))
