"""What is in the energies and forces of a CP2K run beside the density functional: restraints, constrained densities, outer potentials.

`force_env_calc_energy_force` (src/force_env_methods.F) adds restraints (&CONSTRAINT/*/RESTRAINT), &EXTERNAL_POTENTIAL and
&RESCALE_FORCES before the energy and the forces are printed, and before they go to PROJECT-pos-1.xyz and PROJECT-frc-1.xyz. A restraint
is named in the log at every PRINT_LEVEL (`check_restraint` in src/topology_input.F); the others are told by the input alone.
"""

from __future__ import annotations

import re
from typing import Final

from lake.readers.cp2k.input import Section
from lake.readers.words import Found

_RESTRAINT: Final = re.compile(rb"\n RESTRAINT\| +(Active restraint on [^\n]*\S)")
_TOLD: Final = (
    (b"CDFT EXTERNAL SCF WAVEFUNCTION", "a constrained density (CDFT)"),
    (b"Mulliken restraint energy:", "a restraint on Mulliken charges"),
    (b"DDAPC restraint (order_p,energy)", "a restraint on DDAPC charges"),
    (b"S2 restraint (order_p,energy)", "a restraint on S**2"),
    (b"Becke constraint information", "a constrained density (Becke)"),
)
EXCITED: Final = b"- Excited State Energy -"
_FIELD: Final = re.compile(rb"\n PERIODIC_EFIELD\|[^\n]*?(\S+) *(?=\n)")
_SOLVENT: Final = re.compile(rb"\n SCCS\| Relative permittivity[^\n]* (\S+) *(?=\n)")
_METHODS: Final = (
    (b"Second order perturbation energy", ("correlation", "MP2")),
    (b"RI-RPA energy", ("correlation", "RPA")),
    (b"- Energy Correction -", ("energy_correction", "non-self-consistent")),
)
_FIELD_ENERGY: Final = b"Electric field interaction energy:"
WORDS: Final = (
    b"\n RESTRAINT| ", b"\n PERIODIC_EFIELD|", b"\n SCCS| Rel", EXCITED, _FIELD_ENERGY, *(words for words, _ in (*_TOLD, *_METHODS)),
)  # fmt: skip
"""What is looked for."""
FIELD_NOT_TOLD: Final = ("electric_field", "of a strength that is not told")
_SECTIONS: Final = (
    (re.compile(r"^MOTION/CONSTRAINT/\w+/RESTRAINT$"), "a restraint"),
    (re.compile(r"^FORCE_EVAL/EXTERNAL_POTENTIAL$"), "an external potential on atoms"),
    (re.compile(r"^FORCE_EVAL/RESCALE_FORCES$"), "rescaled forces"),
    (re.compile(r"^FORCE_EVAL/DFT/EXTERNAL_(?:POTENTIAL|DENSITY|VXC)$"), "an external potential on electrons"),
    (re.compile(r"^FORCE_EVAL/DFT/QS/(?:CDFT|BECKE_(?:CONSTRAINT|RESTRAINT)|(?:DDAPC|MULLIKEN|S2)_RESTRAINT)$"), "a constrained density"),
)


def told_by_log(text: Found) -> tuple[str, ...]:
    """Return what the head of a log, up to its first energy, names beside the functional."""
    found = [match.group(1).decode("latin-1") for match in text.matches(_RESTRAINT, b"\n RESTRAINT| ")]
    return (*found, *(told for words, told in _TOLD if words in text))


def beyond(text: Found) -> tuple[tuple[str, str], ...]:
    """Return what the head of a log names that belongs to the level of theory: fields, a solvent, correlation on top of the functional."""
    found = [pair for words, pair in _METHODS if words in text]
    if field := text.matches(_FIELD, b"\n PERIODIC_EFIELD|"):
        found.append(("electric_field", " ".join(match.group(1).decode("latin-1") for match in field)))
    elif _FIELD_ENERGY in text:
        found.append(FIELD_NOT_TOLD)
    if solvent := text.match(_SOLVENT, b"\n SCCS| Rel"):
        found.append(("solvent", f"SCCS {solvent.group(1).decode('latin-1')}"))
    return tuple(sorted(found))


def told_by_input(root: Section) -> tuple[str, ...]:
    """Return what the sections of an input put beside the functional, each with its path."""
    return tuple(f"{told} (&{path.replace('/', '/&')})" for path, _ in root.walk() for pattern, told in _SECTIONS if pattern.search(path))


def holds_atoms(root: Section) -> bool:
    """Return whether an input holds atoms or coordinates of atoms fixed."""
    return any(not any(each.all("RESTRAINT")) for each in root.all("MOTION", "CONSTRAINT", "FIXED_ATOMS"))
