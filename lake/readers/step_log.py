"""What readers of logs that print one block for each step share: a log cut into runs, and a run into its beginning and its steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.cross_checks import CrossCheck, contradictions, notes_of
from lake.readers.text_steps import Cutter, Step, make_frames
from schemas.calculations import Run
from schemas.elements import NUMBERS
from schemas.errors import UnreadableOutput
from schemas.theory import LevelOfTheory

_HEAD_BYTES: Final = 64 << 20
"""Bytes before the first step beyond which a log is not believed."""


@dataclass(frozen=True, eq=False)
class Heading:
    """What a run says of itself before its first step."""

    version: str
    kind: str
    numbers: NDArray[np.int16]
    """(natoms,)"""
    pbc: NDArray[np.bool_]
    """(3,)"""
    level: LevelOfTheory
    fixed: NDArray[np.bool_] | None = None
    """(natoms, 3)"""


class RunLog(ABC):
    """One run of a log, given piece by piece; each piece but the first begins with one of the anchors.

    A piece is closed when the one behind it was seen, or its own text has an end mark: only then is it read, so that a cut text gives
    the first of the same steps.
    """

    CODE: ClassVar[str]
    FORMAT: ClassVar[str]
    SOURCES: ClassVar[tuple[str, str]]
    """The printed quantities that energy and stress are."""
    ANCHORS: ClassVar[tuple[bytes, ...]]
    """What a step begins with, each after a newline."""
    ENDS: ClassVar[tuple[bytes, ...]]
    """Behind each of these words a step is whole."""
    LAST: ClassVar[tuple[bytes, ...]]
    """Words of the regular end of a run."""
    ONCE: ClassVar[tuple[bytes, ...]] = ()
    """Words that a step has once at most: more of them in one piece are steps whose beginning is lost."""
    CHECKS: ClassVar[tuple[CrossCheck, ...]] = ()
    """Numbers that a step prints twice."""
    HEAD_CHECKS: ClassVar[tuple[CrossCheck, ...]] = ()
    """Numbers of the first step that stand before it."""

    def __init__(self) -> None:
        self.head = b""
        self.heading: Heading | None = None
        self.steps: list[Step] = []
        self.flags: set[str] = set()
        self.notes: list[str] = []
        self.altered: tuple[str, ...] = ()
        """What is in energies and forces beside the functional."""
        self.lost = 0
        self.pieces = 0
        self.complete = False
        self.whole = True
        """The end of the piece taken last was seen."""

    @abstractmethod
    def read_heading(self, text: bytes) -> Heading | None:
        """Return what the text before the first step says, or None where it names no atoms; raises UnreadableOutput for what is no DFT."""

    @abstractmethod
    def read_step(self, piece: bytes, heading: Heading) -> Step | None:
        """Return the step of a whole piece, or None where it is no step; adds one to lost for a step that cannot be read."""

    def refusal(self) -> UnreadableOutput | None:
        """Return why a run without a step has none, where that is known better than that none is complete."""
        return None

    def take(self, piece: bytes, *, closed: bool) -> None:
        """Take the next piece; closed says that another step follows."""
        self.complete = self.complete or any(words in piece for words in self.LAST)
        if not piece.startswith(self.ANCHORS):
            self.head += piece
            if len(self.head) > _HEAD_BYTES:
                raise UnreadableOutput(
                    "unreadable_output", f"{len(self.head)} bytes without a step", "deposit the output as the code wrote it"
                )
            return
        if self.heading is None:
            self.heading = self.read_heading(self.head)
            self.lost += self.heading is None
        self.pieces += 1
        self._merged(self.head, 0) if self.pieces == 1 else None
        self.whole = closed or any(words in piece for words in self.ENDS)
        if self.heading is not None and self.whole:
            step = self.read_step(piece, self.heading)
            if self._merged(piece, 1) or step is None:
                return
            told = contradictions(piece, step, self.CHECKS) + (contradictions(self.head, step, self.HEAD_CHECKS) if not self.steps else ())
            self.steps.append(replace(step, contradictions=(*step.contradictions, *told)) if told else step)

    def _merged(self, text: bytes, most: int) -> bool:
        """Return whether a text has the words of more steps than it should, and count those steps as lost."""
        count = max((text.count(words) for words in self.ONCE), default=0)
        if count <= most:
            return False
        self.lost += count
        self.notes.append(f"{count} steps run into each other, for a line that begins one is missing; they are left out")
        return True

    def run(self) -> Run | None:
        """Return the run, or None where it has no step."""
        if self.heading is None or not self.steps:
            return None
        here = self.heading
        if self.complete and not self.whole:
            self.lost += 1
            self.notes.append("the last step has no end although the run has, and is left out")
        if self.altered:
            self.steps = [replace(step, flags=(*step.flags, "altered_potential")) for step in self.steps]
        flags = self.flags | ({"truncated"} if not self.complete else set()) | ({"malformed_steps"} if self.lost else set())
        return Run(
            code=self.CODE,
            code_version=here.version,
            kind=here.kind,
            format=self.FORMAT,
            level_of_theory=here.level,
            frames=make_frames(here.numbers, here.pbc, self.steps, self.SOURCES, here.fixed),
            complete=self.complete,
            flags=tuple(sorted(flags)),
            notes=(*self.altered, *self.notes, *notes_of(self.steps)),
            n_malformed_steps=self.lost,
        )


class LogReader:
    """Push reader of a log that holds one run or several, each beginning with an opening line."""

    def __init__(self, opening: bytes, make: Callable[[], RunLog]) -> None:
        self._opening = opening
        self._make = make
        self._cutter = Cutter((opening, *make().ANCHORS))
        self._run = make()
        self._runs: list[Run] = []
        self._waiting: bytes | None = None
        self._opened = 0
        self._pieces = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; line ends may be LF or CRLF."""
        for piece in self._cutter.add(chunk):
            self._take(piece)

    def close(self) -> tuple[Run, ...]:
        """Return the runs of the log; raises UnreadableOutput where none has a complete step."""
        for piece in self._cutter.rest():
            self._take(piece)
        self._pass(closed=False)
        self._finish()
        if not self._runs:
            name, known = self._run.FORMAT, self._run.refusal()
            if known is not None:
                raise known
            if self._run.heading is None and self._run.pieces:
                raise UnreadableOutput(
                    "unreadable_output", f"the {name} names no atoms or species that are read", "deposit the file as the code wrote it"
                )
            raise UnreadableOutput(
                "no_complete_step",
                f"the {name} has {self._pieces} steps begun, none with energy, geometry and end",
                "deposit the run when its cycle of self-consistency is converged",
            )
        return tuple(self._runs)

    def _take(self, piece: bytes) -> None:
        """Keep a piece back until it is known what follows it."""
        opens = piece.startswith(self._opening)
        self._pass(closed=not opens)
        self._waiting = piece
        if opens:
            self._finish()
            self._run = self._make()

    def _pass(self, *, closed: bool) -> None:
        if self._waiting is not None:
            self._pieces += self._waiting.startswith(self._run.ANCHORS)
            self._run.take(self._waiting, closed=closed)
            self._waiting = None

    def _finish(self) -> None:
        run = self._run.run()
        if run is not None:
            self._runs.append(run)


def as_numbers(symbols: list[str]) -> NDArray[np.int16] | None:
    """Return the atomic numbers of symbols, or None where one of them is no element or there is none."""
    if not symbols or any(symbol not in NUMBERS for symbol in symbols):
        return None
    return np.array([NUMBERS[symbol] for symbol in symbols], dtype=np.int16)


def element_of(label: str) -> str:
    """Return the element that a label begins with: 'Fe1' and 'O_a' are Fe and O; the label itself where it is none."""
    letters = "".join(letter for letter in label[:2] if letter.isalpha())
    for name in (letters[:2].capitalize(), letters[:1].upper()):
        if name in NUMBERS:
            return name
    return label
