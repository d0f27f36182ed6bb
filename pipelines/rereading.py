"""Reading again on Dask workers: plan, read and compare, commit what differs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

import lake
from lake.replacing import Rereading, StagedReplacement, commit_replacement, read_again
from lake.rereading import Group, Wanted, plan
from lake.store import connect
from pipelines.ingesting import Progress, dask_client, no_progress
from schemas.settings import Settings

SOURCES_A_COMMIT: Final = 1000
"""Sources that are read before what differs is committed: what a crash wastes, against how often a large file is written anew."""


def reread(settings: Settings, wanted: Wanted, *, dry_run: bool = False, progress: Progress = no_progress) -> Rereading:
    """Read the wanted sources again and replace what differs; dry_run only compares. Starts no worker where there is nothing to read.

    Can be repeated after a crash: what was replaced then differs no more.
    """
    opened = lake.open(settings=settings)
    inbox = connect(f"s3://{settings.store.inbox_bucket}", settings.store)
    groups = plan(opened, inbox, settings.store.inbox_bucket, wanted)
    told = Rereading(0, 0)
    if not groups:
        return told
    n_all = sum(len(group) for group in groups)
    with dask_client(settings) as client:
        n_workers = max(1, len(client.scheduler_info()["workers"]))
        done = 0
        for portion in _portions(groups):
            label = _label(portion)
            shares = _shares(portion, 4 * n_workers)
            futures = [client.submit(reread_share, settings, share, label, dry_run=dry_run, pure=False) for share in shares]
            staged = []
            for share, future in zip(shares, futures, strict=True):
                replacement, found = future.result()
                staged.append(replacement)
                told += found
                done += sum(len(group) for group in share)
                progress("reading again", done, n_all)
            if not dry_run:
                commit_replacement(opened, staged, label)
    return told


def reread_share(settings: Settings, groups: Sequence[Group], label: str, *, dry_run: bool) -> tuple[StagedReplacement, Rereading]:
    """Read some groups of sources and stage what differs, not yet visible; runs on a worker."""
    inbox = connect(f"s3://{settings.store.inbox_bucket}", settings.store)
    return read_again(lake.open(settings=settings), inbox, groups, label, dry_run=dry_run)


def _label(groups: Sequence[Group]) -> str:
    names = sorted(f"{held.source.source_id}:{held.source.attempt}" for group in groups for held in group)
    return hashlib.sha256("\n".join(("reread", *names)).encode()).hexdigest()


def _portions(groups: Sequence[Group]) -> Iterator[list[Group]]:
    portion: list[Group] = []
    for group in groups:
        portion.append(group)
        if sum(len(each) for each in portion) >= SOURCES_A_COMMIT:
            yield portion
            portion = []
    if portion:
        yield portion


def _shares(groups: Sequence[Group], count: int) -> list[list[Group]]:
    """Deal groups into at most count lists of about equal bytes."""
    dealt: list[list[Group]] = [[] for _ in range(max(1, min(count, len(groups))))]
    loads = [0] * len(dealt)
    for group in sorted(groups, key=lambda group: (-sum(held.source.size for held in group), group[0].source.key)):
        lightest = loads.index(min(loads))
        dealt[lightest].append(group)
        loads[lightest] += sum(held.source.size + 4096 for held in group)
    return dealt
