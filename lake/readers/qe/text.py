"""Reader of what pw.x prints (Quantum ESPRESSO 5.0 to 7.5)."""

from __future__ import annotations

import itertools
import re
from typing import Final

from lake.readers.anchors import holds
from lake.readers.base import ReaderSpec
from lake.readers.qe.images import OPENING, ImageBuilder
from lake.readers.qe.news import News
from lake.readers.qe.text_run import RunBuilder
from lake.readers.words import Words
from schemas.calculations import Run
from schemas.errors import UnreadableOutput

FORMAT: Final = "pw.x stdout"

_BANNER: Final = re.compile(rb"^ +Program +([A-Z][\w.+-]*) +v\.? ?\d", re.M)
_PROGRAM: Final = b"\n     Program "
_ANCHORS: Final = Words(b"\nATOMIC_POSITIONS", b"\nCELL_PARAMETERS", _PROGRAM)
"""What a piece begins with."""
_KEEP: Final = 32
"""Bytes that are searched again with the next chunk: longer than every anchor."""
_DRAIN_BYTES: Final = 1 << 20
_SLIM_BYTES: Final = 32 << 20
_BANDS: Final = re.compile(rb"(?<=\n) +k =[^\n]*bands \(ev\):\n(?:[ \d.\-*]*\n| +occupation numbers *\n)+")
_POST_PROCESSING: Final = {
    "PHONON": "ph.x", "POST-PROC": "pp.x", "BANDS": "bands.x", "PROJWFC": "projwfc.x", "DOS": "dos.x", "EPW": "epw.x", "TURBO": "turbo",
    "Q2R": "q2r.x", "MATDYN": "matdyn.x", "LD1": "ld1.x", "HP": "hp.x", "PW2WANNIER": "pw2wannier90.x", "XSPECTRA": "xspectra.x",
}  # fmt: skip


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of a Quantum ESPRESSO program's text output; of pw.x alone, and of the images of neb.x,
    frames are made."""
    del name
    named = (holds(head, b"Program PWSCF", b"W") or holds(head, b"Quantum ESPRESSO", b"Q")) and _BANNER.search(head) is not None
    return named or head.lstrip(b"\r\n").startswith(OPENING)


class PwTextReader:
    """Push reader of a pw.x stdout: the text is cut at geometry blocks, and each piece is read as one configuration."""

    def __init__(self) -> None:
        self._buffer = bytearray(b"\n")
        self._scanned = 0
        self._builder: RunBuilder | None = None
        self._runs: list[Run] = []
        self._failures: list[UnreadableOutput] = []
        self._foreign: list[str] = []

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; line ends may be LF or CRLF."""
        self._buffer += chunk.replace(b"\r", b"") if b"\r" in chunk else chunk
        if len(self._buffer) - self._scanned > _DRAIN_BYTES:
            self._drain()

    def close(self) -> tuple[Run, ...]:
        """Return the runs of the text; raises UnreadableOutput where none has a complete step."""
        self._drain()
        self._take(bytes(self._buffer), News.of(self._buffer, len(self._buffer)))
        self._buffer.clear()
        self._finish()
        if self._runs:
            return tuple(self._runs)
        raise self._failures[0] if self._failures else self._refusal()

    def _drain(self) -> None:
        places = _ANCHORS.sorted_places(self._buffer, self._scanned, len(self._buffer))
        self._scanned = max(0, len(self._buffer) - _KEEP)
        if places and places[-1] > 0:
            news = News.of(self._buffer, places[-1])
            for start, end in itertools.pairwise([0, *places]):
                if end > start:
                    self._take(bytes(self._buffer[start:end]), news.within(start, end))
            del self._buffer[: places[-1]]
            self._scanned = max(0, self._scanned - places[-1])
        if len(self._buffer) > _SLIM_BYTES:
            self._buffer = bytearray(_BANDS.sub(b"", bytes(self._buffer)))
            self._scanned = max(0, len(self._buffer) - _KEEP)

    def _take(self, piece: bytes, news: News) -> None:
        """Give a piece to the run that it belongs to; a banner begins another run."""
        banner = _BANNER.match(piece, 1) if piece.startswith(_PROGRAM) else None
        if banner is not None:
            self._finish()
            program = banner.group(1).decode("latin-1")
            if program.startswith("PWSCF"):
                self._builder = RunBuilder()
            else:
                self._foreign.append(program)
        elif self._builder is None and piece.lstrip(b"\n").startswith(OPENING):
            self._builder = ImageBuilder()
        if self._builder is not None:
            self._builder.add(piece, news)

    def _finish(self) -> None:
        if self._builder is None:
            return
        try:
            self._runs.append(self._builder.finish(FORMAT))
        except UnreadableOutput as error:
            self._failures.append(error)
        self._builder = None

    def _refusal(self) -> UnreadableOutput:
        if not self._foreign:
            return UnreadableOutput(
                "unreadable_output", "no line 'Program PWSCF v.' in the text", "send the whole output of pw.x, from its first line"
            )
        program = self._foreign[0]
        tool = _POST_PROCESSING.get(program)
        if program == "CP":
            words = "output of cp.x: Car-Parrinello steps, whose electrons are not in the ground state of their atoms"
            return UnreadableOutput("not_energies", words, "compute the configurations with pw.x and send its outputs")
        if tool is None and program == "NEB":
            return UnreadableOutput(
                "unknown_format",
                f"output of the program {program}, which has no forces",
                "send the folders PREFIX_N of its images, with PW.out and the XML",
            )
        return UnreadableOutput(
            "not_energies", f"output of {tool or program}, which is not pw.x", "send the output of the pw.x run before it"
        )


PW_STDOUT: Final = ReaderSpec(name=FORMAT, code="qe", recognises=recognises, open=PwTextReader, rank=0)
