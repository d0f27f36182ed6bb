"""The reader of pw.x's stdout: functional, smearing and corrections in the level of theory."""

from __future__ import annotations

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
