"""Commits to a table: one at a time in the order of its log, each made on the handle through which was decided what to add.

A commit takes the next number of the log or fails; it is never moved behind another one that came first. So what was seen through
the handle is what the commit stands on, and the loser looks again.

A handle costs with the number of files of its table, at each step forward: delta-rs holds the list of all. `commit_ahead` does without:
it follows the log entry by entry and puts its own, so that adding to ten thousand element systems costs what adding to ten does.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from lake.place import Place, spec_of
from lake.probe import probe_once
from lake.tables import CHECKPOINT_EVERY, DataFile, live_files
from schemas.errors import CommitConflict, ObjectMissing
from schemas.version import __version__

COMMITS: Final = "atomlake:commits"
"""Application id that every commit carries, with its version: two commits on the same table always conflict, also for other writers."""

ATTEMPTS: Final = 20
"""Times that a commit is tried against other writers; the waits between them add up to about half a minute."""


_FILES_A_COMMIT: Final = 100
"""A checkpoint is put off by one commit for each so many files: about what an entry of the log costs who opens the table."""
MOST_WITHOUT_CHECKPOINT: Final = 500


@dataclass(frozen=True)
class _Kept:
    """A handle, and the ETag of the log entry that it stands at, which tells whether it is still the same table."""

    table: DeltaTable
    etag: str


class _Handles(threading.local):
    """Handles of this thread: opening a table costs with its number of files, bringing one up to date with what came since."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str, str], _Kept] = {}
        self.tips: dict[tuple[str, str, str], tuple[int, str]] = {}
        """Version and ETag of the newest log entry that was seen."""


_HANDLES: Final = _Handles()


@contextmanager
def newest(lake: Place, name: str) -> Iterator[DeltaTable]:
    """Lend a table at its newest version, to look through and to commit on; nobody else has that handle meanwhile.

    Raises what `Place.table` raises.
    """
    key = (lake.url, lake.settings.store.endpoint_url, name)
    kept = _HANDLES.kept.pop(key, None)
    if kept is not None and kept.etag == _etag(lake, name, kept.table.version()):
        table, before = kept.table, kept.table.version()
        table.update_incremental()
        lake.check(table, name)
        etag = kept.etag if table.version() == before else _etag(lake, name, table.version())
    else:
        table = lake.table(name)
        etag = _etag(lake, name, table.version())
    yield table
    _HANDLES.kept[key] = _Kept(table, etag)


def newest_version(lake: Place, name: str) -> int:
    """Return the newest version of a table, from the newest that this thread has seen on; raises what `Place.table` raises."""
    key = (lake.url, lake.settings.store.endpoint_url, name)
    version, etag = _HANDLES.tips.pop(key, (-1, ""))
    if version < 0 or etag != _etag(lake, name, version):
        version, etag = int(lake.table(name).version()), ""
    seen = version
    while (text := entry_text(lake, name, version + 1)) is not None:
        if b'"metaData"' in text or b'"protocol"' in text:
            version = max(version + 1, int(lake.table(name).version()))
        else:
            version += 1
    _HANDLES.tips[key] = (version, etag if etag and version == seen else _etag(lake, name, version))
    return version


def entry_text(lake: Place, name: str, version: int) -> bytes | None:
    """Return an entry of the log of a table, None for one that is not there yet."""
    try:
        return lake.store.get(log_key(name, version))
    except ObjectMissing:
        return None


def _etag(lake: Place, name: str, version: int) -> str:
    """Return the ETag of an entry of the log, '' for one that is not there."""
    try:
        return lake.store.head(log_key(name, version)).etag
    except ObjectMissing:
        return ""


def log_key(name: str, version: int) -> str:
    """Return the key of an entry of a table's log."""
    return f"{name}/_delta_log/{version:020d}.json"


def commit_files(lake: Place, name: str, batch: str, choose: Callable[[DeltaTable], list[DataFile]]) -> int:
    """Add the files that choose(table) names to a table and return the version that holds them.

    choose looks into the table through the handle it is given, on which the commit is then made; it is asked again on the
    newest version when another writer came first. Files that were written for nothing are removed. Raises CommitConflict, and StoreUnsafe
    where the store would lose commits.
    """
    probe_once(lake.store)
    written: set[str] = set()
    for attempt in range(ATTEMPTS):
        with newest(lake, name) as table:
            files = choose(table)
            unused = written - {file.path for file in files}
            written |= {file.path for file in files}
            if not files or try_commit(table, name, batch, [file.action() for file in files]):
                remove_unused(lake, table, name, unused)
                return int(table.version()) + bool(files)
        wait_for_others(attempt)
    raise _too_many(lake, name, batch)


def commit_ahead(lake: Place, name: str, batch: str, choose: Callable[[int], list[DataFile]]) -> int:
    """Do as `commit_files` does, for a choice that looks at the log only: choose(version) is given the version it may rely on.

    Opens the table at the first call of a thread, for a checkpoint every CHECKPOINT_EVERY commits or more, and to remove files that it had
    chosen and did not use.
    """
    probe_once(lake.store)
    written: set[str] = set()
    for attempt in range(ATTEMPTS):
        version = newest_version(lake, name)
        files = choose(version)
        unused = written - {file.path for file in files}
        written |= {file.path for file in files}
        if not files or put_entry(lake, name, version + 1, batch, files):
            if unused:
                remove_unused(lake, lake.table(name), name, unused)
            if files and _is_due(lake, name, version + 1):
                lake.table(name).create_checkpoint()
            return version + bool(files)
        wait_for_others(attempt)
    raise _too_many(lake, name, batch)


def _is_due(lake: Place, name: str, version: int) -> bool:
    """Return whether a checkpoint is to be written: each costs with the number of files, so a table of many has them less often."""
    if version % CHECKPOINT_EVERY:
        return False
    try:
        last = json.loads(lake.store.get(f"{name}/_delta_log/_last_checkpoint"))
    except ObjectMissing:
        return True
    return version - int(last["version"]) >= min(int(last.get("numOfAddFiles") or 0) // _FILES_A_COMMIT, MOST_WITHOUT_CHECKPOINT)


def put_entry(lake: Place, name: str, version: int, label: str, files: Sequence[DataFile]) -> bool:
    """Add files to a table by the entry of this version of its log; return False where that is there already.

    The entry is what the Delta protocol ("Actions") asks of a writer of tables without column constraints.
    """
    now = int(time.time() * 1000)
    parameters = {"mode": "Append", "partitionBy": json.dumps(list(spec_of(name).partition_by))}
    actions: list[dict[str, Any]] = [
        {"commitInfo": {"timestamp": now, "operation": "WRITE", "operationParameters": parameters, "engineInfo": f"atomlake:{__version__}"}}
    ]
    actions += [{"txn": {"appId": each, "version": version, "lastUpdated": now}} for each in (COMMITS, label)]
    for file in files:
        add = {"path": quote(file.path, safe="/=-_.~"), "partitionValues": dict(file.partition), "size": file.size}
        actions.append({"add": {**add, "modificationTime": now, "dataChange": True, "stats": file.stats}})
    return lake.put_once(log_key(name, version), "\n".join(json.dumps(action) for action in actions).encode())


def _too_many(lake: Place, name: str, batch: str) -> CommitConflict:
    return CommitConflict(
        f"{lake.url}: table {name!r}: other writers came first {ATTEMPTS} times while committing batch {batch[:16]}; "
        "nothing is lost, run the ingest again when fewer run beside it"
    )


def try_commit(table: DeltaTable, name: str, label: str, actions: Sequence[AddAction | RemoveAction]) -> bool:
    """Commit on a handle what was chosen by looking through it; return False where another writer came first.

    label is the application id that the commit carries beside the common one. The handle stays at its version.
    """
    version = int(table.version()) + 1
    # Without retries the commit takes this version or fails. The version as count of both ids spares looking the old ones up.
    properties = CommitProperties(app_transactions=[Transaction(COMMITS, version), Transaction(label, version)], max_commit_retries=0)
    partition_by = list(spec_of(name).partition_by) or None
    try:
        table.create_write_transaction(list(actions), "append", table.schema(), partition_by=partition_by, commit_properties=properties)
    except CommitFailedError:
        return False
    return True


def wait_for_others(attempt: int) -> None:
    """Wait before the next attempt to commit: at random, longer each time, up to about three seconds."""
    time.sleep(random.uniform(0.05, 0.2) * min(2**attempt, 16))


def remove_unused(lake: Place, table: DeltaTable, name: str, paths: set[str]) -> None:
    """Remove files that no commit names; table must have been brought up to date after the last attempt to commit one of them."""
    if paths:
        live = set(live_files(table)["path"].to_pylist())
        for path in sorted(paths - live):
            lake.store.delete(f"{name}/{path}")
