"""From the inbox to a commit: plan batches, read them on Dask workers, commit each once. Works without a Prefect server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

import lake
from lake import Lake
from lake.collections.answers import NO_ANSWERS, Answers
from lake.commit import BatchReport, StagedBatch, commit_batch, stage
from lake.inbox import answer, batch_id, discover, plan_batches
from lake.reading import read_source
from lake.recycling import recycle_memory
from lake.store import connect
from schemas.errors import UnknownName, closest
from schemas.settings import Settings
from schemas.sources import SourceObject

if TYPE_CHECKING:
    from distributed import Client

ATTEMPTS = 3
"""A source that the store fails to deliver is read so many times before it waits for `atomlake retry`."""

STORE_REASONS = ("store_failed", "object_vanished")

ONE_DAY = 86_400
"""Seconds; the clock of a store may be ahead of ours by less than this."""

Progress = Callable[[str, int, int], None]
"""Called with what is going on, how much of it is done, and how much there is."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Show nothing."""


def waiting_batches(settings: Settings, *, retry: frozenset[str] = frozenset(), at_once: bool = False) -> list[tuple[SourceObject, ...]]:
    """Return the sources that the lake has not seen, in batches; retry holds the ids of sources to read once more.

    Sources that the store failed to deliver are read again by themselves. at_once: also what has just been put.
    Costs one listing of the inbox and one look at the ledger. Makes the lake's tables where they are not there yet.
    """
    inbox = connect(f"s3://{settings.store.inbox_bucket}", settings.store)
    opened = lake.open(settings=settings).create()
    ledger = opened.ledger(settings.store.inbox_bucket, retry=retry | failed_by_the_store(opened, settings.store.inbox_bucket))
    quiet = -ONE_DAY if at_once else settings.ingest.quiet_seconds
    sources = discover(inbox, ledger, bucket=settings.store.inbox_bucket, quiet_seconds=quiet, now=datetime.now(UTC))
    return plan_batches(sources, settings.ingest)


def failed_by_the_store(opened: Lake, bucket: str) -> frozenset[str]:
    """Return the ids of sources whose newest attempt failed because of the store, not of their bytes, fewer than ATTEMPTS times."""
    newest = opened.all_sources().filter(pl.col("bucket") == bucket).group_by("source_id").agg(pl.col("attempt").max())
    failed = opened.all_rejections().filter(pl.col("reason").is_in(STORE_REASONS)).select("source_id", "attempt").unique()
    again = failed.join(newest, on=["source_id", "attempt"]).filter(pl.col("attempt") < ATTEMPTS)
    return frozenset(again.select("source_id").collect()["source_id"])


def read_share(settings: Settings, sources: Sequence[SourceObject], batch: str, part: int) -> StagedBatch:
    """Read some sources of a batch and write their frames to the lake, not yet visible; runs on a worker."""
    recycle_memory()
    inbox = connect(f"s3://{settings.store.inbox_bucket}", settings.store)
    readings = [read_source(source, inbox, settings.limits) for source in sources]
    return stage(lake.open(settings=settings), readings, batch, part)


def shares(sources: Sequence[SourceObject], count: int) -> list[list[SourceObject]]:
    """Deal sources into at most count lists of about equal bytes; the same sources always fall the same way."""
    dealt: list[list[SourceObject]] = [[] for _ in range(max(1, min(count, len(sources))))]
    loads = [0] * len(dealt)
    for source in sorted(sources, key=lambda s: (-s.size, s.key)):
        lightest = loads.index(min(loads))
        dealt[lightest].append(source)
        loads[lightest] += source.size + 4096
    return [sorted(share, key=lambda s: s.key) for share in dealt]


def ingest_batch(settings: Settings, sources: tuple[SourceObject, ...], client: Client, progress: Progress = no_progress) -> BatchReport:
    """Read one batch on the workers of client and commit it; a repetition after any crash gives the same tables."""
    from distributed import as_completed

    batch = batch_id(sources)
    dealt = shares(sources, 4 * max(1, len(client.scheduler_info()["workers"])))
    futures = [client.submit(read_share, settings, share, batch, part, pure=False) for part, share in enumerate(dealt)]
    part_of = {future.key: part for part, future in enumerate(futures)}
    staged: dict[int, StagedBatch] = {}
    progress("reading archives", 0, len(sources))
    for future, result in as_completed(futures, loop=client.loop, with_results=True):
        staged[part_of[future.key]] = result
        progress("reading archives", sum(len(dealt[part]) for part in staged), len(sources))
    return commit_batch(lake.open(settings=settings), [staged[part] for part in sorted(staged)], batch)


@contextmanager
def dask_client(settings: Settings) -> Iterator[Client]:
    """Connect to the scheduler of the settings, or start worker processes of our own for the time being."""
    from distributed import Client, LocalCluster

    if settings.dask.scheduler_address:
        with Client(settings.dask.scheduler_address, timeout="20s", set_as_default=False) as client:
            yield client
        return
    cluster = LocalCluster(
        n_workers=settings.dask.workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


def ingest_once(
    settings: Settings, *, progress: Progress = no_progress, on_batch: Callable[[BatchReport], None] | None = None
) -> list[BatchReport]:
    """Take everything that waits in the inbox; starts no worker where nothing waits."""
    return _take(settings, waiting_batches(settings), progress, on_batch)


def retry_source(settings: Settings, key: str, *, answers: Answers = NO_ANSWERS, progress: Progress = no_progress) -> list[BatchReport]:
    """Read the source of this key again, as a new attempt; raises UnknownName where the lake has never read it.

    answers (units, keys, theory of files without units) are written beside it first, so that every later reading has them too.
    """
    bucket = settings.store.inbox_bucket
    rows = lake.open(settings=settings).all_sources().filter(pl.col("bucket") == bucket).select("key", "source_id").unique().collect()
    known = dict(rows.iter_rows())
    if key not in known:
        raise UnknownName(f"the lake has never read {key!r} from inbox {bucket!r}{closest(key, known)}; `atomlake rejections` lists keys")
    ids = frozenset(rows.filter(pl.col("key") == key)["source_id"])
    if answers != NO_ANSWERS:
        answer(connect(f"s3://{bucket}", settings.store), key, answers)
    batches = waiting_batches(settings, retry=ids, at_once=True)
    wanted = [tuple(source for source in batch if source.key == key) for batch in batches]
    return _take(settings, [batch for batch in wanted if batch], progress, None)


def _take(
    settings: Settings,
    batches: Sequence[tuple[SourceObject, ...]],
    progress: Progress,
    on_batch: Callable[[BatchReport], None] | None,
) -> list[BatchReport]:
    if not batches:
        return []
    reports = []
    with dask_client(settings) as client:
        for sources in batches:
            reports.append(ingest_batch(settings, sources, client, progress))
            if on_batch is not None:
                on_batch(reports[-1])
    return reports
