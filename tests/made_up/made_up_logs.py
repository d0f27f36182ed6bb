"""Small outputs of CP2K, ABINIT, SIESTA and OpenMX, written for tests after the layouts that these codes print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SYMBOLS = ("Mg", "O")
CHARGES = (12, 8)


@dataclass(frozen=True)
class Made:
    """One step of two atoms in a cubic cell, in the units of the code that prints it."""

    energy: float
    positions: np.ndarray
    forces: np.ndarray
    stress: np.ndarray
    edge: float = 4.25


def make_steps(count: int, *, seed: int = 1, edge: float = 4.25) -> list[Made]:
    """Return steps with numbers of as many decimals as are printed."""
    random = np.random.default_rng(seed)
    steps = []
    for k in range(count):
        stress = random.normal(size=(3, 3)).round(6)
        energy = round(-80.0 - float(random.random()), 10)
        forces = random.normal(scale=0.02, size=(2, 3)).round(8)
        positions = (np.array([[0.1, 0.2, 0.3], [2.1, 2.2, 2.3]]) + 0.01 * k + random.normal(scale=0.05, size=(2, 3))).round(6)
        steps.append(Made(energy, positions, forces, np.triu(stress) + np.triu(stress, 1).T, edge))
    return steps


def _rows(values: np.ndarray, form: str) -> list[str]:
    return ["".join(form % value for value in row) for row in values]


def cp2k_text(
    steps: Sequence[Made], *, run: str = "ENERGY_FORCE", layout: str = "2023", cycle: str = "", ended: bool = True, method: str = "GPW"
) -> bytes:
    """Return a log; layout is '7' (before 8.1), '2023' or '2025', cycle stands for the printed cycle of each step."""
    head = [
        "  **** **** ******  **  PROGRAM STARTED AT               2023-04-27 11:54:09.638",
        " CP2K| version string:                                       CP2K version 2023.1",
        f" GLOBAL| Run type                            {run}",
        " CELL| Volume [angstrom^3]:                                            76.765625",
        *(
            f" CELL| Vector {n} [angstrom]:  {vector}   |{n}| =     {steps[0].edge:.6f}"
            for n, vector in zip("abc", _axes(steps[0].edge), strict=True)
        ),
        " CELL| Periodicity                                                           XYZ",
        " DFT| Spin restricted Kohn-Sham (RKS) calculation                            RKS",
        " DFT| Charge                                                                   0",
        " FUNCTIONAL| PBE:",
        " FUNCTIONAL| J.P.Perdew, K.Burke, M.Ernzerhof, Phys. Rev. Letter, vol. 77, n 18,",
        f" QS| Method:                                                                 {method}",
        " QS| Density cutoff [a.u.]:                                                200.0",
        *_kinds(),
        " MODULE QUICKSTEP: ATOMIC COORDINATES IN ANGSTROM",
        "",
        "   Atom Kind Element         X             Y             Z       Z(eff)     Mass",
        "",
        *(
            f"      {k + 1}    {k + 1} {SYMBOLS[k]:2}   {CHARGES[k]:2} {row}   6.0000  15.9994"
            for k, row in enumerate(_rows(steps[0].positions, "%14.6f"))
        ),
        "",
        "                        max_scf:                                              60",
        "                        eps_scf:                                        1.00E-07",
        "",
    ]
    body = [line for step in steps for line in _cp2k_step(step, layout, cycle)]
    tail = ["  **** **** ******  **  PROGRAM ENDED AT                 2023-04-27 12:00:16.785", ""] if ended else []
    return "\n".join([*head, *body, *tail]).encode()


def _axes(edge: float) -> list[str]:
    return ["".join(f"{edge if k == n else 0.0:10.3f}" for k in range(3)) for n in range(3)]


def _kinds() -> list[str]:
    return [
        line
        for k, symbol in enumerate(SYMBOLS)
        for line in (
            f"  {k + 1}. Atomic kind: {symbol}                                    Number of atoms:       1",
            "     Orbital Basis Set                                        DZVP-MOLOPT-SR-GTH",
            f"     GTH Potential information for                                   GTH-PBE-q{6 + 4 * k}",
        )
    ]


CONVERGED = """ SCF WAVEFUNCTION OPTIMIZATION

     1 NoMix/Diag. 0.30E+00    1.2     2.02315309      -318.8031175509 -3.19E+02
    13 Broy./Diag. 0.30E+00    1.3     0.00000009      -317.7338182859  2.52E-06

  *** SCF run converged in    13 steps ***
"""


def _cp2k_step(step: Made, layout: str, cycle: str) -> list[str]:
    label = {"7": "energy (a.u.):", "2023": "energy [a.u.]:", "2025": "energy [hartree]"}[layout]
    forces = _rows(step.forces, "%15.8f")
    if layout == "2025":
        table = [
            " FORCES| Atomic forces [hartree/bohr]",
            " FORCES|   Atom     x               y               z               |f|",
            *(f" FORCES|      {k + 1} {' '.join(f'{value:15.8E}' for value in row)}  1.0E-02" for k, row in enumerate(step.forces)),
            " FORCES| Sum     0.0  0.0  0.0",
        ]
    else:
        table = [
            " ATOMIC FORCES in [a.u.]",
            "",
            " # Atom   Kind   Element          X              Y              Z",
            *(f"      {k + 1}      {k + 1}      {SYMBOLS[k]:2}     {row}" for k, row in enumerate(forces)),
            " SUM OF ATOMIC FORCES           0.00000000     0.00000000     0.00000000     0.00000000",
        ]
    if layout == "7":
        stress = [" STRESS TENSOR [GPa]", "", "            X               Y               Z"]
        stress += [f"  {axis}  {row}" for axis, row in zip("XYZ", _rows(step.stress, "%16.8f"), strict=True)]
    else:
        stress = [" STRESS| Analytical stress tensor [GPa]", " STRESS|                        x                   y                   z"]
        stress += [f" STRESS|      {axis} {row}" for axis, row in zip("xyz", _rows(step.stress, "%20.11E"), strict=True)]
    energy = f" ENERGY| Total FORCE_EVAL ( QS ) {label}   {step.energy:.15f}"
    return [*(cycle or CONVERGED).split("\n"), energy, "", *table, "", *stress, "", " Number of electrons:      64"]


def xyz_text(steps: Sequence[Made], numbers: Sequence[int], *, forces: bool = False) -> bytes:
    """Return PROJECT-pos-1.xyz (or -frc-) with the given numbers of steps."""
    lines = []
    for n, step in zip(numbers, steps, strict=True):
        values = step.forces if forces else step.positions
        lines += ["       2", f" i = {n:8d}, time = {n:12.3f}, E = {step.energy:20.10f}"]
        lines += [f" {SYMBOLS[k]:>2} {row}" for k, row in enumerate(_rows(values, "%20.10f"))]
    return "\n".join([*lines, ""]).encode()


def abinit_text(
    datasets: Sequence[Sequence[Made]], *, moving: bool = False, residual: float = 1e-12, ended: bool = True, extra: str = ""
) -> bytes:
    """Return an output; a dataset with moving atoms has several steps, and stress is in 1e-4 Ha/bohr^3."""
    edge = datasets[0][0].edge
    head = [
        "",
        ".Version 9.6.2 of ABINIT ",
        "",
        "-outvars: echo values of preprocessed input variables --------",
        f"            acell      {edge:.10E}  {edge:.10E}  {edge:.10E} Bohr",
        "             ecut      1.80000000E+01 Hartree",
        "              ixc          11",
        f"           ionmov           {2 if moving else 0}",
        "         kptrlatt        2    0    0      0    2    0      0    0    2",
        "            natom           2",
        f"           ndtset           {len(datasets)}",
        "            nstep          60",
        "           occopt           1",
        "           tolvrs      1.00000000E-10",
        "            typat      1  2",
        *([extra] if extra else []),
        "            znucl       12.00000    8.00000",
        "",
        "================================================================================",
    ]
    body = [line for k, steps in enumerate(datasets) for line in _abinit_dataset(k + 1, steps, moving, residual)]
    tail = ["== END DATASET(S) ==============================================================", "", " Calculation completed.", ""]
    return "\n".join([*head, *body, *(tail if ended else [""])]).encode()


def _abinit_dataset(number: int, steps: Sequence[Made], moving: bool, residual: float) -> list[str]:
    edge = steps[0].edge
    cell = [f" R({n + 1})= {'  '.join(f'{edge if k == n else 0.0:.7f}' for k in range(3))}  G({n + 1})=  0.1" for n in range(3)]
    pseudos = [f"- pspini: atom type   {k + 1}  psp file is ./psp/{symbol}.xml" for k, symbol in enumerate(SYMBOLS)]
    lines = [f"== DATASET  {number} ==================================================================", *cell, *pseudos]
    if not moving:
        return [*lines, *_abinit_cycle(steps[0], residual), *_abinit_end(steps[0])]
    for k, step in enumerate(steps):
        lines += [f"--- Iteration: ({k + 1:2d}/10) Internal Cycle: (1/1)", *_abinit_cycle(step, residual), *_abinit_output(step)]
    return [*lines, *_abinit_end(steps[-1])]


def _abinit_cycle(step: Made, residual: float) -> list[str]:
    s = step.stress * 1e-4
    return [
        "",
        "     iter   Etot(hartree)      deltaE(h)  residm     vres2",
        f" ETOT  1  {step.energy + 0.5:.13f}    -8.825E+00 1.477E-04 2.108E+00",
        f" ETOT  2  {step.energy:.13f}    -1.000E-09 1.477E-14 {residual:.3E}",
        "",
        " Cartesian components of stress tensor (hartree/bohr^3)",
        f"  sigma(1 1)= {s[0, 0]:15.8E}  sigma(3 2)= {s[2, 1]:15.8E}",
        f"  sigma(2 2)= {s[1, 1]:15.8E}  sigma(3 1)= {s[2, 0]:15.8E}",
        f"  sigma(3 3)= {s[2, 2]:15.8E}  sigma(2 1)= {s[1, 0]:15.8E}",
        "",
    ]


def _abinit_output(step: Made) -> list[str]:
    cell = np.eye(3) * step.edge
    return [
        "---OUTPUT-----------------------------------------------------------------------",
        "",
        " Cartesian coordinates (xcart) [bohr]",
        *_rows(step.positions, "%22.14E"),
        " Reduced coordinates (xred)",
        *_rows(step.positions / step.edge, "%22.14E"),
        " Cartesian forces (fcart) [Ha/bohr]; max,rms= 1.0E-02 1.0E-02 (free atoms)",
        *_rows(step.forces, "%22.14E"),
        " Real space primitive translations (rprimd) [bohr]",
        *_rows(cell, "%22.14E"),
        f" Total energy (etotal) [Ha]= {step.energy:.14E}",
        "",
    ]


def _abinit_end(step: Made) -> list[str]:
    return [
        "",
        " ----iterations are completed or convergence reached----",
        "",
        " reduced coordinates (array xred) for    2 atoms",
        *_rows(step.positions / step.edge, "%20.12f"),
        "",
        " cartesian forces (hartree/bohr) at end:",
        *(f"    {k + 1} {row}" for k, row in enumerate(_rows(step.forces, "%20.14f"))),
        "",
    ]


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
        *(f"siesta:  {row}  {k + 1}        {k + 1}" for k, row in enumerate(_rows(steps[0].positions / bohr, "%10.5f"))),
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
    table += [f"{row}   {n + 1}       {n + 1}  {SYMBOLS[n]}" for n, row in enumerate(_rows(step.positions, "%14.8f"))]
    report = [
        "siesta: Program's energy decomposition (eV):",
        f"siesta: Etot    =      {step.energy:.6f}",
        f"siesta: FreeEng =      {free:.6f}",
        "",
        "siesta: Final energy (eV):",
        "siesta: Stress tensor (static) (eV/Ang**3):",
        *(f"siesta: {row}" for row in _rows(s * 0.1 / 160.2176634, "%12.6f")),
    ]
    return [
        "",
        f"                        {title}",
        "                     ====================================",
        *(table if coordinates else []),
        "",
        "outcell: Unit cell vectors (Ang):",
        *_rows(np.eye(3) * step.edge, "%16.6f"),
        "",
        "   scf: iscf   Eharris(eV)      E_KS(eV)   FreeEng(eV)    dDmax  Ef(eV)",
        f"   scf:    1     {step.energy - 1:.4f}     {step.energy + 0.1:.4f}     {free + 0.1:.4f}  1.61892 -2.7459",
        f"   scf:    8     {step.energy:.4f}     {step.energy:.4f}     {step.energy + entropy:.4f}  {change:.5f} -2.9877",
        f"siesta: E_KS(eV) =             {step.energy:.4f}",
        "",
        "siesta: Atomic forces (eV/Ang):",
        *(f"     {n + 1}{row}" for n, row in enumerate(_rows(step.forces, "%12.6f"))),
        "----------------------------------------",
        "   Tot    0.0    0.0    0.0",
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
        *(f"  {k + 1}  {'Mg1' if k == 0 else 'O'} {row}  1.0  1.0" for k, row in enumerate(_rows(steps[0].positions, "%14.7f"))),
        "Atoms.SpeciesAndCoordinates>",
        "Atoms.UnitVectors.Unit  Ang",
        "<Atoms.UnitVectors",
        *_rows(np.eye(3) * edge, "%12.7f"),
        "Atoms.UnitVectors>",
        "scf.XcType    GGA-PBE  # LDA|GGA-PBE",
        "scf.energycutoff  200.0",
        "scf.EigenvalueSolver  band",
        "scf.Kgrid  3 3 3",
        "scf.criterion  1.0e-7",
        f"MD.Type  {kind}",
        "MD.Opt.criterion  0.3",
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
            for k, (p, f) in enumerate(zip(_rows(step.positions, "%10.5f"), _rows(step.forces, "%16.12f"), strict=True))
        ),
        "coordinates.forces>",
        "",
        "       Fractional coordinates of the final structure       ",
        "***********************************************************",
        "",
        *(f"     {k + 1}     {SYMBOLS[k]:>3} {row}" for k, row in enumerate(_rows(step.positions / step.edge, "%18.14f"))),
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
            for k, (p, f) in enumerate(zip(_rows(step.positions, "%10.5f"), _rows(step.forces, "%10.5f"), strict=True))
        ]
    return "\n".join([*lines, ""]).encode()
