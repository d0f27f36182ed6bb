"""A made-up output format with readers for it, so that archives, grouping and reading are tested apart from real codes."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace

import numpy as np
from made_up_readings import PBE, made_block

from lake.readers.base import ReaderSpec
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import FrameBlock
from schemas.theory import LevelOfTheory

ARRAYS = ("cell", "positions", "energy", "forces", "stress", "energy_sigma0", "energy_internal")


def made_run(frames: FrameBlock, *, kind: str = "md", name: str = "made log", level: LevelOfTheory = PBE, complete: bool = True) -> Run:
    return Run("made", "1.0", kind, name, level, frames, complete, () if complete else ("truncated",))


def part(frames: FrameBlock, which: slice) -> FrameBlock:
    """Return some of the frames."""
    rows = {name: getattr(frames, name)[which] for name in (*ARRAYS, "scf_converged", "n_scf_steps", "step")}
    return replace(frames, flags=frames.flags[which], **rows)


def written(run: Run) -> bytes:
    """Return a run as an output: a title, a line for each step, a last line where it is complete."""
    frames = run.frames
    head = {"kind": run.kind, "version": run.code_version, "numbers": frames.numbers.tolist(), "level": asdict(run.level_of_theory)}
    lines = [f"MADE {'XML' if run.format == 'made xml' else 'LOG'} {json.dumps(head)}"]
    for i in range(frames.count):
        lines.append(json.dumps([int(frames.step[i]), *(getattr(frames, name)[i].tolist() for name in ARRAYS)]))
    return "\n".join([*lines, "END" if run.complete else "", ""]).encode()


class MadeReader:
    """Reads what `written` writes, CRLF included."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.data = b""

    def feed(self, chunk: bytes) -> None:
        self.data += chunk
        if b"EXPLODE" in chunk:
            raise IndexError("a fault of the reader")

    def close(self) -> tuple[Run, ...]:
        title, *lines = self.data.decode().splitlines()
        head = json.loads(title.split(" ", 2)[2])
        steps = [json.loads(line) for line in lines if line.startswith("[") and line.endswith("]")]
        if not steps:
            raise UnreadableOutput("no_complete_step", f"{self.name}: no step", "run it to its end")
        level = LevelOfTheory(**{k: _tuples(v) for k, v in head["level"].items()})
        n = len(steps)
        nothing = made_block(head["numbers"], n, 0)
        arrays = {name: np.array([step[i + 1] for step in steps], float) for i, name in enumerate(ARRAYS)}
        frames = replace(nothing, step=np.array([step[0] for step in steps], np.int32), **arrays)
        complete = "END" in lines
        return (replace(made_run(frames, kind=head["kind"], name=self.name, level=level, complete=complete), code_version=head["version"]),)


def _tuples(value: object) -> object:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


MADE_LOG = ReaderSpec("made log", "made", lambda name, head: head.startswith(b"MADE LOG"), lambda: MadeReader("made log"), 0)
MADE_XML = ReaderSpec("made xml", "made", lambda name, head: head.startswith(b"MADE XML"), lambda: MadeReader("made xml"), 1)
MADE_READERS = (MADE_LOG, MADE_XML)


def tar_of(files: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> bytes:
    """Return a tar of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items() if isinstance(files, Mapping) else files:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return buffer.getvalue()
