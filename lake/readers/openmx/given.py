"""Inputs of OpenMX beside its outputs: System.Name.dat, and System.Name.dat#, which OpenMX writes with the structure at the end.

An .md tells neither functional nor basis: its input gives them. An .out repeats its input, which is compared. An input can have been
edited after the run, so it is used where it names the run and has its structure: a .dat that of the first step, a .dat# one near the last.
Keywords: manual of OpenMX 3.9.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isclose
from typing import Final

import numpy as np

from lake.readers.openmx.input import Input, nearest, read_input
from lake.readers.openmx.md import LEVEL_UNKNOWN, MD_FORMAT
from schemas.calculations import Run
from schemas.frames import Floats
from schemas.theory import LevelOfTheory

MAX_BYTES: Final = 2**22
"""An input that is longer is not read."""

_MARKS: Final = (b"<definition.of.atomic.species", b"<atoms.speciesandcoordinates")
_OUTPUT: Final = b"performed by openmx"
_NAME: Final = re.compile(rb"^[ \t]*System\.Name[ \t]+(\S+)", re.IGNORECASE | re.MULTILINE)
_ENDING: Final = re.compile(r"\.(out|md)(\..*)?$", re.IGNORECASE)
_SAME_PLACE: Final = 2e-5
"""Å; an .md has five decimals."""
_ONE_MOVE: Final = 0.3
"""Å; a .dat# can be one update behind the last step."""


@dataclass(frozen=True, eq=False)
class OpenmxInput:
    """One input file."""

    path: str
    name: str
    """Its System.Name, without folders."""
    given: Input | None
    """None where it tells no whole geometry."""
    text: bytes = b""
    """The file, where given is None: a molecule may have no cell in it."""

    @property
    def is_written(self) -> bool:
        """Return whether OpenMX wrote it, with the structure at the end of the run."""
        return re.search(r"\.dat#", self.path.rpartition("/")[2], re.IGNORECASE) is not None


def recognises_input(head: bytes) -> bool:
    """Return whether the first bytes are those of an input of OpenMX, not of an output that repeats one."""
    small = head.lower()
    return all(mark in small for mark in _MARKS) and _OUTPUT not in small


def read_given(path: str, chunks: Iterable[bytes]) -> OpenmxInput | None:
    """Return what an input file says, or None where it is too long."""
    text = b""
    for chunk in chunks:
        text += chunk
        if len(text) > MAX_BYTES:
            return None
    named = _NAME.search(text)
    name = named.group(1).decode("latin-1").rpartition("/")[2] if named else ""
    given = read_input(text.replace(b"\r", b""))
    return OpenmxInput(path, name, given, b"" if given else text.replace(b"\r", b""))


def with_given(run: Run, path: str, inputs: Sequence[OpenmxInput], *, alone: bool) -> tuple[Run, tuple[str, ...]]:
    """Return the run of the output at path with the level of theory of its input where it tells none, and the paths of what was used.

    alone says that no other run is in the folder: then the input may have another System.Name. What contradicts raises sources_disagree,
    with both values in the notes.
    """
    stem = _ENDING.sub("", path.rpartition("/")[2])
    ordered = sorted(inputs, key=lambda each: (each.name != stem, each.is_written, each.path))
    own = [each for each in ordered if each.name == stem or (alone and not each.is_written)]
    read = [(each, each.given or read_input(each.text, run.frames.cell[0])) for each in own]
    fitting = [(each, given) for each, given in read if given is not None and _fits(given, run, written=each.is_written)]
    notes = list(run.notes)
    if not fitting:
        strange = [each.path for each in own if each.name == stem]
        notes += [f"{strange[0]} has another structure than the run and was not used"] if strange else []
        return replace(run, notes=tuple(notes)), ()
    used: tuple[str, ...] = ()
    flags = set(run.flags)
    if run.format == MD_FORMAT:
        first, given = fitting.pop(0)
        notes = [note for note in notes if note != LEVEL_UNKNOWN]
        run, used = replace(run, level_of_theory=given.level), (first.path,)
        if given.altered:
            flags_of = tuple(tuple(sorted({*names, "altered_potential"})) for names in run.frames.flags)
            run = replace(run, frames=replace(run.frames, flags=flags_of))
            notes += given.altered
    for each, other in fitting:
        apart = _differences(run.level_of_theory, other.level)
        if apart:
            flags.add("sources_disagree")
            words = "; ".join(f"{name} is {mine} in {(*used, path)[0]}, {theirs} in {each.path}" for name, mine, theirs in apart)
            notes.append(f"{words}: the input was probably edited after the run and is not used")
    return replace(run, flags=tuple(sorted(flags)), notes=tuple(notes)), used


def _fits(given: Input, run: Run, *, written: bool) -> bool:
    """Return whether an input has the atoms of a run where they were at its beginning, or near its end for one that OpenMX wrote."""
    frames = run.frames
    if not np.array_equal(given.numbers, frames.numbers) or (not written and frames.step[0] != 0):
        return False
    at, tolerance = (frames.count - 1, _ONE_MOVE) if written else (0, _SAME_PLACE)
    cell: Floats = frames.cell[at]
    if bool((np.abs(given.cell - cell) > tolerance).any()):
        return False
    return bool((np.abs(nearest(given.positions - frames.positions[at], cell)) <= tolerance).all())


def _differences(level: LevelOfTheory, other: LevelOfTheory) -> list[tuple[str, object, object]]:
    """Return (field, value, other value) where two levels of theory differ; the spacing follows from the mesh."""
    found: list[tuple[str, object, object]] = []
    for name in (field.name for field in dataclasses.fields(level) if field.name != "kpoint_spacing"):
        mine, theirs = getattr(level, name), getattr(other, name)
        same = isclose(mine, theirs, rel_tol=1e-6) if isinstance(mine, float) and isinstance(theirs, float) else mine == theirs
        found += [] if same else [(name, mine, theirs)]
    return found
