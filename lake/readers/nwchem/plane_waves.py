"""NWChem's plane waves (pspw, band, paw): what one calculation of the log says of itself.

The energy is 'Total PSPW energy' (BAND, PAW), in hartree; 'Ion Forces' are forces, although a line above calls them gradients. What is
printed as the stress is the derivative of the energy by the lengths of the cell, in no unit that the log names: it is left out. Before its
own cutoff the code solves the same structure at lower ones: these are calculations of other levels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lake.readers.cross_checks import differ, other_volume, resolution
from lake.readers.qe.level import mesh_spacing
from lake.readers.rows import number
from lake.readers.step_log import element_of
from lake.readers.text_steps import NAN, Step, as_floats, even_decimals
from schemas.frames import Floats
from schemas.theory import LevelOfTheory
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR

STARTS: Final = (
    b"\n          *               NWPW PSPW Calculation              *",
    b"\n          *                   NWPW BAND Calculation                *",
    b"\n          *               NWPW PAW Calculation               *",
)
"""What a calculation begins with."""
MOVES: Final = (b"microcluster calculation", b"steepest descent minimization", b"Car-Parrinello iteration")
"""Modules that move the atoms without printing the new geometry for others."""

_ENERGY: Final = re.compile(rb"\n Total (?:PSPW|BAND|PAW) energy +: +(\S+) *(?=\n)")
_TOTAL: Final = re.compile(rb"\n total     energy    : +(\S+) \(")
_CELL: Final = re.compile(rb"\n supercell:\n(?:[^\n]*\n)?? +lattice: +a1=<([^>\n]*)>\n +a2=<([^>\n]*)>\n +a3=<([^>\n]*)>")
_VOLUME: Final = re.compile(rb"\n +omega= +(\S+)")
_BOUNDARY: Final = re.compile(rb"\n +boundary conditions +=\s+(periodic|aperiodic) ")
_SPIN: Final = re.compile(rb"\n +electron spin +=\s+(\w+)")
_XC: Final = re.compile(rb"\n +exchange.correlation =([^\n]*)\n((?:(?! *elements involved)[^\n]*\n)*)")
_PART: Final = re.compile(rb"^ +(\d\.\d+) +(\S[^\n(]*)", re.M)
_SCALED: Final = re.compile(rb"- HFX scaling parameter[^\n:]*: +(\S+)")
_DISPERSION: Final = re.compile(rb"\n +dispersion correction= *(\S+)")
_ELEMENT: Final = re.compile(
    rb"\n +\d+: (\S+) +(?:valence|core) charge:[^\n]*\n +comment +: +([^\n]*?) *(?=\n)((?:\n {10,}[^\n]*)*)",
)
_RADII: Final = re.compile(rb"\n +(?:cutoff =|augmentation sphere radius +:)([^\n(]*)")
_CHARGE: Final = re.compile(rb"\n total charge: +(\S+)")
_WAVES: Final = re.compile(rb"\n +wavefnc +(?:\d+ +)?cutoff= *(\S+)")
_DENSITY: Final = re.compile(rb"\n +density +cutoff= *(\S+)")
_POINTS: Final = re.compile(rb"\n +number of zone points: +(\d{1,6})")
_ENDED: Final = re.compile(rb"\n +\*\*\* ([^\n]*)")
_ROW: Final = re.compile(rb"\n +(\d{1,6}) +-?\d\.\d+E[-+]\d+ +-?\d\.\d+E[-+]\d+ +-?\d\.\d+E[-+]\d+")
_FORCES: Final = re.compile(rb"\n Ion Forces:\n((?: +\d+ \S+ +\([^\n]*\n)+) +C\.O\.M\.")
_FORCE: Final = re.compile(rb" +(\d+) (\S+) +\( *(\S+) +(\S+) +(\S+) *\)")
_COMPONENT: Final = re.compile(rb"\.\d+")
_NORM: Final = re.compile(rb"\n +\|F\| +=\s+(\S+)")

_NAMES: Final = {"PBE96": "PBE", "LDA": "LDA-VWN", "Vosko et al": "LDA-VWN", "TPSS03": "TPSS", "PBE960": "PBE0"}
_EXCHANGE: Final = {"PBE0": 0.25, "B3LYP": 0.2}
_DISPERSIONS: Final = {"Grimme2": "D2", "Grimme3": "D3(0)", "Grimme4": "D3(BJ)"}


@dataclass(frozen=True, eq=False)
class PlaneWaves:
    """One calculation; its step has no places yet."""

    level: LevelOfTheory
    pbc: bool
    symbols: tuple[str, ...]
    """Elements of the rows of the forces, none where there are no forces."""
    step: Step


def count_energies(piece: bytes) -> int:
    """Return how many energies of plane waves a piece of the log has, none where the atoms move in it."""
    return 0 if any(words in piece for words in MOVES) else len(_ENERGY.findall(piece))


def read_plane_waves(piece: bytes) -> PlaneWaves | None:
    """Return the calculation that a piece of the log holds, or None where its energy or its cell is missing, or there are two of them."""
    piece = piece[: min((place for words in MOVES if (place := piece.find(words)) >= 0), default=len(piece))]
    energy, cell, boundary = _ENERGY.findall(piece), _read_cell(piece), _BOUNDARY.search(piece)
    if len(energy) != 1 or cell is None or boundary is None:
        return None
    periodic = boundary.group(1) == b"periodic"
    symbols, forces = _read_forces(piece)
    rows, ended = _ROW.findall(piece), _ENDED.findall(piece)
    step = Step(
        number=0,
        cell=cell,
        positions=np.zeros((0, 3)),
        energy=number(energy[0]) * HARTREE,
        forces=forces,
        converged=-1 if not ended else int(b"tolerance ok" in ended[-1]),
        n_scf=int(rows[-1]) if rows else -1,
        contradictions=tuple(_contradictions(piece, energy[0], cell, forces)),
    )
    return PlaneWaves(_level(piece, cell, periodic=periodic), periodic, symbols, step)


def _read_cell(piece: bytes) -> Floats | None:
    found = _CELL.search(piece)
    fields = b" ".join(found.groups()).split() if found else []
    cell = as_floats(fields) * BOHR
    return cell.reshape(3, 3) if cell.shape == (9,) and even_decimals(fields) and bool(np.isfinite(cell).all()) else None


def _read_forces(piece: bytes) -> tuple[tuple[str, ...], Floats | None]:
    """Return the elements and forces of the last table, NaN where it is torn; none where there is no table."""
    tables = _FORCES.findall(piece)
    if not tables:
        return (), np.full((1, 3), NAN) if b"\n Ion Forces:" in piece else None
    rows = [_FORCE.match(line) for line in tables[-1].split(b"\n")[:-1]]
    whole = [row for row in rows if row is not None]
    fields = [field for row in whole for field in row.groups()[2:]]
    counted = [row.group(1) for row in whole] == [b"%d" % k for k in range(1, len(rows) + 1)]
    if not counted or not even_decimals(fields):
        return (), np.full((1, 3), NAN)
    symbols = tuple(element_of(row.group(2).decode("latin-1")) for row in whole)
    return symbols, as_floats(fields).reshape(-1, 3) * HARTREE_PER_BOHR


def _contradictions(piece: bytes, energy: bytes, cell: Floats, forces: Floats | None) -> list[str]:
    """Return a sentence for each number that the calculation prints twice with different values."""
    told, total, norm = [], _TOTAL.findall(piece), _NORM.findall(piece)
    if total and differ(total[-1], number(energy), share=1e-9, least=2e-9 * abs(number(energy))):
        words = f"is {energy.decode('latin-1')} by what else is printed"
        told.append(f"the total energy is printed as {total[-1].decode('latin-1')}, and {words}")
    if norm and forces is not None and bool(np.isfinite(forces).all()):
        size = float(np.linalg.norm(forces)) / HARTREE_PER_BOHR
        digit = _COMPONENT.search(_FORCES.findall(piece)[-1])
        rounded = 0.5 * resolution(digit.group()) * float(np.sqrt(forces.size)) if digit else 0.0
        if differ(norm[-1], size, share=1e-6, least=rounded + 0.51 * resolution(norm[-1])):
            told.append(f"the norm of the forces is printed as {norm[-1].decode('latin-1')}, and is {size:.8g} by what else is printed")
    edge = float(np.linalg.norm(cell, axis=1).min())
    size_told = other_volume(piece, _VOLUME, cell, unit=BOHR**3, share=2e-4 + 3.0 * 0.001 * BOHR / max(edge, 0.1))
    return told + ([size_told] if size_told else [])


def _level(piece: bytes, cell: Floats, *, periodic: bool) -> LevelOfTheory:
    spin, charge, points = _SPIN.search(piece), _CHARGE.search(piece), _POINTS.search(piece)
    dispersion = _DISPERSION.search(piece)
    words = dispersion.group(1).decode("latin-1") if dispersion else ""
    functional, exchange = _functional(piece)
    mesh = (1, 1, 1) if periodic and points is None else None
    level = LevelOfTheory(
        code="nwchem",
        functional=functional,
        dispersion=_DISPERSIONS.get(words, words),
        exact_exchange=exchange,
        basis="plane waves",
        cutoff=_hartree(_WAVES.search(piece)),
        density_cutoff=_hartree(_DENSITY.search(piece)),
        pseudopotentials=tuple(sorted(set(map(_pseudopotential, _ELEMENT.findall(piece))))),
        kpoints=mesh,
        n_kpoints=int(points.group(1)) if points else 1,
        kpoint_spacing=mesh_spacing(mesh, cell) if mesh and abs(np.linalg.det(cell)) > 1e-6 else None,
        smearing="" if b"mear" in piece else "none",
        spin="none" if spin is not None and spin.group(1) == b"restricted" else "collinear",
        charge=float(np.nan_to_num(number(charge.group(1)))) if charge else 0.0,
    )
    return replace(level, extra=(("exact exchange", "not relaxed"),)) if b"HFX unrelaxed" in piece else level


def _functional(piece: bytes) -> tuple[str, float | None]:
    """Return the functional and its fraction of exact exchange: by its name, or by the parts that newer versions list."""
    found = _XC.search(piece)
    if found is None:
        return "", None
    name = re.sub(r" *\(.*| parameterization", "", found.group(1).decode("latin-1")).strip()
    parts = [(number(share), words.decode("latin-1").strip()) for share, words in _PART.findall(found.group(2))]
    scaled = _SCALED.search(found.group(2))
    exact = next((share for share, words in parts if words.startswith("Hartree-Fock")), number(scaled.group(1)) if scaled else NAN)
    name = _NAMES.get(name, name) or " + ".join(f"{share:g} {words}" for share, words in parts)
    return name, float(exact) if exact > 0 else _EXCHANGE.get(name)


def _pseudopotential(found: tuple[bytes, bytes, bytes]) -> tuple[str, str]:
    """Return element and identity: the comment, with the radii that it was generated for."""
    symbol, comment, block = found
    radii = _RADII.search(block)
    words = [*comment.split(), *([b"radii", *radii.group(1).split()] if radii else [])]
    return element_of(symbol.decode("latin-1")), b" ".join(words).decode("latin-1")


def _hartree(found: re.Match[bytes] | None) -> float | None:
    value = number(found.group(1)) * HARTREE if found else NAN
    return float(value) if np.isfinite(value) else None
