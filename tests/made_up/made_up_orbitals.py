"""Small outputs of SIESTA and OpenMX, written for tests after the layouts that these codes print."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from made_up_logs import SYMBOLS, Made, rows_of

from schemas.units import BOHR


def siesta_text(
    steps: Sequence[Made],
    *,
    single: bool = True,
    coordinates: bool = True,
    change: float = 1e-5,
    entropy: float = -0.0031,
    ended: bool = True,
) -> bytes:
    """Return an output; energy is E_KS, and stress is in kbar."""
    bohr = 0.529177210903
    head = [
        "Siesta Version: siesta-4.0--500",
        "                           *  WELCOME TO SIESTA  *       ",
        " Species number:            1  Label: Mg Atomic number:          12",
        " Species number:            2  Label: O Atomic number:           8",
        "xc_check: Exchange-correlation functional:",
        "xc_check: GGA Perdew, Burke & Ernzerhof 1996",
        "siesta: Atomic coordinates (Bohr) and species",
        *(f"siesta:  {row}  {k + 1}        {k + 1}" for k, row in enumerate(rows_of(steps[0].positions / bohr, "%10.5f"))),
        "",
        "initatomlists: Number of atoms, orbitals, and projectors:      2    26    18",
        "redata: Mesh Cutoff                      =   200.0000  Ry",
        "redata: Max. number of SCF Iter          =      100",
        "redata: DM Tolerance for SCF             =     0.000100",
        "redata: Electronic Temperature           =     0.0019  Ry",
        f"redata: Dynamics option                  =     {'Single-point calculation' if single else 'CG coord. optimization'}",
        "redata: ***********",
        "siesta: k-grid: Number of k-points =    63",
        *(f"siesta: k-grid:  {row}      0.000" for row in ("  5   0   0", "  0   5   0", "  0   0   5")),
    ]
    titles = ["Single-point calculation" if single else f"Begin CG opt. move = {k:6d}" for k in range(len(steps))]
    body = [line for title, step in zip(titles, steps, strict=True) for line in _siesta_step(title, step, coordinates, change, entropy)]
    return "\n".join([*head, *body, *([">> End of run:   7-JUL-2016   8:44:56", ""] if ended else [""])]).encode()


def _siesta_step(title: str, step: Made, coordinates: bool, change: float, entropy: float) -> list[str]:
    s, free, single = step.stress, step.energy + entropy, title.startswith("Single")
    table = ["outcoor: Atomic coordinates (Ang):                          "]
    table += [f"{row}   {n + 1}       {n + 1}  {SYMBOLS[n]}" for n, row in enumerate(rows_of(step.positions, "%14.8f"))]
    report = [
        "siesta: Program's energy decomposition (eV):",
        f"siesta: Etot    =      {step.energy:.6f}",
        f"siesta: FreeEng =      {free:.6f}",
        "",
        "siesta: Final energy (eV):",
        "siesta: Stress tensor (static) (eV/Ang**3):",
        *(f"siesta: {row}" for row in rows_of(s * 0.1 / 160.2176634, "%12.6f")),
        "",
        "siesta: Pressure (static):",
        "siesta:                Solid            Molecule  Units",
        "siesta:           0.00002546          0.00000137  Ry/Bohr**3",
        f"siesta: {-np.trace(s) / 3 * 0.1 / 160.2176634:20.8f}          0.00012613  eV/Ang**3",
    ]
    return [
        "",
        f"                        {title}",
        "                     ====================================",
        *(table if coordinates else []),
        "",
        "outcell: Unit cell vectors (Ang):",
        *rows_of(np.eye(3) * step.edge, "%16.6f"),
        "",
        f"outcell: Cell volume (Ang**3)        : {step.edge**3:11.4f}",
        "",
        "   scf: iscf   Eharris(eV)      E_KS(eV)   FreeEng(eV)    dDmax  Ef(eV)",
        f"   scf:    1     {step.energy - 1:.4f}     {step.energy + 0.1:.4f}     {free + 0.1:.4f}  1.61892 -2.7459",
        f"   scf:    8     {step.energy:.4f}     {step.energy:.4f}     {step.energy + entropy:.4f}  {change:.5f} -2.9877",
        f"siesta: E_KS(eV) =             {step.energy:.4f}",
        "",
        "siesta: Atomic forces (eV/Ang):",
        *(f"     {n + 1}{row}" for n, row in enumerate(rows_of(step.forces, "%12.6f"))),
        "----------------------------------------",
        "   Tot    0.0    0.0    0.0",
        "----------------------------------------",
        f"   Max {np.abs(step.forces).max():11.6f}",
        "",
        "Stress-tensor-Voigt (kbar):" + "".join(f"{value:12.2f}" for value in (s[0, 0], s[1, 1], s[2, 2], s[0, 1], s[1, 2], s[0, 2])),
        f"Target enthalpy (eV/cell)     {free:.4f}",
        *(report if single else []),
    ]


def openmx_text(steps: Sequence[Made], *, kind: str = "nomd", change: float = 1e-8, ended: bool = True) -> bytes:
    """Return an .out; forces are in Ha/bohr."""
    edge = steps[0].edge
    head = [
        "***********************************************************",
        "  This calculation was performed by OpenMX Ver. 3.9.2",
        "<Definition.of.Atomic.Species",
        "  Mg1   Mg9.0-s3p2d1   Mg_PBE19",
        "  O     O6.0-s2p2d1    O_PBE19",
        "Definition.of.Atomic.Species>",
        "Atoms.Number  2",
        "Atoms.SpeciesAndCoordinates.Unit   Ang",
        "<Atoms.SpeciesAndCoordinates",
        *(f"  {k + 1}  {'Mg1' if k == 0 else 'O'} {row}  1.0  1.0" for k, row in enumerate(rows_of(steps[0].positions, "%14.7f"))),
        "Atoms.SpeciesAndCoordinates>",
        "Atoms.UnitVectors.Unit  Ang",
        "<Atoms.UnitVectors",
        *rows_of(np.eye(3) * edge, "%12.7f"),
        "Atoms.UnitVectors>",
        "scf.XcType    GGA-PBE  # LDA|GGA-PBE",
        "scf.energycutoff  200.0",
        "scf.EigenvalueSolver  band",
        "scf.Kgrid  3 3 3",
        "scf.criterion  1.0e-7",
        f"MD.Type  {kind}",
        "MD.Opt.criterion  0.3",
        "",
        f"  Cell_Volume = {(edge / BOHR) ** 3:20.12f} (Bohr^3)",
        "",
    ]
    body = [line for k, step in enumerate(steps) for line in _openmx_cycle(k + 1, step, change)]
    return "\n".join([*head, *body, *(_openmx_end(steps[-1]) if ended else [""])]).encode()


def _openmx_cycle(number: int, step: Made, change: float) -> list[str]:
    return [
        f"                  SCF history at MD= {number}                    ",
        "***********************************************************",
        "",
        "   SCF=   1  NormRD=  1.000000000000  Uele= -9.185128727141",
        f"   SCF=   2  NormRD=  0.100000000000  Uele= {-7.8:.12f}",
        f"   SCF=   3  NormRD=  0.000000187982  Uele= {-7.8 + change:.12f}",
        f"  Utot.        {step.energy:.12f}",
        "",
        "  Utot = Ukin+UH0",
        "  Chemical potential (Hartree)      -0.201119184494",
        "***********************************************************",
    ]


def _openmx_end(step: Made) -> list[str]:
    return [
        "       xyz-coordinates (Ang) and forces (Hartree/Bohr)  ",
        "***********************************************************",
        "",
        "<coordinates.forces",
        "  2",
        *(
            f"  {k + 1}  {SYMBOLS[k]:>3} {p} {f}"
            for k, (p, f) in enumerate(zip(rows_of(step.positions, "%10.5f"), rows_of(step.forces, "%16.12f"), strict=True))
        ),
        "coordinates.forces>",
        "",
        "       Fractional coordinates of the final structure       ",
        "***********************************************************",
        "",
        *(f"     {k + 1}     {SYMBOLS[k]:>3} {row}" for k, row in enumerate(rows_of(step.positions / step.edge, "%18.14f"))),
        "",
        "   Elapsed.Time.       260.811",
        "",
    ]


def openmx_md_text(steps: Sequence[Made], times: Sequence[float]) -> bytes:
    """Return an .md."""
    lines = []
    for time, step in zip(times, steps, strict=True):
        cell = " ".join(f"{value:.5f}" for value in (np.eye(3) * step.edge).ravel())
        lines += ["2 ", f"   time= {time:8.3f} (fs)  Energy= {step.energy:.5f} (Hartree) Cell_Vectors= {cell} "]
        lines += [
            f"  {SYMBOLS[k]:>2} {p} {f}   0.0 0.0 0.0  1.0"
            for k, (p, f) in enumerate(zip(rows_of(step.positions, "%10.5f"), rows_of(step.forces, "%10.5f"), strict=True))
        ]
    return "\n".join([*lines, ""]).encode()
