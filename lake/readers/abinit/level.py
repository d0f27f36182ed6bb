"""The variables that ABINIT echoes, and the level of theory that they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

import numpy as np

from lake.readers.abinit.occupations import held_occupations
from lake.readers.qe.level import mesh_spacing
from lake.readers.rows import number
from schemas.elements import SYMBOLS
from schemas.frames import Floats
from schemas.theory import LevelOfTheory
from schemas.units import HARTREE

_ECHO: Final = b"-outvars: echo values of preprocessed input variables"
_VARIABLE: Final = re.compile(rb"[-P ] *([a-z][a-z_]*[a-z_\d?+]*|[a-z]+_[a-z\d_]+) +(\S.*)$")
_PSEUDO: Final = re.compile(rb"\n- pspini: atom type +(\d+) +psp file is (\S+)")
_CELL_ROW: Final = re.compile(rb"\n R\(([123])\)= *(-?\d+\.\d{7}) *(-?\d+\.\d{7}) *(-?\d+\.\d{7}) ")

_FUNCTIONALS: Final[Mapping[int, str]] = {
    1: "LDA", 2: "LDA", 3: "LDA", 7: "LDA-PW92", 11: "PBE", 14: "revPBE", 15: "RPBE", 23: "WC", 24: "Q2D", 40: "HF", 41: "PBE0",
    42: "PBE0 (1/3)", -1012: "LDA-PW92", -1009: "LDA", -20: "LDA", -101130: "PBE", -130101: "PBE", -116133: "PBEsol", -133116: "PBEsol",
    -102130: "revPBE", -117130: "RPBE", -106131: "BLYP", -202231: "TPSS", -263267: "SCAN", -497498: "r2SCAN", -493494: "rSCAN",
    -402: "B3LYP", -406: "PBE0", -427: "HSE03", -428: "HSE06",
}  # fmt: skip
"""Functional by ixc (ABINIT manual; negative numbers are pairs of libxc identifiers)."""

_EXCHANGE: Final = {"PBE0": 0.25, "PBE0 (1/3)": 1 / 3, "HSE06": 0.25, "HSE03": 0.25, "B3LYP": 0.2, "HF": 1.0}
_DISPERSION: Final = {0: "", 1: "vdW-DF", 2: "vdW-DF2", 5: "D2", 6: "D3(0)", 7: "D3(BJ)"}
_SMEARING: Final = {
    0: "none", 1: "none", 2: "none", 3: "fermi-dirac", 4: "marzari-vanderbilt", 5: "marzari-vanderbilt", 6: "methfessel-paxton",
    7: "gaussian",
}  # fmt: skip
_FIELDS: Final = ("efield", "dfield", "red_efield", "red_efieldbar", "red_dfield")
_NO_TARGET: Final = -99.98
"""spinmagntarget below it is its default: the moment is free."""


@dataclass(frozen=True)
class Variables:
    """Echoed input variables: words by name, where a name may carry the number of a dataset."""

    words: Mapping[str, tuple[bytes, ...]]

    def fields(self, name: str, dataset: int) -> tuple[bytes, ...]:
        """Return the words of a variable for a dataset; empty where it is not echoed (it has its default)."""
        found = self.words.get(f"{name}{dataset}")
        if found is None and dataset >= 10:
            found = self.words.get(f"{name}{dataset // 10}?") or self.words.get(f"{name}?{dataset % 10}")
        return found if found is not None else self.words.get(name, ())

    def numbers(self, name: str, dataset: int) -> tuple[float, ...]:
        """Return the numbers of a variable for a dataset; the name of a unit behind them is left out."""
        return tuple(value for word in self.fields(name, dataset) if isfinite(value := number(word)))

    def value(self, name: str, dataset: int, default: float) -> float:
        """Return the first number of a variable for a dataset, or its default."""
        return next(iter(self.numbers(name, dataset)), default)

    def integer(self, name: str, dataset: int, default: int) -> int:
        """Return the first number of a variable for a dataset as a whole one, or its default."""
        return int(self.value(name, dataset, default))


def read_variables(text: bytes) -> Variables:
    """Return the variables echoed before the computation; a value goes on in lines that begin with blanks and a number."""
    start = text.find(_ECHO)
    words: dict[str, tuple[bytes, ...]] = {}
    name = ""
    for line in text[start:].split(b"\n")[1:] if start >= 0 else []:
        if line.startswith(b"====="):
            break
        match = _VARIABLE.match(line)
        if match is not None:
            name = match.group(1).decode("latin-1")
            words[name] = tuple(match.group(2).split())
        elif name and line.strip():
            words[name] += tuple(line.split())
    return Variables(words)


def read_pseudopotentials(text: bytes) -> dict[int, str]:
    """Return the file name of the pseudopotential of each type of atom that text describes."""
    return {int(kind): name.decode("latin-1").rsplit("/", 1)[-1] for kind, name in _PSEUDO.findall(text)}


def read_cell(text: bytes) -> Floats | None:
    """Return the cell that a dataset begins with, (3, 3) in bohr with seven decimals, or None."""
    found = _CELL_ROW.findall(text[:60_000])[:3]
    if [row[0] for row in found] != [b"1", b"2", b"3"]:
        return None
    cell = np.array([[number(field) for field in row[1:]] for row in found])
    return cell if bool(np.isfinite(cell).all()) and abs(float(np.linalg.det(cell))) > 1e-9 else None


def level_of_theory(variables: Variables, dataset: int, pseudos: Mapping[int, str], charges: Sequence[int], cell: Floats) -> LevelOfTheory:
    """Return the level of theory of a dataset; charges are the nuclear charges of its types, cell is in Å."""
    ixc = variables.integer("ixc", dataset, 1)
    functional = _FUNCTIONALS.get(ixc, f"ixc={ixc}")
    occopt = variables.integer("occopt", dataset, 1)
    smearing = _SMEARING.get(occopt, f"occopt {occopt}")
    mesh = _mesh(variables, dataset)
    fine = variables.value("pawecutdg", dataset, -1.0)
    dispersion = variables.integer("vdw_xc", dataset, 0)
    charge = variables.value("cellcharge", dataset, 0.0) or variables.value("charge", dataset, 0.0)
    cutoff = variables.value("ecut", dataset, -1.0)
    return LevelOfTheory(
        code="abinit",
        functional=functional,
        dispersion=_DISPERSION.get(dispersion, f"vdw_xc {dispersion}"),
        hubbard_u=_hubbard(variables, dataset, charges),
        exact_exchange=_EXCHANGE.get(functional),
        basis="plane waves",
        cutoff=cutoff * HARTREE if cutoff > 0 else None,
        density_cutoff=fine * HARTREE if fine > 0 else None,
        pseudopotentials=tuple(sorted({(SYMBOLS[z], pseudos.get(k + 1, "")) for k, z in enumerate(charges) if 0 < z < len(SYMBOLS)})),
        kpoints=mesh,
        n_kpoints=variables.integer("nkpt", dataset, 1),
        kpoint_spacing=mesh_spacing(mesh, cell),
        smearing=smearing,
        smearing_width=variables.value("tsmear", dataset, 0.01) * HARTREE if smearing != "none" else None,
        spin=_spin(variables, dataset),
        charge=charge,
        extra=(*_fields(variables, dataset), *held_occupations(variables, dataset)),
    )


def _fields(variables: Variables, dataset: int) -> tuple[tuple[str, str], ...]:
    """Return electric and magnetic field, a fixed total moment, dynamical mean field and local exact exchange, where there are any."""
    found = []
    berry, moment = variables.integer("berryopt", dataset, 0), variables.value("spinmagntarget", dataset, _NO_TARGET)
    if berry in (4, 6, 7, 14, 16, 17):
        names = [name for name in _FIELDS if any(variables.numbers(name, dataset))]
        values = [f"{name} {' '.join(f'{value:g}' for value in variables.numbers(name, dataset))}" for name in names]
        found.append(("electric_field", ", ".join([f"berryopt {berry}", *values])))
    if any(magnetic := variables.numbers("zeemanfield", dataset)):
        found.append(("magnetic_field", " ".join(f"{value:g}" for value in magnetic)))
    if moment > _NO_TARGET:
        found.append(("total_moment", f"{moment:g}"))
    found += [(name, "on") for name in ("usedmft", "useexexch") if variables.integer(name, dataset, 0)]
    return tuple(found)


def _mesh(variables: Variables, dataset: int) -> tuple[int, int, int] | None:
    lattice = variables.numbers("kptrlatt", dataset)
    if len(lattice) == 9:
        square = np.array(lattice).reshape(3, 3)
        if np.count_nonzero(square - np.diag(np.diag(square))) == 0 and bool((np.diag(square) > 0).all()):
            return int(square[0, 0]), int(square[1, 1]), int(square[2, 2])
        return None
    grid = variables.numbers("ngkpt", dataset)
    if len(grid) == 3 and min(grid) >= 1:
        return int(grid[0]), int(grid[1]), int(grid[2])
    return (1, 1, 1) if variables.integer("nkpt", dataset, 1) == 1 and not any(variables.numbers("kpt", dataset)) else None


def _spin(variables: Variables, dataset: int) -> str:
    if variables.integer("nspinor", dataset, 1) == 2:
        return "spin-orbit"
    if variables.integer("nspden", dataset, 1) == 4:
        return "noncollinear"
    return "collinear" if variables.integer("nsppol", dataset, 1) == 2 or variables.integer("nspden", dataset, 1) == 2 else "none"


def _hubbard(variables: Variables, dataset: int, charges: Sequence[int]) -> tuple[tuple[str, str, float], ...]:
    if variables.integer("usepawu", dataset, 0) == 0:
        return ()
    shells, u, j = (variables.numbers(name, dataset) for name in ("lpawu", "upawu", "jpawu"))
    found = set()
    for k, z in enumerate(charges):
        if k < min(len(shells), len(u)) and 0 <= shells[k] < 4 and 0 < z < len(SYMBOLS):
            less = j[k] if k < len(j) else 0.0
            found.add((SYMBOLS[z], "spdf"[int(shells[k])], round((u[k] - less) * HARTREE, 6)))
    return tuple(sorted(found))
