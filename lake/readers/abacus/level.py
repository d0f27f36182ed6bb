"""Level of theory of ABACUS: what running_*.log says of it, and the INPUT that ABACUS writes beside the log with every parameter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from lake.readers.rows import number
from lake.readers.step_log import element_of
from schemas.elements import NUMBERS
from schemas.theory import U_NOT_TOLD, LevelOfTheory
from schemas.units import RYDBERG

INPUT_NAME: Final = "INPUT"
INPUT_NAMES: Final = (INPUT_NAME, "INPUT.info")
"""The second since 3.11."""
_OPENING: Final = b"INPUT_PARAMETERS"

_PSEUDO: Final = re.compile(
    rb"\n +(?:Read in pseudopotential file is|Pseudopotential file =) (\S+)(?:\n[^\n]*){0,2}?"
    rb"\n +[Ee]xchange-correlation functional = ([^\n]*)"
)
_UPDATED: Final = re.compile(rb"\n *(?:XC functional updated to :|DFT functional set to =) +(\S+)")
"""The input's dft_functional, which overrides that of the pseudopotentials."""
_LABELS: Final = (re.compile(rb"\n +atom label for species \d+ = (\S+)"), re.compile(rb"\n +[Aa]tom label = (\S+)"))
"""The second where there is no first."""
_CUTOFF: Final = re.compile(rb"\n +[Ee]nergy cutoff for wavefunc \(unit:Ry\) = (\S+)")
_DENSITY: Final = re.compile(rb"\n +[Ee]nergy cutoff for charge/potential \((?:unit:)?Ry\) = (\S+)")
_SPIN: Final = re.compile(rb"\n +nspin = (\d)")
_POINTS: Final = re.compile(rb"\n +(?:nkstot_ibz|Number of irreducible k-points) = (\d{1,7})")
_VDW: Final = re.compile(rb"\n *E_vdw(D\d)")
_PLUS_U: Final = re.compile(rb"\n +(?:DFTU +cal_|E_plusU +\S)")
"""A row of the table of times at the end, or of the energies (3.11): nothing else in the log says that there is a U."""
_FUNCTIONALS: Final = {
    "PBE": "PBE", "PBESOL": "PBEsol", "LDA": "LDA", "PZ": "LDA", "SCAN": "SCAN", "HSE": "HSE06", "PBE0": "PBE0", "HF": "HF",
    "B3LYP": "B3LYP", "SCAN0": "SCAN0",
}  # fmt: skip
_EXCHANGE: Final = {"HSE06": 0.25, "PBE0": 0.25, "HF": 1.0, "B3LYP": 0.2, "SCAN0": 0.25}
_DISPERSION: Final = {"d2": "D2", "d3_0": "D3(0)", "d3_bj": "D3(BJ)"}
_SMEARING: Final = {
    "fixed": "none", "gauss": "gaussian", "gaussian": "gaussian", "fd": "fermi-dirac", "mp": "methfessel-paxton",
    "mp2": "methfessel-paxton", "mv": "marzari-vanderbilt", "cold": "marzari-vanderbilt",
}  # fmt: skip
_TERMS: Final = (
    ("electric_field", re.compile(rb"\n +E_efield +[-+]?[0.]*[1-9]")),
    ("gate", re.compile(rb"\n +E_gatefield +[-+]?[0.]*[1-9]")),
    ("solvent", re.compile(rb"\n +E_sol_el +[-+]?[0.]*[1-9]")),
    ("deepks", re.compile(rb"\n +E_DeePKS +[-+]?[0.]*[1-9]")),
)
"""Rows among the energies (routine print_etot); older versions print them as zero in every run."""
_NOT_TOLD: Final = "of parameters that are not told"
_ALTERS: Final = (
    ("sc_mag_switch", "constrained magnetic moments"),
    ("ocp", "occupations held away from the ground state"),
    ("td_vext", "the field of a laser"),
)
_SHELLS: Final = {"1": "p", "2": "d", "3": "f"}


def read_level(text: bytes) -> LevelOfTheory:
    """Return the level of theory that a log tells before its first energy."""
    files = [(file.decode("latin-1").rsplit("/", 1)[-1], xc.decode("latin-1").strip()) for file, xc in _PSEUDO.findall(text)]
    names = {xc for _, xc in files}
    updated, spin, points = _UPDATED.findall(text), _SPIN.search(text), _POINTS.search(text)
    words = updated[-1].decode("latin-1") if updated else names.pop() if len(names) == 1 else ""
    functional = _FUNCTIONALS.get(words.upper(), words)
    return LevelOfTheory(
        code="abacus",
        functional=functional,
        exact_exchange=_EXCHANGE.get(functional),
        basis="LCAO" if b"SETUP PLANE WAVES FOR WAVE FUNCTIONS" not in text else "plane waves",
        cutoff=_rydberg(_CUTOFF.search(text)),
        density_cutoff=_rydberg(_DENSITY.search(text)),
        pseudopotentials=tuple(sorted({(label, file) for label, (file, _) in zip(read_species(text), files, strict=False)})),
        n_kpoints=int(points.group(1)) if points else None,
        spin={b"2": "collinear", b"4": "noncollinear"}.get(spin.group(1) if spin else b"1", "none"),
    )


def read_species(text: bytes) -> list[str]:
    """Return the elements of the species in their order."""
    found = next((labels for pattern in _LABELS if (labels := pattern.findall(text))), [])
    return [element_of(label.decode("latin-1")) for label in found]


def seen_later(level: LevelOfTheory, text: bytes) -> LevelOfTheory:
    """Return a level with what a later part of the log betrays: a dispersion among the energies, a U among the times."""
    dispersion = _VDW.search(text)
    if dispersion is not None and not level.dispersion:
        level = replace(level, dispersion=dispersion.group(1).decode("latin-1"))
    if _PLUS_U.search(text) is not None and not level.hubbard_u and U_NOT_TOLD not in level.extra:
        level = replace(level, extra=(*level.extra, U_NOT_TOLD))
    return replace(level, extra=_merged(level.extra, {name: _NOT_TOLD for name, pattern in _TERMS if pattern.search(text) is not None}))


def altered(given: Mapping[str, str]) -> tuple[str, ...]:
    """Return what an INPUT puts into energies and forces beside the functional."""
    return tuple(f"{words} ({name})" for name, words in _ALTERS if _is_on(given, name))


def _is_on(given: Mapping[str, str], name: str) -> bool:
    return given.get(name, "0").lower() in ("1", "t", "true", ".true.")


def _merged(extra: tuple[tuple[str, str], ...], more: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return extra with more; what is told stands for what is not."""
    known = dict(extra)
    known |= {name: words for name, words in more.items() if name not in known or known[name] == _NOT_TOLD}
    return tuple(known.items())


def _beyond(given: Mapping[str, str]) -> dict[str, str]:
    """Return what an INPUT adds to the functional: fields, a gate, a solvent, a fixed moment, a number of electrons, another solver."""
    found = {}
    if _is_on(given, "efield_flag"):
        dipole = ", dipole correction" if _is_on(given, "dip_cor_flag") else ""
        found["electric_field"] = f"{given.get('efield_amp', '0')} along {given.get('efield_dir', '2')}{dipole}"
    if _is_on(given, "gate_flag"):
        found["gate"] = given.get("zgate", "0.5")
    if _is_on(given, "imp_sol"):
        found["solvent"] = f"permittivity {given.get('eb_k', '80')}"
    if _is_on(given, "deepks_scf"):
        found["deepks"] = given.get("deepks_model", "on")
    for name, key in (("total_moment", "nupdown"), ("electrons", "nelec"), ("electrons_added", "nelec_delta")):
        value = number(given.get(key, "0").split()[0].encode("latin-1"))
        if np.isfinite(value) and value != 0.0:
            found[name] = f"{value:g}"
    solver = given.get("esolver_type", "ksdft").lower()
    return found if solver in ("ksdft", "") else found | {"solver": solver}


def read_input(text: bytes) -> dict[str, str]:
    """Return the parameters of an INPUT of ABACUS by their names, nothing for a file of that name that is another program's."""
    found: dict[str, str] = {}
    lines = text.replace(b"\r", b"").split(b"\n")
    if not any(line.strip() == _OPENING for line in lines):
        return found
    for line in lines:
        words = line.split(b"#", 1)[0].split(None, 1)
        if len(words) == 2:
            found[words[0].decode("latin-1").lower()] = words[1].decode("latin-1").strip()
    return found


def with_input(level: LevelOfTheory, species: list[str], given: Mapping[str, str]) -> LevelOfTheory:
    """Return a level with what the INPUT adds: functional, dispersion, U of each species, smearing."""
    changes: dict[str, object] = {}
    functional = given.get("dft_functional", "default")
    if functional.lower() not in ("default", "none", ""):
        name = _FUNCTIONALS.get(functional.upper(), functional)
        changes |= {"functional": name, "exact_exchange": _EXCHANGE.get(name)}
    method = given.get("vdw_method", "none").lower()
    if method not in ("none", "", "0"):
        changes["dispersion"] = _DISPERSION.get(method, method)
    smearing = _SMEARING.get(given.get("smearing_method", "").lower())
    if smearing is not None:
        width = number(given.get("smearing_sigma", "").encode()) * RYDBERG
        changes |= {"smearing": smearing, "smearing_width": float(width) if smearing != "none" and np.isfinite(width) else None}
    if given.get("dft_plus_u", "0") not in ("0", "false", ""):
        values = _hubbard(species, given)
        unsaid = tuple(pair for pair in level.extra if pair != U_NOT_TOLD)
        changes |= {"hubbard_u": values, "extra": unsaid if values else (*unsaid, U_NOT_TOLD)}
    changes["extra"] = _merged(changes.get("extra", level.extra), _beyond(given))  # type: ignore[arg-type]
    return replace(level, **changes)  # type: ignore[arg-type]


def _hubbard(species: list[str], given: Mapping[str, str]) -> tuple[tuple[str, str, float], ...]:
    """Return (element, shell, U in eV) of the species that have a U; nothing where the lists do not fit the species."""
    shells, values = given.get("orbital_corr", "").split(), given.get("hubbard_u", "").split()
    if len(shells) != len(species) or len(values) != len(species) or any(name not in NUMBERS for name in species):
        return ()
    rows = {
        (name, _SHELLS[shell], number(value.encode()))
        for name, shell, value in zip(species, shells, values, strict=True)
        if shell in _SHELLS
    }
    return tuple(sorted(row for row in rows if np.isfinite(row[2]) and row[2] != 0.0))


def _rydberg(match: re.Match[bytes] | None) -> float | None:
    value = number(match.group(1)) * RYDBERG if match else float("nan")
    return float(value) if np.isfinite(value) else None
