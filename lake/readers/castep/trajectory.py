"""Reader of the trajectories that CASTEP writes beside its .castep: .geom of an optimisation, .md of molecular dynamics.

Everything is in atomic units, each line marked (`<-- E` energies, h cell, S stress, R positions, V velocities, F forces; page ".md file"
of the CASTEP documentation, tcm.phy.cam.ac.uk/castep/MD). The first energy is that of DFT, to which the forces belong, with the constant
for the finite basis where the run has one, which the .castep states apart; behind it stand the enthalpy or the Hamiltonian, and the
kinetic energy. The stress of a .md holds the kinetic part of the ions and is left out. Its forces hold friction and random forces where the
thermostat is Langevin's, which the file does not name (seen: CASTEP 16.1, whose .castep has other forces in the same steps): they are taken
only where they do the work that the energy loses. Neither file names a functional.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lake.readers.base import ReaderSpec
from lake.readers.step_log import as_numbers, element_of
from lake.readers.text_steps import Step, as_floats, make_frames, symmetric
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.theory import LevelOfTheory
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR, HARTREE_PER_BOHR3

FORMAT: Final = "CASTEP trajectory"

_HEAD: Final = re.compile(rb"\s*BEGIN header[\s\S]*?END header\s*\n(?:[ \t]*\n)*([^\n]*\n[^\n]*)<-- E")
_MARK: Final = re.compile(r"<-- (\S+)\s*$")
_MOVED: Final = 1e-6
"""bohr"""
_WORK_MISSED: Final = 0.05
"""Share of the change of energy by which the work of forces may miss it; in usual dynamics the mean of two steps bends by a tenth of it."""
_NOISE: Final = 1e-4
"""eV an atom, by which energies of a dynamics may be off"""
_NOT_PLAIN: Final = (
    "the forces of this .md do not do the work that its energy loses, or that cannot be told: those of a Langevin thermostat are in such"
    " files; they are left out, the .castep has the forces"
)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One step in atomic units."""

    labels: tuple[str, ...]
    energies: Floats
    """DFT energy, enthalpy or Hamiltonian, and (of dynamics) kinetic energy."""
    cell: Floats
    positions: Floats
    forces: Floats | None
    stress: Floats | None


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of a .geom or .md; a search for transition states (.ts) begins its steps with a word."""
    del name
    match = _HEAD.match(head.replace(b"\r", b""))
    return match is not None and not match.group(1).strip()[:1].isalpha()


def read_trajectory(text: str) -> tuple[list[Snapshot], int]:
    """Return the whole steps of a trajectory, and the number of those that are torn; what the end cuts off is no step."""
    found: list[Snapshot] = []
    torn = 0
    for block in _blocks(text):
        snapshot = _snapshot(block)
        fits = snapshot is not None and (not found or snapshot.labels == found[0].labels)
        if snapshot is not None and fits:
            found.append(snapshot)
        else:
            torn += 1
    return found, torn


def _blocks(text: str) -> Iterator[list[str]]:
    """Yield the lines of each step that a blank line ends."""
    lines: list[str] = []
    body = text[text.find("END header") + len("END header") :]
    end = body.rfind("\n") + 1
    for line in body[:end].split("\n")[:-1]:
        if line.strip():
            lines.append(line)
        elif lines:
            yield lines
            lines = []


def _snapshot(lines: list[str]) -> Snapshot | None:
    """Return the step that its lines make, None where one of its tables is not whole."""
    rows: dict[str, list[list[str]]] = {}
    for line in lines[1:]:
        mark = _MARK.search(line)
        if mark is None:
            return None
        rows.setdefault(mark.group(1), []).append(line[: mark.start()].split())
    atoms = rows.get("R", [])
    tables = {
        "E": _table(rows.get("E", [])[:1], 0), "h": _table(rows.get("h", []), 0), "S": _table(rows.get("S", []), 0),
        "R": _table(atoms, 2), "F": _table(rows.get("F", []), 2),
    }  # fmt: skip
    energies, cell, positions = tables["E"], tables["h"], tables["R"]
    if energies is None or cell is None or cell.shape != (3, 3) or positions is None or positions.shape[1:] != (3,):
        return None
    forces, stress = tables["F"], tables["S"]
    if "F" in rows and (forces is None or forces.shape != positions.shape or [row[:2] for row in rows["F"]] != [row[:2] for row in atoms]):
        return None
    if "S" in rows and (stress is None or stress.shape != (3, 3)):
        return None
    return Snapshot(tuple(row[0] for row in atoms), energies[0], cell, positions, forces, stress)


def _table(rows: list[list[str]], first: int) -> Floats | None:
    """Return the numbers of rows from field `first` on, None where there are none or one is unreadable."""
    widths = {len(row) for row in rows}
    if len(widths) != 1 or min(widths) <= first:
        return None
    values = as_floats([field.encode() for row in rows for field in row[first:]]).reshape(len(rows), -1)
    return values if bool(np.isfinite(values).all()) else None


class CastepTrajectoryReader:
    """Push reader of one .geom or .md."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._chunks.append(bytes(chunk))

    def close(self) -> tuple[Run, ...]:
        """Return the run; raises UnreadableOutput where it has no whole step."""
        text = b"".join(self._chunks).decode("latin-1").replace("\r", "")
        snapshots, torn = read_trajectory(text)
        numbers = as_numbers([element_of(label) for label in snapshots[0].labels]) if snapshots else None
        if numbers is None:
            reason = "unreadable_output" if snapshots else "no_complete_step"
            words = f"{len(snapshots)} whole steps in a trajectory of CASTEP" + (", of no known elements" if snapshots else "")
            raise UnreadableOutput(reason, words, "deposit the .castep of the run too")
        complete = text.rstrip(" ").endswith("\n") and text.split("\n")[-2].strip() == ""
        dynamics = len(snapshots[0].energies) > 2
        steps = [_step(k, snapshot, snapshots[0], dynamics=dynamics) for k, snapshot in enumerate(snapshots)]
        moving = any("pulay_suspect" in step.flags for step in steps)
        kind = "md" if dynamics else "relax"
        notes = ["a trajectory of CASTEP names no functional: deposit the .castep of the run too"]
        if dynamics and any(step.forces is not None for step in steps) and (moving or not _do_the_work(steps)):
            steps = [replace(step, forces=None) for step in steps]
            notes.append(_NOT_PLAIN)
        if dynamics and snapshots[0].stress is not None:
            notes.append("the stress of a .md holds the kinetic part of the ions and is left out")
        flags = {"truncated": not complete, "malformed_steps": torn > 0}
        run = Run(
            code="castep",
            code_version="",
            kind=f"vc-{kind}" if moving else kind,
            format=FORMAT,
            level_of_theory=LevelOfTheory(code="castep", basis="plane waves"),
            frames=make_frames(
                numbers, np.ones(3, dtype=bool), steps, ("CASTEP energy of the trajectory", "CASTEP stress of the trajectory")
            ),
            complete=complete,
            flags=tuple(sorted(name for name, holds in flags.items() if holds)),
            notes=tuple(notes),
            n_malformed_steps=torn,
        )
        return (run,)


def _do_the_work(steps: list[Step]) -> bool:
    """Return whether the forces of a dynamics in one cell do the work that its energy loses; False for a single step."""
    cell = steps[0].cell
    if len(steps) < 2 or any(step.forces is None for step in steps) or abs(np.linalg.det(cell)) < 1e-6:
        return False
    energy = np.array([step.energy for step in steps])
    places, forces = (np.array([getattr(step, name) for step in steps]) for name in ("positions", "forces"))
    moves = np.diff(places, axis=0)
    moves -= np.rint(moves @ np.linalg.inv(cell)) @ cell
    work = -(moves * (forces[1:] + forces[:-1]) / 2).sum(axis=(1, 2))
    change = np.diff(energy)
    missed, scale = _rms(change - work), max(_rms(change), _rms(work))
    return missed <= max(_WORK_MISSED * scale, _NOISE * len(places[0]))


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _step(k: int, snapshot: Snapshot, first: Snapshot, *, dynamics: bool) -> Step:
    stress = None if dynamics or snapshot.stress is None else symmetric(snapshot.stress) * HARTREE_PER_BOHR3
    moved = bool((np.abs(snapshot.cell - first.cell) > _MOVED).any())
    return Step(
        number=k,
        cell=snapshot.cell * BOHR,
        positions=snapshot.positions * BOHR,
        energy=float(snapshot.energies[0]) * HARTREE,
        forces=None if snapshot.forces is None else snapshot.forces * HARTREE_PER_BOHR,
        stress=stress,
        flags=("pulay_suspect",) if moved else (),
    )


CASTEP_TRAJECTORY: Final = ReaderSpec(FORMAT, "castep", recognises, CastepTrajectoryReader, rank=1, energy_offset=0.05)
