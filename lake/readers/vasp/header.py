"""What stands before the first step of a run of VASP, and what follows from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lake.readers.vasp.beyond import altered, asks_response, remarks_on
from lake.readers.vasp.cycles import Criterion, criterion_of
from lake.readers.vasp.level import Mesh, level_of_theory, run_kind, virtual_crystal
from lake.readers.vasp.species import IonType, element_of
from lake.readers.vasp.tags import Tags
from schemas.elements import SYMBOLS
from schemas.frames import Floats
from schemas.theory import LevelOfTheory
from schemas.units import KBAR


@dataclass(frozen=True)
class Header:
    """What stands before the first step of a run."""

    version: str
    """'6.3.0'"""
    tags: Tags
    kinds: tuple[IonType, ...]
    types: NDArray[np.int32]
    """(natoms,) index into kinds."""
    mesh: Mesh
    fixed: NDArray[np.bool_] | None = None
    """(natoms, 3) coordinates held by selective dynamics."""
    notes: tuple[str, ...] = ()

    @property
    def natoms(self) -> int:
        """Number of ions."""
        return int(self.types.shape[0])

    @cached_property
    def elements(self) -> list[tuple[int, str]]:
        """Atomic number of each kind, with a remark ('' for none); raises UnreadableOutput where one is not known."""
        return [element_of(kind) for kind in self.kinds]

    @cached_property
    def numbers(self) -> NDArray[np.int16]:
        """(kinds,) atomic numbers."""
        return np.array([number for number, _ in self.elements], dtype=np.int16)

    @cached_property
    def atoms(self) -> NDArray[np.int16]:
        """(natoms,) atomic numbers, which runs with this head share."""
        numbers = self.numbers[self.types]
        numbers.flags.writeable = False
        return numbers

    @cached_property
    def criterion(self) -> Criterion:
        """When a cycle is converged."""
        return criterion_of(self.tags)

    @cached_property
    def learns(self) -> bool:
        """Whether a force field is learned on the fly."""
        return self.tags.true("ML_LMLFF")

    @cached_property
    def pressure(self) -> float:
        """PSTRESS in eV/Å³."""
        return self.tags.number("PSTRESS", 0.0) * KBAR

    @cached_property
    def linear_response(self) -> bool:
        """Whether the tags ask for the response to a field or to displacements."""
        return asks_response(self.tags)

    @cached_property
    def throughout(self) -> tuple[str, ...]:
        """The flags of every step of a run with this head."""
        found = {"virtual_crystal": virtual_crystal(self.tags), "altered_potential": bool(altered(self.tags))}
        return tuple(name for name, holds in found.items() if holds)

    @cached_property
    def kind(self) -> str:
        """Kind of run."""
        return run_kind(self.tags)

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """What is noted of every run with this head, behind its own notes."""
        found = list(remarks_on(self.tags))
        repeated = [name for name, times in Counter(number for number, _ in self.elements).items() if times > 1]
        if repeated:
            found.append("more than one POTCAR block for " + ", ".join(SYMBOLS[number] for number in sorted(repeated)))
        return tuple(found)

    def level(self, cell: Floats) -> LevelOfTheory:
        """Return the level of theory of a run whose first cell is (3, 3) in Å."""
        key = cell.tobytes()
        if key not in self._levels:
            self._levels.clear()
            numbers = [number for number, _ in self.elements]
            self._levels[key] = level_of_theory(self.tags, self.kinds, numbers, mesh=self.mesh, cell=cell)
        return self._levels[key]

    @cached_property
    def _levels(self) -> dict[bytes, LevelOfTheory]:
        """The level of the run before, whose cell was mostly the same."""
        return {}
