"""One run of a vasprun.xml while its steps come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lake.readers.anchors import seek
from lake.readers.vasp_frames import NAN, Ending, Geometry, Header, Judgement, StepTable, criterion_of, finish_run
from lake.readers.vasp_rows import VARRAY, BlockBatch
from lake.readers.vasp_xml_step import StepPlaces, energies_of, step_energies
from schemas.calculations import Run
from schemas.frames import Floats


class FoundStep(NamedTuple):
    """A whole step in the buffer."""

    begins: int
    """Where its self-consistency cycle starts."""
    structure: int
    """Where its `<structure>` stands."""
    places: StepPlaces
    blocks: Sequence[bytes]
    """The rows of each of its tables."""


class OpenRun:
    """One run of the file while its steps come in."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.complete = False
        self.linear_response = False
        self.lost = 0
        self._steps = StepTable()
        self._cells = BlockBatch(3, VARRAY)
        self._positions = BlockBatch(header.natoms, VARRAY)
        self._forces = BlockBatch(header.natoms, VARRAY)
        self._stress = BlockBatch(3, VARRAY)
        self._criterion = criterion_of(header.tags)
        self.learns = header.tags.true("ML_LMLFF")
        self._taken = 0
        self._strays = 0

    def take(self, buffer: bytearray, found: FoundStep, *, inside: bool) -> None:
        """Take one step."""
        structure, places = found.structure, found.places
        energy = structure + places.energy
        step = self._taken + self.lost
        self._taken += 1
        count = buffer.count(b"<scstep>", found.begins, structure) if inside else 0
        learned = self.learns and count == 0
        flags = ("machine_learned",) if learned else () if inside else ("stray_step",)
        self._strays += not inside and not learned
        self.linear_response = self.linear_response or seek(buffer, b"<scstep>", b"p", structure + places.shut, energy) >= 0
        judgement = Judgement() if learned else self._criterion.judge(count)
        energies = step_energies(buffer, (found.begins, structure), (energy, structure + places.end), count)
        self._steps.add(step, energies, judgement, flags)
        for batch, block in zip((self._cells, self._positions, self._forces, self._stress), found.blocks, strict=True):
            batch.add(block)

    def take_usual(self, buffer: bytearray, places: StepPlaces, steps: NDArray[np.int64], numbers: Floats) -> None:
        """Take steps of calculations that have their tags in these places; steps and numbers as native/vasp_steps.c has them."""
        counts: list[int] = steps[:, 2].tolist()
        numbers[steps[:, 2] == 0, 3:] = NAN
        nothing = [0] * len(counts)
        found = [energies_of(*row) for row in numbers.tolist()]
        self._steps.add_all(self._taken + self.lost, found, self._criterion.judge_all(counts, [NAN] * len(counts), nothing))
        self._taken += len(counts)
        structure = steps[:, 1]
        for batch, (_, first, last) in zip((self._cells, self._positions, self._forces, self._stress), places.tables, strict=True):
            batch.add_all(buffer, structure + first, structure + last)

    def finish(self) -> Run:
        """Return the run; raises UnreadableOutput where it has no complete step."""
        cell, positions = self._cells.blocks(), self._positions.blocks()
        forces, stress = self._forces.blocks(), self._stress.blocks()
        geometry = Geometry(
            cell=cell.values,
            positions=positions.values @ cell.values,
            forces=forces.values,
            stress=stress.values,
            unreadable=cell.unreadable | positions.unreadable,
            malformed=forces.malformed | stress.malformed,
        )
        ending = Ending(
            format="vasprun.xml",
            energy_source="VASP e_fr_energy",
            stress_source="VASP stress",
            complete=self.complete,
            lost_steps=self.lost,
            linear_response=self.linear_response and not self._strays,
            enthalpy=True,
        )
        return finish_run(self.header, self._steps, geometry, ending)
