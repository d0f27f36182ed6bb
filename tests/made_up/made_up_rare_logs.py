"""Small outputs of FHI-aims, CASTEP, GPAW, Gaussian, ORCA, ABACUS and Elk in the layouts that they print, and what must hold for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from made_up_logs import Made

from lake.readers import find_reader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.units import BOHR

EV = "{:.14E}"
ARRAYS = ("positions", "energy", "forces", "stress", "cell", "scf_converged", "n_scf_steps", "energy_internal", "energy_sigma0")


def read(text: bytes, chunk: int = 1 << 20) -> tuple[Run, ...]:
    """Return the runs of a text, by the reader that recognises it."""
    spec = find_reader("output", text[:65536])
    assert spec is not None
    reader = spec.open()
    for start in range(0, len(text), chunk):
        reader.feed(text[start : start + chunk])
    return reader.close()


def assert_chunks_and_line_ends_do_not_matter(text: bytes) -> None:
    """Read a text in pieces and with other line ends."""
    (whole,) = read(text)
    for data, chunk in ((text, 1), (text, 333), (text.replace(b"\n", b"\r\n"), 1000)):
        (run,) = read(data, chunk)
        assert (run.complete, run.flags, run.level_of_theory) == (whole.complete, whole.flags, whole.level_of_theory)
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(run.frames, name), getattr(whole.frames, name))


def assert_cut_gives_first_steps(text: bytes, cut: int, last: bytes) -> None:
    """Read a prefix that ends before the words of the regular end."""
    (whole,) = read(text)
    prefix = text[: cut % text.index(last)]
    if find_reader("output", prefix[:65536]) is None:
        return
    try:
        (part,) = read(prefix)
    except UnreadableOutput:
        return
    assert "truncated" in part.flags
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(part.frames, name), getattr(whole.frames, name)[: part.frames.count])


def assert_damage_never_escapes(text: bytes, place: int, byte: int) -> None:
    """Read a text with some bytes replaced."""
    damaged = bytearray(text)
    for k in range(3):
        damaged[(place + 97 * k) % len(damaged)] = byte
    if find_reader("output", bytes(damaged[:65536])) is None:
        return
    try:
        runs = read(bytes(damaged))
    except UnreadableOutput:
        return
    assert all(run.frames.count for run in runs)


def _lines(*parts: str | Sequence[str]) -> bytes:
    flat = [line for part in parts for line in ([part] if isinstance(part, str) else part)]
    return ("\n".join(flat) + "\n").encode()


def _edges(edge: float) -> list[list[float]]:
    return [[edge if i == j else 0.0 for j in range(3)] for i in range(3)]


def fhi_aims_text(
    steps: Sequence[Made],
    *,
    control: Sequence[str] = ("xc pbe",),
    held: bool = False,
    change: float = 1e-7,
    note: str = "unitary forces cleaned",
) -> bytes:
    """Return an aims.out; change is the last change of density, held fixes the first atom, note stands above the forces."""
    first, rule = steps[0], "  " + "-" * 71
    places = [f"  atom {x} {y} {z} {s}" for s, (x, y, z) in zip(("Mg", "O"), first.positions, strict=True)]
    text = [
        "          Invoking FHI-aims ...",
        "          Version 210226",
        "  Parsing control.in (first pass over file, find array dimensions only).",
        rule,
        *(f"  {line}" for line in control),
        '  #  Suggested "light" defaults for Mg atom',
        "    species Mg",
        "      nucleus 12",
        "    species O",
        "      nucleus 8",
        "  Completed first pass over input file control.in .",
        "  Parsing geometry.in (first pass over file, find array dimensions only).",
        rule,
        *("  lattice_vector " + " ".join(map(str, row)) for row in _edges(first.edge)),
        places[0],
        *(["  constrain_relaxation .true."] if held else []),
        places[1],
        "  Completed first pass over input file geometry.in .",
        "  Input geometry:",
        "  | Unit cell:",
        *("  |" + "".join(f"{x:18.8f}" for x in row) for row in _edges(first.edge)),
        "  | Atomic structure:",
        "  |       Atom                x [A]            y [A]            z [A]",
        *(
            f"  |{k + 1:5d}: Species {s:<8s}" + "".join(f"{x:17.8f}" for x in row)
            for k, (s, row) in enumerate(zip(("Mg", "O"), first.positions, strict=True))
        ),
        "",
    ]
    for k, step in enumerate(steps):
        text += [
            f"          Begin self-consistency loop: {'Re-i' if k else 'I'}nitialization.",
            "  | Number of k-points                             :       260",
            "  End self-consistency iteration #     9       :  max(cpu_time)    wall_clock(cpu1)",
            *(f"   Total forces({n + 1:4d})            :" + "".join(f"{x:14.6E}" for x in row) for n, row in enumerate(step.forces)),
            "  |              Analytical stress tensor - Symmetrized               |",
            "  |                  Cartesian components [eV/A**3]                   |",
            "  +-------------------------------------------------------------------+",
            "  |                x                y                z                |",
            "  |                                                                   |",
            *(f"  |  {axis} " + "".join(f"{x:17.8f}" for x in row) + "           |" for axis, row in zip("xyz", step.stress, strict=True)),
            f"  | Change of charge density      :  {change:.4E}",
            "  Self-consistency cycle converged.",
            "  Energy and forces in a compact form:",
            f"  | Total energy uncorrected      :         {EV.format(step.energy + 0.002)} eV",
            f"  | Total energy corrected        :         {EV.format(step.energy + 0.001)} eV  <-- do not rely on this value",
            f"  | Electronic free energy        :         {EV.format(step.energy)} eV",
            f"  Total atomic forces ({note}) [eV/Ang]:",
            *(f"  |{n + 1:4d} " + "".join(f"{x:30.15E}" for x in row * (not (held and n == 0))) for n, row in enumerate(step.forces)),
            "",
        ]
        if k + 1 < len(steps):
            after = steps[k + 1]
            text += [
                "  Updated atomic structure:",
                "                         x [A]             y [A]             z [A]",
                *("  lattice_vector " + "".join(f"{x:18.8f}" for x in row) for row in _edges(after.edge)),
                *(
                    "            atom " + "".join(f"{x:18.8f}" for x in row) + f"  {s}"
                    for s, row in zip(("Mg", "O"), after.positions, strict=True)
                ),
                "  Fractional coordinates:",
                "------------------------------------------------------------",
            ]
    return _lines(text, "  Final output of selected total energy values:", "          Leaving FHI-aims.", "          Have a nice day.")


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
            f" ... finished MD iteration          {k}",
        ]
    return _lines(text, "Initialisation time =      0.15 s", "Total time          =     27.48 s")


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
        *("".join(f"{x:12.7f}" for x in row) + "        1.0   0.0   0.0" for row in _edges(step.edge)),
        "                                     Cell Contents",
        "            x  Element    Atom        Fractional coordinates of atoms    x",
        "            x------------------------------------------------------------x",
        *(
            f"            x   {s:<2s}         1   " + "".join(f"{x / step.edge:15.9f}" for x in row) + "     x"
            for s, row in zip(("Mg", "O"), step.positions, strict=True)
        ),
        "            xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ]


def gpaw_text(steps: Sequence[Made], *, spread: float = 1e-6, word: str = "Converged after 3 iterations.") -> bytes:
    """Return a GPAW text; spread is that of the last three energies."""
    text = [
        "",
        "  ___ ___ ___ _ _ _  ",
        " |   |   |_  | | | | ",
        " | | | | | . | | | | ",
        " |__ |  _|___|_____|  22.8.0",
        " |___|_|             ",
        "Input parameters:",
        "  xc: PBE",
        "  setups: {Mg: ':d,4.0'}",
        "",
        "species:",
        "  Mg:",
        "    name: Magnesium",
        "    id: b56b6cab5149d5bf22ad04c2f71a3023",
        "    Z: 12.0",
        "    file: /somewhere/Mg.PBE.gz",
        "Reference energy: -29961.988759  # eV",
        "Spin-paired calculation",
        " Maximum [total energy] change in last 3 cyles: 1e-05 eV / electron",
        " Maximum integral of absolute [dens]ity change: 0.0001 electrons / valence electron",
        "8 k-points: 2 x 2 x 2 Monkhorst-Pack grid",
        "4 k-points in the irreducible part of the Brillouin zone",
        "Wave functions: Plane wave expansion",
        "  Cutoff energy: 400.000 eV",
        "Occupation numbers: Fermi-Dirac:",
        "  width: 0.0500  # eV",
        "  Using the PBE Exchange-Correlation functional",
        "Number of valence electrons: 16",
    ]
    for step in steps:
        text += [
            "System changes: positions ",
            "",
            "Positions:",
            *(
                f"{n:4d} {s:<2s}" + "".join(f"{x:13.6f}" for x in row) + "    ( 0.0000,  0.0000,  0.0000)"
                for n, (s, row) in enumerate(zip(("Mg", "O"), step.positions, strict=True))
            ),
            "",
            "Unit cell:",
            "           periodic     x           y           z      points  spacing",
            *(
                f"  {n + 1}. axis:    yes" + "".join(f"{x:12.6f}" for x in row) + "    20     0.2"
                for n, row in enumerate(_edges(step.edge))
            ),
            "     iter     time        total  log10-change:",
            *(f"iter:{n + 1:4d} 05:35:59 {step.energy + n * spread / 2:12.6f}c -7.20c -4.10c" for n in range(3)),
            word,
            f"Free energy:   {step.energy:12.6f}",
            f"Extrapolated:  {step.energy + 0.001:12.6f}",
            "Forces in eV/Ang:",
            *(
                f"{n:3d} {s:<2s}" + "".join(f"{x:11.5f}" for x in row)
                for n, (s, row) in enumerate(zip(("Mg", "O"), step.forces, strict=True))
            ),
            "Stress tensor:",
            *("".join(f"{x:13.6f}" for x in row) for row in step.stress),
        ]
    text += ["", "Timing:                              incl.     excl.", "-" * 59, "Hamiltonian:     12.609   0.019   0.0% |", "-" * 59]
    return _lines(text, "Total:                                        49.442 100.0%", "", "Date: Sun Nov 22 05:44:14 2026")


def gaussian_text(steps: Sequence[Made], *, method: str = "RPBEPBE", change: str = "0.23D-08", extra: Sequence[str] = ()) -> bytes:
    """Return a log; positions of the standard orientation are other numbers than those of the input orientation."""
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
        for name, places in (("Input", step.positions), ("Standard", -step.positions)):
            text += [
                f"                          {name} orientation:                          ",
                " ---------------------------------------------------------------------",
                " Center     Atomic      Atomic             Coordinates (Angstroms)",
                " Number     Number       Type             X           Y           Z",
                " ---------------------------------------------------------------------",
                *(
                    f"{n + 1:7d}{z:11d}{0:12d}    " + "".join(f"{x:12.6f}" for x in row)
                    for n, (z, row) in enumerate(zip((12, 8), places, strict=True))
                ),
                " ---------------------------------------------------------------------",
            ]
        text += [
            " Standard basis: 6-31G(d) (6D, 7F)",
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
            " -------------------------------------------------------------------",
            " Cartesian Forces:  Max     0.000215948 RMS     0.000111163",
        ]
    return _lines(text, " Normal termination of Gaussian 16 at Tue Jun 25 00:14:07 2019.")


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
        ]
    return _lines(text, "                             ****ORCA TERMINATED NORMALLY****")


def abacus_text(steps: Sequence[Made], *, failed: bool = False, counter: str = " RELAX CELL : 1") -> bytes:
    """Return a running_relax.log in bohr; failed puts a cycle that did not converge behind the first one, counter stands in each step."""
    text = [
        "                             WELCOME TO ABACUS",
        "    Version: 3.2.1",
        "                           global_out_dir = OUT.abacus/",
        "                 atom label for species 1 = Mg",
        "                 atom label for species 2 = O",
        "                  lattice constant (Bohr) = 2",
        *_abacus_places(steps[0]),
        " Lattice vectors: (Cartesian coordinate: in unit of a_0)",
        *("".join(f"{x / BOHR / 2:+22.14f}" for x in row) for row in _edges(steps[0].edge)),
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
            "",
        ]
    return _lines(text, " Start  Time  : Mon Jul 25 11:30:20 2022", " Finish Time  : Mon Jul 25 11:31:45 2022")


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


def elk_text(steps: Sequence[Made], *, change: float = 1e-6) -> bytes:
    """Return an INFO.OUT; change is the last change of the energy."""
    text = [
        "+----------------------------+",
        "| Elk version 8.4.30 started |",
        "+----------------------------+",
        "",
        "Lattice vectors :",
        *("".join(f"{x / BOHR:18.12f}" for x in row) for row in _edges(steps[0].edge)),
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
    return _lines(text, "Timings (CPU seconds) :")


def nwchem_text(steps: Sequence[Made], *, change: str = "-8.95D-09", tasks: Sequence[int] = (0,), searched: bool = False) -> bytes:
    """Return a log with a task of the steps for each charge; searched puts an energy without a geometry behind the first one."""
    text = ["              Northwest Computational Chemistry Package (NWChem) 7.0.2"]
    for charge in tasks:
        text += ["                           NWChem Geometry Optimization"]
        for k, step in enumerate(steps):
            text += [
                " Output coordinates in angstroms (scale by  1.889725989 to convert to a.u.)",
                "  No.       Tag          Charge          X              Y              Z",
                *(
                    f"{n + 1:5d} {s:<16s} {z:10.4f}" + "".join(f"{x:15.8f}" for x in row)
                    for n, (s, z, row) in enumerate(zip(("Mg", "O"), (12, 8), step.positions, strict=True))
                ),
                "",
                "      Atomic Mass ",
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
            ]
            text += _nwchem_energy(step.energy + 0.5, change) if searched and k == 0 else []
        text += [" Task  times  cpu:        1.7s     wall:        1.8s"]
    return _lines(text)


def _nwchem_energy(energy: float, change: str) -> list[str]:
    return [
        f" d= 0,ls=0.0,diis     7 {energy:17.10f} {change}  2.90D-09  6.36D-16     0.3",
        "",
        f"         Total DFT energy = {energy:22.12f}",
        "      One electron energy =      -79.811246351576",
    ]
