"""What is in the energies and forces of a CP2K run beside the density functional: restraints, constrained densities, outer potentials.

`force_env_calc_energy_force` (src/force_env_methods.F) adds restraints (&CONSTRAINT/*/RESTRAINT), &EXTERNAL_POTENTIAL and
&RESCALE_FORCES before the energy and the forces are printed, and before they go to PROJECT-pos-1.xyz and PROJECT-frc-1.xyz. A restraint
is named in the log at every PRINT_LEVEL (`check_restraint` in src/topology_input.F); the others are told by the input alone.
"""

from __future__ import annotations

import re
from typing import Final

from lake.readers.cp2k_input import Section
from lake.readers.words import Found

_RESTRAINT: Final = re.compile(rb"\n RESTRAINT\| +(Active restraint on [^\n]*\S)")
_TOLD: Final = (
    (b"CDFT EXTERNAL SCF WAVEFUNCTION", "a constrained density (CDFT)"),
    (b"Mulliken restraint energy:", "a restraint on Mulliken charges"),
    (b"DDAPC restraint (order_p,energy)", "a restraint on DDAPC charges"),
    (b"S2 restraint (order_p,energy)", "a restraint on S**2"),
    (b"Becke constraint information", "a constrained density (Becke)"),
)
WORDS: Final = (b"\n RESTRAINT| ", *(words for words, _ in _TOLD))
"""What is looked for."""
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


def told_by_input(root: Section) -> tuple[str, ...]:
    """Return what the sections of an input put beside the functional, each with its path."""
    return tuple(f"{told} (&{path.replace('/', '/&')})" for path, _ in root.walk() for pattern, told in _SECTIONS if pattern.search(path))


def holds_atoms(root: Section) -> bool:
    """Return whether an input holds atoms or coordinates of atoms fixed."""
    return any(not any(each.all("RESTRAINT")) for each in root.all("MOTION", "CONSTRAINT", "FIXED_ATOMS"))
