"""Vacuum: what no version that anybody needs refers to is removed from the store.

Kept are the files of the newest versions, of every version that a dataset pins, those removed from a table less than the retention
ago (a reader may still be at it), and those younger than it (a writer may be about to commit them).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from lake.datasets import FOLDER as DATASETS
from lake.datasets import list_datasets
from lake.place import SPECS, Place
from lake.scalars import unused_files
from lake.tables import REMOVED_FILE_DAYS
from schemas.errors import QueryError

LEAST_DAYS: Final = 1.0
"""Below this a writer or reader that runs now could lose its files."""


@dataclass(frozen=True)
class Sweep:
    """What a vacuum removed, or would remove, of one kind."""

    what: str
    """A table; 'dataset indexes' that no manifest names; 'scalar columns' of older versions; 'unfinished uploads'."""
    n_files: int
    bytes: int
    pinned_versions: tuple[int, ...] = ()
    """Versions of the table that datasets pin."""


def vacuum(
    lake: Place, *, older_than_days: float, dry_run: bool, alone: bool = False, progress: Callable[[int, int], None] | None = None
) -> tuple[Sweep, ...]:
    """Remove what nobody needs and has not needed for some days, and return it by kind; dry_run only looks.

    alone says that nothing else uses the lake now, which allows less than LEAST_DAYS; otherwise that raises QueryError, as does more
    than REMOVED_FILE_DAYS.
    """
    if older_than_days < 0 or (older_than_days < LEAST_DAYS and not (alone or dry_run)):
        raise QueryError(
            f"vacuum of what is older than {older_than_days:g} days could take files from writers and readers that run now; "
            f"take {LEAST_DAYS:g} or more, or say that nothing else runs (--alone, alone=True)"
        )
    if older_than_days > REMOVED_FILE_DAYS:
        raise QueryError(
            f"the logs remember for {REMOVED_FILE_DAYS} days when a file was removed, so files cannot be kept for {older_than_days:g}; "
            "what is needed for longer belongs into a dataset"
        )
    retention = timedelta(days=older_than_days)
    before = datetime.now(UTC) - retention
    pinned = pinned_versions(lake)
    swept = []
    for done, name in enumerate(SPECS):
        swept.append(_sweep_table(lake, name, pinned.get(name, ()), retention, dry_run=dry_run))
        if progress is not None:
            progress(done + 1, len(SPECS))
    uploads = lake.store.unfinished_uploads(before, abort=not dry_run)
    indexes, summaries = _sweep_indexes(lake, before, dry_run=dry_run), _sweep_summaries(lake, before, dry_run=dry_run)
    return (*swept, indexes, summaries, Sweep("unfinished uploads", len(uploads), 0))


def pinned_versions(lake: Place) -> dict[str, tuple[int, ...]]:
    """Return the versions of each table that datasets pin."""
    found: dict[str, set[int]] = {}
    for manifest in list_datasets(lake):
        for name, version in manifest.table_versions.items():
            found.setdefault(name, set()).add(version)
    return {name: tuple(sorted(versions)) for name, versions in found.items()}


def _sweep_table(lake: Place, name: str, pinned: tuple[int, ...], retention: timedelta, *, dry_run: bool) -> Sweep:
    sizes = {found.key.removeprefix(f"{name}/"): found.size for found in lake.store.list(name)}
    removed = lake.table(name).vacuum(
        retention_hours=int(retention / timedelta(hours=1)),
        dry_run=dry_run,
        enforce_retention_duration=False,
        full=True,
        keep_versions=list(pinned) or None,
    )
    return Sweep(name, len(removed), sum(sizes.get(path, 0) for path in removed), pinned)


def _sweep_indexes(lake: Place, before: datetime, *, dry_run: bool) -> Sweep:
    """Remove indexes that a publication wrote and no manifest names: it crashed, or another one of that name came first."""
    named = {f"{DATASETS}/{manifest.name}/frames-{manifest.content_hash[:16]}.parquet" for manifest in list_datasets(lake)}
    orphans = [
        found for found in lake.store.list(DATASETS)
        if found.key.endswith(".parquet") and found.key not in named and found.last_modified < before
    ]  # fmt: skip
    for found in orphans if not dry_run else []:
        lake.store.delete(found.key)
    return Sweep("dataset indexes", len(orphans), sum(found.size for found in orphans))


def _sweep_summaries(lake: Place, before: datetime, *, dry_run: bool) -> Sweep:
    """Remove the scalar columns that only older summaries need; who still reads one has had the retention to come to an end."""
    old = [(key, size) for key, size, written in unused_files(lake) if written < before]
    for key, _ in old if not dry_run else []:
        lake.store.delete(key)
    return Sweep("scalar columns", len(old), sum(size for _, size in old))
