"""What the lake would store of a local file, archive or folder, as plain values for JSON; needs no lake."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from lake.checks import check, derive
from lake.collections.answers import NO_ANSWERS, Answers
from lake.collections.depositor import SUFFIX, Waiting, answers_in
from lake.collections.proposals import command_words
from lake.identity import calculation_id
from lake.metadata import FILE_NAMES, parse_metadata, together
from lake.readers import READERS
from lake.readers.base import ReaderSpec
from lake.reading import Contents, Part, read_parts, read_stream
from lake.theory import numerics_key, theory_key
from schemas.calculations import Calculation
from schemas.elements import element_system, symbols_of
from schemas.errors import UnreadableOutput
from schemas.frames import FrameBlock
from schemas.settings import LimitSettings

_CONVERGED: Final = {1: True, 0: False}


def inspect_file(
    path: Path,
    limits: LimitSettings,
    *,
    arrays: bool = False,
    readers: Sequence[ReaderSpec] = READERS,
    answers: Answers = NO_ANSWERS,
) -> dict[str, Any]:
    """Return {"calculations": [...], "rejections": [...]} of a local file or folder, read in the way that the lake reads a source.

    Files without units are read by answers, or by a description beside the file. Where some wait for an answer there is also "waiting":
    for each its member, the proposal, and the calculations that the proposal would make; the lake would store none of these.
    Units as in the tables; a number that the output does not give is None. Arrays hold nested lists of each frame's atoms.
    Raises UnreadableOutput where there is no such file.
    """
    contents = _contents(path, limits, readers, answers)
    found = {
        "calculations": [_calculation(calculation, arrays=arrays) for calculation in contents.calculations],
        "rejections": [{"member": r.member, "reason": r.reason, "detail": r.detail, "remedy": r.remedy} for r in contents.rejections],
    }
    if contents.waiting:
        found["waiting"] = [_waiting(each, arrays=arrays) for each in contents.waiting]
    return found


def _waiting(waiting: Waiting, *, arrays: bool) -> dict[str, Any]:
    made = [Calculation(calculation_id(run), check(run), waiting.member, (waiting.member,)) for run in waiting.runs]
    return {
        "member": waiting.member,
        "proposal": command_words(waiting.proposal),
        "calculations_by_proposal": [_calculation(calculation, arrays=arrays) for calculation in made],
    }


def _contents(path: Path, limits: LimitSettings, readers: Sequence[ReaderSpec], answers: Answers) -> Contents:
    if path.is_dir():
        return read_parts(_parts(path), limits, readers=readers, answers=answers)
    if not path.is_file():
        raise UnreadableOutput("object_vanished", f"{path}: there is no such file or folder", "check the spelling of its path")
    return read_stream(path.name, partial(_open, path), limits, readers=readers, answers=answers.over(_beside(path)))


def _beside(path: Path) -> Answers:
    """Return what the descriptions beside a file say; one that is wrong raises UnreadableOutput."""
    said: dict[str, str] = {}
    for file in (path.parent / FILE_NAMES[0], path.with_name(path.name + SUFFIX)):
        if file.is_file():
            said = together(said, parse_metadata(file.read_bytes()))
    return answers_in(said)[0]


def _parts(folder: Path) -> Iterator[Part]:
    """Yield the files of a folder and of those below it, in the order of their names; links to folders are not followed."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield Part(file.name, file.relative_to(folder).as_posix(), partial(_open, file))


def _open(file: Path) -> BinaryIO:
    return cast(BinaryIO, file.open("rb"))


def _calculation(calculation: Calculation, *, arrays: bool) -> dict[str, Any]:
    run = calculation.run
    return {
        "calculation_id": calculation.calculation_id,
        "member": calculation.member,
        "code": run.code,
        "code_version": run.code_version,
        "kind": run.kind,
        "format": run.format,
        "files": list(calculation.files),
        "theory": theory_key(run.level_of_theory),
        "numerics": numerics_key(run.level_of_theory),
        "natoms": run.frames.natoms,
        "element_system": element_system(symbols_of(run.frames.numbers)),
        "n_frames": run.frames.count,
        "complete": run.complete,
        "flags": list(run.flags),
        "notes": list(run.notes),
        "frames": list(_frames(run.frames, run.flags, arrays=arrays)),
    }


def _frames(frames: FrameBlock, of_run: Sequence[str], *, arrays: bool) -> Iterator[dict[str, Any]]:
    """Yield the frames of a run; as in the table, what is true of the run is a flag of each of them."""
    max_force = derive(frames).max_force
    for i in range(frames.count):
        scf_steps = int(frames.n_scf_steps[i])
        frame: dict[str, Any] = {
            "step": int(frames.step[i]),
            "energy": _number(frames.energy[i]),
            "energy_sigma0": _number(frames.energy_sigma0[i]),
            "energy_internal": _number(frames.energy_internal[i]),
            "energy_source": frames.energy_source,
            "max_force": _number(max_force[i]),
            "stress": _numbers(frames.stress[i].reshape(9)),
            "scf_converged": _CONVERGED.get(int(frames.scf_converged[i])),
            "n_scf_steps": scf_steps if scf_steps >= 0 else None,
            "flags": sorted({*frames.flags[i], *of_run}),
        }
        if arrays:
            frame |= {
                "numbers": frames.numbers.tolist(),
                "positions": frames.positions[i].tolist(),
                "cell": frames.cell[i].tolist(),
                "pbc": frames.pbc.tolist(),
                "forces": _numbers(frames.forces[i]),
            }
        yield frame


def _number(value: float | np.floating[Any]) -> float | None:
    return float(value) if math.isfinite(value) else None


def _numbers(values: NDArray[np.float64]) -> list[Any] | None:
    return cast(list[Any], values.tolist()) if np.isfinite(values).all() else None
