"""Level of theory and convergence that a GSR.nc tells: its header variables, and the input that newer versions (9 and up) store in it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import numpy as np

from lake.readers.abinit.altered import ALTERING
from lake.readers.abinit.level import Variables, level_of_theory
from lake.readers.netcdf import Netcdf
from schemas.elements import SYMBOLS
from schemas.frames import Floats
from schemas.theory import LevelOfTheory
from schemas.units import HARTREE, RYDBERG

_WANTED: Final = (
    "iscf", "ionmov", "vdw_xc", "usepawu", "lpawu", "upawu", "jpawu", "berryopt", "toldfe", "tolvrs", "tolwfr", "toldff", "tolrff",
    "jdtset", "zeemanfield", "spinmagntarget", "usedmft", "useexexch", "efield", "dfield", *ALTERING,
)  # fmt: skip
"""Variables that only the stored input tells."""
_UNITS: Final = {"ev": 1 / HARTREE, "ry": RYDBERG / HARTREE, "rydberg": RYDBERG / HARTREE, "rydbergs": RYDBERG / HARTREE}
"""Hartree in a unit of energy that an input names."""
_NAME: Final = re.compile(r"[a-z][a-z_]*[a-z_\d?+]*$")
_SLACK: Final = 1.05


def gsr_variables(data: Netcdf) -> tuple[Variables, int]:
    """Return the variables of the run in the form in which the text echoes them, and the number of its dataset (0 where there is one)."""
    words = _read_input(next(iter(data.texts("input_string")), ""))
    dataset = int(words.pop("jdtset", (b"0",))[0]) if words.get("jdtset", (b"",))[0].isdigit() else 0
    for name, header in (
        ("ixc", "ixc"), ("occopt", "occopt"), ("tsmear", "tsmear"), ("ecut", "ecut"), ("pawecutdg", "pawecutdg"), ("kptrlatt", "kptrlatt"),
        ("cellcharge", "charge"), ("kpt", "reduced_coordinates_of_kpoints"),
    ):  # fmt: skip
        values = data.floats(header)
        if values is not None and bool(np.isfinite(values).all()):
            words[name] = tuple(repr(value).encode() for value in values.ravel().tolist())
    cutoff = data.value("kinetic_energy_cutoff")
    if "ecut" not in words and np.isfinite(cutoff):
        words["ecut"] = (repr(cutoff).encode(),)
    mesh = data.floats("monkhorst_pack_folding", (3,))
    if "kptrlatt" not in words and mesh is not None and bool((mesh > 0).all()):
        words["ngkpt"] = tuple(repr(value).encode() for value in mesh.tolist())
    occupations = data.floats("occupations")
    if occupations is not None and occupations.ndim == 3 and bool(np.isfinite(occupations).all()):
        words |= {"occ": tuple(repr(value).encode() for value in occupations.ravel().tolist()), "nband": (b"%d" % occupations.shape[2],)}
    words |= {name: (str(value).encode(),) for name, value in _spins(data).items()}
    return Variables(words), dataset


def gsr_level(data: Netcdf, variables: Variables, dataset: int, cell: Floats) -> LevelOfTheory:
    """Return the level of theory of a GSR.nc; cell (3, 3) in Å. What the file does not name stays empty."""
    charges = [round(charge) for charge in _plain(data.floats("atomic_numbers"))]
    names = _pseudopotentials(data)
    level = level_of_theory(variables, dataset, dict(enumerate(names, 1)), charges, cell)
    unnamed = "input_string" not in data and abs(data.value("e_vdw_dftd", 0.0)) > 0
    return replace(
        level,
        functional=level.functional if "ixc" in data else "",
        dispersion="not named" if unnamed else level.dispersion,
        density_cutoff=level.density_cutoff if data.value("usepaw", 1.0) else None,
        pseudopotentials=level.pseudopotentials if all(0 < charge < len(SYMBOLS) for charge in charges) else (),
    )


def judged(data: Netcdf, variables: Variables, dataset: int) -> int:
    """Return whether the residuals met the tolerances of the stored input: 1, 0, or -1 where it takes more than the last residuals.

    Differences of energies and of forces must be small twice running, and only the last ones are stored.
    """
    used = {name: value for name in ("tolvrs", "tolwfr", "toldfe") if (value := variables.value(name, dataset, 0.0)) > 0}
    others = any(variables.value(name, dataset, 0.0) > 0 for name in ("toldff", "tolrff"))
    last = {"tolvrs": data.value("res2"), "tolwfr": data.value("residm"), "toldfe": abs(data.value("deltae"))}
    if not used or others:
        return -1
    if any(last[name] <= _SLACK * value for name, value in used.items() if name != "toldfe"):
        return 1
    return 0 if all(last[name] > _SLACK * value for name, value in used.items()) else -1


def _spins(data: Netcdf) -> dict[str, int]:
    """Return nkpt, nsppol, nspinor and nspden, as far as the file's arrays tell them."""
    found = {}
    states = data.floats("number_of_states")
    if states is not None and states.ndim == 2:
        found = {"nsppol": states.shape[0], "nkpt": states.shape[1]}
    for name, dimension in (("nspden", "number_of_components"), ("nspinor", "number_of_spinor_components")):
        if dimension in data.dimensions:
            found[name] = data.dimensions[dimension]
    return found


def _pseudopotentials(data: Netcdf) -> list[str]:
    """Return what identifies the pseudopotential of each type: its file where the input names it, else its title with the hash."""
    text = next(iter(data.texts("input_string")), "")
    named = re.search(r"(?im)^\s*pseudos\s+((?:\"[^\"]*\"\s*,?\s*)+)", text)
    charges = _plain(data.floats("atomic_numbers"))
    if named is not None:
        files = [part.strip().rsplit("/", 1)[-1] for quoted in re.findall(r"\"([^\"]*)\"", named.group(1)) for part in quoted.split(",")]
        files = [name for name in files if name]
        if len(files) == len(charges):
            return files
    titles = data.texts("title") or data.texts("pseudopotential_types")
    hashes = data.texts("md5_pseudos")
    return [" ".join(f"{title} {hashes[k] if k < len(hashes) else ''}".split()) for k, title in enumerate(titles)]


def _read_input(text: str) -> dict[str, tuple[bytes, ...]]:
    """Return the wanted variables of an input, by the name that they have there; energies in hartree."""
    words: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        for word in re.sub(r"\"[^\"]*\"", " ", re.split(r"[#!]", line)[0]).lower().split():
            if word in _UNITS and words.get(name):
                words[name] = [repr(float(value) * _UNITS[word]) for value in words[name] if _is_number(value)]
            elif _NAME.match(word) and word.rstrip("0123456789?+") in _WANTED:
                name = word
                words[name] = []
            elif _NAME.match(word):
                name = ""
            elif name:
                words[name] += _expanded(word)
    return {name: tuple(value.encode() for value in values) for name, values in words.items() if values}


def _expanded(word: str) -> list[str]:
    """Return the numbers that a word stands for: '2*0.5' is two; a Fortran exponent may be a d."""
    count, _, value = word.rpartition("*")
    value = value.replace("d", "e")
    if not _is_number(value):
        return []
    return [value] * (int(count) if count.isdigit() and int(count) < 1000 else 1)


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", word) is not None


def _plain(values: Floats | None) -> list[float]:
    return [] if values is None or not bool(np.isfinite(values).all()) else [float(value) for value in values.ravel()]
