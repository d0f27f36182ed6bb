"""One run of a vasprun.xml while its steps come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lake.native.vasp_xml import FoundSteps, Tables, xml_tables
from lake.readers.anchors import seek
from lake.readers.vasp.cycles import Judgement
from lake.readers.vasp.frames import NAN, Ending, Geometry, StepTable, finish_run
from lake.readers.vasp.header import Header
from lake.readers.vasp.rows import SAMPLE_BYTES, VARRAY, BlockBatch
from lake.readers.vasp.xml_step import StepPlaces, energies_of_all, step_energies
from schemas.calculations import Run


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
        self._read: list[Tables] = []
        """Cells, positions, forces and stress as compiled loops read them."""
        self._samples: list[bytes] = []
        """How each of these tables begins."""
        self._batches: Sequence[BlockBatch] = ()
        """The same as Python reads them, from the first step on that compiled loops do not."""
        self._taken = 0
        self._strays = 0

    def take(self, buffer: bytes | bytearray, found: FoundStep, *, inside: bool) -> None:
        """Take one step."""
        structure, places = found.structure, found.places
        energy = structure + places.energy
        step = self._taken + self.lost
        self._taken += 1
        count = buffer.count(b"<scstep>", found.begins, structure) if inside else 0
        learned = self.header.learns and count == 0
        flags = ("machine_learned",) if learned else () if inside else ("stray_step",)
        self._strays += not inside and not learned
        self.linear_response = self.linear_response or seek(buffer, b"<scstep>", b"p", structure + places.shut, energy) >= 0
        judgement = Judgement() if learned else self.header.criterion.judge(count)
        energies = step_energies(buffer, (found.begins, structure), (energy, structure + places.end), count)
        self._steps.add(step, energies, judgement, flags)
        for batch, block in zip(self._waiting(), found.blocks, strict=True):
            batch.add(block)

    def take_usual(self, buffer: bytes | bytearray, places: StepPlaces, found: FoundSteps) -> None:
        """Take steps of calculations that have their tags in these places."""
        steps, numbers = found.places, found.numbers
        counts: list[int] = steps[:, 2].tolist()
        if 0 in counts:
            numbers[steps[:, 2] == 0, 3:] = NAN
        energies = energies_of_all(numbers)
        self._steps.add_all(self._taken + self.lost, energies, self.header.criterion.judge_all(steps[:, 2]))
        self._taken += len(counts)
        read = None if self._batches else xml_tables(buffer, found, places.flat_tables, self.header.natoms)
        if read is not None:
            self._read.append(read)
            starts = [int(steps[0, 1]) + first for _, first, _ in places.tables]
            self._samples = self._samples or [bytes(buffer[start : start + SAMPLE_BYTES]) for start in starts]
            return
        for batch, (_, first, last) in zip(self._waiting(), places.tables, strict=True):
            batch.add_all(buffer, steps[:, 1] + first, steps[:, 1] + last)

    def _waiting(self) -> Sequence[BlockBatch]:
        """Return what takes tables that compiled loops have not read, with those that they have."""
        if not self._batches:
            self._batches = [BlockBatch(rows, VARRAY) for rows in (3, self.header.natoms, self.header.natoms, 3)]
            for tables in self._read:
                for batch, values, sample in zip(self._batches, tables, self._samples, strict=True):
                    batch.add_read(values, sample)
            self._read = []
        return self._batches

    def finish(self) -> Run:
        """Return the run; raises UnreadableOutput where it has no complete step."""
        ending = Ending(
            format="vasprun.xml",
            energy_source="VASP e_fr_energy",
            stress_source="VASP stress",
            complete=self.complete,
            lost_steps=self.lost,
            linear_response=self.linear_response and not self._strays,
            enthalpy=True,
        )
        return finish_run(self.header, self._steps, self._geometry(), ending)

    def _geometry(self) -> Geometry:
        if self._read:
            parts, self._read = self._read, []
            cells, places, others, tensors = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
            nothing = np.zeros(len(cells), dtype=bool)
            return Geometry(cells, places @ cells, others, tensors, nothing, nothing)
        cell, positions, forces, stress = (batch.blocks() for batch in self._waiting())
        return Geometry(
            cell=cell.values,
            positions=positions.values @ cell.values,
            forces=forces.values,
            stress=stress.values,
            unreadable=cell.unreadable | positions.unreadable,
            malformed=forces.malformed | stress.malformed,
        )
