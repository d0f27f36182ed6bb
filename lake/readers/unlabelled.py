"""The base of readers of formats without units: `close` gives runs only where the file itself says its units."""

from __future__ import annotations

from abc import ABC, abstractmethod

from lake.collections.proposals import settled
from lake.collections.records import Collection
from schemas.calculations import Run


class Unlabelled(ABC):
    """A reader whose numbers have no unit till somebody gives it: the lake asks `collected`, and labels that by the depositor's answers."""

    @abstractmethod
    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""

    @abstractmethod
    def collected(self) -> Collection:
        """Return what the file holds; raises UnreadableOutput where that is nothing."""

    def close(self) -> tuple[Run, ...]:
        """Return the runs by what the file itself says; raises NeedsUnits, with a proposal, where it leaves something open."""
        return settled(self.collected())
