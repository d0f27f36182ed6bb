"""The upkeep of the lake as the scheduled flows do it: small files joined and logs checkpointed often, what nobody needs removed seldom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import lake
from lake.checkpoints import checkpoint
from lake.compaction import Compaction, compact
from lake.place import SPECS
from lake.vacuum import Sweep, vacuum
from schemas.settings import Settings

Progress = Callable[[str, int, int], None]
"""Called with what is going on, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Kept:
    """What was done to one table."""

    compaction: Compaction
    checkpointed: bool
    """A checkpoint of the log was written besides."""


def compact_tables(settings: Settings, progress: Progress) -> list[Kept]:
    """Join the small files of every table, and write a checkpoint of each log that has moved on; safe beside writers and readers."""
    opened = lake.open(settings=settings)
    return [Kept(compact(opened, name, progress=partial(progress, f"joining files of {name}")), checkpoint(opened, name)) for name in SPECS]


def sweep_lake(settings: Settings, progress: Progress) -> tuple[Sweep, ...]:
    """Remove what no newest version and no dataset has needed for upkeep.retention_days: old files, orphans, unfinished uploads."""
    opened = lake.open(settings=settings)
    return vacuum(opened, older_than_days=settings.upkeep.retention_days, dry_run=False, progress=partial(progress, "tables swept"))
