"""What is said of each reader: one record, from which docs/readers.md is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trap:
    """A way in which an output misleads, and the test that shows that the reader is not misled."""

    words: str
    test: str
    """'file::function' below tests/, without the ending of the file."""


@dataclass(frozen=True)
class KnownTrap:
    """A trap of the list that the readers were built against."""

    number: str
    """'T1'"""
    words: str
    tests: tuple[str, ...]
    """Each 'file::function' below tests/, without the ending of the file."""


@dataclass(frozen=True)
class ReaderDoc:
    """What a user of the lake must know of one reader."""

    name: str
    """That of the ReaderSpec."""
    file: str
    """Where the text is found; names are hints, the bytes decide."""
    reads: str
    versions: str
    """Versions of the code of which real outputs were read in tests, or for which the reader is written."""
    energy: str
    """Which printed quantity `energy` is."""
    stress: str
    """Sign and unit as printed; '' where none is printed."""
    proof: str
    """How sign and unit of the stress were proved, as a test 'file::function' or in words; '' where there is none."""
    traps: tuple[Trap, ...]
    forces: str = ""
    """How sign and unit of the forces were proved, as a test 'file::function'; '' where none are read or the format defines them."""
