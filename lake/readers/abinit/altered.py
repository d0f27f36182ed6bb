"""What is in the energies and forces of an ABINIT run beside the density functional, by the variables that it echoes.

Forces are made zero for fixed atoms by ionmov 4 and 5, and projected on linear constraints (nconeq) by every run, before they are printed
(routines forces and constrf of src/67_common, ABINIT 6); other ways of holding atoms leave the printed forces alone.
"""

from __future__ import annotations

from typing import Final

from lake.readers.abinit.level import Variables

_ALTERS: Final = (
    ("magconon", "a penalty on magnetic moments"),
    ("constraint_kind", "constrained charges or magnetic moments"),
    ("nzchempot", "a chemical potential that varies in space"),
    ("jellslab", "a slab of jellium"),
    ("positron", "a positron"),
)
ALTERING: Final = (*(name for name, _ in _ALTERS), "natcon", "nconeq", "natfix", "natfixx", "natfixy", "natfixz", "iatfix")
"""The variables that are looked at, beside ionmov."""
_ZEROING: Final = (4, 5)
"""ionmov that make the forces on fixed atoms zero."""


def altered(variables: Variables, dataset: int) -> tuple[str, ...]:
    """Return what the variables of a dataset put into its energy beside the functional, each with the name of its variable."""
    return tuple(f"{words} ({name})" for name, words in _ALTERS if any(variables.numbers(name, dataset)))


def not_plain_forces(variables: Variables, dataset: int) -> str:
    """Return why the printed forces of a dataset are not those of its energy, '' where they are."""
    if any(any(variables.numbers(name, dataset)) for name in ("nconeq", "natcon")):
        return "forces are printed with linear constraints on atoms in them (nconeq, natcon) and are left out"
    motion = variables.integer("ionmov", dataset, 0)
    names = ("natfix", "natfixx", "natfixy", "natfixz", "iatfix")
    if motion in _ZEROING and any(any(variables.numbers(name, dataset)) for name in names):
        return f"forces on fixed atoms are printed as zero (ionmov {motion}), all are left out"
    return ""
