"""Reader of OUTCAR: the energy of an ionic step is the anchor, what belongs to it stands before it (VASP 5.3 and newer) or behind it.

Newer versions print stress, lattice, force table, energies; older ones (to 5.2) print the energies first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from lake import native
from lake.readers.anchors import Anchor, holds, seek, seek_back
from lake.readers.base import ReaderSpec
from lake.readers.rows import number
from lake.readers.vasp.cycles import Judgement, criterion_of
from lake.readers.vasp.frames import NAN, Ending, Geometry, StepTable, finish_run, with_refusals
from lake.readers.vasp.header import Header
from lake.readers.vasp.outcar_checks import flag_contradictions, may_begin_with_energies, printed_beside
from lake.readers.vasp.outcar_header import head_of, read_header
from lake.readers.vasp.outcar_step import ENERGY_BLOCK, energies, lattice, number_after, stress_line, table_bounds, tensor
from lake.readers.vasp.rows import FORCE_TABLE, LATTICE, SAMPLE_BYTES, SIX, BlockBatch
from schemas.calculations import Run
from schemas.errors import UnreadableOutput

_PIECE: Final = 1 << 20
_START: Final = re.compile(rb"^[ \t]*vasp\.\d", re.MULTILINE)
_OPENING: Final = re.compile(rb"^[ \t]*vasp\.\d[^\n]*\n(?:[^\n]*\n){0,3}?[ \t]*executed on", re.MULTILINE)
_AGAIN: Final = b" executed on "
"""Second line of a run; longer than the first one's start, so found faster."""
_ENERGY: Final = b"free  energy "
"""Two blanks: of an ionic step (`free  energy   TOTEN`, `free  energy ML TOTEN`); one blank is a step of the cycle."""
_TABLE: Final = b"TOTAL-FORCE (eV"
_LEFT: Final = b"aborting loop"
"""Behind the last step of a cycle: `aborting loop because EDIFF is reached`, `aborting loop EDIFF was not reached (unconverged)`."""
_REGULAR_END: Final = b"General timing and accounting"
_MOST_OPEN: Final = 256 << 20
_ITERATION: Final = re.compile(rb"Iteration\s+(\d{1,9}|\*+)\(\s*(\d{1,6})\)")
_CHANGE: Final = re.compile(rb"total energy-change[^:\n]*:[ \t]*([-+.\dEeDd]+)")


class OutcarReader:
    """Push reader of one OUTCAR; several runs in one file give several `Run`."""

    def __init__(self) -> None:
        self._buffer: bytes | bytearray = b""
        self._at = 0
        self._runs: list[Run] = []
        self._refusals: list[UnreadableOutput] = []
        self._current: _OpenRun | None = None
        self._started = False
        self._waiting = False
        self._again, self._energy, self._table = Anchor(_AGAIN, b"x"), Anchor(_ENERGY, b"f"), Anchor(_TABLE, b"F")

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file; one piece that is the whole of it is read where it stands."""
        if not self._buffer and isinstance(chunk, bytes) and len(chunk) <= _PIECE:
            self._buffer = chunk
            self._advance()
            return
        view = memoryview(chunk)
        for start in range(0, len(view), _PIECE):
            self._buffer += view[start : start + _PIECE]
            self._advance()

    def close(self) -> tuple[Run, ...]:
        """Return the runs of the file; raises UnreadableOutput where there is none."""
        self._advance()
        if self._started:
            self._end_run(len(self._buffer))
        if self._runs:
            return with_refusals(self._runs, self._refusals)
        if self._refusals:
            raise self._refusals[0]
        raise UnreadableOutput("unreadable_output", "OUTCAR without the line of the program's version", "deposit the file as VASP wrote it")

    def _advance(self) -> None:
        self._waiting = False
        while not self._waiting:
            if not self._started:
                self._find_start()
            elif self._current is None:
                self._read_head()
            else:
                self._read_step(self._current)
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(memoryview(self._buffer)[self._at :])
        else:
            del self._buffer[: self._at]
        for anchor in (self._again, self._energy, self._table):
            anchor.drop(self._at)
        self._at = 0
        if len(self._buffer) > _MOST_OPEN:
            raise UnreadableOutput(
                "unreadable_output", f"{len(self._buffer)} bytes of OUTCAR without a step", "deposit the file as VASP wrote it"
            )

    def _find_start(self) -> None:
        match = _START.search(self._buffer, self._at)
        if match is None:
            self._at = max(self._at, self._buffer.rfind(b"\n"))
            self._waiting = True
            return
        self._at = match.start()
        self._started = True

    def _read_head(self) -> None:
        """Wait for the first energy or force table of the run, which also tells in which order they come."""
        energy, table = self._energy.find(self._buffer, self._at), self._table.find(self._buffer, self._at)
        known = min((place for place in (energy, table) if place >= 0), default=-1)
        again = self._next_run(known if known >= 0 else len(self._buffer))
        if again >= 0 or known < 0:
            if again >= 0:
                self._end_run(again)
            self._waiting = again < 0
            return
        iteration = seek(self._buffer, b"Iteration ", b"I", self._at, known)
        first = iteration if iteration >= 0 else known
        try:
            self._current = _OpenRun(bytes(self._buffer[self._at : first]), energies_first=table < 0 or 0 <= energy < table)
        except UnreadableOutput as refusal:
            self._refusals.append(refusal)
            self._at = first
            self._started = False
            return
        self._current.atomic_energy = number_after(self._buffer, b"atomic energy  EATOM", b"M", first, known)
        self._at = max(first if first == iteration else self._buffer.rfind(b"FORCE on cell", self._at, first), self._at)

    def _next_run(self, end: int) -> int:
        """Return where the first line of another run starts before end, -1 for nowhere."""
        while (second := self._again.before(self._buffer, self._at, end)) >= 0:
            start = self._buffer.rfind(b"\n vasp.", max(self._at + 1, second - 400), second)
            if start >= 0:
                return start
            self._again.leave()
        return -1

    def _read_step(self, current: _OpenRun) -> None:
        energy = self._energy.find(self._buffer, self._at)
        if energy >= 0 and not current.energies_first and (reached := current.take_usual(self._buffer, self._at)) >= 0:
            self._at = reached
            return
        again = self._next_run(energy if energy >= 0 else len(self._buffer))
        if again >= 0:
            self._end_run(again)
            return
        shut = self._end_of_energies(energy) if energy >= 0 else None
        if shut is None:
            self._waiting = True
        elif shut < 0:
            current.lost += 1
            self._at = energy + len(_ENERGY)
        elif current.energies_first:
            self._read_table_behind(current, energy, shut)
        else:
            table = seek_back(self._buffer, _TABLE, b"F", self._at, energy)
            current.take(self._buffer, (self._at, table, energy), energy)
            self._at = shut

    def _end_of_energies(self, energy: int) -> int | None:
        """Return where the line of E(sigma->0) ends, None while it is not there, -1 where it is missing."""
        sigma0 = self._buffer.find(b"energy(sigma->0)", energy, energy + ENERGY_BLOCK)
        end = self._buffer.find(b"\n", sigma0) if sigma0 >= 0 else -1
        if end >= 0:
            return end
        return -1 if sigma0 < 0 and len(self._buffer) >= energy + ENERGY_BLOCK else None

    def _read_table_behind(self, current: _OpenRun, energy: int, shut: int) -> None:
        """Take a step of an old version, whose force table follows its energies."""
        table = self._table.find(self._buffer, shut)
        following = self._buffer.find(_ENERGY, shut, table if table >= 0 else len(self._buffer))
        if following >= 0:
            current.lost += 1
            self._at = following
            return
        bounds = table_bounds(self._buffer, table, len(self._buffer)) if table >= 0 else None
        if bounds is None:
            self._waiting = True
            return
        current.take(self._buffer, (self._at, table, bounds[1] + 4), energy)
        self._at = bounds[1]

    def _end_run(self, end: int) -> None:
        """End the run whose bytes end at a place; the next one may start there."""
        current, self._current, self._started = self._current, None, False
        start, self._at = self._at, end
        try:
            if current is None:
                current = _OpenRun(bytes(self._buffer[start:end]), energies_first=False)
            current.complete |= seek(self._buffer, _REGULAR_END, b"G", start, end) >= 0
            current.lost += current.complete and any(seek(self._buffer, words, words[:1], start, end) >= 0 for words in (_ENERGY, _TABLE))
            self._runs.append(current.finish())
        except UnreadableOutput as refusal:
            self._refusals.append(refusal)


class _OpenRun:
    """One run of the file while its steps come in."""

    def __init__(self, text: bytes, *, energies_first: bool) -> None:
        self._head = head_of(text)
        self.energies_first = energies_first and may_begin_with_energies(text)
        self.atomic_energy = NAN
        self.complete = False
        self.lost = 0
        self._criterion = criterion_of(self._head.tags)
        self._steps = StepTable()
        self._cells = BlockBatch(3, LATTICE)
        self._tables = BlockBatch(self._head.natoms, FORCE_TABLE)
        self._stress = BlockBatch(1, SIX)
        self._cell = lattice(text, 0, len(text))
        self._taken = 0
        self._counted = 0
        self._lost_before = 0
        self._learned = False
        self._beside: list[Sequence[float]] = []

    def take(self, buffer: bytes | bytearray, places: tuple[int, int, int], energy: int) -> None:
        """Take one step: places are where its text starts, where its force table stands (-1 for none), and where its text ends."""
        start, table, end = places
        bounds = table_bounds(buffer, table, end) if table >= 0 else None
        learned = buffer.find(b" ML ", energy, energy + 24) >= 0
        if bounds is None or (b"(ML)" in buffer[table : buffer.find(b"\n", table)]) != learned:
            self.lost += 1
            return
        self._learned = self._learned or learned
        results = seek_back(buffer, b"Iteration ", b"I", start, min(table, energy))
        self._cell = lattice(buffer, max(start, results), table) or self._cell
        judged = Judgement() if learned else self._judge(buffer, results, max(table, energy))
        self._steps.add(
            self._taken + self.lost,
            energies(buffer, energy),
            judged,
            ("machine_learned",) if learned else (),
        )
        self._taken += 1
        self._beside.append(printed_beside(buffer, max(start, results), table))
        self._cells.add(self._cell)
        self._tables.add(bytes(buffer[bounds[0] : bounds[1]]))
        self._stress.add(stress_line(buffer, max(start, results), table))

    def take_usual(self, buffer: bytes | bytearray, start: int) -> int:
        """Take the steps from start on that are all as usual, found by compiled loops; return where the last one ends, -1 for none."""
        places, numbers = native.outcar_steps(buffer, start)
        if not len(places):
            return -1
        numbered = places[:, 8].tolist()
        found = numbers[:, :4]
        judged = self._criterion.judge_all(places[:, 9], numbers[:, 4], places[:, 10])
        if self.lost == self._lost_before and numbered == list(range(self._counted + 1, self._counted + 1 + len(found))):
            self._counted = numbered[-1]
            self._steps.add_all(self._taken + self.lost, found, judged)
            self._taken += len(found)
        else:
            for k, step in enumerate(numbered):
                self._count(step)
                self._steps.add_all(self._taken + self.lost, found[k : k + 1], ([judged[0][k]], [judged[1][k]]))
                self._taken += 1
        self._beside += numbers[:, 5:7].tolist()
        batches = (self._tables, self._cells, self._stress)
        read = None if any(batch.waits for batch in batches) else native.outcar_tables(buffer, places, self._head.natoms)
        for k, batch in enumerate(batches):
            if read is not None:
                start, end = places[0, 2 + 2 * k : 4 + 2 * k].tolist()
                batch.add_read(read[k], bytes(buffer[start : min(end, start + SAMPLE_BYTES)]))
            else:
                batch.add_all(buffer, places[:, 2 + 2 * k], places[:, 3 + 2 * k])
        self._cell = bytes(buffer[places[-1, 4] : places[-1, 5]])
        return int(places[-1, 1])

    def _judge(self, buffer: bytes | bytearray, iteration: int, end: int) -> Judgement:
        match = _ITERATION.match(buffer, iteration) if iteration >= 0 else None
        if match is None:
            return Judgement()
        left = buffer.find(_LEFT, iteration, end)
        place = buffer.rfind(b"total energy-change", iteration, left if left >= 0 else end)
        printed = _CHANGE.match(buffer, place) if place >= 0 else None
        change = number(printed.group(1)) if printed else NAN
        said = left >= 0 and buffer.find(b"EDIFF was not reached", left, left + 120) >= 0
        if match.group(1).isdigit():
            self._count(int(match.group(1)))
        return self._criterion.judge(int(match.group(2)), change, said_unconverged=said)

    def _count(self, step: int) -> None:
        """Compare the number of a step that VASP prints with that of the step before: those between are lost."""
        before, known = self._counted, self.lost - self._lost_before
        if not self._learned:
            self.lost += max(0, step - before - 1 - known)
        self._counted, self._lost_before = step, self.lost

    def finish(self) -> Run:
        """Return the run; raises UnreadableOutput where it has no complete step."""
        header: Header = read_header(self._head, self.atomic_energy)
        cell, table, stress = self._cells.blocks(), self._tables.blocks(), self._stress.blocks()
        positions, forces = table.values[:, :, :3], table.values[:, :, 3:]
        missing = np.isnan(table.values)
        if missing.any():
            nowhere, torn = missing[:, :, :3].any(axis=(1, 2)), missing[:, :, 3:].any(axis=(1, 2))
        else:
            nowhere = torn = np.zeros(len(missing), dtype=bool)
        told = flag_contradictions(self._steps, cell.values[:, :, :3], stress.values[:, 0, :], self._beside, self._head.tags)
        geometry = Geometry(
            cell=cell.values[:, :, :3],
            positions=positions,
            forces=forces,
            stress=tensor(stress.values[:, 0, :]),
            unreadable=cell.absent | cell.torn | table.torn | nowhere,
            malformed=stress.malformed | torn,
        )
        ending = Ending(
            format="OUTCAR",
            energy_source="VASP free energy TOTEN",
            stress_source="VASP in kB",
            complete=self.complete,
            lost_steps=self.lost,
            notes=((f"{self.lost} steps have an energy but no force table, so no geometry (NWRITE)",) if self.lost else ()) + told,
        )
        return finish_run(header, self._steps, geometry, ending)


def _recognises(_name: str, head: bytes) -> bool:
    """Return whether the head is that of an OUTCAR: the program's line, then where it was executed."""
    return holds(head, b"executed on", b"x") and _OPENING.search(head) is not None


OUTCAR: Final = ReaderSpec("OUTCAR", "vasp", _recognises, OutcarReader, rank=1)
