"""What the input tags of VASP mean: level of theory, kind of run, and when its self-consistency cycle is converged.

Tags and defaults: https://www.vasp.at/wiki, pages of the tags named here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import pi
from typing import Final

import numpy as np

from lake.readers.remembered import once
from lake.readers.vasp.beyond import VDW_DF, beyond
from lake.readers.vasp.species import IonType
from lake.readers.vasp.tags import Tags
from schemas.elements import SYMBOLS
from schemas.frames import Floats
from schemas.theory import LevelOfTheory

_GGA: Final[Mapping[str, str]] = {
    "91": "PW91", "PE": "PBE", "RE": "revPBE", "RP": "RPBE", "PS": "PBEsol", "AM": "AM05", "B3": "B3LYP", "B5": "B3LYP",
    "CA": "LDA", "PZ": "LDA", "VW": "LDA", "HL": "LDA", "WI": "LDA", "NO": "LDA", "NONE": "LDA", "LDA": "LDA",
    "BF": "BEEF", "OR": "optPBE", "BO": "optB88", "MK": "optB86b", "ML": "rPW86", "CX": "LV-PW86r", "CO": "none",
}  # fmt: skip
_POTCAR_FUNCTIONAL: Final[Mapping[str, str]] = {
    "PAW_PBE": "PBE", "PAW_GGA": "PW91", "PAW": "LDA", "PAW_LDA": "LDA", "US": "LDA", "NC": "LDA", "PAW_PBESOL": "PBEsol",
}  # fmt: skip
_LEXCH: Final[Mapping[str, str]] = {
    "PE": "PBE",
    "8": "PBE",
    "91": "PW91",
    "CA": "LDA",
    "2": "LDA",
    "PS": "PBEsol",
    "RP": "RPBE",
    "RE": "revPBE",
}
_METAGGA: Final[Mapping[str, str]] = {
    "SCAN": "SCAN", "RSCAN": "rSCAN", "R2SCAN": "r2SCAN", "R2SCA": "r2SCAN", "TPSS": "TPSS", "RTPSS": "revTPSS", "RTPS": "revTPSS",
    "M06L": "M06-L", "MBJ": "mBJ", "MS0": "MS0", "MS1": "MS1", "MS2": "MS2", "V1": "v1-sregTM", "SREGTM": "sregTM",
}  # fmt: skip
_IVDW: Final[Mapping[int, str]] = {
    1: "D2", 10: "D2", 11: "D3(0)", 12: "D3(BJ)", 13: "D4", 15: "simple-D3", 2: "TS", 20: "TS", 21: "TS(Hirshfeld-I)",
    202: "MBD", 263: "MBD(FI)", 3: "ULG", 4: "dDsC",
}  # fmt: skip
_ABSENT: Final = ("", "--", "F", "NONE", ".FALSE.", "NO")
_FIXED_ORBITALS: Final = (2, 3, 4, 90)
"""IALGO of ALGO = Nothing, Eigenval, Subrot, Exact: one pass over given orbitals, no self-consistency cycle."""
_MOST_LEVELS: Final = 64
"""Levels of theory that are kept for the same tags."""


@dataclass(frozen=True)
class Mesh:
    """The k points of a run: mesh where the output tells it, and number of points used."""

    divisions: tuple[int, int, int] | None = None
    points: int | None = None


_Key = tuple[tuple[IonType, ...], tuple[int, ...], Mesh, "float | None"]


@once
def run_kind(tags: Tags) -> str:
    """Return the kind of run that IBRION, NSW, ISIF and IMAGES ask for."""
    ibrion, steps = tags.integer("IBRION", -1), tags.integer("NSW", 0)
    if tags.integer("IMAGES", 0) > 0:
        return "neb"
    if ibrion in (5, 6, 7, 8):
        return "phonon"
    if ibrion == -1 or steps <= 0:
        return "static"
    cell_moves = tags.integer("ISIF", 2) >= 3
    if ibrion == 0:
        return "vc-md" if cell_moves else "md"
    if ibrion in (1, 2, 3, 44):
        return "vc-relax" if cell_moves else "relax"
    return "unknown"


@once
def no_cycle(tags: Tags) -> bool:
    """Return whether the electrons were not made self-consistent: charge density kept (ICHARG > 10), or one pass over given orbitals."""
    return tags.integer("ICHARG", 0) >= 10 or (tags.integer("NELM", 60) == 1 and tags.integer("IALGO", 38) in _FIXED_ORBITALS)


def functional_of(tags: Tags, kinds: Sequence[IonType]) -> str:
    """Return the common name of the exchange-correlation functional; GGA '--' means that of the POTCAR."""
    meta = tags.word("METAGGA")
    if meta not in _ABSENT:
        base = _METAGGA.get(meta, meta)
    else:
        base = _gga(tags, kinds)
        if tags.true("LUSE_VDW"):
            return VDW_DF.get(base, f"{base} with nonlocal correlation")
    return _hybrid(tags, base) if tags.true("LHFCALC") else base


def _gga(tags: Tags, kinds: Sequence[IonType]) -> str:
    code = tags.word("GGA")
    if code not in ("", "--"):
        return _GGA.get(code, code)
    by_title = {_POTCAR_FUNCTIONAL.get(kind.title.split()[0].upper(), "") for kind in kinds if kind.title.split()}
    found = {name for name in by_title if name} or {_LEXCH.get(tags.word("LEXCH"), "")}
    return " and ".join(sorted(found))


def _hybrid(tags: Tags, base: str) -> str:
    share, screening = tags.number("AEXX", 0.25), tags.number("HFSCREEN", 0.0)
    if base == "B3LYP":
        return base
    if share == 1.0 and screening == 0.0 and tags.number("ALDAC", 1.0) == 0.0:
        return "HF"
    if share == 0.25 and not tags.true("LTHOMAS") and not tags.true("LMODELHF"):
        if screening == 0.0:
            return {"PBE": "PBE0", "SCAN": "SCAN0", "PBEsol": "PBEsol0"}.get(base, f"{base} hybrid")
        if base == "PBE" and abs(screening - 0.2) < 0.01:
            return "HSE06"
        if base == "PBE" and abs(screening - 0.3) < 0.01:
            return "HSE03"
        if base == "PBEsol" and abs(screening - 0.2) < 0.01:
            return "HSEsol"
    return f"{base} hybrid"


def _dispersion(tags: Tags, functional: str) -> str:
    kind = tags.integer("IVDW", 0)
    if kind:
        return _IVDW.get(kind, f"IVDW={kind}")
    if tags.true("LVDW"):
        return "D2"
    if tags.true("LUSE_VDW") and functional in ("SCAN", "r2SCAN", "rSCAN", "PBE with nonlocal correlation"):
        return "rVV10"
    return ""


def _hubbard(tags: Tags, kinds: Sequence[IonType], numbers: Sequence[int]) -> tuple[tuple[str, str, float], ...]:
    if not tags.true("LDAU") or tags.integer("LDAUTYPE", 2) == 3:
        return ()
    shells, u, j = (tags.numbers(name) for name in ("LDAUL", "LDAUU", "LDAUJ"))
    j += [0.0] * (len(u) - len(j))
    found = {
        (SYMBOLS[number], "spdf"[int(shell)], round(u_value - j_value, 6))
        for number, shell, u_value, j_value in zip(numbers, shells, u, j, strict=False)
        if 0 <= shell <= 3 and u_value != j_value
    }
    return tuple(sorted(found)) if kinds else ()


def _smearing(tags: Tags) -> tuple[str, float | None]:
    kind, width = tags.integer("ISMEAR", 1), tags.number("SIGMA", 0.2)
    if kind in (-4, -5, -14, -15):
        return "tetrahedra", None
    if kind in (-2, -3):
        return "none", None
    name = {-1: "fermi-dirac", 0: "gaussian", 1: "methfessel-paxton"}.get(kind, f"methfessel-paxton order {kind}")
    return name, width


def _spin(tags: Tags) -> str:
    if tags.true("LSORBIT"):
        return "spin-orbit"
    if tags.true("LNONCOLLINEAR"):
        return "noncollinear"
    return "collinear" if tags.integer("ISPIN", 1) == 2 else "none"


def _charge(tags: Tags, kinds: Sequence[IonType], weights: Sequence[float]) -> float:
    """Return valence electrons of the ions less NELECT; VCA weights count."""
    electrons = tags.number("NELECT", float("nan"))
    factors = list(weights) + [1.0] * (len(kinds) - len(weights))
    ions = sum(kind.count * kind.valence * factor for kind, factor in zip(kinds, factors, strict=False))
    charge = round(ions - electrons, 3)
    return charge + 0.0 if np.isfinite(charge) and abs(charge) > 5e-3 else 0.0


@once
def virtual_crystal(tags: Tags) -> bool:
    """Return whether VCA gives an ion type a weight other than 1."""
    return any(weight != 1.0 for weight in tags.numbers("VCA"))


def level_of_theory(tags: Tags, kinds: Sequence[IonType], numbers: Sequence[int], *, mesh: Mesh, cell: Floats) -> LevelOfTheory:
    """Return the level of theory of a run; numbers are the atomic numbers of kinds, cell (3, 3) in Å is the first cell."""
    known = _levels(tags)
    key = (tuple(kinds), tuple(numbers), mesh, mesh_spacing(mesh, cell))
    if key not in known:
        if len(known) >= _MOST_LEVELS:
            known.clear()
        known[key] = _level_of_theory(tags, *key)
    return known[key]


@once
def _levels(_tags: Tags) -> dict[_Key, LevelOfTheory]:
    """Return the levels that were made of tags: both outputs of a run have one, and so have the runs of a campaign."""
    return {}


def _level_of_theory(tags: Tags, kinds: Sequence[IonType], numbers: Sequence[int], mesh: Mesh, spacing: float | None) -> LevelOfTheory:
    functional = functional_of(tags, kinds)
    smearing, width = _smearing(tags)
    cutoff = tags.number("ENCUT", tags.number("ENMAX", float("nan")))
    return LevelOfTheory(
        code="vasp",
        functional=functional,
        dispersion=_dispersion(tags, functional),
        hubbard_u=_hubbard(tags, kinds, numbers),
        exact_exchange=tags.number("AEXX", 0.25) if tags.true("LHFCALC") else None,
        basis="plane waves",
        cutoff=cutoff if np.isfinite(cutoff) else None,
        pseudopotentials=tuple(
            sorted({(SYMBOLS[number], " ".join(kind.title.split())) for number, kind in zip(numbers, kinds, strict=True)})
        ),
        kpoints=mesh.divisions,
        n_kpoints=mesh.points,
        kpoint_spacing=spacing,
        smearing=smearing,
        smearing_width=width,
        spin=_spin(tags),
        charge=_charge(tags, kinds, tags.numbers("VCA")),
        extra=beyond(tags, functional),
    )


def mesh_spacing(mesh: Mesh, cell: Floats) -> float | None:
    """Return the largest spacing of a mesh in 1/Å, 2π included, None where it is not told; cell is (3, 3) in Å."""
    return None if mesh.divisions is None else _spacing(mesh.divisions, np.asarray(cell, dtype=np.float64).tobytes())


@lru_cache(maxsize=256)
def _spacing(divisions: tuple[int, int, int], raw: bytes) -> float | None:
    cell = np.frombuffer(raw).reshape(3, 3)
    if not np.isfinite(cell).all() or abs(np.linalg.det(cell)) < 1e-6:
        return None
    lengths = 2 * pi * np.linalg.norm(np.linalg.inv(cell).T, axis=1)
    return float((lengths / np.maximum(divisions, 1)).max())


def version_of(text: str) -> str:
    """Return the numbers of a version: '5.4.4' of '5.4.4.18Apr17-6-g9f103f2a35'."""
    match = re.search(r"\d+\.\d+(?:\.\d+)?", text)
    return match.group(0) if match else ""
