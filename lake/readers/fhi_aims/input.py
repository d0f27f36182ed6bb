"""What FHI-aims repeats of control.in and geometry.in before its first step: atoms, constraints, level of theory."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.qe.level import mesh_spacing
from lake.readers.rows import number
from lake.readers.step_log import element_of
from lake.readers.text_steps import as_floats
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.theory import LevelOfTheory

_CELL: Final = re.compile(rb"\n  Input geometry:\n(?:  \| Unit cell:[^\n]*\n((?:  \|(?! Atomic structure)[^\n]*\n)+))?")
_ATOM: Final = re.compile(rb"\n  \| +\d+: Species (\S+) +(\S+) +(\S+) +(\S+) *(?=\n)")
_CONTROL: Final = re.compile(rb"\n +Parsing control\.in .*?\n  -{20,}\n(.*?)\n +Completed first pass over input file control\.in", re.S)
_GEOMETRY: Final = re.compile(rb"\n +Parsing geometry\.in .*?\n  -{20,}\n(.*?)\n +Completed first pass over input file geometry\.in", re.S)
_PRINTED_XC: Final = re.compile(rb"\n +XC: +(?:Running with +)?([^\n]*?)\.{0,3} *\n")
_HELD: Final = re.compile(rb"\n +Found relaxation constraint for atom +(\d{1,7}): (All|x|y|z) coordinates? fixed")
_FIELD: Final = re.compile(rb"(?m)^[ \t]*homogeneous_field[ \t]+([^#\n]*)")
"""In V/Å; it stands in geometry.in."""
_SAME: Final = 2e-5
"""Å; old versions print the first geometry with six decimals."""

_FUNCTIONALS: Final[dict[str, str]] = {
    "pw-lda": "LDA-PW92", "pz-lda": "LDA", "vwn": "LDA-VWN", "vwn-gauss": "LDA-VWN", "pbe": "PBE", "pbesol": "PBEsol", "rpbe": "RPBE",
    "revpbe": "revPBE", "am05": "AM05", "blyp": "BLYP", "pw91_gga": "PW91", "b3lyp": "B3LYP", "pbe0": "PBE0", "pbesol0": "PBEsol0",
    "hse03": "HSE03", "hse06": "HSE06", "tpss": "TPSS", "scan": "SCAN", "r2scan": "r2SCAN", "rscan": "rSCAN", "m06-l": "M06-L",
    "m06": "M06", "hf": "HF", "mp2": "HF", "lc_wpbeh": "LC-wPBEh",
}  # fmt: skip
_PRINTED: Final[tuple[tuple[str, str], ...]] = (
    ("b3lyp", "b3lyp"), ("pbesol0", "pbesol0"), ("pbe0", "pbe0"), ("pbesol", "pbesol"), ("rpbe", "rpbe"), ("revpbe", "revpbe"),
    ("pbe", "pbe"), ("blyp", "blyp"), ("am05", "am05"), ("m06-l", "m06-l"), ("tpss", "tpss"), ("perdew-wang", "pw-lda"),
    ("perdew-zunger", "pz-lda"), ("vwn", "vwn"),
)  # fmt: skip
"""Keywords by words of the line 'XC:', for outputs that do not repeat control.in."""
_PRINTED_SPIN: Final = re.compile(rb"\n +Spin treatment: [^\n]*collinear")
_PRINTED_RELATIVITY: Final = re.compile(rb"\n +Scalar relativistic treatment of kinetic energy")
_PRINTED_CHARGE: Final = re.compile(rb"\n +Charge += +(\S+?):")
_PRINTED_U: Final = re.compile(
    rb"\n +\| Found request for '\+U' treatment for +(\d) (\w) shell, U = +(\S+) eV\.|\n +Species (\S+?)(?: +: |: )"
)
_EXCHANGE: Final = {"B3LYP": 0.2, "PBE0": 0.25, "PBEsol0": 0.25, "HSE03": 0.25, "HSE06": 0.25, "HF": 1.0, "M06": 0.27}
_DISPERSION: Final[tuple[tuple[str, str], ...]] = (
    ("many_body_dispersion_nl", "MBD-NL"), ("many_body_dispersion", "MBD"), ("vdw_ts", "TS"), ("vdw_correction_hirshfeld", "TS"),
    ("vdw_correction", "TS"), ("d3", "D3"), ("d4", "D4"),
)  # fmt: skip
_SMEARINGS: Final = {
    "gaussian": "gaussian", "fermi": "fermi-dirac", "methfessel-paxton": "methfessel-paxton", "cold": "marzari-vanderbilt",
    "integer": "none", "cubic": "cubic",
}  # fmt: skip
_CHANGES_PHYSICS: Final = (
    "xc_param", "hse_unit", "hybrid_xc_coeff", "homogeneous_field", "use_dipole_correction", "include_spin_orbit", "fixed_spin_moment",
    "force_occupation_basis", "force_occupation_projector", "qpe_calc", "total_energy_method", "solvent", "fo_dft", "multiplicity",
    "finite_nuclear_radius",
)  # fmt: skip
_ALTERS: Final = (
    ("constraint_electrons", "a constrained number of electrons"),
    ("force_occupation_basis", "occupations held away from the ground state"),
    ("force_occupation_projector", "occupations held away from the ground state"),
    ("potential_well", "a potential well"),
)
"""Keywords of control.in with which energies and forces are not those of the ground state of the atoms alone (read_control.f90)."""
_OMEGA: Final = re.compile(rb"screening parameters: omega_HF += +(\S+) bohr\^-1|OMEGA = +(\S+) bohr\^-1")
_USUAL_OMEGA: Final = (0.10, 0.115)
"""1/bohr; HSE06 is published with 0.11, and used with 0.2 1/Å."""
_BROADENING: Final = re.compile(rb"\n +(?:Occupation type: |No occupation type [^\n]*Defaulting to )(\S+) broadening, width = +(\S+) eV")
_MULTIPOLES: Final = re.compile(rb"\n  \| External embedding multipoles +: +([1-9]\d*)")


@dataclass(frozen=True, eq=False)
class Given:
    """The input of a run."""

    labels: list[str]
    positions: Floats
    """(natoms, 3) Å"""
    cell: Floats
    """(3, 3) Å, zeros for a molecule"""
    fixed: NDArray[np.bool_] | None
    free: bool
    """geometry.in is repeated and holds no atom."""
    kind: str
    altered: tuple[str, ...]
    """What is in energies and forces beside the functional, by the keywords that ask for it"""
    limits: tuple[tuple[bytes, float], ...]
    """Criteria that were set: (words of the printed change, largest value)"""
    level: LevelOfTheory


def read_input(text: bytes) -> Given | None:
    """Return the input of a run, or None where its text has no geometry."""
    match = _CELL.search(text)
    if match is None:
        return None
    _refuse_embedded(text)
    rows = _ATOM.findall(text, match.start())
    positions = as_floats([field for row in rows for field in row[1:]]).reshape(-1, 3)
    cell = as_floats((match.group(1) or b"0 0 0 0 0 0 0 0 0").replace(b"|", b" ").split())
    if not rows or cell.shape != (9,) or not bool(np.isfinite(positions).all() and np.isfinite(cell).all()):
        return None
    labels = [element_of(row[0].decode("latin-1")) for row in rows]
    cell = cell.reshape(3, 3)
    geometry = _GEOMETRY.search(text)
    exact_cell, exact, fixed = _geometry(geometry.group(1) if geometry else b"")
    fixed = fixed if geometry else _held(text, len(rows))
    if exact_cell.shape == cell.shape and bool((np.abs(exact_cell - cell) < _SAME).all()):
        cell = exact_cell
    if exact.shape == positions.shape and bool((np.abs(exact - positions) < _SAME).all()):
        positions = exact
    control = _CONTROL.search(text)
    settings, species = _settings(control.group(1)) if control else _printed(text)
    field = _FIELD.search(geometry.group(1)) if geometry else None
    if field is not None:
        settings.setdefault("homogeneous_field", field.group(1).decode("latin-1").split())
    return Given(
        labels=labels,
        positions=positions,
        cell=cell,
        fixed=fixed if fixed is not None and fixed.shape == positions.shape else None,
        free=geometry is not None and fixed is None,
        kind=_kind(settings),
        altered=tuple(f"{words} ({name})" for name, words in _ALTERS if name in settings),
        limits=_limits(settings),
        level=_level(text, settings, species, cell),
    )


def _refuse_embedded(text: bytes) -> None:
    """Raise UnreadableOutput where charges stand around the atoms: energies and forces are then not those of the atoms alone."""
    found = _MULTIPOLES.search(text)
    if found is not None:
        words = f"the FHI-aims run stands in the field of {int(found.group(1))} external multipoles"
        raise UnreadableOutput("not_dft", words, "deposit runs with all atoms, without charges around them")


def _geometry(text: bytes) -> tuple[Floats, Floats, NDArray[np.bool_] | None]:
    """Return cell (or none), positions and what is held fixed, as geometry.in gives them with all digits."""
    cell, places, fractional, fixed = [], [], [], []
    for line in text.split(b"\n"):
        words = line.split(b"#", 1)[0].split()
        if len(words) >= 4 and words[0] == b"lattice_vector":
            cell.append(as_floats(words[1:4]))
        elif len(words) >= 4 and words[0] in (b"atom", b"atom_frac"):
            places.append(as_floats(words[1:4]))
            fractional.append(words[0] == b"atom_frac")
            fixed.append([False, False, False])
        elif len(words) == 2 and words[0] == b"constrain_relaxation" and fixed:
            axis = b"xyz".find(words[1].lower())
            fixed[-1] = [True] * 3 if b"t" in words[1].lower() else [held or k == axis for k, held in enumerate(fixed[-1])]
    vectors = np.array(cell) if len(cell) == 3 else np.zeros((0, 3))
    positions = np.array(places).reshape(-1, 3)
    if any(fractional):
        positions = np.where(np.array(fractional)[:, None], positions @ vectors, positions) if len(cell) == 3 else np.zeros((0, 3))
    return vectors, positions, np.array(fixed, dtype=bool) if np.any(fixed) else None


def _held(text: bytes, natoms: int) -> NDArray[np.bool_] | None:
    """Return (natoms, 3) what FHI-aims says to hold fixed, where geometry.in is not repeated."""
    fixed = np.zeros((natoms, 3), dtype=bool)
    for atom, axes in _HELD.findall(text):
        if 0 < int(atom) <= natoms:
            fixed[int(atom) - 1, :] |= [axes in (b"All", axis) for axis in (b"x", b"y", b"z")]
    return fixed if bool(fixed.any()) else None


def _settings(text: bytes) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the keywords of control.in with their words, and the lines of each species, the words of its defaults first."""
    settings: dict[str, list[str]] = {}
    species: dict[str, list[str]] = {}
    here: list[str] | None = None
    tier = ""
    for line in text.decode("latin-1").split("\n"):
        suggested = re.search(r'Suggested "(\w+)" defaults', line)
        tier = suggested.group(1) if suggested else tier
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if words[0] == "species" and len(words) > 1:
            here = species.setdefault(words[1], [tier])
        elif here is not None:
            here.append(" ".join(words))
        else:
            settings.setdefault(words[0].lower(), words[1:])
    return settings, species


def _printed(text: bytes) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return settings and species, as control.in has them, by what an output without it says of its reading; only +U of the species."""
    xc, charge = _PRINTED_XC.search(text), _PRINTED_CHARGE.search(text)
    words = xc.group(1).decode("latin-1").lower() if xc else ""
    keyword = next((keyword for name, keyword in _PRINTED if name in words), "")
    settings = {
        "xc": [keyword] if keyword else [],
        "spin": ["collinear" if _PRINTED_SPIN.search(text) else "none"],
        "relativistic": ["zora" if _PRINTED_RELATIVITY.search(text) else "none"],
        "charge": [charge.group(1).decode("latin-1")] if charge else [],
    }
    species: dict[str, list[str]] = {}
    shells: list[str] = []
    for n, shell, value, label in _PRINTED_U.findall(text):
        if label and shells:
            species[label.decode("latin-1")], shells = ["", *shells], []
        elif value:
            shells.append(f"plus_u {n.decode()} {shell.decode()} {value.decode('latin-1')}")
    return {name: found for name, found in settings.items() if found}, species


def _kind(settings: dict[str, list[str]]) -> str:
    if "md_run" in settings:
        return "md"
    if settings.get("relax_geometry", ["none"])[:1] == ["none"]:
        return "static"
    return "vc-relax" if settings.get("relax_unit_cell", ["none"])[:1] != ["none"] else "relax"


def _limits(settings: dict[str, list[str]]) -> tuple[tuple[bytes, float], ...]:
    names = (("sc_accuracy_rho", b"charge density"), ("sc_accuracy_eev", b"sum of eigenvalues"), ("sc_accuracy_etot", b"total energy"))
    found = [(words, _number(settings, name)) for name, words in names]
    return tuple((words, limit) for words, limit in found if limit is not None and limit > 0)


def _number(settings: dict[str, list[str]], name: str) -> float | None:
    """Return the number that a keyword's words end with, None where there is none."""
    words = settings.get(name, [])
    value = number(words[-1].encode("latin-1")) if words else float("nan")
    return value if np.isfinite(value) else None


def _level(text: bytes, settings: dict[str, list[str]], species: dict[str, list[str]], cell: Floats) -> LevelOfTheory:
    functional = _functional(text, settings)
    printed = _BROADENING.search(text)
    occupation = settings.get("occupation_type") or ([field.decode("latin-1") for field in printed.groups()] if printed else [""])
    relativity = " ".join(settings.get("relativistic", ["none"])).lower()
    spin = "collinear" if settings.get("spin", ["none"])[0] == "collinear" else "none"
    mesh = _mesh(settings.get("k_grid", []))
    smearing = _SMEARINGS.get(occupation[0].lower(), occupation[0].lower()) if occupation else ""
    return LevelOfTheory(
        code="fhi-aims",
        functional=functional,
        dispersion=next((name for word, name in _DISPERSION if word in settings), ""),
        hubbard_u=_hubbard(species),
        exact_exchange=_number(settings, "hybrid_xc_coeff") or _EXCHANGE.get(functional),
        basis="NAO",
        pseudopotentials=_identities(species),
        kpoints=mesh,
        kpoint_spacing=mesh_spacing(mesh, cell) if abs(np.linalg.det(cell)) > 1e-6 else None,
        smearing=smearing,
        smearing_width=_number({"w": occupation[1:2]}, "w"),
        spin="spin-orbit" if "include_spin_orbit" in settings else spin,
        charge=_number(settings, "charge") or 0.0,
        relativity="scalar" if "zora" in relativity else "full" if "4c" in relativity else "none",
        extra=(*((name, " ".join(settings[name])) for name in _CHANGES_PHYSICS if name in settings), *_screening(text)),
    )


def _screening(text: bytes) -> tuple[tuple[str, str], ...]:
    """Return the range of the screened exchange in 1/bohr, where it is not that of HSE06."""
    found = _OMEGA.search(text)
    omega = number(found.group(1) or found.group(2)) if found else float("nan")
    return (("omega", f"{omega:g}"),) if np.isfinite(omega) and not _USUAL_OMEGA[0] < omega < _USUAL_OMEGA[1] else ()


def _functional(text: bytes, settings: dict[str, list[str]]) -> str:
    words = settings.get("xc", [])
    if words:
        name = words[1] if words[0].lower() in ("libxc", "dfauto") and len(words) > 1 else words[0]
        return _FUNCTIONALS.get(name.lower(), name)
    printed = _PRINTED_XC.search(text)
    return printed.group(1).decode("latin-1").strip() if printed else ""


def _mesh(words: list[str]) -> tuple[int, int, int] | None:
    if len(words) < 3 or not all(word.isdecimal() and 0 < len(word) < 5 and int(word) for word in words[:3]):
        return None
    return int(words[0]), int(words[1]), int(words[2])


def _hubbard(species: dict[str, list[str]]) -> tuple[tuple[str, str, float], ...]:
    """Return the lines 'plus_u n l U' of the species."""
    found = []
    for label, lines in species.items():
        for line in lines:
            words = line.split()
            if words[:1] == ["plus_u"] and len(words) >= 4:
                found.append((element_of(label), words[2], number(words[3].encode("latin-1"))))
    return tuple(sorted(entry for entry in found if np.isfinite(entry[2])))


def _identities(species: dict[str, list[str]]) -> tuple[tuple[str, str], ...]:
    """Return (element, name of the defaults and hash of what stands in the species' block, +U left out)."""
    found = set()
    for label, (tier, *lines) in species.items():
        block = "\n".join(line for line in lines if not line.startswith("plus_u"))
        if block:
            found.add((element_of(label), f"{tier or 'own'} {hashlib.sha256(block.encode()).hexdigest()[:12]}"))
    return tuple(sorted(found))
