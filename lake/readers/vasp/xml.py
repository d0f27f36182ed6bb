"""Reader of vasprun.xml: sections are found and sliced, never parsed as XML, so that damaged and cut files give their whole steps.

A step is `<structure>` .. child `<energy>`. Inside of `<calculation>` it is a step of DFT; outside it is one of a force field
learned on the fly (ML_LMLFF) or of another process that wrote into the same file. Behind its energy a step may have any amount
of eigenvalues, densities of states and projections, which are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from lake.native.vasp_xml import FoundSteps, xml_begin, xml_steps
from lake.readers.anchors import Anchor, holds, seek
from lake.readers.base import ReaderSpec
from lake.readers.vasp.frames import with_refusals
from lake.readers.vasp.header import Header
from lake.readers.vasp.xml_header import header_at, read_header
from lake.readers.vasp.xml_run import FoundStep, OpenRun
from lake.readers.vasp.xml_step import END_OF_ENERGY, StepPlaces, locate
from schemas.calculations import Run
from schemas.errors import UnreadableOutput

_PIECE: Final = 1 << 20
_PROGRAM: Final = re.compile(rb"name=\"program\"[^<>]*>\s*vasp")
_NEAR: Final = 512
"""Bytes at the beginning of a file in which its first tag is looked for before all others."""
_KEEP: Final = 64
"""Bytes kept of what is passed over, so that a tag torn by the end of a chunk is found."""
_LONG: Final = 4 << 20
"""Longer waiting text is searched again only when it has grown by a quarter, so that the work stays linear."""
_MOST_OPEN: Final = 256 << 20
"""Bytes of one head or one step beyond which a file is not believed."""


class VaspXmlReader:
    """Push reader of one vasprun.xml; several runs in one file give several `Run`."""

    def __init__(self) -> None:
        self._buffer: bytes | bytearray = b""
        self._runs: list[Run] = []
        self._refusals: list[UnreadableOutput] = []
        self._current: OpenRun | None = None
        self._at = 0
        self._state = self._before_run
        self._waiting = False
        self._fresh = False
        """Bytes have come in that were not looked at."""
        self._next_look = 0
        self._places: StepPlaces | None = None
        self._passed = 0
        self._structure, self._calculation = Anchor(b"<structure>", b"u"), Anchor(b"calculation>", b"u")

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        if not self._buffer and isinstance(chunk, bytes) and len(chunk) <= _PIECE:
            self._buffer = chunk
            self._advance()
            return
        view = memoryview(chunk)
        for start in range(0, len(view), _PIECE):
            self._buffer += view[start : start + _PIECE]
            self._fresh = True
            if len(self._buffer) >= self._next_look:
                self._advance()

    def close(self) -> tuple[Run, ...]:
        """Return the runs of the file; raises UnreadableOutput where there is none."""
        if self._fresh:
            self._advance()
        self._end_run()
        if self._runs:
            return with_refusals(self._runs, self._refusals)
        if self._refusals:
            raise self._refusals[0]
        raise UnreadableOutput("unreadable_output", "vasprun.xml without <modeling>", "deposit the file as VASP wrote it")

    def _advance(self) -> None:
        self._waiting = self._fresh = False
        while not self._waiting:
            self._state()
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(memoryview(self._buffer)[self._at :])
        else:
            del self._buffer[: self._at]
        self._structure.drop(self._at)
        self._calculation.drop(self._at)
        self._at = 0
        self._next_look = len(self._buffer) * 5 // 4 if len(self._buffer) > _LONG else 0
        if len(self._buffer) > _MOST_OPEN:
            raise UnreadableOutput(
                "unreadable_output",
                f"{len(self._buffer)} bytes of vasprun.xml without a complete step",
                "deposit the file as VASP wrote it",
            )

    def _pass_over(self, to: int) -> None:
        """Forget the buffer up to a place, and wait for more bytes."""
        self._at = max(self._at, to)
        self._waiting = True

    def _before_run(self) -> None:
        start = self._buffer.find(b"<modeling>", self._at)
        if start < 0:
            self._pass_over(len(self._buffer) - _KEEP)
            return
        self._at = start
        self._state = self._in_head

    def _in_head(self) -> None:
        """Wait for the first step; the head ends at `<calculation>` or at a `<structure>` without a name."""
        if self._take_outline():
            return
        again = seek(self._buffer, b"<modeling>", b"g", self._at + 10, len(self._buffer))
        end = again if again >= 0 else len(self._buffer)
        calculation = seek(self._buffer, b"<calculation>", b"u", self._at, end)
        structure = seek(self._buffer, b"<structure>", b"u", self._at, calculation if calculation >= 0 else end)
        first = structure if structure >= 0 else calculation
        if first < 0 and again < 0:
            self._waiting = True
            return
        self._open_run(lambda: read_header(bytes(self._buffer[self._at : first if first >= 0 else again])))
        self._at = first if first >= 0 else again
        self._state = self._between if first >= 0 else self._next_run

    def _take_outline(self) -> bool:
        """Take the head and the calculations behind it by compiled loops; False where they are not as usual."""
        outline = xml_begin(self._buffer, self._at)
        if outline is None:
            return False
        self._open_run(lambda: header_at(self._buffer, outline.head))
        self._at = outline.first
        self._state = self._between
        shut, energy, end = outline.bounds
        tables = iter(outline.tables)
        self._places = StepPlaces(shut, energy, end, tuple(zip(tables, tables, tables, strict=True)))
        if self._current is not None and not self._current.header.learns:
            self._take_found(self._current, self._places, outline.steps)
        return True

    def _open_run(self, read: Callable[[], Header]) -> None:
        try:
            self._current = OpenRun(read())
        except UnreadableOutput as refusal:
            self._refusals.append(refusal)
            self._current = None

    def _next_run(self) -> None:
        self._end_run()
        self._state = self._before_run

    def _between(self) -> None:
        """Look, outside of a calculation, for the next one, for stray steps before it, and for the end of the run."""
        structure = self._structure.find(self._buffer, self._at)
        if structure >= 0 and self._take_usual():
            return
        end = structure if structure >= 0 else len(self._buffer)
        calculation = seek(self._buffer, b"<calculation>", b"u", self._at, end)
        end = calculation if calculation >= 0 else end
        again = seek(self._buffer, b"<modeling>", b"g", self._at, end)
        if self._current is not None and self._buffer.find(b"</modeling>", self._at, again if again >= 0 else end) >= 0:
            self._current.complete = True
        if again >= 0:
            self._at = again
            self._next_run()
        elif calculation >= 0:
            self._at = calculation
            self._state = self._in_calculation
        elif structure >= 0:
            self._at = structure
            self._take_step(structure, inside=False, begins=structure)
        else:
            self._pass_over(len(self._buffer) - _KEEP)

    def _take_usual(self) -> bool:
        """Take the calculations from here on that have their tags in the places of the step before, by compiled loops; False for none."""
        places, current = self._places, self._current
        if places is None or places.marks is None or current is None or current.header.learns:
            return False
        found = xml_steps(self._buffer, self._at, places.marks, places.bounds)
        if found is not None:
            self._take_found(current, places, found)
        return found is not None

    def _take_found(self, current: OpenRun, places: StepPlaces, found: FoundSteps) -> None:
        current.take_usual(self._buffer, places, found)
        self._at, self._passed = found.on, 0
        self._state = self._after_step if found.inside else self._between

    def _in_calculation(self) -> None:
        """Take the step of the calculation that starts here."""
        structure = self._structure.find(self._buffer, self._at)
        following = self._calculation.before(self._buffer, self._at + 13, structure if structure >= 0 else len(self._buffer))
        if following >= 0:
            again = self._buffer.find(b"<modeling>", self._at, following)
            closing = self._buffer[following - 1 : following] == b"/"
            self._give_up(again if again >= 0 else following + 12 if closing else following - 1, counts=again < 0)
            return
        if structure < 0:
            self._waiting = True
            return
        self._take_step(structure, inside=True, begins=self._at)

    def _take_step(self, structure: int, *, inside: bool, begins: int) -> None:
        """Take the step whose `<structure>` is found, once its `<energy>` is closed."""
        blocks = self._places.alike(self._buffer, structure) if self._places is not None else None
        if blocks is None:
            self._places = self._search_places(structure)
            blocks = self._places.blocks(self._buffer, structure) if self._places is not None else ()
            if inside and self._take_usual():
                return
        if self._places is None:
            return
        if self._current is not None:
            self._current.take(self._buffer, FoundStep(begins, structure, self._places, blocks), inside=inside)
        self._at = structure + self._places.end + len(END_OF_ENERGY)
        self._passed = 0
        self._state = self._after_step if inside else self._between

    def _search_places(self, structure: int) -> StepPlaces | None:
        """Return the places of a step found by its tags; None where it is torn or has not come in whole."""
        shut = self._buffer.find(b"</structure>", structure)
        energy = self._child_energy(shut) if shut >= 0 else -1
        end = self._buffer.find(END_OF_ENERGY, energy) if energy >= 0 else -1
        torn = self._torn_at(structure, energy, end if end >= 0 else len(self._buffer))
        if torn >= 0:
            self._give_up(torn, counts=not self._buffer.startswith(b"<modeling>", torn))
            return None
        if end < 0:
            self._waiting = True
            return None
        return locate(self._buffer, structure, shut, energy, end)

    def _give_up(self, place: int, *, counts: bool) -> None:
        """Leave a step that is not whole, and go on at a place; it counts as lost unless the run just ends there."""
        if self._current is not None and counts:
            self._current.lost += 1
        self._at = place
        self._state = self._between

    def _child_energy(self, shut: int) -> int:
        """Return where the `<energy>` of the step itself starts, behind the `<scstep>`s that linear response adds; -1 for nowhere."""
        place = shut
        while True:
            energy = self._buffer.find(b"<energy>", place)
            cycle = self._buffer.find(b"<scstep>", place, energy) if energy >= 0 else -1
            if cycle < 0:
                return energy
            place = self._buffer.find(b"</scstep>", energy)
            if place < 0:
                return -1

    def _torn_at(self, structure: int, energy: int, end: int) -> int:
        """Return where another step or run starts before this step is whole, -1 for nowhere."""
        places = [self._buffer.find(tag, structure + 11, end) for tag in (b"<structure>", b"calculation>")]
        places += [self._buffer.find(b"<energy>", energy + 8, end)] if energy >= 0 else []
        found = [place for place in places if place >= 0]
        if not found:
            return -1
        place = self._buffer.rfind(b"<", structure, min(found) + 1)
        again = self._buffer.find(b"<modeling>", structure, place)
        return again if again >= 0 else place

    def _after_step(self) -> None:
        """Pass over what follows a step up to the end of its calculation; only its first 4 MiB are searched for stray steps."""
        end = self._calculation.find(self._buffer, self._at)
        stop = end if end >= 0 else len(self._buffer)
        self._passed += stop - self._at
        if self._passed <= _LONG:
            again = seek(self._buffer, b"modeling>", b"g", self._at, stop)
            structure = self._structure.before(self._buffer, self._at, stop)
            if self._current is not None and not self._current.linear_response:
                self._current.linear_response = seek(self._buffer, b"<scstep>", b"p", self._at, stop) >= 0
            if structure >= 0 or again >= 0:
                self._at = min(place for place in (structure, self._buffer.rfind(b"<", 0, again)) if place >= 0)
                self._state = self._between
                return
        if end < 0:
            self._pass_over(len(self._buffer) - _KEEP)
            return
        closing = self._buffer[end - 1 : end] == b"/"
        self._at = end + 12 if closing else end - 1
        self._state = self._between

    def _end_run(self) -> None:
        current, self._current = self._current, None
        if current is None:
            if self._state == self._in_head:
                self._open_run(lambda: read_header(bytes(self._buffer[self._at :])))
                current, self._current = self._current, None
            if current is None:
                return
        try:
            self._runs.append(current.finish())
        except UnreadableOutput as refusal:
            self._refusals.append(refusal)


def _recognises(_name: str, head: bytes) -> bool:
    """Return whether the head is that of a vasprun.xml; the name plays no part."""
    modeling = head.find(b"<modeling>", 0, _NEAR) >= 0 or holds(head, b"<modeling>", b"<")
    return modeling and (_PROGRAM.search(head) is not None or b"<incar>" in head)


VASPRUN_XML: Final = ReaderSpec("vasprun.xml", "vasp", _recognises, VaspXmlReader, rank=0)
