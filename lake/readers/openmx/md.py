"""Reader of System.Name.md, the trajectory that OpenMX writes: all steps with positions, energies and forces of five decimals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.qe.text_header import letters
from lake.readers.rows import number
from lake.readers.text_steps import Step, as_floats, lines_after, make_frames, token_table
from schemas.calculations import Run
from schemas.elements import NUMBERS
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.theory import LevelOfTheory
from schemas.units import HARTREE, HARTREE_PER_BOHR

MD_FORMAT: Final = "OpenMX .md"
LEVEL_UNKNOWN: Final = "the functional is not stated: deposit System.Name.dat too"

_HEAD: Final = re.compile(rb"\s*\d+ *\r?\n *time= *\S+ *\(fs\) *Energy= *\S+ *\(Hartree\)[^\n]*\n *[A-Z]")
"""The .md2 beside it begins likewise, but its rows begin with a number."""
_COMMENT: Final = re.compile(rb" *time= *(\S+) *\(fs\) *Energy= *(\S+) *\(Hartree\)(.*)$")
_CELL: Final = re.compile(rb"Cell_Vectors=(.*)$")
_TEMPERATURE: Final = b"Temperature="


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One step, in Å, eV and eV/Å."""

    time: float
    """fs"""
    numbers: NDArray[np.int16]
    positions: Floats
    forces: Floats
    energy: float
    cell: Floats | None
    dynamics: bool
    """It states a temperature."""


def recognises_md(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of a trajectory of OpenMX."""
    del name
    return _HEAD.match(head) is not None


def read_snapshots(text: bytes) -> list[Snapshot]:
    """Return the whole steps of a trajectory, from its beginning to the first that is cut or torn."""
    text = text.replace(b"\r", b"")
    found: list[Snapshot] = []
    place = 0
    while (end := text.find(b"\n", place)) >= 0:
        count = text[place:end].strip()
        comment_end = text.find(b"\n", end + 1)
        if not count.isdigit() or comment_end < 0:
            break
        lines = lines_after(text, comment_end + 1, int(count))
        snapshot = _read(text[end + 1 : comment_end], lines, int(count)) if lines is not None else None
        if lines is None or snapshot is None:
            break
        found.append(snapshot)
        place = comment_end + 1 + len(lines)
    return found


def split_runs(snapshots: list[Snapshot]) -> list[list[Snapshot]]:
    """Return the steps of each run: OpenMX writes on into a trajectory that is there, and time begins again."""
    runs: list[list[Snapshot]] = []
    for snapshot in snapshots:
        if not runs or not snapshot.time > runs[-1][-1].time or not np.array_equal(snapshot.numbers, runs[-1][-1].numbers):
            runs.append([])
        runs[-1].append(snapshot)
    return runs


def _read(comment: bytes, lines: bytes, natoms: int) -> Snapshot | None:
    """Return one step; its rows are symbol, positions (Å), forces (Ha/bohr), velocities, charge and more."""
    match = _COMMENT.match(comment)
    rows = [line.split() for line in lines.split(b"\n")[:natoms]]
    if match is None or natoms == 0 or any(len(row) < 7 for row in rows):
        return None
    numbers = np.array([NUMBERS.get(letters(row[0].decode("latin-1")), 0) for row in rows], dtype=np.int16)
    vectors = _CELL.search(match.group(3))
    values = as_floats(vectors.group(1).split()[:9]) if vectors else np.empty(0)
    positions = token_table(lines, natoms, 1)
    if bool((numbers == 0).any()) or not bool(np.isfinite(positions).all()):
        return None
    return Snapshot(
        time=number(match.group(1)),
        numbers=numbers,
        positions=positions,
        forces=token_table(lines, natoms, 4) * HARTREE_PER_BOHR,
        energy=number(match.group(2)) * HARTREE,
        cell=values.reshape(3, 3) if values.shape == (9,) and bool(np.isfinite(values).all()) else None,
        dynamics=_TEMPERATURE in comment,
    )


class OpenmxMdReader:
    """Push reader of one .md."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._chunks.append(bytes(chunk))

    def close(self) -> tuple[Run, ...]:
        """Return the runs of the trajectory; raises UnreadableOutput where it has no whole step with its cell.

        The file tells neither functional nor basis, nor whether a cycle was converged.
        """
        text = b"".join(self._chunks).replace(b"\r", b"")
        runs = split_runs(read_snapshots(text))
        bare = sum(snapshot.cell is None for run in runs for snapshot in run)
        if not runs or bare:
            raise UnreadableOutput(
                "unreadable_output" if runs else "no_complete_step",
                f"the trajectory of OpenMX has {sum(map(len, runs))} whole steps, {bare} of them without a cell",
                "deposit System.Name.out beside it",
            )
        written = sum(len(snapshot.numbers) + 2 for run in runs for snapshot in run)
        complete = text.count(b"\n") == written and text.endswith(b"\n")
        return tuple(_run(run, complete=complete or run is not runs[-1]) for run in runs)


def _run(snapshots: list[Snapshot], *, complete: bool) -> Run:
    steps = [Step(k, s.cell, s.positions, s.energy, forces=s.forces) for k, s in enumerate(snapshots) if s.cell is not None]
    moving = any(bool((np.abs(step.cell - steps[0].cell) > 1e-4).any()) for step in steps)
    kind = "md" if snapshots[-1].dynamics else "relax" if len(steps) > 1 else "static"
    return Run(
        code="openmx",
        code_version="",
        kind=f"vc-{kind}" if moving and kind != "static" else kind,
        format=MD_FORMAT,
        level_of_theory=LevelOfTheory(code="openmx", basis="LCAO"),
        frames=make_frames(snapshots[0].numbers, np.ones(3, dtype=bool), steps, ("OpenMX Utot", "")),
        complete=complete,
        flags=() if complete else ("truncated",),
        notes=("energies have five decimals of a hartree: deposit System.Name.out too", LEVEL_UNKNOWN),
    )
