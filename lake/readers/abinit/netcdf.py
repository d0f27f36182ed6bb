"""Readers of two netCDF files that ABINIT writes beside its text: GSR.nc (the last ground state) and HIST.nc (all steps).

Units are Ha and bohr (ETSF), stress is positive under tension and in the order 11 22 33 32 31 21, as in the text of the same run. The text
tells more (convergence, level of theory) with as many digits, so it gives the labels where it is there. A HIST.nc names no functional.
"""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.abinit.altered import altered, not_plain_forces
from lake.readers.abinit.header import gsr_level, gsr_variables, judged
from lake.readers.base import PushReader, ReaderSpec
from lake.readers.in_memory import InMemoryReader
from lake.readers.netcdf import Netcdf, is_netcdf
from lake.readers.text_steps import Step, make_frames
from schemas.calculations import Run
from schemas.elements import SYMBOLS
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.theory import LevelOfTheory
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR, HARTREE_PER_BOHR3

GSR_FORMAT: Final = "ABINIT GSR.nc"
HIST_FORMAT: Final = "ABINIT HIST.nc"

_SOURCES: Final = ("ABINIT etotal", "ABINIT stress tensor")
_MOVED: Final = 1e-5
"""Å"""
_LABELS: Final = (
    "etotal", "cartesian_forces", "cartesian_stress_tensor", "primitive_vectors", "reduced_atom_positions", "atom_species",
    "atomic_numbers", "e_entropy", "deltae", "diffor", "res2", "residm",
)  # fmt: skip
_HEADER: Final = (
    "input_string", "ixc", "occopt", "tsmear", "ecut", "kinetic_energy_cutoff", "pawecutdg", "usepaw", "kptrlatt", "charge", "codvsn",
    "monkhorst_pack_folding", "reduced_coordinates_of_kpoints", "number_of_states", "pseudopotential_types", "title", "md5_pseudos",
    "number_of_components", "number_of_spinor_components", "e_vdw_dftd", "occupations",
)  # fmt: skip
_STEPS: Final = ("etotal", "rprimd", "xred", "fcart", "strten", "typat", "znucl", "ekin")


def recognises_gsr(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of a netCDF file with a ground state; an HDF5-based one tells it by its name."""
    named = re.search(r"GSR\.nc$", name) is not None
    return is_netcdf(head) and (named or all(word in head for word in (b"cartesian_forces", b"reduced_atom_positions", b"etotal")))


def recognises_hist(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of a netCDF file with the steps of moving atoms."""
    named = re.search(r"HIST\.nc$", name) is not None
    return is_netcdf(head) and (named or all(word in head for word in (b"mdtime", b"rprimd", b"xred", b"etotal")))


def read_gsr(file: io.BytesIO) -> tuple[Run, ...]:
    """Return the one step of a GSR.nc; raises UnreadableOutput where it has none or is of no self-consistent run."""
    data = Netcdf(file, (*_LABELS, *_HEADER))
    numbers = _numbers(data.floats("atom_species"), data.floats("atomic_numbers"), GSR_FORMAT)
    cell, places = data.floats("primitive_vectors", (3, 3)), data.floats("reduced_atom_positions", (len(numbers), 3))
    energy, forces = data.value("etotal"), data.floats("cartesian_forces", (len(numbers), 3))
    variables, dataset = gsr_variables(data)
    no_cycle = data.value("deltae") == data.value("res2") == 0.0 and forces is not None and bool(np.isnan(forces).all())
    if no_cycle or variables.integer("iscf", dataset, 7) < 0:
        words = "the run made no cycle of self-consistency (residuals of 0, forces not computed)"
        raise UnreadableOutput("not_energies", words, "deposit the ground-state run before it")
    if cell is None or places is None or not np.isfinite([energy, *cell.ravel(), *places.ravel()]).all():
        raise UnreadableOutput("no_complete_step", "the GSR.nc has no energy with a whole geometry", "deposit the file as ABINIT wrote it")
    told, no_forces = altered(variables, dataset), not_plain_forces(variables, dataset)
    forces = forces if forces is not None and not no_forces and bool(np.isfinite(forces).all()) else None
    step = Step(
        number=0,
        cell=cell * BOHR,
        positions=places @ (cell * BOHR),
        energy=energy * HARTREE,
        forces=None if forces is None else forces * HARTREE_PER_BOHR,
        stress=_stress(data.floats("cartesian_stress_tensor", (6,))),
        internal=(energy - data.value("e_entropy")) * HARTREE,
        converged=judged(data, variables, dataset),
        flags=("altered_potential",) if told else (),
    )
    level = gsr_level(data, variables, dataset, step.cell)
    version = data.attributes.get("abinit_version", "") or next(iter(data.texts("codvsn")), "")
    moving = variables.integer("ionmov", dataset, 0 if "input_string" in data else -1)
    run = _run([step], numbers, GSR_FORMAT, whole=True)
    notes = (*told, no_forces) if no_forces else told
    return (replace(run, code_version=version, kind="static" if moving == 0 else "unknown", level_of_theory=level, notes=notes),)


def read_hist(file: io.BytesIO) -> tuple[Run, ...]:
    """Return the steps of a HIST.nc; raises UnreadableOutput where it has none, no elements, or several images."""
    data = Netcdf(file, _STEPS)
    types, energies = data.floats("typat"), data.floats("etotal")
    numbers = _numbers(types, data.floats("znucl"), HIST_FORMAT)
    if energies is None or energies.ndim != 1:
        shape = "no" if energies is None else f"of shape {energies.shape}"
        words = f"energies {shape}; several images of one run are not read"
        raise UnreadableOutput("unreadable_output", words, "deposit each image as a run of its own")
    n, natoms = len(energies), len(numbers)
    cells, places = data.floats("rprimd", (n, 3, 3)), data.floats("xred", (n, natoms, 3))
    if cells is None or places is None:
        raise UnreadableOutput("unreadable_output", "the HIST.nc has no cells or places", "deposit the file as ABINIT wrote it")
    forces, stress = data.floats("fcart", (n, natoms, 3)), data.floats("strten", (n, 6))
    there = np.isfinite(energies) & np.isfinite(cells).all(axis=(1, 2)) & np.isfinite(places).all(axis=(1, 2))
    if data.cut:
        for values in (forces, stress):
            there &= True if values is None else np.isfinite(values.reshape(n, -1)).all(axis=1)
    count = n if there.all() else int(np.argmin(there))
    steps = [
        Step(
            number=k,
            cell=cells[k] * BOHR,
            positions=places[k] @ (cells[k] * BOHR),
            energy=float(energies[k]) * HARTREE,
            forces=None if forces is None or bool(np.isnan(forces[k]).all()) else forces[k] * HARTREE_PER_BOHR,
            stress=None if stress is None else _stress(stress[k]),
            flags=("pulay_suspect",) if bool((np.abs(cells[k] - cells[0]) * BOHR > _MOVED).any()) else (),
        )
        for k in range(count)
    ]
    if not steps:
        raise UnreadableOutput("no_complete_step", f"none of {n} steps is whole", "deposit the run when a step is complete")
    kind = _kind(steps, data.floats("ekin"))
    return (replace(_run(steps, numbers, HIST_FORMAT, whole=count == n and not data.cut), kind=kind),)


def _run(steps: list[Step], numbers: NDArray[np.int16], name: str, *, whole: bool) -> Run:
    """Return a run of which nothing is known but its steps."""
    return Run(
        code="abinit",
        code_version="",
        kind="unknown",
        format=name,
        level_of_theory=LevelOfTheory(code="abinit", basis="plane waves"),
        frames=make_frames(numbers, np.ones(3, dtype=bool), steps, _SOURCES),
        complete=whole,
        flags=() if whole else ("truncated",),
    )


def _kind(steps: list[Step], kinetic: Floats | None) -> str:
    if len(steps) == 1:
        return "unknown"
    kind = "md" if kinetic is not None and bool((np.nan_to_num(kinetic) > 0).any()) else "relax"
    return f"vc-{kind}" if any("pulay_suspect" in step.flags for step in steps) else kind


def _stress(values: Floats | None) -> Floats | None:
    """Return the tensor (3, 3) in eV/Å³ of six numbers in Ha/bohr³, None where it was not computed."""
    if values is None or not bool(np.isfinite(values).all()):
        return None
    xx, yy, zz, zy, zx, yx = values
    return np.array([[xx, yx, zx], [yx, yy, zy], [zx, zy, zz]]) * HARTREE_PER_BOHR3


def _numbers(types: Floats | None, charges: Floats | None, name: str) -> NDArray[np.int16]:
    """Return the atomic numbers (natoms,) of atoms whose types are counted from 1."""
    if types is not None and charges is not None and types.size and bool(((types >= 1) & (types <= len(charges))).all()):
        found = np.asarray(charges.ravel()[types.astype(int) - 1])
        if bool(np.isfinite(found).all()) and bool(((found == np.rint(found)) & (found >= 1) & (found < len(SYMBOLS))).all()):
            return found.astype(np.int16)
    raise UnreadableOutput("unreadable_output", f"the {name} does not tell the elements of its atoms", "deposit the text of the run too")


def _open_gsr() -> PushReader:
    return InMemoryReader(read_gsr)


def _open_hist() -> PushReader:
    return InMemoryReader(read_hist)


ABINIT_HIST: Final = ReaderSpec(HIST_FORMAT, "abinit", recognises_hist, _open_hist, rank=1, in_memory=True)
ABINIT_GSR: Final = ReaderSpec(GSR_FORMAT, "abinit", recognises_gsr, _open_gsr, rank=2, in_memory=True)
