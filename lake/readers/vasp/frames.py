"""The steps of one VASP run, gathered while its output streams by, and the `Run` they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lake.readers.vasp.beyond import post_dft
from lake.readers.vasp.checks import apart_from_cycle, other_energies, symmetric, without_pressure
from lake.readers.vasp.cycles import Judgement
from lake.readers.vasp.header import Header
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import Floats, FrameBlock
from schemas.units import KBAR

NAN = float("nan")
_PERIODIC = np.ones(3, dtype=bool)
_PERIODIC.flags.writeable = False
_CELL_CHANGE = 1e-6
"""Å; printed cells have 8 or 9 decimals."""


class StepEnergies(NamedTuple):
    """Energies of one step in eV as printed, NaN where there is none."""

    free: float
    sigma0: float
    internal: float
    cycle_free: float = NAN
    """Free energy of the last step of the self-consistency cycle."""


@dataclass
class StepTable:
    """Everything that the steps of one run print; `add` once for each step, in order."""

    energies: list[Floats] = field(default_factory=list)
    """(k, 4) of some steps each, in the order of `StepEnergies`."""
    counts: list[int] = field(default_factory=list)
    """Steps of the cycle of each, as in `Judgement`."""
    verdicts: list[int] = field(default_factory=list)
    """Whether it converged."""
    flags: list[tuple[str, ...]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def add(self, step: int, energies: StepEnergies, judgement: Judgement, flags: tuple[str, ...]) -> None:
        """Take one step; step is its number in the run, from 0."""
        self.steps.append(step)
        self.energies.append(np.array([energies]))
        self.counts.append(judgement.steps)
        self.verdicts.append(judgement.converged)
        self.flags.append(flags)

    def add_all(self, first: int, energies: Floats, judged: tuple[list[int], list[int]]) -> None:
        """Take steps that follow each other, the first with its number in the run; energies is (k, 4), judged as of `judge_all`."""
        self.steps += range(first, first + len(energies))
        self.energies.append(energies)
        self.counts += judged[0]
        self.verdicts += judged[1]
        self.flags += [()] * len(energies)

    def joined(self) -> Floats:
        """Return (4, n) the energies of all steps."""
        together = self.energies[0] if len(self.energies) == 1 else np.concatenate(self.energies)
        return np.ascontiguousarray(together.T)

    def taken(self, chosen: NDArray[np.int64]) -> StepTable:
        """Return the table of some of its steps."""
        if len(chosen) == len(self.steps):
            return self
        rows, kept = chosen.tolist(), [self.joined().T[chosen]]
        counts, verdicts = ([column[k] for k in rows] for column in (self.counts, self.verdicts))
        return StepTable(kept, counts, verdicts, [self.flags[k] for k in rows], [self.steps[k] for k in rows])


@dataclass(frozen=True)
class Geometry:
    """Arrays of all steps of a run as printed, and which steps had torn tables."""

    cell: Floats
    positions: Floats
    """Cartesian, Å"""
    forces: Floats
    stress: Floats
    """kbar, positive under compression."""
    unreadable: NDArray[np.bool_]
    malformed: NDArray[np.bool_]
    """A table is there, but has stars, NaN or a wrong number of rows."""

    def taken(self, chosen: NDArray[np.int64]) -> Geometry:
        """Return the arrays of some of the steps."""
        unreadable, malformed = self.unreadable[chosen], self.malformed[chosen]
        return Geometry(self.cell[chosen], self.positions[chosen], self.forces[chosen], self.stress[chosen], unreadable, malformed)


@dataclass(frozen=True)
class Ending:
    """How the output of a run ended, and what was remarked on the way."""

    format: str
    energy_source: str
    stress_source: str
    complete: bool
    lost_steps: int = 0
    """Steps that were seen but have no complete tables."""
    linear_response: bool = False
    enthalpy: bool = False
    """The printed energy may hold PSTRESS times the volume."""
    notes: tuple[str, ...] = ()


def finish_run(header: Header, table: StepTable, geometry: Geometry, ending: Ending) -> Run:
    """Return the run that its steps make; raises UnreadableOutput where there is no complete step or no element is known."""
    lost = int(np.count_nonzero(geometry.unreadable))
    _refuse_if_empty(header, ending, n_steps=len(geometry.unreadable) - lost)
    elements, flagged = header.elements, set(table.flags) != {()}
    strays = flagged and any("stray_step" in flags for flags in table.flags)
    if lost:
        chosen = np.flatnonzero(~geometry.unreadable)
        geometry, table = geometry.taken(chosen), table.taken(chosen)
    stress, notes = symmetric(geometry.stress, table.steps)
    counts, verdicts, energies = table.counts, table.verdicts, table.joined()
    pressure = header.pressure if ending.enthalpy else 0.0
    made, in_energy = without_pressure(pressure, geometry.cell, energies, table.flags) if pressure else (energies, None)
    foreign = apart_from_cycle(energies) if strays and not header.pressure else None
    own = energies[3] if foreign is None else np.where(foreign, NAN, energies[3])
    other, told = other_energies(made[0], own, table.steps)
    marks = _marks(geometry, made[0], verdicts) | {"pressure_in_energy": in_energy, "stray_step": foreign, "contradictory_values": other}
    marks |= {name: np.ones(len(counts), dtype=bool) for name in header.throughout}
    source = ending.energy_source + ("" if made is energies else " less PSTRESS times volume")
    frames = FrameBlock(
        numbers=header.atoms,
        pbc=_PERIODIC,
        cell=geometry.cell,
        positions=geometry.positions,
        energy=made[0],
        forces=geometry.forces,
        stress=stress * -KBAR,
        energy_sigma0=made[1],
        energy_internal=made[2],
        scf_converged=np.array(verdicts, dtype=np.int8),
        n_scf_steps=np.array(counts).astype(np.int32),
        step=np.array(table.steps, dtype=np.int32),
        flags=_frame_flags(table.flags, marks),
        energy_source=source,
        stress_source=ending.stress_source if isfinite(stress.item(0)) or np.isfinite(stress).any() else "",
        fixed=header.fixed if header.fixed is not None and header.fixed.any() else None,
    )
    lost += ending.lost_steps
    remarks = (*header.notes, *(remark for _, remark in elements if remark), *notes, *told, *ending.notes, *header.remarks)
    return Run(
        code="vasp",
        code_version=header.version,
        kind=header.kind,
        format=ending.format,
        level_of_theory=header.level(geometry.cell[0]),
        frames=frames,
        complete=ending.complete,
        flags=_run_flags(header, ending, lost),
        notes=tuple(dict.fromkeys(remarks)),
        n_malformed_steps=lost,
    )


def _marks(geometry: Geometry, energy: Floats, verdicts: Sequence[int]) -> dict[str, NDArray[np.bool_] | None]:
    """Return which steps have torn tables or no energy, another cell than the first, or a cycle that is not known to have converged."""
    marks: dict[str, NDArray[np.bool_] | None] = {}
    if geometry.malformed.any() or not isfinite(sum(energy.tolist())):
        marks["malformed_values"] = geometry.malformed | ~np.isfinite(energy)
    if geometry.cell.tobytes() != len(verdicts) * geometry.cell[:1].tobytes():
        marks["pulay_suspect"] = np.abs(geometry.cell - geometry.cell[0]).reshape(-1, 9).max(axis=1) > _CELL_CHANGE
    if min(verdicts) < 1:
        marks["scf_not_converged"], marks["scf_unknown"] = np.equal(verdicts, 0), np.equal(verdicts, -1)
    return marks


def with_refusals(runs: Sequence[Run], refusals: Sequence[UnreadableOutput]) -> tuple[Run, ...]:
    """Return the runs of one file; the first is told of those that could not be made."""
    if not refusals:
        return tuple(runs)
    notes = tuple(f"another run in the same file was not taken: {refusal.detail}" for refusal in refusals)
    return (replace(runs[0], notes=runs[0].notes + notes), *runs[1:])


def _refuse_if_empty(header: Header, ending: Ending, *, n_steps: int) -> None:
    if algorithm := post_dft(header.tags):
        raise UnreadableOutput(
            "not_energies",
            f"a run with ALGO = {algorithm} gives no ground-state energy with forces of its own",
            "deposit the ground-state run that it started from",
        )
    if n_steps == 0:
        lost = f"; {ending.lost_steps} steps could not be read" if ending.lost_steps else ""
        raise UnreadableOutput(
            "no_complete_step",
            f"{ending.format} of VASP {header.version} with {header.natoms} atoms has no ionic step with geometry and energy{lost}",
            "deposit the run when a step is complete, and vasprun.xml together with OUTCAR",
        )


def _frame_flags(own: Sequence[tuple[str, ...]], marks: Mapping[str, NDArray[np.bool_] | None]) -> tuple[tuple[str, ...], ...]:
    """Return the sorted flags of each step: its own and those of marks; a machine-learned step has no cycle to judge."""
    met = {name: holds.tolist() for name, holds in marks.items() if holds is not None and holds.any()}
    if not met and set(own) == {()}:
        return tuple(own)
    found = []
    for k, flags in enumerate(own if met else ()):
        names = {name for name, holds in met.items() if holds[k]}
        if "machine_learned" in flags:
            names -= {"scf_unknown", "scf_not_converged"}
        found.append(tuple(sorted(names.union(flags))))
    return tuple(found) if met else tuple(tuple(sorted(set(flags))) if flags else () for flags in own)


def _run_flags(header: Header, ending: Ending, lost: int) -> tuple[str, ...]:
    found = {
        "truncated": not ending.complete,
        "malformed_steps": lost > 0,
        "linear_response_run": ending.linear_response or header.linear_response,
        "virtual_crystal": "virtual_crystal" in header.throughout,
    }
    return tuple(sorted(name for name, holds in found.items() if holds))
