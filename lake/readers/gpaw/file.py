"""Reader of a .gpw, the binary file of GPAW (1.0 and newer): the last configuration, in full digits.

Units are eV and Å (`results`, `atoms`), energies relative to reference atoms as in the text; `results.free_energy` is the one to which the
forces belong (in older files `hamiltonian.e_total_free`), `results.energy` is extrapolated to zero width. Stress is positive under tension,
xx yy zz yz xz xy. The word `scf.converged` is believed where it says no; that a cycle met its criteria the text of the run tells.
"""

from __future__ import annotations

import io
import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.base import PushReader, ReaderSpec
from lake.readers.gpaw.header import EXCHANGE, FUNCTIONALS, SMEARINGS
from lake.readers.in_memory import InMemoryReader
from lake.readers.qe.level import mesh_spacing
from lake.readers.text_steps import NAN, Step, make_frames
from lake.readers.ulm import Item, offsets, read_item, tag_of
from schemas.calculations import Run
from schemas.elements import SYMBOLS
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.theory import LevelOfTheory

FORMAT: Final = "GPAW .gpw"

_SOURCES: Final = ("GPAW free energy, relative to reference atoms", "GPAW stress tensor")
_BASES: Final = {"pw": "plane waves", "lcao": "LCAO", "fd": "grid"}
_HUBBARD: Final = re.compile(r":([spdf]),([0-9.]+)")
_OLD: Final = b"<gpaw_io"
_NO_ENERGY: Final = 1e-7
"""Hartree; the text prints six decimals of an eV."""


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of a .gpw, or of the description in one of before 2016, which is a tar archive."""
    return tag_of(head).upper() == "GPAW" or (name == "info.xml" and head.lstrip().startswith(_OLD))


def read_gpw(file: io.BytesIO) -> tuple[Run, ...]:
    """Return the configuration of a .gpw; raises UnreadableOutput where it has no energy or no atoms."""
    if file.getvalue()[:64].lstrip().startswith(_OLD):
        raise UnreadableOutput("unreadable_output", "a .gpw of GPAW before 1.0 (2016) is not read", "deposit the text output of the run")
    places = offsets(file)
    item = read_item(file, places[0])
    atoms, results, hamiltonian = (item.group(name) for name in ("atoms", "results", "hamiltonian"))
    numbers, cell, positions = _atoms(atoms)
    free = _number(results.value("free_energy"), _number(hamiltonian.value("e_total_free")))
    if not np.isfinite(free):
        raise UnreadableOutput(
            "no_complete_step", "the .gpw has no energy", "write it when the calculation has converged, or deposit the text"
        )
    told = _altered(item.group("parameters"), hamiltonian)
    natoms, forces, stress = len(numbers), results.array("forces"), results.array("stress")
    step = Step(
        number=0,
        cell=cell,
        positions=positions,
        energy=free,
        forces=np.asarray(forces, dtype=np.float64) if forces is not None and forces.shape == (natoms, 3) else None,
        stress=_tensor(np.asarray(stress, dtype=np.float64)) if stress is not None and stress.shape == (6,) else None,
        internal=free - _number(hamiltonian.value("e_entropy")),
        sigma0=_number(results.value("energy"), _number(hamiltonian.value("e_total_extrapolated"))),
        converged=0 if item.group("scf").value("converged") is False else -1,
        flags=("altered_potential",) if told else (),
    )
    pbc = np.array(atoms.value("pbc", [True, True, True]), dtype=bool)
    run = Run(
        code="gpaw",
        code_version=str(item.value("gpaw_version", "")),
        kind="unknown",
        format=FORMAT,
        level_of_theory=_level(item, cell),
        frames=make_frames(numbers, pbc.reshape(3), [step], _SOURCES),
        complete=True,
        notes=told,
    )
    return (run,)


def _altered(given: Item, hamiltonian: Item) -> tuple[str, ...]:
    """Return what is in energies and forces beside the functional."""
    occupations = given.value("occupations")
    held = isinstance(occupations, dict) and str(occupations.get("name", "")).lower() == "mom"
    outer = given.value("external") is not None or abs(_number(hamiltonian.value("e_external"), 0.0)) > _NO_ENERGY
    found = (
        (outer, "an external potential"),
        (given.value("background_charge") is not None, "a background charge (jellium)"),
        (held, "occupations held away from the ground state (mom)"),
    )
    return tuple(words for holds, words in found if holds)


def _atoms(atoms: Item) -> tuple[NDArray[np.int16], Floats, Floats]:
    numbers, cell, positions = (atoms.array(name) for name in ("numbers", "cell", "positions"))
    if numbers is None or positions is None or cell is None or not numbers.size or positions.shape != (numbers.size, 3):
        raise UnreadableOutput("unreadable_output", "the .gpw lists no atoms", "deposit the text output of the run")
    cell = np.diag(cell) if cell.shape == (3,) else cell
    known = numbers.dtype.kind in "iu" and bool(((numbers > 0) & (numbers < len(SYMBOLS))).all())
    if not known or cell.shape != (3, 3) or not bool(np.isfinite(positions).all() & np.isfinite(cell).all()):
        raise UnreadableOutput("unreadable_output", "the atoms of the .gpw are no sound structure", "deposit the text output of the run")
    return numbers.astype(np.int16), cell.astype(np.float64), positions.astype(np.float64)


def _number(value: Any, default: float = NAN) -> float:
    found = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30
    return float(value) if found else default


def _tensor(values: Floats) -> Floats:
    xx, yy, zz, yz, xz, xy = values
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _level(item: Item, cell: Floats) -> LevelOfTheory:
    """Return what the parameters that were given tell; GPAW stores no defaults, of which xc = LDA and mode = fd are as old as the code."""
    given, waves = item.group("parameters"), item.group("wave_functions")
    xc, mode = given.value("xc", "LDA"), given.value("mode", "fd")
    name = str(xc.get("name", "") if isinstance(xc, dict) else xc)
    functional = FUNCTIONALS.get(name.upper(), name)
    mode = mode if isinstance(mode, dict) else {"name": str(mode)}
    cutoff = _number(mode.get("ecut"), 340.0 if mode.get("name") == "pw" else NAN)
    points, eigenvalues = waves.group("kpts").array("ibzkpts"), waves.array("eigenvalues")
    mesh = _mesh(waves.group("kpts").array("bzkpts"))
    smearing, width = _smearing(given)
    return LevelOfTheory(
        code="gpaw",
        functional=functional,
        hubbard_u=_hubbard(given.value("setups")),
        exact_exchange=EXCHANGE.get(functional),
        basis=_BASES.get(str(mode.get("name")), str(mode.get("name"))),
        cutoff=cutoff if np.isfinite(cutoff) else None,
        kpoints=mesh,
        n_kpoints=len(points) if points is not None and points.ndim == 2 else None,
        kpoint_spacing=mesh_spacing(mesh, cell) if abs(np.linalg.det(cell)) > 1e-6 else None,
        smearing=smearing,
        smearing_width=width,
        spin=_spin(eigenvalues, bool(given.value("soc", False))),
        charge=_number(given.value("charge"), 0.0),
        extra=(("total_moment", "fixed"),) if _fixed_moment(given.value("occupations")) else (),
    )


def _spin(eigenvalues: NDArray[Any] | None, spin_orbit: bool) -> str:
    """Return the kind of spin by the shape of the eigenvalues: (spins, k points, bands), or (k points, bands) for spinors (gpaw.new)."""
    if spin_orbit:
        return "spin-orbit"
    if eigenvalues is None or eigenvalues.ndim not in (2, 3):
        return "none"
    return "noncollinear" if eigenvalues.ndim == 2 else "collinear" if eigenvalues.shape[0] == 2 else "none"


def _mesh(points: NDArray[Any] | None) -> tuple[int, int, int] | None:
    """Return the mesh that all k points (n, 3) make, or None where they make none."""
    if points is None or points.ndim != 2 or points.shape[1] != 3:
        return None
    a, b, c = (len(np.unique(np.round(points[:, axis], 6))) for axis in range(3))
    return (a, b, c) if a * b * c == len(points) else None


def _smearing(given: Item) -> tuple[str, float | None]:
    found = given.value("occupations")
    if not isinstance(found, dict):
        return "", None
    words, width = str(found.get("name", "")).lower(), _number(found.get("width"))
    name = next((name for part, name in SMEARINGS if part in words), "")
    return ("none", None) if width == 0 or name == "none" else (name, width if np.isfinite(width) else None)


def _fixed_moment(occupations: Any) -> bool:
    return isinstance(occupations, dict) and bool(occupations.get("fixmagmom", False))


def _hubbard(setups: Any) -> tuple[tuple[str, str, float], ...]:
    found = set()
    for element, words in setups.items() if isinstance(setups, dict) else ():
        found |= {(str(element), shell, float(value)) for shell, value in _HUBBARD.findall(str(words)) if str(element) in SYMBOLS}
    return tuple(sorted(found))


def _open() -> PushReader:
    return InMemoryReader(read_gpw)


GPAW_FILE: Final = ReaderSpec(FORMAT, "gpaw", recognises, _open, rank=1, in_memory=True)
