"""When a self-consistency cycle of VASP is converged."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lake.readers.vasp.level import no_cycle
from lake.readers.vasp.tags import Tags
from schemas.frames import Floats


class Judgement(NamedTuple):
    """The self-consistency cycle of one step as counted."""

    steps: int = -1
    converged: int = -1
    """1 converged, 0 not, -1 not known."""


@dataclass(frozen=True)
class Criterion:
    """When the self-consistency cycle of a run is converged."""

    most_steps: int
    """NELM"""
    change: float
    """EDIFF, eV"""
    cycle: bool
    """False where electrons are not made self-consistent at all."""

    def judge(self, steps: int, change: float = nan, *, said_unconverged: bool = False) -> Judgement:
        """Return whether a cycle met its criterion, from its count and its last change of energy (eV) where that is printed.

        VASP stops when the changes of total energy and of band energy are below EDIFF, or after NELM steps, whatever its words
        are; a cycle of NELM steps counts as not converged, and so does a shorter one that was broken off (STOPCAR) above EDIFF.
        """
        if steps <= 0 or not self.cycle:
            return Judgement(steps if steps > 0 else -1, -1)
        broken_off = abs(change) > 1.01 * self.change
        return Judgement(steps, int(steps < self.most_steps and not said_unconverged and not broken_off))

    def judge_all(
        self, steps: NDArray[np.int64], changes: Floats | None = None, said: NDArray[np.int64] | None = None
    ) -> tuple[list[int], list[int]]:
        """Return the counts and verdicts that `judge` gives of some cycles, (n,) each; nothing given means nothing printed."""
        counts: list[int] = steps.tolist()
        most, least = self.most_steps, 1.01 * self.change
        broken = [abs(change) > least for change in changes.tolist()] if changes is not None else [False] * len(counts)
        failed = said.tolist() if said is not None else broken
        verdicts = [int(count < most and not off and not lost) for count, off, lost in zip(counts, broken, failed, strict=True)]
        if not self.cycle or min(counts, default=1) <= 0:
            judged = [verdict if count > 0 and self.cycle else -1 for count, verdict in zip(counts, verdicts, strict=True)]
            return [count if count > 0 else -1 for count in counts], judged
        return counts, verdicts


def criterion_of(tags: Tags) -> Criterion:
    """Return the criterion that the tags of a run set."""
    return Criterion(tags.integer("NELM", 60), abs(tags.number("EDIFF", 1e-4)), not no_cycle(tags))
