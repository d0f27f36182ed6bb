"""Reader of what CP2K prints (2.6 to 2025): the log, with the trajectories written beside it where they are given.

The energy is 'ENERGY| Total FORCE_EVAL', in which the entropy of smeared electrons is contained, so that the forces belong to it.
A log prints positions of its first step, as a rule; those of the others stand in PROJECT-pos-1.xyz.
"""

from __future__ import annotations

import re
from typing import Final

from lake.readers.base import ReaderSpec
from lake.readers.cp2k.companions import (
    Companions,
    companion_kind,
    companion_set,
    is_trajectory,
    may_tell_of_bias,
    plumed_input,
    tells_of_bias,
)
from lake.readers.cp2k.given import is_input
from lake.readers.cp2k.low import is_table
from lake.readers.cp2k.run import FORMAT, Beside, Log, LogBuilder, finish
from lake.readers.text_steps import Cutter
from schemas.calculations import Run
from schemas.errors import UnreadableOutput

_BANNER: Final = re.compile(rb"^  \*{4} \*{4} \*{6}  \*{2}  PROGRAM STARTED AT|^ CP2K\| version string:", re.M)
_START: Final = b"\n  **** **** ******  **  PROGRAM STARTED AT"
_ANCHORS: Final = (b"\n ENERGY| Total FORCE_EVAL", _START)


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of a CP2K log."""
    del name
    return b"CP2K|" in head and _BANNER.search(head) is not None


def is_companion(name: str) -> bool:
    """Return whether a file of this name may be read together with a log of CP2K."""
    return is_trajectory(name) or may_tell_of_bias(name) or is_input(name) or is_table(name)


class Cp2kReader:
    """Push reader of a CP2K log: the text is cut at its ENERGY lines, and each piece is read as one evaluation."""

    def __init__(self) -> None:
        self._cutter = Cutter(_ANCHORS)
        self._builder = LogBuilder()
        self._logs: list[Log] = []
        self._beside: dict[tuple[str, int], Companions] = {}
        self._used: tuple[str, ...] = ()
        self._texts: dict[str, bytes] = {}

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; line ends may be LF or CRLF."""
        for piece in self._cutter.add(chunk):
            self._take(piece)

    def take_companion(self, name: str, text: bytes) -> bool:
        """Take a file that lies beside the log (trajectories, inputs, what tells of a bias); returns whether it may be of use."""
        kind = companion_kind(name)
        if kind:
            key = companion_set(name)
            self._beside[key] = self._beside.get(key, Companions(key[0])).with_text(kind, name, text)
        elif is_companion(name):
            self._texts[name] = text
        return is_companion(name)

    @property
    def companions_used(self) -> tuple[str, ...]:
        """Return the names of the files beside the log that its runs were read from."""
        return self._used

    def close(self) -> tuple[Run, ...]:
        """Return the runs of the log; raises UnreadableOutput where none has a complete step."""
        for piece in self._cutter.rest():
            self._take(piece)
        self._logs.append(self._builder.log())
        beside = Beside(tuple(self._beside.values()), self._texts, self._bias())
        runs: list[Run] = []
        failures: list[UnreadableOutput] = []
        for log in self._logs:
            try:
                run, names = finish(log, beside)
                runs.append(run)
                self._used = tuple(dict.fromkeys((*self._used, *names)))
            except UnreadableOutput as failure:
                failures.append(failure)
        if runs:
            return tuple(runs)
        raise failures[-1]

    def _bias(self) -> str:
        """Return the name of a file that tells of a biased dynamics, '' where none does."""
        found = [name for name, text in self._texts.items() if tells_of_bias(name, text, self._texts.get(plumed_input(text)))]
        return found[-1] if found else ""

    def _take(self, piece: bytes) -> None:
        if piece.startswith(_START) and self._builder.begun:
            self._logs.append(self._builder.log())
            self._builder = LogBuilder()
        self._builder.add(piece)


CP2K_LOG: Final = ReaderSpec(name=FORMAT, code="cp2k", recognises=recognises, open=Cp2kReader, rank=0, companions=is_companion)
