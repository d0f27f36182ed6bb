"""What a depositor says about files without units: the sections `units`, `keys` and `theory` of atomlake.yaml, or the same as text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lake.collections.unit_names import Unit, energy_unit, force_unit, length_unit, stress_unit
from schemas.errors import QueryError, closest

SECTIONS: Final = ("units", "keys", "theory")
"""Sections of atomlake.yaml that hold answers, and options of `atomlake put` and `atomlake retry`."""
COMPRESSION: Final = "compression"
TENSION: Final = "tension"
VOIGT: Final = ("xx", "yy", "zz", "yz", "xz", "xy")


@dataclass(frozen=True)
class Units:
    """How the numbers of a file are to be understood; `energy` and `length` are needed, the others follow from them where not said."""

    energy: str = ""
    """eV, Ha, Ry, kcal/mol, kJ/mol or meV, for the whole cell."""
    length: str = ""
    """Angstrom, bohr, nm or pm: positions and cell."""
    force: str = ""
    """An energy by a length: 'Ha/bohr'; energy by length where not said."""
    stress: str = ""
    """GPa, kbar, bar, Pa or 'eV/Angstrom^3'; a stress is taken only where this is said."""
    stress_sign: str = TENSION
    """'tension' where a stretched cell has positive stress (ASE), 'compression' where a compressed one has (VASP, QE, CP2K)."""
    stress_order: str = " ".join(VOIGT)
    """Order of a stress or virial of six numbers."""
    virial: str = ""
    """Unit of energy of a virial; a virial is taken only where this is said."""
    virial_sign: str = COMPRESSION
    """'compression' where the virial is -stress times volume (dpdata, DeePMD-kit, GAP, MACE), 'tension' for +stress times volume."""


@dataclass(frozen=True)
class Keys:
    """Which numbers of a file are the labels; where one is not said, the only one that can be it is taken, and told."""

    energy: str = ""
    """Key of the energy of a frame: 'REF_energy'. The one whose negative gradient the forces are."""
    forces: str = ""
    """Name of the column of forces: 'REF_forces'; 'none' to take no forces."""
    stress: str = ""
    """Key of the stress."""
    virial: str = ""
    """Key of the virial."""
    type_map: str = ""
    """DeePMD without type_map.raw: the elements by type, 'O H'."""


@dataclass(frozen=True)
class Theory:
    """Level of theory of all frames of a file, in the words of the table `calculations`."""

    code: str = ""
    """'vasp', 'qe', ..."""
    code_version: str = ""
    functional: str = ""
    """'PBE', 'LDA', 'r2SCAN', 'HSE06', ..., or words of your own."""
    dispersion: str = ""
    """'D3(BJ)', 'TS', ..."""
    basis: str = ""
    """'plane waves', 'LCAO', 'GTO', 'LAPW', 'grid'."""
    cutoff: str = ""
    """Cutoff of the wave functions in eV."""
    spin: str = ""
    """'none', 'collinear', 'noncollinear', 'spin-orbit'."""


@dataclass(frozen=True)
class Answers:
    """Everything that a depositor says about one file."""

    units: Units = Units()
    keys: Keys = Keys()
    theory: Theory = Theory()

    @property
    def complete(self) -> bool:
        """Return whether the units that nothing can be taken without are given."""
        return bool(self.units.energy and self.units.length)

    @property
    def energy(self) -> Unit:
        """Return the unit of energies."""
        return energy_unit(self.units.energy)

    @property
    def length(self) -> Unit:
        """Return the unit of lengths."""
        return length_unit(self.units.length)

    @property
    def force(self) -> Unit:
        """Return the unit of forces."""
        return force_unit(self.units.force or f"{self.units.energy}/{self.units.length}")

    def over(self, other: Answers) -> Answers:
        """Return these answers with what they leave open taken from other ones."""
        return Answers(*(_over(getattr(self, name), getattr(other, name)) for name in SECTIONS))

    def texts(self) -> dict[str, str]:
        """Return the sections as text, {'units': 'energy=Ha,length=bohr'}; empty sections are left out."""
        return {name: text for name in SECTIONS if (text := section_text(getattr(self, name)))}


NO_ANSWERS: Final = Answers()
"""Nothing is said."""

_KINDS: Final[Mapping[str, type[Any]]] = {"units": Units, "keys": Keys, "theory": Theory}


def read_answers(sections: Mapping[str, str]) -> Answers:
    """Return the answers in texts by section ('energy=Ha,length=bohr'), other keys left aside; raises QueryError for what is unknown."""
    return Answers(*(_section(name, _pairs(name, sections.get(name, ""))) for name in SECTIONS))


def section_of(name: str, values: Mapping[object, object] | str) -> str:
    """Return a section, as a mapping out of YAML or as text, as the text that `read_answers` takes; raises QueryError where it is wrong."""
    if isinstance(values, str):
        return section_text(_section(name, _pairs(name, values)))
    plain: dict[str, str] = {}
    for key, value in values.items():
        words = " ".join(map(str, value)) if isinstance(value, list | tuple) else value
        if isinstance(words, bool) or not isinstance(words, str | int | float):
            raise QueryError(f"{name}: {key} is {value!r}; write one line of text after '{key}:'")
        plain[str(key)] = str(words).strip()
    return section_text(_section(name, plain))


def section_text(section: Units | Keys | Theory) -> str:
    """Return a section as text; what has its default is left out."""
    given = [(field.name, getattr(section, field.name)) for field in dataclasses.fields(section)]
    return ",".join(f"{name}={value}" for name, value in given if value and value != getattr(type(section)(), name))


def _pairs(name: str, text: str) -> dict[str, str]:
    """Return the parts of 'energy=Ha,length=bohr'."""
    pairs: dict[str, str] = {}
    for part in text.split(","):
        if not part.strip():
            continue
        key, equals, value = part.partition("=")
        if not equals:
            raise QueryError(f"{name}: {part.strip()!r} is not of the form NAME=VALUE; write it like 'energy=Ha,length=bohr'")
        pairs[key.strip()] = value.strip()
    return pairs


def _section(name: str, values: Mapping[str, str]) -> Any:
    kind = _KINDS[name]
    known = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            raise QueryError(f"{name}: there is no {key!r}{closest(key, known)}; there are {', '.join(known)}")
    section = kind(**values)
    if isinstance(section, Units):
        return _checked_units(section)
    if isinstance(section, Theory) and section.cutoff:
        _number("theory: cutoff", section.cutoff)
    return section


def _checked_units(given: Units) -> Units:
    """Return units by their usual names; raises QueryError for a name that is not known."""
    order = given.stress_order.lower().replace("zy", "yz").replace("zx", "xz").replace("yx", "xy").split()
    if sorted(order) != sorted(VOIGT):
        raise QueryError(f"units: stress_order is {given.stress_order!r}; write the six parts in their order, like 'xx yy zz xy yz zx'")
    for name in ("stress_sign", "virial_sign"):
        if getattr(given, name) not in (TENSION, COMPRESSION):
            raise QueryError(f"units: {name} is {getattr(given, name)!r}; write what is positive: '{TENSION}' or '{COMPRESSION}'")
    return dataclasses.replace(
        given,
        energy=energy_unit(given.energy).name if given.energy else "",
        length=length_unit(given.length).name if given.length else "",
        force=force_unit(given.force).name if given.force else "",
        stress=stress_unit(given.stress).name if given.stress else "",
        virial=energy_unit(given.virial).name if given.virial else "",
        stress_order=" ".join(order),
    )


def _number(where: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise QueryError(f"{where} is {text!r}, expected a number") from error


def _over(first: Any, second: Any) -> Any:
    default = type(first)()
    own = {f.name: getattr(first, f.name) for f in dataclasses.fields(first) if getattr(first, f.name) != getattr(default, f.name)}
    return dataclasses.replace(second, **own)
