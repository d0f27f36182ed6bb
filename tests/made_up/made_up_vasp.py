"""Small vasprun.xml and OUTCAR texts, written for tests after the layout that VASP prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

TITLES = ("PAW_PBE Mg_pv 13Apr2007", "PAW_PBE O 08Apr2002")


@dataclass(frozen=True)
class Step:
    """One ionic step as printed: eV, Å, eV/Å; stress in kbar, positive under compression."""

    positions: np.ndarray
    """fractional"""
    forces: np.ndarray
    cell: np.ndarray
    stress: np.ndarray | None
    free: float
    entropy: float = -0.02
    """F = E + entropy"""
    dispersion: float = 0.0
    """In the final energy only."""
    cycle: int = 4
    change: float = 1e-6
    """Last change of the cycle, eV."""

    @property
    def sigma0(self) -> float:
        return self.free - self.entropy / 2

    @property
    def internal(self) -> float:
        return self.free - self.entropy


@dataclass(frozen=True)
class Made:
    """A run of MgO-like steps, and how the program prints it."""

    steps: tuple[Step, ...]
    version: str = "6.3.0"
    titles: tuple[str, ...] = TITLES
    symbols: tuple[str, ...] = ("Mg", "O ")
    masses: tuple[float, ...] = (24.305, 16.0)
    valences: tuple[float, ...] = (8.0, 6.0)
    counts: tuple[int, ...] = (1, 1)
    tags: dict[str, str] = field(default_factory=dict)
    incar: dict[str, str] = field(default_factory=dict)
    fixed: Sequence[str] = ()

    def with_tags(self, **tags: str) -> Made:
        return replace(self, tags={**self.tags, **tags})


def make_run(n: int = 3, natoms: int = 2, **changes: object) -> Made:
    rng = np.random.default_rng(7)
    steps = []
    for k in range(n):
        positions = np.round((np.arange(natoms)[:, None] / natoms + rng.uniform(-0.02, 0.02, (natoms, 3))) % 1.0, 8)
        forces = np.round(rng.normal(0, 1, (natoms, 3)), 6)
        stress = np.round(rng.normal(0, 20, (3, 3)), 5)
        stress = (stress + stress.T) / 2
        steps.append(Step(positions, forces, np.diag([4.2, 4.3, 4.4]), np.round(stress, 5), round(-12.0 - 0.01 * k, 8)))
    half = natoms // 2
    run = Made(tuple(steps), counts=(natoms - half, half) if half else (natoms,))
    if not half:
        run = replace(run, titles=TITLES[:1], symbols=("Mg",), masses=(24.305,), valences=(8.0,))
    tags = {"NELM": "60", "EDIFF": "0.00010000", "IBRION": "0", "NSW": str(n), "ISIF": "2", "ISMEAR": "0", "SIGMA": "0.05", "GGA": "--"}
    return replace(run, tags={"ENCUT": "400.0", "ISPIN": "1", "PSTRESS": "0.0", **tags}, **changes)  # type: ignore[arg-type]


def _v(row: np.ndarray) -> str:
    return "".join(f"{value:17.8f}" if np.isfinite(value) else f"{'*' * 14:>17}" for value in row)


def _varray(name: str, rows: np.ndarray, indent: str) -> str:
    return f'{indent}<varray name="{name}" >\n' + "".join(f"{indent} <v>{_v(row)} </v>\n" for row in rows) + f"{indent}</varray>\n"


def _energy(free: float, second: float, third: float, indent: str, more: str = "") -> str:
    names = ("e_fr_energy", "e_wo_entrp", "e_0_energy")
    body = "".join(f'{indent} <i name="{n}">{v:17.8f} </i>\n' for n, v in zip(names, (free, second, third), strict=True))
    return f"{indent}<energy>\n{body}{more}{indent}</energy>\n"


def scstep(free: float, sigma0: float, internal: float) -> str:
    return '  <scstep>\n   <time name="total">    0.10    0.10</time>\n' + _energy(free, internal, sigma0, "   ") + "  </scstep>\n"


def xml_step(step: Step, *, shifted: bool = False, kinetic: float | None = None, tail: str = "", work: float = 0.0) -> str:
    """Return what stands between `<calculation>` tags; shifted is the layout of the final energies before VASP 6.1."""
    bare = step.free - step.dispersion
    cycle = "".join(
        scstep(bare + 0.1 * k, step.sigma0 - step.dispersion + 0.1 * k, step.internal - step.dispersion + 0.1 * k)
        for k in range(step.cycle - 1, -1, -1)
    )
    return cycle + xml_frame(step, shifted=shifted, kinetic=kinetic, tail=tail, work=work)


def xml_frame(step: Step, *, shifted: bool = False, kinetic: float | None = None, tail: str = "", work: float = 0.0) -> str:
    total = step.free + work
    second, third = (step.sigma0 + work, step.entropy) if shifted else (step.internal + work, step.sigma0 + work)
    more = "" if kinetic is None else f'   <i name="kinetic">{kinetic:17.8f} </i>\n   <i name="total">{total + kinetic:17.8f} </i>\n'
    text = "  <structure>\n   <crystal>\n" + _varray("basis", step.cell, "    ")
    text += f'    <i name="volume">{abs(np.linalg.det(step.cell)):17.8f} </i>\n' + _varray("rec_basis", np.linalg.inv(step.cell).T, "    ")
    text += "   </crystal>\n" + _varray("positions", step.positions, "   ") + "  </structure>\n" + _varray("forces", step.forces, "  ")
    if step.stress is not None:
        text += _varray("stress", step.stress, "  ")
    return text + _energy(total, second, third, "  ", more) + tail


def xml_head(run: Made) -> str:
    items = "".join(f'  <i type="string" name="{name}">{value}</i>\n' for name, value in run.incar.items())
    parameters = "".join(f'   <i type="int" name="{name}">{value}</i>\n' for name, value in run.tags.items())
    atoms = "".join(
        f"    <rc><c>{symbol}</c><c>{k + 1:4d}</c></rc>\n" for k, symbol in enumerate(run.symbols) for _ in range(run.counts[k])
    )
    kinds = "".join(
        f"    <rc><c>{count:4d}</c><c>{symbol}</c><c>{mass:17.8f}</c><c>{valence:17.8f}</c><c>  {title:40s}</c></rc>\n"
        for count, symbol, mass, valence, title in zip(run.counts, run.symbols, run.masses, run.valences, run.titles, strict=True)
    )
    selective = ""
    if run.fixed:
        selective = (
            '  <varray name="selective" >\n' + "".join(f'   <v type="logical" > {row} </v>\n' for row in run.fixed) + "  </varray>\n"
        )
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">{run.version}  </i>
 </generator>
 <incar>
{items} </incar>
 <kpoints>
  <generation param="Gamma">
   <v type="int" name="divisions">       2        3        4 </v>
  </generation>
  <varray name="kpointlist" >
   <v>       0.00000000       0.00000000       0.00000000 </v>
   <v>       0.50000000       0.00000000       0.00000000 </v>
  </varray>
 </kpoints>
 <parameters>
  <separator name="electronic" >
{parameters}  </separator>
  <separator name="response functions" >
   <i type="int" name="NELM">     1</i>
  </separator>
 </parameters>
 <atominfo>
  <atoms>{sum(run.counts):8d} </atoms>
  <types>{len(run.counts):8d} </types>
  <array name="atoms" >
   <set>
{atoms}   </set>
  </array>
  <array name="atomtypes" >
   <set>
{kinds}   </set>
  </array>
 </atominfo>
 <structure name="initialpos" >
  <crystal>
{_varray("basis", run.steps[0].cell, "   ")}  </crystal>
{_varray("positions", run.steps[0].positions, "  ")}{selective} </structure>
"""


def xml_text(run: Made, bodies: Sequence[str] | None = None, *, end: bool = True) -> bytes:
    bodies = [xml_step(step) for step in run.steps] if bodies is None else bodies
    text = xml_head(run) + "".join(f" <calculation>\n{body} </calculation>\n" for body in bodies)
    if end:
        text += ' <structure name="finalpos" >\n' + _varray("positions", run.steps[-1].positions, "  ") + " </structure>\n</modeling>\n"
    return text.encode("latin-1")


def outcar_head(run: Made) -> str:
    lines = [
        f" vasp.{run.version} 20Jan22 (build Oct 14 2024 11:24:38) complex",
        "  ",
        " executed on             LinuxIFC date 2025.08.06  11:35:31",
    ]
    lines += [" running on   16 total cores", "", " INCAR:", *(f"   {name} = {value}" for name, value in run.incar.items()), ""]
    lines += [f" POTCAR:    {title}" for title in run.titles]
    for title, symbol, mass, valence in zip(run.titles, run.symbols, run.masses, run.valences, strict=True):
        lines += [f" POTCAR:    {title}", f"   VRHFIN ={symbol.strip()}: s2", "   LEXCH  = PE", f"   TITEL  = {title}"]
        lines += [f"   POMASS = {mass:8.3f}; ZVAL   = {valence:8.3f}    mass and valenz"]
    lines += ["Automatic generation of k-mesh.", " generate k-points for:    2    3    4"]
    lines += ["   k-points           NKPTS =      2   k-points in BZ     NKDIM =      2   number of bands    NBANDS=     12"]
    lines += [f"   number of dos      NEDOS =    301   number of ions     NIONS = {sum(run.counts):6d}"]
    lines += ["   ions per type =            " + "".join(f"{count:4d}" for count in run.counts), "", " Startparameter for this run:"]
    lines += [f"   {name:6s} = {value}" for name, value in run.tags.items()]
    lines += ["   VCA    =   1.00  1.00", "", *_lattice(run.steps[0].cell), "", ""]
    return "\n".join(lines)


def _lattice(cell: np.ndarray) -> list[str]:
    rows = [
        "   " + "".join(f"{v:13.9f}" for v in a) + "   " + "".join(f"{v:13.9f}" for v in b)
        for a, b in zip(cell, np.linalg.inv(cell).T, strict=True)
    ]
    volume = f"  volume of cell : {abs(np.linalg.det(cell)):11.2f}"
    return [volume, "      direct lattice vectors                 reciprocal lattice vectors", *rows, ""]


def outcar_cycle(step: Step, number: int) -> list[str]:
    lines = []
    for k in range(1, step.cycle + 1):
        change = step.change if k == step.cycle else 1.0
        lines += [f"--------------------------------------- Iteration {number:6d}({k:4d})  ---------------------------------------", ""]
        lines += [f" total energy-change (2. order) :{change:14.7E}  ({change:14.7E})", "  Free energy of the ion-electron system (eV)"]
        lines += [f"  free energy    TOTEN  = {step.free + step.cycle - k:20.8f} eV", ""]
    return [*lines, "------------------------ aborting loop because EDIFF is reached ----------------------------------------", ""]


def outcar_energies(step: Step, *, ml: bool = False, vdw: bool = False) -> list[str]:
    mark, word = ("ML ", "ML ") if ml else ("  ", "")
    more = f" eV    w/o vdW = {step.free + 1.0:20.8f}" if vdw else ""
    return [
        f"  {word}FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)",
        "  ---------------------------------------------------",
        f"  free  energy {mark}TOTEN  = {step.free:20.8f} eV" + (more[3:] if vdw else ""),
        "",
        f"  {word}energy  without entropy={step.internal:18.8f}{more}  {word}energy(sigma->0) ={step.sigma0:18.8f}{more}",
        "",
    ]


def outcar_stress(step: Step, pullay: float = 0.0) -> list[str]:
    if step.stress is None:
        return []
    s = step.stress
    six = (s[0, 0], s[1, 1], s[2, 2], s[0, 1], s[1, 2], s[0, 2])
    return [
        "  FORCE on cell =-STRESS in cart. coord.  units (eV):",
        "  Direction    XX          YY          ZZ          XY          YZ          ZX",
        "  in kB" + "".join(f"{value:12.5f}" for value in six),
        f"  external pressure = {(s[0, 0] + s[1, 1] + s[2, 2]) / 3 - pullay:11.2f} kB  Pullay stress = {pullay:11.2f} kB",
        "  Total+kin.    99.000      99.000      99.000       9.000       9.000       9.000",
        "",
    ]


def outcar_table(step: Step, *, ml: bool = False, vdw: bool = False) -> list[str]:
    title = " POSITION                                       TOTAL-FORCE (eV/Angst)"
    title += " (ML)" if ml else ",                                   FORCE-w/o vdW (eV/Angst)" if vdw else ""
    dashes = " -----------------------------------------------------------------------------------"
    rows = []
    for position, force in zip(step.positions @ step.cell, step.forces, strict=True):
        row = (
            "".join(f"{v:13.5f}" for v in position) + "   " + "".join(f"{v:14.6f}" if np.isfinite(v) else f"{'*' * 12:>14}" for v in force)
        )
        rows.append(row + ("   " + "".join(f"{v + 5:14.6f}" for v in force) if vdw else ""))
    return [title, dashes, *rows, dashes, "    total drift:                               -0.005850     -0.002026      0.008629", ""]


def outcar_step(step: Step, number: int, *, ml: bool = False, vdw: bool = False, old: bool = False) -> str:
    energies = outcar_energies(step, ml=ml, vdw=vdw)
    tables = [*outcar_stress(step), *_lattice(step.cell), *outcar_table(step, ml=ml, vdw=vdw)]
    cycle = [] if ml else outcar_cycle(step, number)
    thermostat = ["% ion-electron   TOTEN  =       -28.386226  see above", "  kinetic energy EKIN   =         0.008168", ""]
    return "\n".join([*cycle, *(energies + tables if old else tables + energies), *thermostat, ""])


OUTCAR_END = "\n General timing and accounting informations for this job:\n ========================================================\n"


def outcar_text(run: Made, bodies: Sequence[str] | None = None, *, end: bool = True) -> bytes:
    bodies = [outcar_step(step, k + 1) for k, step in enumerate(run.steps)] if bodies is None else bodies
    return (outcar_head(run) + "".join(bodies) + (OUTCAR_END if end else "")).encode("latin-1")
