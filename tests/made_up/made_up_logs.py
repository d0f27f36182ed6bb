"""Small outputs of CP2K and ABINIT, written for tests after the layouts that these codes print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.units import GPA, HARTREE_PER_BOHR3

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


def rows_of(values: np.ndarray, form: str) -> list[str]:
    """Return a line for each row of values."""
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
            for k, row in enumerate(rows_of(steps[0].positions, "%14.6f"))
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
    forces = rows_of(step.forces, "%15.8f")
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
            " SUM OF ATOMIC FORCES     " + "".join(f"{x:15.8f}" for x in step.forces.sum(axis=0)) + "     0.00000000",
        ]
    if layout == "7":
        stress = [" STRESS TENSOR [GPa]", "", "            X               Y               Z"]
        stress += [f"  {axis}  {row}" for axis, row in zip("XYZ", rows_of(step.stress, "%16.8f"), strict=True)]
        stress += ["", f"  1/3 Trace(stress tensor): {np.trace(step.stress) / 3:16.8E}"]
    else:
        stress = [" STRESS| Analytical stress tensor [GPa]", " STRESS|                        x                   y                   z"]
        stress += [f" STRESS|      {axis} {row}" for axis, row in zip("xyz", rows_of(step.stress, "%20.11E"), strict=True)]
        stress += [f" STRESS| 1/3 Trace   {np.trace(step.stress) / 3:40.11E}"]
    energy = f" ENERGY| Total FORCE_EVAL ( QS ) {label}   {step.energy:.15f}"
    return [*(cycle or CONVERGED).split("\n"), energy, "", *table, "", *stress, "", " Number of electrons:      64"]


def xyz_text(steps: Sequence[Made], numbers: Sequence[int], *, forces: bool = False) -> bytes:
    """Return PROJECT-pos-1.xyz (or -frc-) with the given numbers of steps."""
    lines = []
    for n, step in zip(numbers, steps, strict=True):
        values = step.forces if forces else step.positions
        lines += ["       2", f" i = {n:8d}, time = {n:12.3f}, E = {step.energy:20.10f}"]
        lines += [f" {SYMBOLS[k]:>2} {row}" for k, row in enumerate(rows_of(values, "%20.10f"))]
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
    cell += [f" Unit cell volume ucvol= {edge**3:14.7E} bohr^3"]
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
        f"-Cartesian components of stress tensor (GPa)         [Pressure= {-np.trace(s) / 3 * HARTREE_PER_BOHR3 / GPA:11.4E} GPa]",
        "",
    ]


def _abinit_output(step: Made) -> list[str]:
    cell = np.eye(3) * step.edge
    return [
        "---OUTPUT-----------------------------------------------------------------------",
        "",
        " Cartesian coordinates (xcart) [bohr]",
        *rows_of(step.positions, "%22.14E"),
        " Reduced coordinates (xred)",
        *rows_of(step.positions / step.edge, "%22.14E"),
        " Cartesian forces (fcart) [Ha/bohr]; max,rms= 1.0E-02 1.0E-02 (free atoms)",
        *rows_of(step.forces, "%22.14E"),
        " Real space primitive translations (rprimd) [bohr]",
        *rows_of(cell, "%22.14E"),
        f" Unitary Cell Volume (ucvol) [Bohr^3]= {step.edge**3:21.14E}",
        f" Total energy (etotal) [Ha]= {step.energy:.14E}",
        "",
    ]


def _abinit_end(step: Made) -> list[str]:
    return [
        "",
        " ----iterations are completed or convergence reached----",
        "",
        " reduced coordinates (array xred) for    2 atoms",
        *rows_of(step.positions / step.edge, "%20.12f"),
        "",
        " cartesian forces (hartree/bohr) at end:",
        *(f"    {k + 1} {row}" for k, row in enumerate(rows_of(step.forces, "%20.14f"))),
        "",
    ]
