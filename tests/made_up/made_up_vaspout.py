"""A small vaspout.h5 as py4vasp defines its layout (vasp-dev/py4vasp, `_raw/definition.py`), of the same runs as the made-up texts."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from made_up_vasp import Made

STATIC = ("free energy    TOTEN   ", "energy without entropy ", "energy(sigma->0)       ")
DYNAMICS = (
    "ion-electron   TOTEN", "kinetic energy EKIN", "kin. lattice   EKIN_LAT", "temperature    TEIN", "nose potential ES",
    "nose kinetic   EPS", "total energy   ETOTAL",
)  # fmt: skip
STEPS = "intermediate/ion_dynamics"


def potcar(run: Made) -> str:
    blocks = (
        f"  {title}\n   TITEL  = {title}\n   POMASS = 1.0; ZVAL   = {valence:8.3f}    mass and valenz\n"
        "   ENMAX  =  400.000; ENMIN  = 300.0 eV\n"
        " local part\n 0.123E+01 0.456E+01\n End of Dataset\n"
        for title, valence in zip(run.titles, run.valences, strict=True)
    )
    return "".join(blocks)


def vaspout(run: Made, changes: Mapping[str, Any] | None = None, *, dynamics: bool = False, cycles: bool = False) -> bytes:
    """Return a vaspout.h5; changes are datasets by path that replace or (None) leave out others."""
    steps = run.steps
    energies = [[step.free, step.internal, step.sigma0] for step in steps]
    if dynamics:
        energies = [[step.free, 0.1, 0.0, 300.0, 0.0, 0.0, step.free + 0.1] for step in steps]
    data: dict[str, Any] = {
        "version/major": 6, "version/minor": 4, "version/patch": 2,
        "input/kpoints/nkpx": 2, "input/kpoints/nkpy": 3, "input/kpoints/nkpz": 4, "input/kpoints/mode": "g",
        "input/potcar/content": potcar(run),
        "results/positions/ion_types": np.array(run.symbols, dtype="S"), "results/positions/number_ion_types": np.array(run.counts),
        "results/positions/scale": 1.0, "results/positions/lattice_vectors": steps[-1].cell,
        "results/electron_eigenvalues/kpoint_coords": np.zeros((2, 3)),
        "results/electron_eigenvalues/nelectrons": float(sum(c * v for c, v in zip(run.counts, run.valences, strict=True))),
        f"{STEPS}/energies": np.array(energies), f"{STEPS}/energies_tags": np.array(DYNAMICS if dynamics else STATIC, dtype="S"),
        f"{STEPS}/forces": np.array([step.forces for step in steps]),
        f"{STEPS}/lattice_vectors": np.array([step.cell for step in steps]),
        f"{STEPS}/position_ions": np.array([step.positions for step in steps]),
    }  # fmt: skip
    if all(step.stress is not None for step in steps):
        data[f"{STEPS}/stress"] = np.array([step.stress for step in steps])
    for name, value in {**run.tags, **run.incar}.items():
        number = value.replace(".", "", 1).lstrip("-")
        data[f"input/incar/{name}"] = (float(value) if "." in value else int(value)) if number.isdigit() else value
    if cycles:
        rows = [
            [k + 1, step.free + 0.1, step.change if k == step.cycle - 1 else 0.5, 0.1, 100, 0.1, 0.01]
            for step in steps
            for k in range(step.cycle)
        ]
        data[f"{STEPS}/oszicar"] = np.array(rows)
        data[f"{STEPS}/oszicar_label"] = np.array(["N", "E", "dE", "deps", "ncg", "rms", "rms(c)"], dtype="S")
        data[f"{STEPS}/electronic_step_converged"] = np.zeros(len(steps), dtype=int)
    data |= changes or {}
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for path, value in data.items():
            if value is not None:
                file[path] = value
    return out.getvalue()
