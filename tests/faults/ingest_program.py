"""A program to be killed: waits for a line, then ingests the made-up sources in three batches into the lake at a URL.

It says "ready", then "stage" before it writes the files of a batch, the name of each table before it commits to it, and "done".
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import lake
from lake import commit
from lake.commit import commit_batch, stage
from lake.inbox import batch_id, plan_batches
from schemas.json import from_json
from schemas.settings import IngestSettings, Settings
from schemas.sources import SourceReading

sys.path.insert(0, str(Path(__file__).parent.parent / "made_up"))

from made_up_readings import six_readings


def ingest(opened: lake.Lake, readings: Sequence[SourceReading]) -> None:
    """Stage and commit what the ledger does not have, in batches of two sources, each read in two shares."""
    ledger = opened.ledger("inbox")
    by_key = {reading.source.key: reading for reading in readings}
    new = [r.source for r in readings if ledger.next_attempt(r.source.key, r.source.etag) is not None]
    for batch in plan_batches(new, IngestSettings(batch_sources=2)):
        name = batch_id(batch)
        print("stage", flush=True)
        staged = [stage(opened, [by_key[source.key]], name, part) for part, source in enumerate(batch)]
        commit_batch(opened, staged, name)


def announce_commits() -> None:
    """Let each commit say the name of its table before it begins."""

    def announcing(real: Callable[..., int]) -> Callable[..., int]:
        def made(opened: lake.Lake, name: str, batch: str, choose: object) -> int:
            print(name, flush=True)
            return real(opened, name, batch, choose)

        return made

    for each in ("commit_files", "commit_ahead"):
        setattr(commit, each, announcing(getattr(commit, each)))


if __name__ == "__main__":
    announce_commits()
    here = lake.open(sys.argv[1], from_json(Settings, sys.argv[2]))
    print("ready", flush=True)
    sys.stdin.readline()
    ingest(here, six_readings())
    print("done", flush=True)
