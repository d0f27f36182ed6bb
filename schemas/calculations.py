"""What one run of a DFT code says: `Run` as a reader gives it, `Calculation` as the lake keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.frames import FrameBlock
from schemas.theory import LevelOfTheory


@dataclass(frozen=True, eq=False)
class Run:
    """One run of one code, read from one output (or from several outputs of the same run, merged)."""

    code: str
    """'qe', 'vasp', ...: the name of the code in queries."""
    code_version: str
    kind: str
    """'static', 'relax', 'vc-relax', 'md', 'vc-md', 'neb', 'phonon', 'unknown'."""
    format: str
    """The reader's name: 'pw.x stdout', 'pw.x XML', 'vasprun.xml', 'OUTCAR'."""
    level_of_theory: LevelOfTheory
    frames: FrameBlock
    complete: bool
    """The output has its regular end."""
    flags: tuple[str, ...] = ()
    """Sorted names out of `schemas.flags.FLAGS` that hold for the run as a whole."""
    notes: tuple[str, ...] = ()
    """Warnings in words, each with what was found and where."""
    n_malformed_steps: int = 0
    """Steps that were seen but could not be read."""


@dataclass(frozen=True, eq=False)
class Calculation:
    """A run with its identity and its place in a source."""

    calculation_id: str
    """SHA-256 (hex) of what the output says; equal for copies, repacked archives and other line ends."""
    run: Run
    member: str
    """Folder of the run inside the source ('' at its root), or the member itself where a folder holds several runs."""
    files: tuple[str, ...]
    """Members that the run was read from, the first of them the one the labels come from."""
