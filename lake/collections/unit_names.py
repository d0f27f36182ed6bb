"""Names of units as people write them: 'Ha', 'kcal/mol', 'Ha/bohr', 'eV/Å^3', 'GPa', each with its factor to eV and Å."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas import units
from schemas.errors import QueryError, closest


@dataclass(frozen=True)
class Unit:
    """A unit of one kind of quantity."""

    name: str
    """As it is written in answers: 'Ha/bohr'."""
    factor: float
    """Turns a number in this unit into eV, Å, eV/Å or eV/Å³."""


ENERGIES: Final[Mapping[str, float]] = {
    "eV": 1.0,
    "Ha": units.HARTREE,
    "Ry": units.RYDBERG,
    "kcal/mol": units.KCAL_PER_MOL,
    "kJ/mol": units.KJ_PER_MOL,
    "meV": 1e-3,
}
"""Units of energy and what they are in eV."""
LENGTHS: Final[Mapping[str, float]] = {"Angstrom": 1.0, "bohr": units.BOHR, "nm": 10.0, "pm": 0.01}
"""Units of length and what they are in Å."""
PRESSURES: Final[Mapping[str, float]] = {"GPa": units.GPA, "kbar": units.KBAR, "bar": units.KBAR / 1000, "Pa": units.GPA / 1e9}
"""Units of stress that are no quotient, and what they are in eV/Å³."""

_ALIASES: Final[Mapping[str, str]] = {
    "hartree": "Ha", "hartrees": "Ha", "eh": "Ha", "ha": "Ha", "rydberg": "Ry", "ryd": "Ry", "electronvolt": "eV", "kcalmol": "kcal/mol",
    "kcal_mol": "kcal/mol", "kjmol": "kJ/mol", "kj_mol": "kJ/mol", "å": "Angstrom", "a": "Angstrom", "ang": "Angstrom",
    "angstroms": "Angstrom", "ångström": "Angstrom", "a0": "bohr", "bohrs": "bohr", "nanometer": "nm", "picometer": "pm", "kb": "kbar",
}  # fmt: skip
_STRESS: Final = re.compile(r"(.+)/\s*([^/]+?)\s*(?:\^|\*\*)?\s*(?:3|³)\Z")


def energy_unit(text: str) -> Unit:
    """Return the unit of energy of that name; raises QueryError with the nearest known name for anything else."""
    return _named(text, ENERGIES, "energy")


def length_unit(text: str) -> Unit:
    """Return the unit of length of that name; raises QueryError."""
    return _named(text, LENGTHS, "length")


def force_unit(text: str) -> Unit:
    """Return the unit of force, an energy by a length: 'Ha/bohr', 'kcal/mol/Angstrom'; raises QueryError."""
    energy, slash, length = text.rpartition("/")
    if not slash or text.strip().lower() in ("kcal/mol", "kj/mol"):
        raise QueryError(f"units: force {text!r} is not an energy by a length; write it like 'eV/Angstrom' or 'Ha/bohr'")
    first, second = energy_unit(energy), length_unit(length)
    return Unit(f"{first.name}/{second.name}", first.factor / second.factor)


def stress_unit(text: str) -> Unit:
    """Return the unit of stress: 'GPa', 'kbar', or an energy by a cubed length: 'eV/Angstrom^3'; raises QueryError."""
    quotient = _STRESS.match(text.strip())
    if quotient is None:
        return _named(text, PRESSURES, "stress", "'eV/Angstrom^3'")
    first, second = energy_unit(quotient.group(1)), length_unit(quotient.group(2))
    return Unit(f"{first.name}/{second.name}^3", first.factor / second.factor**3)


def _named(text: str, known: Mapping[str, float], kind: str, also: str = "") -> Unit:
    plain = text.strip()
    folded = {name.lower(): name for name in known}
    name = folded.get(plain.lower()) or _ALIASES.get(plain.lower(), "")
    if plain.lower() == "a.u." and kind in ("energy", "length"):
        name = "Ha" if kind == "energy" else "bohr"
    if name not in known or (plain == "mev" and name == "meV"):
        expected = ", ".join([*known, also] if also else known)
        raise QueryError(f"units: there is no unit of {kind} {plain!r}{closest(plain, [*known, *_ALIASES])}; write one of {expected}")
    return Unit(name, known[name])
