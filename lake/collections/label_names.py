"""Names of keys and columns as people write them: which can be energy, forces, stress or virial of DFT, and which cannot."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lake.collections.records import Collection

_NO_ENERGY: Final = re.compile(
    r"tol|cut|kinetic|ekin|per_at|sigma(?!_?0)|threshold|converg|zero_point|zpe|correct|fermi|smear|error|diff|weight|delta|hull|std|uncert|varian|"
    r"dispersion|repulsion|nuclear|barrier|excitation|ioni[sz]ation|affinity|homo|lumo"
)
_SHORT_ENERGY: Final = re.compile(r"(?:^|[_.-])(e|e0|e_?tot|toten|e_?pot|pot_?eng|e_?dft|dft_?e|e_?ref|ref_?e)\Z")
"""Names of an energy without that word: looked at where no other name is."""
_NO_FORCE: Final = re.compile(
    r"ewald|locpot|nlpot|constraint|extern|kinetic|error|diff|weight|delta|std|uncert|varian|mask|norm|tol|dispersion"
)
"""Parts of a force (CASTEP in QUIP's files), and what is none."""
_REFERENCE: Final = re.compile(r"(?:^|[_.-])(ref|reference|dft|qm)(?:[_.-]|\Z)")
"""Names that say that a number is what a potential is to learn."""
_OTHER_METHODS: Final = re.compile(
    r"(?:^|[_.-])(g?xtb\d?|gfn\d?|gfn_?ff|dftb\d?|emt|lj|m?eam|tersoff|reaxff|uff|gaff\d?|opls|charmm|amber)(?:[_.-]|\Z)"
)
"""Names that say that a number is of tight binding or a force field."""
PREDICTIONS: Final = re.compile(
    r"(?:^|[_.-])(mace|nequip|allegro|chgnet|m3gnet|megnet|gap|ace|pace|orb|sevenn(et)?|mattersim|grace|nnp|nn|ml|mlip|mlff|pred\w*|model|"
    r"gnn|dp|deepmd|schnet|painn|uma|mtp|snap|alignn|eqv2|predicted)(?:[_.-]|\Z)"
)
"""Names that say that a number was predicted by a learned potential."""


@dataclass(frozen=True)
class Candidates:
    """Names that can be labels, those of predictions last."""

    energy: tuple[str, ...] = ()
    forces: tuple[str, ...] = ()
    stress: tuple[str, ...] = ()
    virial: tuple[str, ...] = ()


def candidates(collection: Collection) -> Candidates:
    """Return the names that can be labels, by what they are called and what they hold."""
    scalars = [key for key, column in collection.columns.items() if column.values.shape[1] == 1]
    tensors = [key for key, column in collection.columns.items() if column.values.shape[1] in (6, 9)]
    energies = [key for key in scalars if "energy" in key.lower() and not _NO_ENERGY.search(key.lower())]
    if not energies and not {"i", "time"} <= {*collection.columns, *collection.words}:  # those of CP2K's trajectories are in its log
        energies = [key for key in scalars if _SHORT_ENERGY.search(key.lower())]
    vectors = dict.fromkeys(name for series in collection.series for name in series.vectors if not _NO_FORCE.search(name.lower()))
    forces = [name for name in vectors if "force" in name.lower()] or [name for name in vectors if is_gradient(name)]
    return Candidates(
        _ordered(energies),
        _ordered(forces),
        _ordered(key for key in tensors if "stress" in key.lower()),
        _ordered(key for key in tensors if "virial" in key.lower()),
    )


def is_gradient(name: str) -> bool:
    """Return whether a column is by its name the gradient of the energy, which is minus the forces."""
    return "grad" in name.lower() and "force" not in name.lower()


def no_label(name: str) -> str:
    """Return why a number is by its name no label of DFT, '' for all other names."""
    if PREDICTIONS.search(name.lower()):
        return "a prediction of a learned potential"
    return "of tight binding or a force field" if _OTHER_METHODS.search(name.lower()) else ""


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Return names, those of references first, those of other methods last."""
    return tuple(sorted(names, key=lambda name: (bool(no_label(name)), not _REFERENCE.search(name.lower()))))


def stem(name: str) -> str:
    """Return a name without the word that says its kind: 'REF_' of 'REF_energy' and 'REF_forces'."""
    return re.sub(r"(free_)?energy|forces?|gradients?|grad", "", name.lower())
