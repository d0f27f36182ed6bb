"""What every reader is: bytes are pushed in, runs come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from schemas.calculations import Run


class PushReader(Protocol):
    """A reader of one output, fed in order with chunks of any size."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the output."""
        ...

    def close(self) -> tuple[Run, ...]:
        """Return the runs of the output, at least one; raises UnreadableOutput where no run can be made."""
        ...


class CompanionReader(PushReader, Protocol):
    """A reader that also takes files which its code wrote beside the output."""

    def take_companion(self, name: str, text: bytes) -> bool:
        """Take a file of that base name, between the last `feed` and `close`; returns whether it may be of use."""
        ...

    @property
    def companions_used(self) -> tuple[str, ...]:
        """Base names of the files that the runs were read from, known after `close`."""
        ...


def takes_companions(reader: PushReader) -> TypeGuard[CompanionReader]:
    """Return whether a reader is one that takes companions; asked of each output, and so not by the slow look at a protocol."""
    return hasattr(reader, "take_companion")


@dataclass(frozen=True)
class ReaderSpec:
    """One entry of the registry: how an output is recognised, and what reads it."""

    name: str
    """'pw.x stdout', 'pw.x XML', 'vasprun.xml', 'OUTCAR': also `Run.format`."""
    code: str
    """'qe', 'vasp', ..."""
    recognises: Callable[[str, bytes], bool]
    """Whether an output is of this kind, from its base name (a hint) and its first 64 KiB (these decide)."""
    open: Callable[[], PushReader]
    """Makes a reader for one output."""
    rank: int
    """Among the outputs of one run, that of the lowest rank gives the labels."""
    companions: Callable[[str], bool] | None = None
    """Whether a file of this base name in the folder of the output may be read with it; None where the reader takes none."""
    in_memory: bool = False
    """The output is read by random access and held in memory for it, at most `limits.max_in_memory_bytes` of it."""
    energy_offset: float = 0.0
    """eV an atom by which all its energies may lie beside those of other outputs of the run: a constant, or other unit factors."""
