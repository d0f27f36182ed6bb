"""A program to be killed: waits for a line, then reads all sources of a lake in a folder again with a newer reader.

It says "ready", then the name of each table before it commits to it, and "done". The newer reader shifts the energies of magnesium
oxide (other ids), counts the steps of calcium oxide otherwise (other values) and refuses what has both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lake
from lake import replacing
from lake.replacing import commit_replacement, read_again
from lake.rereading import Wanted, plan
from lake.store import ObjectStore, connect
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.json import from_json
from schemas.settings import Settings

sys.path.insert(0, str(Path(__file__).parent.parent / "made_up"))

from made_up_outputs import MADE_LOG, MadeReader


class NewerReader(MadeReader):
    """Gives other numbers than MadeReader does."""

    def close(self) -> tuple[Run, ...]:
        (run,) = super().close()
        if {12, 20} <= set(run.frames.numbers.tolist()):
            raise UnreadableOutput("not_dft", "a mixture", "leave it out")
        shifted = replace(run.frames, energy=run.frames.energy + 0.25)
        counted = replace(run.frames, n_scf_steps=run.frames.n_scf_steps + 1)
        return (replace(run, frames=shifted if 12 in run.frames.numbers else counted),)


def reread(opened: lake.Lake, inbox: ObjectStore) -> None:
    """Read all sources again and commit what differs."""
    groups = plan(opened, inbox, "inbox", Wanted())
    readers = (replace(MADE_LOG, open=lambda: NewerReader("made log")),)
    staged = [read_again(opened, inbox, part, "a" * 64, readers=readers)[0] for part in (groups[::2], groups[1::2])]
    commit_replacement(opened, staged, "a" * 64)


def announce_commits() -> None:
    """Let each commit say the name of its table before it begins."""
    for name in ("replace_rows", "commit_files", "try_commit"):
        setattr(replacing, name, announced(getattr(replacing, name)))


def announced(real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that says its table first."""

    def announcing(*given: Any, **options: Any) -> Any:
        print(given[1], flush=True)
        return real(*given, **options)

    return announcing


if __name__ == "__main__":
    announce_commits()
    here = lake.open(sys.argv[1], from_json(Settings, sys.argv[2]))
    print("ready", flush=True)
    sys.stdin.readline()
    reread(here, connect(sys.argv[3], here.settings.store))
    print("done", flush=True)
