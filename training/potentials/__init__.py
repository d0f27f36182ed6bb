"""The potentials that can be trained, one folder an architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from schemas.errors import TrainingError, closest
from training.potentials import acsf, allegro, hdnnp, nequip
from training.potentials.base import EnergyModel
from training.settings import TrainSettings


@dataclass(frozen=True)
class PotentialSpec:
    """One architecture: how settings configure it, and how it is built from that configuration."""

    name: str
    doc: str
    configure: Callable[[TrainSettings], Mapping[str, object]]
    build: Callable[[tuple[str, ...], float, Mapping[str, object]], EnergyModel]
    """(elements, cutoff in Å, configuration) -> untrained model; first weights are drawn from torch's generator."""


POTENTIALS: Final[tuple[PotentialSpec, ...]] = (
    PotentialSpec("hdnnp", "Behler-Parrinello form on density moments with a small network.", hdnnp.configure, hdnnp.build),
    PotentialSpec("acsf", "Behler-Parrinello form on classical symmetry functions, one network an element.", acsf.configure, acsf.build),
    PotentialSpec("nequip", "E(3)-equivariant message passing, by the package nequip (an extra).", nequip.configure, nequip.build),
    PotentialSpec(
        "allegro", "Strictly local equivariant potential, by the package nequip-allegro (an extra).", allegro.configure, allegro.build
    ),
)


def find_potential(name: str) -> PotentialSpec:
    """Return the architecture of that name; raises TrainingError with the closest known one."""
    for spec in POTENTIALS:
        if spec.name == name:
            return spec
    known = [spec.name for spec in POTENTIALS]
    raise TrainingError(f"there is no potential architecture {name!r}{closest(name, known)}; known are {', '.join(known)}")
