"""The steps of one VASP run, gathered while its output streams by, and the `Run` they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lake.readers.vasp_checks import other_energies
from lake.readers.vasp_level import Mesh, Tags, level_of_theory, no_cycle, run_kind, virtual_crystal
from lake.readers.vasp_species import IonType, element_of
from schemas.calculations import Run
from schemas.elements import SYMBOLS
from schemas.errors import UnreadableOutput
from schemas.frames import Floats, FrameBlock
from schemas.units import KBAR

NAN = float("nan")
_CELL_CHANGE = 1e-6
"""Å; printed cells have 8 or 9 decimals."""
_POST_DFT = (
    "GW", "G0W0", "EVGW", "QPGW", "SCGW", "BSE", "TDHF", "CHI", "ACFDT", "RPA", "CRPA", "2E4W", "TIMEEV", "MP2", "RMP2", "FULLMP2", "CC4S",
    "AFQMC",
)  # fmt: skip
"""Beginnings of ALGO for runs beyond the ground state of DFT."""


@dataclass(frozen=True)
class Header:
    """What stands before the first step of a run."""

    version: str
    """'6.3.0'"""
    tags: Tags
    kinds: tuple[IonType, ...]
    types: NDArray[np.int32]
    """(natoms,) index into kinds."""
    mesh: Mesh
    fixed: NDArray[np.bool_] | None = None
    """(natoms, 3) coordinates held by selective dynamics."""
    notes: tuple[str, ...] = ()

    @property
    def natoms(self) -> int:
        """Number of ions."""
        return int(self.types.shape[0])


class Judgement(NamedTuple):
    """The self-consistency cycle of one step as counted."""

    steps: int = -1
    converged: int = -1
    """1 converged, 0 not, -1 not known."""


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

    energies: list[StepEnergies] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    flags: list[tuple[str, ...]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def add(self, step: int, energies: StepEnergies, judgement: Judgement, flags: tuple[str, ...]) -> None:
        """Take one step; step is its number in the run, from 0."""
        self.steps.append(step)
        self.energies.append(energies)
        self.judgements.append(judgement)
        self.flags.append(flags)

    def add_all(self, first: int, energies: Sequence[StepEnergies], judgements: Sequence[Judgement]) -> None:
        """Take steps that follow each other, the first with its number in the run."""
        self.steps += range(first, first + len(energies))
        self.energies += energies
        self.judgements += judgements
        self.flags += [()] * len(energies)

    def taken(self, chosen: NDArray[np.int64]) -> StepTable:
        """Return the table of some of its steps."""
        if len(chosen) == len(self.steps):
            return self
        rows = chosen.tolist()
        columns = (self.energies, self.judgements, self.flags, self.steps)
        return StepTable(*([column[k] for k in rows] for column in columns))


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


@dataclass(frozen=True)
class Criterion:
    """When the self-consistency cycle of a run is converged."""

    most_steps: int
    """NELM"""
    change: float
    """EDIFF, eV"""
    cycle: bool
    """False where electrons are not made self-consistent at all."""

    def judge(self, steps: int, change: float = NAN, *, said_unconverged: bool = False) -> Judgement:
        """Return whether a cycle met its criterion, from its count and its last change of energy (eV) where that is printed.

        VASP stops when the changes of total energy and of band energy are below EDIFF, or after NELM steps, whatever its words
        are; a cycle of NELM steps counts as not converged, and so does a shorter one that was broken off (STOPCAR) above EDIFF.
        """
        if steps <= 0 or not self.cycle:
            return Judgement(steps if steps > 0 else -1, -1)
        broken_off = abs(change) > 1.01 * self.change
        return Judgement(steps, int(steps < self.most_steps and not said_unconverged and not broken_off))

    def judge_all(self, steps: Sequence[int], changes: Sequence[float], said: Sequence[int]) -> list[Judgement]:
        """Return what `judge` says of each of some cycles."""
        if not self.cycle or min(steps) <= 0:
            return [self.judge(n, change, said_unconverged=bool(told)) for n, change, told in zip(steps, changes, said, strict=True)]
        most, limit = self.most_steps, 1.01 * self.change
        rows = zip(steps, changes, said, strict=True)
        return [Judgement(n, int(n < most and not told and not abs(change) > limit)) for n, change, told in rows]


def criterion_of(tags: Tags) -> Criterion:
    """Return the criterion that the tags of a run set."""
    return Criterion(tags.integer("NELM", 60), abs(tags.number("EDIFF", 1e-4)), not no_cycle(tags))


def finish_run(header: Header, table: StepTable, geometry: Geometry, ending: Ending) -> Run:
    """Return the run that its steps make; raises UnreadableOutput where there is no complete step or no element is known."""
    chosen = np.flatnonzero(~geometry.unreadable)
    lost = len(geometry.unreadable) - len(chosen)
    _refuse_if_empty(header, ending, n_steps=len(chosen))
    elements = [element_of(kind) for kind in header.kinds]
    numbers = np.array([number for number, _ in elements], dtype=np.int16)[header.types]
    strays = any("stray_step" in flags for flags in table.flags)
    which, table = chosen if lost else slice(None), table.taken(chosen)
    energies = np.array([*chain.from_iterable(table.energies)], dtype=np.float64).reshape(-1, 4)
    judged = np.array([*chain.from_iterable(table.judgements)]).reshape(-1, 2)
    cell, (stress, notes) = geometry.cell[which], _symmetric(geometry.stress[which], table)
    pressure_work, in_energy = _pressure_work(header.tags, cell, energies, ending, table.flags)
    made = energies[:, :3] - pressure_work[:, None]
    foreign = _foreign(header.tags, energies, strays=strays)
    own = np.where(foreign, NAN, energies[:, 3])
    other, told = other_energies(made[:, 0], own, table.steps)
    marks = {
        "malformed_values": geometry.malformed[which] | ~np.isfinite(made[:, 0]),
        "pressure_in_energy": in_energy,
        "pulay_suspect": np.abs(cell - cell[0]).reshape(-1, 9).max(axis=1) > _CELL_CHANGE,
        "virtual_crystal": np.full(len(chosen), virtual_crystal(header.tags)),
        "stray_step": foreign,
        "contradictory_values": other,
        "scf_not_converged": judged[:, 1] == 0,
        "scf_unknown": judged[:, 1] == -1,
    }
    frames = FrameBlock(
        numbers=numbers,
        pbc=np.ones(3, dtype=bool),
        cell=cell,
        positions=geometry.positions[which],
        energy=made[:, 0].copy(),
        forces=geometry.forces[which],
        stress=stress * -KBAR,
        energy_sigma0=made[:, 1].copy(),
        energy_internal=made[:, 2].copy(),
        scf_converged=judged[:, 1].astype(np.int8),
        n_scf_steps=judged[:, 0].astype(np.int32),
        step=np.array(table.steps, dtype=np.int32),
        flags=_frame_flags(table.flags, marks),
        energy_source=ending.energy_source + (" less PSTRESS times volume" if pressure_work.any() else ""),
        stress_source=ending.stress_source if np.isfinite(stress).any() else "",
        fixed=header.fixed if header.fixed is not None and header.fixed.any() else None,
    )
    lost += ending.lost_steps
    remarks = (*header.notes, *(remark for _, remark in elements if remark), *notes, *told, *ending.notes)
    return Run(
        code="vasp",
        code_version=header.version,
        kind=run_kind(header.tags),
        format=ending.format,
        level_of_theory=level_of_theory(header.tags, header.kinds, [number for number, _ in elements], mesh=header.mesh, cell=cell[0]),
        frames=frames,
        complete=ending.complete,
        flags=_run_flags(header, ending, lost),
        notes=tuple(dict.fromkeys((*remarks, *_run_notes(header)))),
        n_malformed_steps=lost,
    )


def with_refusals(runs: Sequence[Run], refusals: Sequence[UnreadableOutput]) -> tuple[Run, ...]:
    """Return the runs of one file; the first is told of those that could not be made."""
    notes = tuple(f"another run in the same file was not taken: {refusal.detail}" for refusal in refusals)
    return (replace(runs[0], notes=runs[0].notes + notes), *runs[1:])


def _refuse_if_empty(header: Header, ending: Ending, *, n_steps: int) -> None:
    algorithm = header.tags.word("ALGO")
    if algorithm.startswith(_POST_DFT):
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


def _symmetric(stress: Floats, table: StepTable) -> tuple[Floats, tuple[str, ...]]:
    """Return stress (n, 3, 3) made symmetric from its upper triangle, as printed, and a note where the file has another lower one."""
    transposed = np.swapaxes(stress, 1, 2)
    if stress.tobytes() == transposed.tobytes():
        return stress, ()
    upper = np.triu(np.ones((3, 3), dtype=bool))
    difference = np.nan_to_num(np.abs(stress - transposed)).max(axis=(1, 2), initial=0.0)
    skewed = [table.steps[k] for k in np.flatnonzero(difference > 0.01)]
    notes = (
        (f"the printed stress of step {skewed[0]} is not symmetric (by up to {difference.max():.3g} kbar); its upper triangle is taken",)
        if skewed
        else ()
    )
    return np.where(upper, stress, transposed), notes


def _pressure_work(
    tags: Tags, cell: Floats, energies: Floats, ending: Ending, flags: Sequence[tuple[str, ...]]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return PSTRESS times volume (eV) where the printed energy holds it, and for which steps that cannot be told.

    The energies of vasprun.xml are enthalpies after the cycle and energies inside of it (VASP; ASE corrects the same way);
    where both agree there is nothing to take out.
    """
    pressure = tags.number("PSTRESS", 0.0) * KBAR
    work = np.zeros(len(energies))
    unknown = np.zeros(len(energies), dtype=bool)
    if pressure == 0.0 or not ending.enthalpy:
        return work, unknown
    volume = np.abs(np.linalg.det(cell))
    inside = energies[:, 0] - energies[:, 3]
    small = 1e-6 + 1e-3 * np.abs(pressure * volume)
    work[:] = np.where(np.abs(inside) <= small, 0.0, pressure * volume)
    unknown[:] = [not np.isfinite(volume[k]) or "machine_learned" in flags[k] for k in range(len(energies))]
    work[unknown] = 0.0
    return work, unknown


def _frame_flags(own: Sequence[tuple[str, ...]], marks: Mapping[str, NDArray[np.bool_]]) -> tuple[tuple[str, ...], ...]:
    """Return the sorted flags of each step: its own and those of marks; a machine-learned step has no cycle to judge."""
    met = {name: holds.tolist() for name, holds in marks.items() if holds.any()}
    found = []
    for k, flags in enumerate(own if met else ()):
        names = {name for name, holds in met.items() if holds[k]}
        if "machine_learned" in flags:
            names -= {"scf_unknown", "scf_not_converged"}
        found.append(tuple(sorted(names.union(flags))))
    return tuple(found) if met else tuple(tuple(sorted(set(flags))) if flags else () for flags in own)


def _foreign(tags: Tags, energies: Floats, *, strays: bool) -> NDArray[np.bool_]:
    """Return which steps may join the cycle of one process to the result of another, in a file that several wrote (strays)."""
    if not strays or tags.number("PSTRESS", 0.0) != 0.0:
        return np.zeros(len(energies), dtype=bool)
    return np.asarray(~(np.abs(energies[:, 0] - energies[:, 3]) <= 1e-6))


def _run_flags(header: Header, ending: Ending, lost: int) -> tuple[str, ...]:
    found = {
        "truncated": not ending.complete,
        "malformed_steps": lost > 0,
        "linear_response_run": ending.linear_response or header.tags.true("LEPSILON") or header.tags.integer("IBRION", -1) in (7, 8),
        "virtual_crystal": virtual_crystal(header.tags),
    }
    return tuple(sorted(name for name, holds in found.items() if holds))


def _run_notes(header: Header) -> tuple[str, ...]:
    notes = []
    if header.tags.integer("ICHARG", 0) >= 10:
        notes.append(
            f"the charge density was kept fixed (ICHARG = {header.tags.integer('ICHARG', 0)}): the electrons are not self-consistent"
        )
    repeated = [name for name, times in Counter(element_of(kind)[0] for kind in header.kinds).items() if times > 1]
    if repeated:
        notes.append("more than one POTCAR block for " + ", ".join(SYMBOLS[number] for number in sorted(repeated)))
    return tuple(notes)
