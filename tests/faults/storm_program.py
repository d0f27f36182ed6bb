"""Programs to be killed in a storm: writers that overlap, a compaction and a vacuum, all on one lake, each in a process of its own."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from functools import lru_cache
from multiprocessing.sharedctypes import Synchronized

from made_up_readings import BAD, CAO, MGCAO, MGO, made_calculation, made_reading

import lake
from lake.commit import commit_batch, stage
from lake.compaction import compact
from lake.inbox import batch_id
from lake.place import SPECS
from lake.scalars import summarise
from lake.vacuum import vacuum
from schemas.errors import CommitConflict, StoreError, TableError
from schemas.settings import Settings
from schemas.sources import SourceReading

SYSTEMS = (MGO, CAO, MGCAO, [8, 12, 8], [20, 8, 8])


@lru_cache(maxsize=4096)
def reading(number: int) -> SourceReading:
    """Return source number n: a run of its own, now and then also one that an earlier source has, or something rejected."""
    rng = random.Random(number)
    runs = [made_calculation(SYSTEMS[number % len(SYSTEMS)], 2 + number % 3, number)]
    if rng.random() < 0.3 and number:
        earlier = rng.randrange(max(0, number - 9), number)
        runs.append(made_calculation(SYSTEMS[earlier % len(SYSTEMS)], 2 + earlier % 3, earlier))
    return made_reading(f"{number:05d}.tar", *runs, rejections=(BAD,) if rng.random() < 0.1 else ())


def write_everything(opened: lake.Lake, there: int, rng: random.Random) -> int:
    """Commit what of the first sources the ledger does not have, in batches of the writer's own choice; return how many there were."""
    ledger = opened.ledger("inbox")
    new = [r for r in map(reading, range(there)) if ledger.next_attempt(r.source.key, r.source.etag) is not None]
    new = new[: rng.randint(4, 12)]
    while new:
        batch, new = new[: (size := rng.randint(1, 4))], new[size:]
        name = batch_id([each.source for each in batch])
        parts = rng.randint(1, 2)
        commit_batch(opened, [stage(opened, batch[part::parts], name, part) for part in range(parts)], name)
    return len(ledger.attempts)


def writer(url: str, settings: Settings, there: Synchronized[int], seed: int) -> None:
    """Take whatever is there, again and again, until killed; another writer may take the same at the same time."""
    opened, rng = lake.open(url, settings), random.Random(seed)
    _again_and_again(lambda: write_everything(opened, there.value, rng))


def upkeep(url: str, settings: Settings, seed: int) -> None:
    """Compact tables, renew the scalar columns and vacuum in turn, until killed."""
    opened, rng = lake.open(url, settings), random.Random(seed)
    steps: list[Callable[[], object]] = [lambda: compact(opened, rng.choice(list(SPECS))), lambda: summarise(opened)]
    steps.append(lambda: vacuum(opened, older_than_days=1, dry_run=False))
    turn = itertools.cycle(steps)
    _again_and_again(lambda: next(turn)())


def _again_and_again(work: Callable[[], object]) -> None:
    while True:
        try:
            work()
        except (CommitConflict, TableError, StoreError) as error:
            # Others came first too often, or the server is too busy: the next turn does it. Everything else ends the process, and the test.
            print(f"{type(error).__name__}: {error}", flush=True)
