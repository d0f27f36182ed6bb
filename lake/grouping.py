"""Outputs of the same run, found in one folder, made into one calculation, and cross-checked on the way."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.checks import check
from lake.identity import calculation_id
from lake.readers.base import ReaderSpec
from lake.readers.openmx.given import OpenmxInput, with_given
from lake.readers.vasp.inputs import VaspInput, inputs_of, with_inputs
from lake.same_steps import Indices, same_steps, taken, vectors_apart
from schemas.calculations import Calculation, Run
from schemas.frames import FrameBlock
from schemas.theory import U_NOT_TOLD, LevelOfTheory

ENERGY_TOLERANCE: Final = 1e-5
"""eV; two outputs of one run print the same energy to at least this."""
FORCE_TOLERANCE: Final = 1e-3
"""eV/Å"""
UNIT_TOLERANCE: Final = 1e-7
"""Of an energy; by so much it changes with the CODATA year of the units that ASE put it into."""
OFFSET_TOLERANCE: Final = 1e-3
"""eV an atom; by so much a correction that one output states and the other does not may change from step to step."""
_ASE: Final = "ase"
"""The code of the readers of ASE's own files, which hold what other codes computed."""


@dataclass(frozen=True, eq=False)
class Output:
    """One run as one output says it."""

    path: str
    """The output's path in the source."""
    spec: ReaderSpec
    run: Run
    companions: tuple[str, ...] = ()
    """Paths of the files beside the output that the run was read from too."""


@dataclass(eq=False)
class _Group:
    """Outputs of one run, the best of them first."""

    outputs: list[Output]
    notes: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)


def group(outputs: Iterable[Output], inputs: Iterable[VaspInput | OpenmxInput] = ()) -> tuple[Calculation, ...]:
    """Return one calculation for each run, in the order of their outputs; a run that is there twice comes once,
    as its copy with the most files.

    inputs are files of the same source that were given to VASP or OpenMX.
    The output with the lowest reader rank gives the labels, unless it is cut off and another one has more steps. What it leaves open
    in the level of theory comes from the others. Steps that differ in energy or forces raise sources_disagree, with both values in the
    notes; an output of another run in the same folder raises companion_of_other_run and stays a calculation of its own.
    """
    order = _without_companions(list(outputs))
    best_rank = min((output.spec.rank for output in order), default=0)
    folders: dict[str, list[_Group]] = defaultdict(list)
    given: dict[str, list[VaspInput]] = defaultdict(list)
    given_openmx: dict[str, list[OpenmxInput]] = defaultdict(list)
    for each in inputs:
        folder = _folder(each.path)
        given[folder].append(each) if isinstance(each, VaspInput) else given_openmx[folder].append(each)
    groups: dict[int, _Group] = {}
    for output in sorted(order, key=lambda output: output.spec.rank):
        home = _home(output, folders) if output.spec.rank > best_rank else None
        if home is None:
            groups[id(output)] = made = _Group([output])
            folders[_folder(output.path)].append(made)
        else:
            home.outputs.append(output)
    for here in folders.values():
        _flag_strangers(here)
    single = any(len(each.outputs) == 1 for each in groups.values())
    inside = {calculation_id(output.run) for each in groups.values() for output in each.outputs[1:]} if single else set()
    found: dict[str, Calculation] = {}
    for made in (groups[id(output)] for output in order if id(output) in groups):
        folder = _folder(made.outputs[0].path)
        alone = len(folders[folder]) == 1
        beside = _folder_of_inputs(folder, given, folders)
        calculation = _with_inputs(_calculation(made, alone=alone), given.get(beside, ()), alone=alone)
        calculation = _with_openmx_inputs(calculation, given_openmx.get(folder, ()), alone=alone)
        if len(made.outputs) == 1 and calculation.calculation_id in inside:
            continue
        kept = found.get(calculation.calculation_id)
        if kept is None or len(calculation.files) > len(kept.files):
            found[calculation.calculation_id] = calculation
    return tuple(found.values())


def _folder(path: str) -> str:
    """Return `posixpath.dirname(path)`, which is slow."""
    folder = path.rpartition("/")[0]
    return folder if folder and not folder.endswith("/") else posixpath.dirname(path)


def _without_companions(outputs: Sequence[Output]) -> list[Output]:
    """Return the outputs less those runs of a companion that another output was read together with."""
    owners = [(path, output.run.frames) for output in outputs for path in output.companions]
    return [
        output for output in outputs if not any(path == output.path and _is_covered(output.run.frames, frames) for path, frames in owners)
    ]


def _is_covered(frames: FrameBlock, by: FrameBlock) -> bool:
    """Return whether most of the frames are steps of another block."""
    return np.array_equal(frames.numbers, by.numbers) and 2 * len(same_steps(frames, by)[0]) >= frames.count


def _home(output: Output, folders: Mapping[str, Sequence[_Group]]) -> _Group | None:
    """Return the group of the run that an output belongs to: in its folder, or above the scratch folder that it was written to.

    Of several runs of the same structures (datasets with other cutoffs) that whose energies are the output's own comes first.
    """
    for folder in _folders(output.path):
        fitting = [
            each
            for each in folders.get(folder, ())
            if all(_may_join(output, other) for other in each.outputs)
            and _same_run(each.outputs[0], output)
            and (output.spec.code != _ASE or _is_copy(output, each.outputs[0]))
        ]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            return max(fitting, key=lambda each: _equal_energies(each.outputs[0].run.frames, output.run.frames))
    return None


def _is_copy(trajectory: Output, output: Output) -> bool:
    """Return whether every frame of a trajectory of ASE is a step of an output with the same energy; else it stays for itself."""
    steps = same_steps(output.run.frames, trajectory.run.frames)
    return len(steps[1]) == trajectory.run.frames.count and not _energies_apart(output, trajectory, steps).any()


def _equal_energies(a: FrameBlock, b: FrameBlock) -> int:
    """Return how many steps of two blocks have the same energy."""
    first, second = same_steps(a, b)
    return int((np.abs(a.energy[first] - b.energy[second]) <= ENERGY_TOLERANCE).sum())


def _folders(path: str) -> Iterator[str]:
    """Yield where the main output of a run may be: beside, one folder up, and two above a folder PREFIX.save."""
    folder = _folder(path)
    yield folder
    for _ in range(2 if folder.endswith(".save") else 1):
        if folder:
            folder = _folder(folder)
            yield folder


def _may_join(output: Output, other: Output) -> bool:
    """Return whether two outputs are different files of one code, or one of them is a file of ASE with what that code computed."""
    alike = output.spec.code == other.spec.code or (output.spec.code == _ASE and output.run.code == other.run.code)
    return alike and output.spec.name != other.spec.name and output.path != other.path


def _flag_strangers(groups: Sequence[_Group]) -> None:
    """Say so where outputs of different kinds lie in one folder and are of different runs."""
    worst_rank = max(group.outputs[0].spec.rank for group in groups)
    for first in groups:
        if len(first.outputs) > 1 or first.outputs[0].spec.rank == worst_rank:
            continue
        own = first.outputs[0]
        for stranger in (second.outputs[0] for second in groups):
            if own.spec.rank < stranger.spec.rank and stranger.spec.code != _ASE and _may_join(stranger, own):
                first.flags.add("companion_of_other_run")
                first.notes.append(f"{stranger.path} in the same folder is of another run and was not used for this one")
                break


def _same_run(one: Output, other: Output) -> bool:
    """Return whether two outputs can be of one run: same atoms, same functional, and steps at the same places."""
    a, b = one.run, other.run
    if not np.array_equal(a.frames.numbers, b.frames.numbers):
        return False
    functionals = {a.level_of_theory.functional, b.level_of_theory.functional} - {""}
    if len(functionals) > 1:
        return False
    first, second = same_steps(a.frames, b.frames)
    if 2 * len(first) < min(a.frames.count, b.frames.count) or not len(first):
        return False
    whole = a.complete and b.complete and a.frames.count != b.frames.count
    return not (whole and _energies_apart(one, other, (first, second)).all())


def _energies_apart(one: Output, other: Output, steps: tuple[Indices, Indices]) -> NDArray[np.bool_]:
    """Return at which of the steps two outputs have energies that differ, (m,), beyond the offset that their readers allow for all."""
    a, b = one.run.frames, other.run.frames
    apart = a.energy[steps[0]] - b.energy[steps[1]]
    tolerance = ENERGY_TOLERANCE + (UNIT_TOLERANCE * np.abs(a.energy[steps[0]]) if _ASE in {one.spec.code, other.spec.code} else 0.0)
    offset = max(one.spec.energy_offset, other.spec.energy_offset) * a.natoms
    if not offset or not np.isfinite(apart).any():
        return np.asarray(np.abs(apart) > tolerance)
    usual = float(np.nanmedian(apart))
    return np.asarray((np.abs(apart - usual) > OFFSET_TOLERANCE * a.natoms) | (np.abs(apart) > offset))


def _calculation(each: _Group, *, alone: bool) -> Calculation:
    outputs = each.outputs
    label = _label_giver(outputs)
    others = [output for output in outputs if output is not label]
    if label is not outputs[0]:
        best = outputs[0]
        each.notes.append(
            f"{best.path} is cut off after {best.run.frames.count} steps; labels are from {label.path} with {label.run.frames.count}"
        )
    for other in others:
        each.notes += _cross_check(label, other, each.flags)
    run = _merged(label.run, [other.run for other in others])
    if each.flags or each.notes:
        run = replace(run, flags=tuple(sorted({*run.flags, *each.flags})), notes=(*run.notes, *each.notes))
    return Calculation(
        calculation_id=calculation_id(label.run),
        run=check(run),
        member=_folder(outputs[0].path) if alone else outputs[0].path,
        files=tuple(dict.fromkeys(path for output in (label, *others) for path in (output.path, *output.companions))),
    )


def _folder_of_inputs(folder: str, inputs: Iterable[str], outputs: Iterable[str]) -> str:
    """Return where the input files of a run lie: beside its output, above the numbered folder of an image of an elastic band, or in a
    folder beside its own (run/inputs for run/outputs) where no other can be meant.

    inputs are all folders with input files, outputs those with outputs.
    """
    above, _, name = folder.rpartition("/")
    if re.fullmatch(r"\d\d", name):
        return above
    with_inputs = set(inputs)
    if folder in with_inputs or not folder:
        return folder
    with_outputs = set(outputs)
    family = [each for each in with_outputs if _folder(each) == above]
    apart = [each for each in with_inputs - with_outputs if each and _folder(each) == above]
    return apart[0] if len(apart) == 1 and family == [folder] and above not in with_outputs | with_inputs else folder


def _with_inputs(calculation: Calculation, inputs: Sequence[VaspInput], *, alone: bool) -> Calculation:
    """Return a calculation of VASP with what its input files add; its identity is that of the output alone."""
    if calculation.run.code != "vasp" or not inputs:
        return calculation
    label = calculation.files[0]
    run, used = with_inputs(calculation.run, label, inputs_of(label, inputs, alone=alone))
    return replace(calculation, run=run, files=(*calculation.files, *used))


def _with_openmx_inputs(calculation: Calculation, inputs: Sequence[OpenmxInput], *, alone: bool) -> Calculation:
    """Return a calculation of OpenMX with what its input adds; its identity is that of the output alone."""
    if calculation.run.code != "openmx" or not inputs:
        return calculation
    run, used = with_given(calculation.run, calculation.files[0], inputs, alone=alone)
    return replace(calculation, run=run, files=(*calculation.files, *used))


def _label_giver(outputs: Sequence[Output]) -> Output:
    best = outputs[0]
    if best.run.complete:
        return best
    return max(outputs, key=lambda output: (output.run.frames.count, -output.spec.rank))


def _cross_check(label: Output, other: Output, flags: set[str]) -> list[str]:
    """Return in words where two outputs of one run differ, and raise the flag for it."""
    a, b = label.run.frames, other.run.frames
    notes = []
    first, second = same_steps(a, b)
    other_energy = {"pressure_in_energy", "final_scf_other_basis"} if other.spec.energy_offset else {"pressure_in_energy"}
    apart = np.flatnonzero(_energies_apart(label, other, (first, second)))
    apart = np.array([k for k in apart if other_energy.isdisjoint(a.flags[first[k]] + b.flags[second[k]])], dtype=np.intp)
    if len(apart):
        i, j = first[apart[0]], second[apart[0]]
        notes.append(
            f"energies differ in {len(apart)} of {len(first)} steps, first at step {a.step[i]}: "
            f"{a.energy[i]:.8f} eV in {label.path}, {b.energy[j]:.8f} eV in {other.path}"
        )
    forces = np.flatnonzero(vectors_apart(taken(a.forces, first), taken(b.forces, second))[1] > FORCE_TOLERANCE)
    if len(forces):
        i, j = first[forces[0]], second[forces[0]]
        largest = float(np.nanmax(np.abs(a.forces[i] - b.forces[j])))
        notes.append(
            f"forces differ in {len(forces)} of {len(first)} steps, first at step {a.step[i]}: "
            f"by {largest:.6f} eV/Å between {label.path} and {other.path}"
        )
    if notes or (a.count < b.count and label.run.complete and other.run.complete):
        flags.add("sources_disagree")
    if a.count != b.count:
        notes.append(f"{label.path} has {a.count} steps, {other.path} has {b.count}")
    return notes


def _merged(run: Run, others: Sequence[Run]) -> Run:
    """Return the run with what it does not say filled in from other outputs of it."""
    for other in others:
        level, version = _filled(run.level_of_theory, other.level_of_theory), run.code_version or other.code_version
        kind = other.kind if run.kind in ("", "unknown") and other.kind != "collection" else run.kind
        frames = _judged_by(run.frames, other.frames)
        if frames is not run.frames or (level, version, kind) != (run.level_of_theory, run.code_version, run.kind):
            run = replace(run, level_of_theory=level, code_version=version, kind=kind, frames=frames)
    return run


def _judged_by(frames: FrameBlock, other: FrameBlock) -> FrameBlock:
    """Return the frames with the convergence of their cycles from another output where they do not tell it and the energy is the same."""
    if not (frames.scf_converged < 0).any():
        return frames
    first, second = same_steps(frames, other)
    known = (frames.scf_converged[first] < 0) & (other.scf_converged[second] >= 0)
    known &= np.abs(frames.energy[first] - other.energy[second]) <= ENERGY_TOLERANCE
    if not known.any():
        return frames
    first, second = first[known], second[known]
    converged, n_scf, flags = frames.scf_converged.copy(), frames.n_scf_steps.copy(), list(frames.flags)
    converged[first], n_scf[first] = other.scf_converged[second], other.n_scf_steps[second]
    for i in first.tolist():
        told = {"scf_not_converged"} if converged[i] == 0 else set()
        flags[i] = tuple(sorted({*flags[i], *told} - {"scf_unknown"}))
    return replace(frames, scf_converged=converged, n_scf_steps=n_scf, flags=tuple(flags))


@lru_cache(maxsize=256)
def _filled(level: LevelOfTheory, other: LevelOfTheory) -> LevelOfTheory:
    """Return a level with what it leaves open from another one: what it does not say, the damping of its dispersion, the value of its U."""
    fields = [f.name for f in dataclasses.fields(level) if getattr(level, f.name) in (None, "", ())]
    unknown = {name: getattr(other, name) for name in fields if getattr(other, name) not in (None, "", ())}
    if level.dispersion and other.dispersion.startswith(f"{level.dispersion}("):
        unknown["dispersion"] = other.dispersion
    found = replace(level, **unknown) if unknown else level
    return replace(found, extra=tuple(pair for pair in found.extra if pair != U_NOT_TOLD)) if found.hubbard_u else found
