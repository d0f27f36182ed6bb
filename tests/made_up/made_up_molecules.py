"""Small outputs of Gaussian, ORCA and NWChem in the layouts that they print."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from made_up_logs import Made
from made_up_rare_logs import lines_of

from schemas.units import BOHR


def gaussian_text(
    steps: Sequence[Made], *, method: str = "RPBEPBE", change: str = "0.23D-08", extra: Sequence[str] = (), periodic: int = 0
) -> bytes:
    """Return a log; positions of the standard orientation are other numbers than those of the input orientation.

    Of the cells as many vectors as periodic says are translation vectors: then there is no standard orientation.
    """
    text = [
        " Entering Gaussian System, Link 0=g16",
        " Entering Link 1 = l1.exe PID=     15028.",
        " Gaussian 16:  ES64L-G16RevA.03 25-Dec-2016",
        " --------------------",
        " #p opt pbepbe/6-31g* EmpiricalDispersion=GD3BJ",
        " --------------------",
        " Charge =  1 Multiplicity = 2",
    ]
    for step in steps:
        vectors = step.edge * np.eye(3)[:periodic]
        on_vectors = -vectors / 1000.0
        tables = (("Input", step.positions),) if periodic else (("Input", step.positions), ("Standard", -step.positions))
        forces = np.vstack([step.forces, on_vectors])
        for name, places in tables:
            text += [
                f"                          {name} orientation:                          ",
                " ---------------------------------------------------------------------",
                " Center     Atomic      Atomic             Coordinates (Angstroms)",
                " Number     Number       Type             X           Y           Z",
                " ---------------------------------------------------------------------",
                *(
                    f"{n + 1:7d}{z:11d}{0:12d}    " + "".join(f"{x:12.6f}" for x in row)
                    for n, (z, row) in enumerate(zip((12, 8, -2, -2, -2), [*places, *vectors], strict=False))
                ),
                " ---------------------------------------------------------------------",
            ]
        lengths = "".join(f"{x:12.6f}" for x in np.linalg.norm(vectors, axis=1))
        text += [
            *([f" Lengths of translation vectors: {lengths}"] if periodic else []),
            " Standard basis: 6-31G(d) (6D, 7F)",
            *([" Using k point mesh (from -Pi to Pi):", " K space mesh: X=       8 Y=       6 Z=       0"] if periodic else []),
            *([" A half-cell shift: 0", " CountK=T Total number of k points:      25"] if periodic else []),
            " Requested convergence on RMS density matrix=1.00D-08 within 128 cycles.",
            f" SCF Done:  E({method}) = {step.energy:16.10f}     A.U. after    8 cycles",
            f"            NFock=  8  Conv={change}     -V/T= 2.0111",
            *extra,
            " Center     Atomic                   Forces (Hartrees/Bohr)",
            " Number     Number              X              Y              Z",
            " -------------------------------------------------------------------",
            *(
                f"{n + 1:7d}{z:9d}       " + "".join(f"{x:15.9f}" for x in row)
                for n, (z, row) in enumerate(zip((12, 8), step.forces, strict=True))
            ),
            *("              -2       " + "".join(f"{x:15.9f}" for x in row) for row in on_vectors),
            " -------------------------------------------------------------------",
            f" Cartesian Forces:  Max     {abs(forces).max():.9f} RMS     {(forces**2).mean() ** 0.5:.9f}",
        ]
    return lines_of(text, " Normal termination of Gaussian 16 at Tue Jun 25 00:14:07 2019.")


def orca_text(steps: Sequence[Made], *, change: float = 1e-10, settings: Sequence[str] = (), suffix: str = "") -> bytes:
    """Return an output of an optimisation; change is the last change of energy of each cycle."""
    text = [
        "",
        "                                 *****************",
        "                                 * O   R   C   A *",
        "                                 *****************",
        "                         Program Version 5.0.1 -  RELEASE  -",
        "Your calculation utilizes the basis: def2-SVP",
        "|  1> ! PBE0 D3BJ def2-SVP opt CPCM(water)",
    ]
    for k, step in enumerate(steps):
        text += [
            f"         *                GEOMETRY OPTIMIZATION CYCLE {k + 1:3d}            *",
            "CARTESIAN COORDINATES (ANGSTROEM)",
            "---------------------------------",
            *(f"  {s:<2s}" + "".join(f"{x:14.6f}" for x in row) for s, row in zip(("Mg", "O"), step.positions, strict=True)),
            "",
            " Density Functional     Method          .... DFT(GTOs)",
            *settings,
            "   Fraction HF Exchange ScalHFX         ....  0.250000",
            " Hartree-Fock type      HFTyp           .... UKS",
            " Total Charge           Charge          ....    -1",
            "               *           SCF CONVERGED AFTER  12 CYCLES          *",
            f"  Last Energy change         ...    {change:.4e}  Tolerance :   1.0000e-08",
            f"FINAL SINGLE POINT ENERGY      {step.energy:.12f}{suffix}",
            "CARTESIAN GRADIENT",
            "------------------",
            "",
            *(
                f"{n + 1:4d}   {s:<2s}  :" + "".join(f"{x:15.9f}" for x in row)
                for n, (s, row) in enumerate(zip(("Mg", "O"), -step.forces, strict=True))
            ),
            "",
            f"Norm of the cartesian gradient     ...   {(step.forces**2).sum() ** 0.5:15.10f}",
        ]
    return lines_of(text, "                             ****ORCA TERMINATED NORMALLY****")


def nwchem_text(steps: Sequence[Made], *, change: str = "-8.95D-09", tasks: Sequence[int] = (0,), searched: bool = False) -> bytes:
    """Return a log with a task of the steps for each charge; searched puts an energy without a geometry behind the first one."""
    text = ["              Northwest Computational Chemistry Package (NWChem) 7.0.2"]
    for charge in tasks:
        text += ["                           NWChem Geometry Optimization"]
        for k, step in enumerate(steps):
            text += [
                *_nwchem_places(step),
                "       Tag                 Description            Shells   Functions and Types",
                " ---------------- ------------------------------  ------  ---------------------",
                " Mg                          6-31G*                  6       14   3s2p1d",
                " O                           6-31G*                  6       14   3s2p1d",
                "",
                "          Wavefunction type:  closed shell.",
                f"          Charge           :  {charge:4d}",
                "          Convergence on energy requested:  1.00D-06",
                "          Convergence on density requested:  1.00D-05",
                "              XC Information",
                "              --------------",
                "                       PBE0 Method XC Functional",
                "                     Hartree-Fock (Exact) Exchange  0.250          ",
                "          PerdewBurkeErnzerhof Exchange Functional  0.750          ",
                "            Perdew 1991 LDA Correlation Functional  1.000 local    ",
                "           PerdewBurkeErnz. Correlation Functional  1.000 non-local",
                "",
                *_nwchem_energy(step.energy, change),
                "                         DFT ENERGY GRADIENTS",
                "",
                "    atom               coordinates                        gradient",
                "                 x          y          z           x          y          z",
                *(
                    f"{n + 1:4d} {s:<2s}  " + "".join(f"{x / BOHR:11.6f}" for x in row) + "".join(f"{-x:11.6f}" for x in force)
                    for n, (s, row, force) in enumerate(zip(("Mg", "O"), step.positions, step.forces, strict=True))
                ),
                "",
                f"@ {k:4d} {step.energy:15.8f}  0.0D+00  0.02440  0.01151  0.00000  0.00000     59.3",
            ]
            text += _nwchem_energy(step.energy + 0.5, change) if searched and k == 0 else []
        text += [" Task  times  cpu:        1.7s     wall:        1.8s"]
    return lines_of(text)


def plane_waves_text(steps: Sequence[Made], *, ramp: bool = False, searched: bool = False, ended: str = "tolerance ok. iteration") -> bytes:
    """Return a log of an optimisation with pspw; ramp solves the first step at a lower cutoff before, searched adds a line search."""
    text = [
        "              Northwest Computational Chemistry Package (NWChem) 7.0.2",
        "                           NWChem Geometry Optimization",
    ]
    for k, step in enumerate(steps):
        text += _nwchem_places(step)
        text += _plane_waves(step.energy + 0.5, step, 12.5, ended) if ramp and k == 0 else []
        text += _plane_waves(step.energy, step, 25.0, ended, forces=True)
        text += _plane_waves(step.energy + 0.1, step, 25.0, ended) if searched and k == 0 else []
    return lines_of(text, " Task  times  cpu:        1.7s     wall:        1.8s")


def _nwchem_places(step: Made) -> list[str]:
    return [
        " Output coordinates in angstroms (scale by  1.889725989 to convert to a.u.)",
        "  No.       Tag          Charge          X              Y              Z",
        *(
            f"{n + 1:5d} {s:<16s} {z:10.4f}" + "".join(f"{x:15.8f}" for x in row)
            for n, (s, z, row) in enumerate(zip(("Mg", "O"), (12, 8), step.positions, strict=True))
        ),
        "",
        "      Atomic Mass ",
    ]


def _plane_waves(energy: float, step: Made, cutoff: float, ended: str, *, forces: bool = False) -> list[str]:
    rows = [
        " Ion Forces:",
        *(
            f"{n + 1:9d} {s:<2s}   (" + "".join(f"{x:12.6f}" for x in row) + " )"
            for n, (s, row) in enumerate(zip(("Mg", "O"), step.forces, strict=True))
        ),
        "        C.O.M. (    0.000000   -0.000000   -0.000000 )",
        f"          |F|       =   {np.linalg.norm(step.forces):.6E}",
    ]
    return [
        "          *               NWPW PSPW Calculation              *",
        "      boundary conditions  = periodic    (version3)",
        "      electron spin        = restricted",
        "      exchange-correlation = PBE96 (White and Bird) parameterization",
        "      dispersion correction= Grimme3",
        "",
        " elements involved in the cluster:",
        *(
            line
            for n, symbol in enumerate(("Mg", "O"))
            for line in (
                f"      {n + 1}: {symbol:<2s}  valence charge:  6.0000  lmax=  2",
                "             comment    : Hamann pseudopotential",
                "             cutoff =   0.700   0.800",
                "",
            )
        ),
        " total charge:   0.000",
        " supercell:",
        f"      lattice:    a1=<{step.edge / BOHR:8.3f}   0.000   0.000 >",
        f"                  a2=<   0.000{step.edge / BOHR:8.3f}   0.000 >",
        f"                  a3=<   0.000   0.000{step.edge / BOHR:8.3f} >",
        f"                  omega={(step.edge / BOHR) ** 3:12.1f}",
        f"      density cutoff= {2 * cutoff:.3f}  fft= 48x 48x 48(    23917 waves     5979 per task)",
        f"      wavefnc cutoff= {cutoff:.3f}  fft= 48x 48x 48(     8440 waves     2110 per task)",
        "      50   -0.1652426641E+02   -0.71817E-07    0.14638E-07",
        f"  *** {ended} terminated",
        f" total     energy    : {energy:18.10E} (   -0.55081E+01/ion)",
        "",
        f" Total PSPW energy     : {energy:18.10E}",
        *(rows if forces else []),
        "",
    ]


def _nwchem_energy(energy: float, change: str) -> list[str]:
    return [
        f" d= 0,ls=0.0,diis     7 {energy:17.10f} {change}  2.90D-09  6.36D-16     0.3",
        "",
        f"         Total DFT energy = {energy:22.12f}",
        "      One electron energy =      -79.811246351576",
    ]
