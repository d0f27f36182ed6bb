"""Small outputs of CASTEP, ABACUS and Elk in the layouts that they print."""

from __future__ import annotations

from collections.abc import Sequence

from made_up_logs import Made
from made_up_rare_logs import edges, lines_of

from schemas.units import BOHR


def castep_text(steps: Sequence[Made], *, gain: float = 1e-8, samples: Sequence[float] = (), constraints: int = 3) -> bytes:
    """Return a .castep file; samples are energies of other cutoffs at the first geometry, gain the last one of each cycle."""
    text = [
        " +-------------------------------------------------+",
        " |      CCC   AA    SSS  TTTTT  EEEEE  PPPP        |",
        " | Welcome to Academic Release CASTEP version 17.2 |",
        " type of calculation                            : molecular dynamics",
        " ensemble                                       : NVT",
        " using functional                               : Perdew Burke Ernzerhof",
        " plane wave basis set cut-off                   :   300.0000   eV",
        " net charge of system                           :  0.000",
        " treating system as spin-polarized",
        " Method: Treating system as metallic with density mixing treatment of electrons,",
        " total energy / atom convergence tol.           : 0.1000E-04   eV",
        " smearing scheme                                : Gaussian",
        " smearing width                                 : 0.2000       eV",
        *_castep_geometry(steps[0]),
        "                          Files used for pseudopotentials:",
        "                                    Mg 2|2.0|5|6|7|30U:31:32",
        "                                    O 2|1.1|15|18|20|20:21(qc=7)",
        "",
        "                       MP grid size for SCF calculation is  4  4  4",
        "                       Number of kpoints used =            32",
        f"                      Number of ionic constraints     =           {constraints}",
        *(["Calculating finite basis set correction with  2 cut-off energies."] if samples else []),
    ]
    for energy in samples:
        text += ["Calculating total energy with cut-off of  290.000eV.", *_castep_cycle(energy, gain)]
    text += ["Calculating total energy with cut-off of  300.000eV."] if samples else []
    for k, step in enumerate(steps):
        text += _castep_geometry(step) if k else []
        text += [
            *_castep_cycle(step.energy, gain),
            " *********************************** Forces ***********************************",
            " *                                                                            *",
            " *                        Cartesian components (eV/A)                         *",
            " * -------------------------------------------------------------------------- *",
            " *                   x                    y                    z              *",
            " *                                                                            *",
            *(
                f" * {s:<2s}        1" + "".join(f"{x:20.5f}" for x in row) + "         *"
                for s, row in zip(("Mg", "O"), step.forces, strict=True)
            ),
            " *                                                                            *",
            " ***************** Stress Tensor *****************",
            " *                                               *",
            " *          Cartesian components (GPa)           *",
            " * --------------------------------------------- *",
            " *             x             y             z     *",
            " *                                               *",
            *(f" *  {axis} " + "".join(f"{x:14.6f}" for x in row) + "  *" for axis, row in zip("xyz", step.stress, strict=True)),
            " *                                               *",
            f" *  Pressure: {-step.stress.trace() / 3:9.4f}                          *",
            f" ... finished MD iteration          {k}",
        ]
    return lines_of(text, "Initialisation time =      0.15 s", "Total time          =     27.48 s")


def _castep_cycle(energy: float, gain: float) -> list[str]:
    return [
        "------------------------------------------------------------------------ <-- SCF",
        "SCF loop      Energy           Fermi           Energy gain       Timer   <-- SCF",
        "------------------------------------------------------------------------ <-- SCF",
        f"      1  {energy:.8E}  6.61929519E+000   2.34E+001       0.54  <-- SCF",
        f"      2  {energy:.8E}  6.61929519E+000   {gain:.8E}       0.54  <-- SCF",
        "------------------------------------------------------------------------ <-- SCF",
        f"Final energy, E             =  {energy + 0.002:.10f}     eV",
        f"Final free energy (E-TS)    =  {energy:.10f}     eV",
        f"NB est. 0K energy (E-0.5TS)      =  {energy + 0.001:.10f}     eV",
    ]


def _castep_geometry(step: Made) -> list[str]:
    return [
        "                                      Unit Cell",
        "        Real Lattice(A)              Reciprocal Lattice(1/A)",
        *("".join(f"{x:12.7f}" for x in row) + "        1.0   0.0   0.0" for row in edges(step.edge)),
        "",
        f"                Current cell volume = {step.edge**3:13.6f} A**3",
        "                                     Cell Contents",
        "            x  Element    Atom        Fractional coordinates of atoms    x",
        "            x------------------------------------------------------------x",
        *(
            f"            x   {s:<2s}         1   " + "".join(f"{x / step.edge:15.9f}" for x in row) + "     x"
            for s, row in zip(("Mg", "O"), step.positions, strict=True)
        ),
        "            xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ]


def abacus_text(steps: Sequence[Made], *, failed: bool = False, counter: str = " RELAX CELL : 1") -> bytes:
    """Return a running_relax.log in bohr; failed puts a cycle that did not converge behind the first one, counter stands in each step."""
    text = [
        "                             WELCOME TO ABACUS",
        "    Version: 3.2.1",
        "                           global_out_dir = OUT.abacus/",
        "                 atom label for species 1 = Mg",
        "                 atom label for species 2 = O",
        "                  lattice constant (Bohr) = 2",
        f"                             Volume (A^3) = {steps[0].edge ** 3:.8f}",
        *_abacus_places(steps[0]),
        " Lattice vectors: (Cartesian coordinate: in unit of a_0)",
        *("".join(f"{x / BOHR / 2:+22.14f}" for x in row) for row in edges(steps[0].edge)),
        " Read in pseudopotential file is ../Mg.upf",
        "          exchange-correlation functional = PBE",
        " Read in pseudopotential file is ../O.upf",
        "          exchange-correlation functional = PBE",
        " SETUP PLANE WAVES FOR WAVE FUNCTIONS",
        "     energy cutoff for wavefunc (unit:Ry) = 50",
        " RELAX IONS : 1",
    ]
    for k, step in enumerate(steps):
        text += _abacus_places(step) if k else []
        text += [" convergence has NOT been achieved!"] if failed and k == 1 else []
        text += [counter]
        text += [
            " PW ALGORITHM --------------- ION=   1  ELEC=   8--------------------------------",
            " charge density convergence is achieved",
            f" final etot is {step.energy:.12f} eV",
            "    TOTAL-FORCE (eV/Angstrom)",
            "     atom              x              y              z",
            *(f"      {s:>2s}1" + "".join(f"{x:+15.8f}" for x in row) for s, row in zip(("Mg", "O"), step.forces, strict=True)),
            "",
            " TOTAL-STRESS (KBAR)",
            " ><><><><",
            *("".join(f"{x:+15.6f}" for x in row) for row in step.stress),
            f" TOTAL-PRESSURE: {step.stress.trace() / 3:.6f} KBAR",
            "",
        ]
    return lines_of(text, " Start  Time  : Mon Jul 25 11:30:20 2022", " Finish Time  : Mon Jul 25 11:31:45 2022")


def _abacus_places(step: Made) -> list[str]:
    return [
        " CARTESIAN COORDINATES ( UNIT = 2 Bohr ).",
        "         atom                   x                   y                   z                 mag",
        *(
            f"     tauc_{s}1" + "".join(f"{x / BOHR / 2:+22.14f}" for x in row) + "     +0.000"
            for s, row in zip(("Mg", "O"), step.positions, strict=True)
        ),
        "",
    ]


def abacus_311_text(steps: Sequence[Made], *, failed: bool = False, solver: str = "ksdft_pw", what: str = "cell-relax") -> bytes:
    """Return a log as version 3.11 writes it, in bohr; failed leaves the last cycle without convergence."""
    text = [
        "                              ABACUS v3.11.0",
        "                           global_out_dir = OUT.abacus/",
        *(line for s in ("Mg", "O") for line in (" READING ATOM TYPE", f"                               Atom label = {s}")),
        "                  Lattice constant (Bohr) = 2",
        *_abacus_311_places(steps[0]),
        *(
            line
            for s in ("Mg", "O")
            for line in (
                f"                     Pseudopotential file = ../{s}.upf",
                "                     Pseudopotential type = NC",
                "          Exchange-correlation functional = PBE",
            )
        ),
        f" #ENERGY SOLVER# {solver}",
        " SETUP PLANE WAVES FOR WAVE FUNCTIONS",
        "      Energy cutoff for wavefunc (unit:Ry) = 50",
        "           Number of irreducible k-points = 4",
    ]
    for k, step in enumerate(steps):
        text += _abacus_311_places(step) if k else []
        text += {
            "cell-relax": [f" RELAX STEP: {k + 1} (CELL_CHANGE# {k + 1} IONS_CHANGE# 1)"],
            "relax": [f" RELAX STEP: {k + 1}"],
            "md": [f" STEP OF MOLECULAR DYNAMICS: {k + 1}"],
        }[what]
        good = not failed or k + 1 < len(steps)
        text += [
            " --> #ION MOVE#         1  #ELEC ITER#         8",
            f"  E_KohnSham     -1.0      {step.energy:.12f}",
            *([" #SCF IS CONVERGED#", f" #TOTAL ENERGY# {step.energy:.12f} eV"] if good else [" !!SCF IS NOT CONVERGED!!"]),
            "",
            " #TOTAL-FORCE (eV/Angstrom)#",
            " -------------------------------------------------",
            "     Atoms              Force_x              Force_y              Force_z",
            " -------------------------------------------------",
            *(f"      {s:>2s}1" + "".join(f"{x:+21.10f}" for x in row) for s, row in zip(("Mg", "O"), step.forces, strict=True)),
            " -------------------------------------------------",
            "",
            " #TOTAL-STRESS (kbar)#",
            " -------------------------------------------------",
            "              Stress_x             Stress_y             Stress_z",
            " -------------------------------------------------",
            *("".join(f"{x:+21.10f}" for x in row) for row in step.stress),
            " -------------------------------------------------",
            f" #TOTAL-PRESSURE# (EXCLUDE KINETIC PART OF IONS): {step.stress.trace() / 3:.6f} kbar",
            "",
        ]
    text += [f" !FINAL_ETOT_IS {steps[-1].energy:.16f} eV"]
    return lines_of(text, " Start  Time  : Mon Jul 25 11:30:20 2022", " Finish Time  : Mon Jul 25 11:31:45 2022")


def _abacus_311_places(step: Made) -> list[str]:
    rows = zip(("Mg", "O"), step.positions, strict=True)
    return [
        " DIRECT COORDINATES",
        " atom                  x                  y                  z     mag",
        *(f"   {s:>2s}" + "".join(f"{x / step.edge:19.14f}" for x in row) + "  0.0000" for s, row in rows),
        "",
        f"                        Cell volume (A^3) = {step.edge**3:.8f}",
        " Lattice vectors: (Cartesian coordinate: in unit of a_0)",
        *("".join(f"{x / BOHR / 2:+22.14f}" for x in row) for row in edges(step.edge)),
        " Reciprocal vectors: (Cartesian coordinate: in unit of 2 pi/a_0)",
    ]


def elk_text(steps: Sequence[Made], *, change: float = 1e-6) -> bytes:
    """Return an INFO.OUT; change is the last change of the energy."""
    text = [
        "+----------------------------+",
        "| Elk version 8.4.30 started |",
        "+----------------------------+",
        "",
        "Lattice vectors :",
        *("".join(f"{x / BOHR:18.12f}" for x in row) for row in edges(steps[0].edge)),
        "",
        f"Unit cell volume      : {(steps[0].edge / BOHR) ** 3:14.7f}",
    ]
    for n, (symbol, row) in enumerate(zip(("Mg", "O"), steps[0].positions, strict=True)):
        text += [
            "",
            f"Species : {n + 1:4d} ({symbol})",
            f" parameters loaded from : {symbol}.in",
            " muffin-tin radius :    2.200000000",
            " atomic positions (lattice), magnetic fields (Cartesian) :",
            "   1 : " + "".join(f"{x / steps[0].edge:16.12f}" for x in row) + "    0.0  0.0  0.0",
        ]
    text += [
        "",
        "Total number of atoms per unit cell :    2",
        "",
        "k-point grid :      3     3     3",
        "Total number of k-points :       12",
        "Exchange-correlation functional :     20     0     0",
        " Perdew-Burke-Ernzerhof",
    ]
    for step in steps:
        text += [
            "| Self-consistent loop started |",
            "| Loop number :   15 |",
            f" electron entropic           : {-0.001:18.9f}",
            f" total energy                : {step.energy:18.9f}",
            f"Absolute change in total energy (target)   :   {change:.10E} (  0.1000000000E-03)",
            "Convergence targets achieved",
            "",
            "Forces :",
            *(f"   total force               : {' '.join(f'{x:13.8f}' for x in row)}" for row in step.forces),
            "",
        ]
    return lines_of(text, "Timings (CPU seconds) :")
