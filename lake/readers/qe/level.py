"""The level of theory in Quantum ESPRESSO's words: functionals, smearing, k meshes; shared by stdout and XML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.theory import LevelOfTheory

Floats = NDArray[np.float64]

_LOCAL: Final[dict[tuple[int, ...], str]] = {
    (1, 1, 0, 0): "LDA",
    (1, 4, 0, 0): "LDA-PW92",
    (1, 2, 0, 0): "LDA-VWN",
    (5, 0, 0, 0): "HF",
    (1, 4, 3, 4): "PBE",
    (1, 1, 1, 1): "BP86",
    (1, 4, 2, 2): "PW91",
    (1, 4, 4, 4): "revPBE",
    (1, 4, 44, 4): "RPBE",
    (1, 4, 10, 8): "PBEsol",
    (1, 3, 1, 3): "BLYP",
    (1, 4, 11, 4): "WC",
    (1, 4, 17, 4): "SOGGA",
    (1, 4, 19, 12): "Q2D",
    (1, 4, 21, 4): "PW86PBE",
    (1, 4, 22, 4): "B86bPBE",
    (0, 0, 5, 5): "HCTH",
    (0, 3, 6, 3): "OLYP",
    (6, 4, 8, 4): "PBE0",
    (6, 4, 41, 4): "B86bPBEX",
    (6, 4, 42, 3): "BHandHLYP",
    (1, 4, 12, 4): "HSE06",
    (12, 4, 12, 4): "HSE06",
    (1, 4, 20, 4): "GauPBE",
    (7, 12, 9, 7): "B3LYP",
    (7, 13, 9, 7): "B3LYP-V1R",
    (9, 14, 28, 13): "X3LYP",
}
"""Numbers of (LDA exchange, LDA correlation, GGA exchange, GGA correlation) (XClib/qe_dft_list.f90 of Quantum ESPRESSO 7.4)."""

_NONLOCAL: Final[dict[tuple[int, ...], str]] = {
    (4, 0, 1): "vdW-DF",
    (13, 0, 2): "vdW-DF2",
    (45, 0, 3): "vdW-DF3-opt1",
    (46, 0, 4): "vdW-DF3-opt2",
    (26, 0, 5): "vdW-DF-C6",
    (16, 0, 1): "vdW-DF-C09",
    (16, 0, 2): "vdW-DF2-C09",
    (23, 0, 1): "optB88-vdW",
    (24, 0, 1): "optB86b-vdW",
    (26, 0, 2): "vdW-DF2-B86R",
    (27, 0, 1): "vdW-DF-cx",
    (29, 0, 1): "vdW-DF-cx0",
    (13, 4, 26): "rVV10",
    (13, 4, 3): "rVV10",
    (43, 14, 2): "BEEF-vdW",
}
"""Numbers of (GGA exchange, GGA correlation, non-local correlation) (Modules/funct.f90 of Quantum ESPRESSO 7.4)."""

_META: Final[dict[int, str]] = {1: "TPSS", 2: "M06-L", 3: "TB09", 4: "SCAN", 5: "SCAN", 6: "SCAN0", 7: "r2SCAN", 8: "rSCAN", 263: "SCAN"}

_NAMES: Final[dict[str, str]] = {
    "PZ": "LDA", "LDA": "LDA", "PBE": "PBE", "PBESOL": "PBEsol", "REVPBE": "revPBE", "RPBE": "RPBE", "PW91": "PW91", "BLYP": "BLYP",
    "BP": "BP86", "WC": "WC", "PBE0": "PBE0", "HSE": "HSE06", "B3LYP": "B3LYP", "GAUP": "GauPBE", "GAUPBE": "GauPBE", "TPSS": "TPSS",
    "M06L": "M06-L", "TB09": "TB09", "SCAN": "SCAN", "SCAN0": "SCAN0", "R2SCAN": "r2SCAN", "RSCAN": "rSCAN", "VDW-DF": "vdW-DF",
    "VDW-DF2": "vdW-DF2", "VDW-DF-CX": "vdW-DF-cx", "RVV10": "rVV10", "RVV10-SCAN": "SCAN+rVV10", "BEEF": "BEEF-vdW",
    "SLA PZ NOGX NOGC": "LDA", "SLA PW PBX PBC": "PBE", "SLA PW PBE PBE": "PBE", "SLA PW PBX PBC NONE": "PBE", "SLA PW GGX GGC": "PW91",
    "SLA PW PSX PSC": "PBEsol", "SLA LYP B88 BLYP": "BLYP", "SLA PW REVX PBC": "revPBE", "SLA PW TPSS TPSS": "TPSS", "HF": "HF",
}  # fmt: skip

_SMEARINGS: Final[tuple[tuple[str, str], ...]] = (
    ("fermi", "fermi-dirac"),
    ("f-d", "fermi-dirac"),
    ("fd", "fermi-dirac"),
    ("methfessel", "methfessel-paxton"),
    ("m-p", "methfessel-paxton"),
    ("mp", "methfessel-paxton"),
    ("marzari", "marzari-vanderbilt"),
    ("cold", "marzari-vanderbilt"),
    ("m-v", "marzari-vanderbilt"),
    ("mv", "marzari-vanderbilt"),
    ("gauss", "gaussian"),
    ("tetra", "tetrahedra"),
)


def functional_name(printed: str, indices: Sequence[int] = ()) -> str:
    """Return the common name of a functional, from its printed name and its index numbers; else the code's own words.

    indices are (iexch, icorr, igcx, igcc, inlc, imeta, imetac); releases before 6.0 print fewer.
    """
    key = printed.upper().replace("+", " ").replace("-", "-").split()
    name = _NAMES.get(" ".join(key))
    if name is not None:
        return name
    padded = (*indices, *(0,) * (7 - len(indices)))
    local, nonlocal_part, meta = padded[:4], padded[4], padded[5]
    if meta and indices:
        return _META.get(meta, printed.strip()) + ("+rVV10" if nonlocal_part in {3, 26} else "")
    if nonlocal_part:
        return _NONLOCAL.get((local[2], local[3], nonlocal_part), printed.strip())
    if indices and local in _LOCAL:
        return _LOCAL[local]
    dashed = _NAMES.get(" ".join(" ".join(key).replace("-", " ").split()))
    return dashed or " ".join(printed.split())


def smearing_name(printed: str) -> str:
    """Return 'gaussian', 'marzari-vanderbilt', ... for the words of the code."""
    low = printed.strip().lower()
    return next((name for start, name in _SMEARINGS if low.startswith(start)), low)


def hubbard_shell(label: str) -> str:
    """Return the shell's letter of '3d', 'd' or '2' (the angular momentum)."""
    label = label.strip().lower()
    if label.isdigit():
        return "spdf"[int(label)] if int(label) < 4 else label
    return label.lstrip("0123456789") or label


def unique_pseudopotentials(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return (element, identity) sorted and each once: Fe1 and Fe2 share one file."""
    return tuple(sorted(set(pairs)))


def reciprocal_lengths(cell: Floats) -> Floats:
    """Return the lengths of the reciprocal vectors with the factor 2 pi, 1/Å, shape (3,); cell rows are vectors in Å."""
    if not bool(np.isfinite(cell).all()) or abs(float(np.linalg.det(cell))) < 1e-12:
        return np.full(3, np.nan)
    return np.asarray(2.0 * np.pi * np.linalg.norm(np.linalg.inv(cell), axis=0), dtype=np.float64)


def mesh_spacing(mesh: tuple[int, int, int] | None, cell: Floats) -> float | None:
    """Return the largest distance between neighbouring points of a k mesh in 1/Å, or None."""
    if mesh is None:
        return None
    spacing = float(np.max(reciprocal_lengths(cell) / np.asarray(mesh)))
    return spacing if np.isfinite(spacing) else None


def find_mesh(points: Floats, weights: Floats) -> tuple[int, int, int] | None:
    """Return the regular mesh that a list of k points comes from, or None where there is no one such mesh.

    points, shape (n, 3), are in units of the reciprocal vectors; the list may be reduced by symmetry, so that one axis can show
    fewer values than another. Every coordinate must be j/m or (2j+1)/(2m), every weight a whole multiple of 1/(m1 m2 m3).
    """
    if len(points) == 0 or not bool(np.isfinite(points).all()) or not float(weights.sum()) > 0:
        return None
    least = [next((m for m in range(1, 65) if _divides(points[:, axis], m)), 0) for axis in range(3)]
    if 0 in least:
        return None
    choices = [[m for m in sorted(set(least)) if m >= least[axis] and _divides(points[:, axis], m)] for axis in range(3)]
    shares = weights / weights.sum()
    meshes = sorted((mesh for mesh in product(*choices) if _fits(shares, prod(mesh))), key=prod)
    if not meshes or (len(meshes) > 1 and prod(meshes[0]) == prod(meshes[1])):
        return None
    first, second, third = meshes[0]
    return first, second, third


def _divides(coordinates: Floats, count: int) -> bool:
    for shift in (0.0, 0.5):
        off = coordinates * count - shift
        if bool((np.abs(off - np.rint(off)) < 2e-4 * count).all()):
            return True
    return False


def _fits(shares: Floats, total: int) -> bool:
    whole = np.rint(shares * total)
    return bool((np.abs(shares * total - whole) < 0.02).all()) and bool((whole >= 1).all())


EXTERNAL_FORCES: Final = ("external_forces", "on")
"""Forces of the input (ATOMIC_FORCES): `forces.f90` adds them to the forces, `electrons.f90` their energy, before either is printed."""


NO_TORQUE: Final = ("torque", "removed from the forces")
"""remove_rigid_rot: `forces.f90` takes the total torque out of the forces before they are printed; the stdout does not tell."""
HELD_MOMENTS: Final = ("constrained_magnetization", "on")
"""A penalty on magnetic moments (PW/src/add_bfield.f90): its potential acts on the orbitals, its energy is in no printed total."""
FORCE_FIELD: Final = ("external_force_field", "on")
"""extffield.dat: `forces.f90` adds walls and the like to the forces; the energy has nothing of them."""
SELF_INTERACTION: Final = ("self_interaction", "polaron")
"""sic: its potential acts on the orbitals (PW/src/sic.f90); its energy is in the total one with sic_energy alone, and in no stress."""
UNTOLD_TERM: Final = ("energy", "with a term that is not told")
"""The total energy is not the sum of the terms that the stdout lists for it: sic, a scissor operator, a plugin."""
_ALTERED: Final = {
    EXTERNAL_FORCES: "external forces of the input (ATOMIC_FORCES) are in the energy and in the forces",
    FORCE_FIELD: "an external force field (extffield.dat) is in the forces, not in the energy",
    HELD_MOMENTS: "a penalty holds magnetic moments (constrained_magnetization): it acts on the forces and is not in the energy",
    NO_TORQUE: "the total torque was taken out of the forces (remove_rigid_rot)",
    SELF_INTERACTION: "a correction of a polaron's self-interaction (sic) acts on the forces; it is in the energy with sic_energy alone",
    UNTOLD_TERM: "the total energy is not the sum of the terms printed below it: it has one more (a scissor operator, a plugin)",
}


def altered(level: LevelOfTheory) -> tuple[str, ...]:
    """Return what is in the energies and forces beside the functional."""
    return tuple(words for key, words in _ALTERED.items() if key in level.extra)


_FIELD: Final = "electric_field"
_BERRY: Final = "berry phase"


def sawtooth(amplitude: float) -> tuple[str, str]:
    """Return the level's word for a sawtooth potential of an amplitude (Ha a.u.), which is 0 for a correction of the dipole alone."""
    return _FIELD, f"sawtooth, {amplitude:.4g} Ha a.u." if np.isfinite(amplitude) and amplitude != 0.0 else "sawtooth"


def berry_field(field: Sequence[float], direction: int = 0) -> tuple[tuple[str, str], ...]:
    """Return the level's words for a homogeneous field (Ry a.u.), a Cartesian vector or its strength along a reciprocal vector (1 to 3).

    Nothing for a field of zero; the word alone where the strength is not told.
    """
    if not field or not np.isfinite(field).all():
        return ((_FIELD, _BERRY),)
    strength = " ".join(f"{value + 0.0:.6g}" for value in field)
    return ((_FIELD, f"{_BERRY}, {strength} Ry a.u.{f' along {direction}' if direction else ''}"),) if any(field) else ()


def is_in_berry_field(level: LevelOfTheory) -> bool:
    """Return whether a homogeneous field acts on the electrons (lelfield)."""
    return any(name == _FIELD and value.startswith(_BERRY) for name, value in level.extra)


def two_fermi_levels(electrons: float) -> tuple[str, str]:
    """Return the level's word for electrons that are held in the conduction bands, with a Fermi level of their own (twochem)."""
    return "electrons", f"{electrons:.4g} in the conduction bands"


def stress_is_partial(level: LevelOfTheory) -> bool:
    """Return whether the stress that pw.x prints lacks a part (PW/src/stress.f90).

    With an effective screening medium it has zeros across the slab; what a homogeneous field adds is commented out; Environ has none.
    """
    slab = any(name == "isolated" and value.startswith("esm") for name, value in level.extra)
    return slab or ("solvent", "environ") in level.extra or is_in_berry_field(level)
