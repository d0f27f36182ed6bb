"""PW.out in the folders PREFIX_N of neb.x: pw.x's text for one image of an elastic band, without the banner and the end of a run.

Each iteration begins with 'coordinates at iteration N' and the places of the image, and prints the summary of its calculation behind them.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from lake.readers.qe.text_run import RunBuilder
from lake.readers.qe.text_step import Labels
from schemas.calculations import Run

OPENING: Final = b"     coordinates at iteration "
_END: Final = re.compile(rb"\n +Total force = +\S+ +Total SCF correction = +\d+\.\d{6}\s*\Z")


class ImageBuilder(RunBuilder):
    """Takes the pieces of one image in order; its places stand before the first summary."""

    def _begin(self, piece: bytes) -> None:
        super()._begin(piece)
        if self._header is not None and piece.startswith(b"\nATOMIC_POSITIONS"):
            self._move(piece, self._header)

    def _whole(self, labels: Labels) -> bool:
        return labels.has_forces and not labels.torn and bool(np.isfinite(labels.total_force))

    def finish(self, form: str) -> Run:
        """Return the run, complete where its text ends behind the forces of a step: nothing stands at its end."""
        self._done = _END.search(self._tail) is not None
        return super().finish(form)

    def _kind(self) -> str:
        return "neb"
