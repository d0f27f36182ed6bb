"""The one place where rows become visible: a staged batch is committed exactly once, whatever crashes or runs beside it.

Calculations first, then their frames, then rejections, last the sources, which close the batch. Each step looks into the
table for what is there already (by content, so a batch that crashed may come again with other members), adds the rest and
commits on the handle that it looked through. All commits to a table carry one common application transaction, so of two
that meet, one fails, opens the table again and looks again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from lake.embargoes import ask
from lake.place import Place, spec_of
from lake.rows import calculation_table, rejection_rows, rejection_table, source_table
from lake.staging import StagedBatch, StagedFrames, StagedSource, count_rows, stage, write_frames
from lake.tables import DataFile, live_files, write_file
from schemas.errors import CommitConflict
from schemas.version import __version__

__all__ = ["BatchReport", "SourceOutcome", "StagedBatch", "commit_batch", "commit_files", "stage"]

COMMITS: Final = "atomlake:commits"
"""Application id that every commit carries, counted up: two commits on the same table always conflict."""

ATTEMPTS: Final = 20
"""Times that a commit is tried against other writers; the waits between them add up to about half a minute."""


@dataclass(frozen=True)
class SourceOutcome:
    """What became of one source."""

    key: str
    state: str
    """taken, partly_taken, rejected, duplicate."""
    n_calculations: int
    n_frames: int
    n_new_frames: int
    n_rejections: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class BatchReport:
    """What a commit of a batch added; a batch that is committed again reports no new rows."""

    batch_id: str
    sources: tuple[SourceOutcome, ...]
    n_calculations_new: int
    n_frames_new: int
    n_duplicates: int
    """Calculations found that were in the lake, or in the batch, already."""
    versions: Mapping[str, int]
    """Version of each table after the commit."""


def commit_batch(lake: Place, staged: Sequence[StagedBatch], batch: str, *, now: datetime | None = None) -> BatchReport:
    """Make a staged batch visible, exactly once, and return what it added.

    Can be called again with the same or a new staging after a crash at any point, and at the same time from many processes.
    Raises CommitConflict when other writers come first at every attempt.
    """
    now = now or datetime.now(UTC)
    staged = sorted(staged, key=lambda share: share.part)
    sources = sorted((source for share in staged for source in share.sources), key=lambda source: (source.source.key, source.source.etag))
    owners: dict[str, int] = {}
    for share in staged:
        for row in share.calculations:
            owners.setdefault(row["calculation_id"], share.part)
    # Before anything of it can be seen.
    ask(lake, [(s.project, s.embargo_until, s.source.key, s.source.attempt > 1) for s in sources if s.embargo_until and s.calculation_ids])
    calculations = _Calculations(lake, staged, owners, batch, now)
    frames = _Frames(lake, staged, owners)
    log = _SourceLog(lake, sources, batch, now)
    versions = {
        "calculations": commit_files(lake, "calculations", batch, calculations.choose),
        "frames": frames.commit(batch),
        "rejections": commit_files(lake, "rejections", batch, log.choose_rejections),
    }
    log.settled = calculations.new == set(owners)
    versions["sources"] = commit_files(lake, "sources", batch, log.choose_sources)
    found = sum(len(staged.calculation_ids) for staged in sources)
    n_new = len(calculations.new)
    return BatchReport(batch, _outcomes(sources, log.states, frames.new), n_new, sum(frames.new.values()), found - n_new, versions)


def commit_files(lake: Place, name: str, batch: str, choose: Callable[[DeltaTable], list[DataFile]]) -> int:
    """Add the files that choose(table) names to a table and return the version that holds them.

    choose looks into the table through the handle it is given, on which the commit is then made; it is asked again on a new
    handle when another writer came first. Files that were written for nothing are removed. Raises CommitConflict.
    """
    written: set[str] = set()
    for attempt in range(ATTEMPTS):
        table = lake.table(name)
        files = choose(table)
        written |= {file.path for file in files}
        if not files:
            _remove_unused(lake, table, name, written)
            return int(table.version())
        if not try_commit(table, name, batch, [file.action() for file in files]):
            wait_for_others(attempt)
            continue
        _remove_unused(lake, table, name, written - {file.path for file in files})
        return int(table.version()) + 1
    raise CommitConflict(
        f"{lake.url}: table {name!r}: other writers came first {ATTEMPTS} times while committing batch {batch[:16]}; "
        "nothing is lost, run the ingest again when fewer run beside it"
    )


def try_commit(table: DeltaTable, name: str, label: str, actions: Sequence[AddAction | RemoveAction]) -> bool:
    """Commit on a handle what was chosen by looking through it; return False where another writer came first.

    label is the application id that the commit carries beside the common one.
    """
    counted = (table.transaction_version(COMMITS) or 0) + 1
    again = (table.transaction_version(label) or 0) + 1
    properties = CommitProperties(app_transactions=[Transaction(COMMITS, counted), Transaction(label, again)], max_commit_retries=3)
    partition_by = list(spec_of(name).partition_by) or None
    try:
        table.create_write_transaction(list(actions), "append", table.schema(), partition_by=partition_by, commit_properties=properties)
    except CommitFailedError:
        return False
    return True


def wait_for_others(attempt: int) -> None:
    """Wait before the next attempt to commit: at random, longer each time, up to about three seconds."""
    time.sleep(random.uniform(0.05, 0.2) * min(2**attempt, 16))


def _remove_unused(lake: Place, table: DeltaTable, name: str, paths: set[str]) -> None:
    """Remove files that no commit names; table must have been opened after the last attempt to commit one of them."""
    if paths:
        live = set(live_files(table)["path"].to_pylist())
        for path in sorted(paths - live):
            lake.store.delete(f"{name}/{path}")


class _Calculations:
    """The step that adds the rows of `calculations`; new says which were added."""

    def __init__(self, lake: Place, staged: Sequence[StagedBatch], owners: Mapping[str, int], batch: str, now: datetime) -> None:
        self._lake, self._batch, self._now = lake, batch, now
        self._rows = [row for share in staged for row in share.calculations if owners[row["calculation_id"]] == share.part]
        self.new: set[str] = set()

    def choose(self, table: DeltaTable) -> list[DataFile]:
        known = present(self._lake, table, "calculation_id", {row["calculation_id"] for row in self._rows})
        fresh = [row for row in self._rows if row["calculation_id"] not in known]
        self.new = {row["calculation_id"] for row in fresh}
        if not fresh:
            return []
        rows = calculation_table(fresh, batch_id=self._batch, now=self._now)
        return [write_file(self._lake, "calculations", rows, label=self._batch[:16])]


class _Frames:
    """The step that adds frames; a staged file that holds frames which must not be added is written anew without them."""

    def __init__(self, lake: Place, staged: Sequence[StagedBatch], owners: Mapping[str, int]) -> None:
        self._lake, self._staged, self._owners = lake, staged, owners
        self._rewritten: dict[tuple[str, frozenset[str]], StagedFrames] = {}
        self._left: set[str] = set()
        self.new: dict[str, int] = {}

    def commit(self, batch: str) -> int:
        """Add the frames and return the version that holds them; staged files that were not taken as they are go only then.

        A later attempt may have to write such a file anew with still fewer frames, so they must stay until one has succeeded.
        """
        version = commit_files(self._lake, "frames", batch, self.choose)
        if self._left:
            _remove_unused(self._lake, self._lake.table("frames"), "frames", self._left)
        return version

    def choose(self, table: DeltaTable) -> list[DataFile]:
        files = [frames for share in self._staged for frames in share.frames]
        systems = sorted({frames.file.partition["element_system"] for frames in files})
        known = present(self._lake, table, "calculation_id", set(self._owners), systems=systems)
        self.new = {}
        chosen = []
        for share in self._staged:
            for frames in share.frames:
                wanted = frozenset(name for name in frames.rows if self._owners[name] == share.part and name not in known)
                for name in wanted:
                    self.new[name] = self.new.get(name, 0) + frames.rows[name]
                if wanted:
                    chosen.append(self._only(frames, wanted).file)
        self._left = {frames.file.path for frames in files} - {file.path for file in chosen}
        return chosen

    def _only(self, frames: StagedFrames, wanted: frozenset[str]) -> StagedFrames:
        if wanted == set(frames.rows):
            return frames
        key = (frames.file.path, wanted)
        if key not in self._rewritten:
            data = self._lake.store.get(f"frames/{frames.file.path}")
            rows = pq.read_table(pa.BufferReader(data), partitioning=None)
            rows = rows.filter(pc.is_in(rows["calculation_id"], pa.array(sorted(wanted), pa.string())))
            system = frames.file.partition["element_system"]
            label = frames.file.path.rpartition("/")[2].rpartition("-")[0]
            self._rewritten[key] = StagedFrames(write_frames(self._lake, rows, system, label), count_rows(rows))
        return self._rewritten[key]


class _SourceLog:
    """The steps that add rejections and, as the end of the batch, sources; states says what became of each source."""

    def __init__(self, lake: Place, sources: Sequence[StagedSource], batch: str, now: datetime) -> None:
        self._lake, self._sources, self._batch, self._now = lake, sources, batch, now
        self.settled = False
        """All calculations of the batch are new, so none has an older origin."""
        self.states: dict[str, str] = {}

    def choose_rejections(self, table: DeltaTable) -> list[DataFile]:
        rows = {row["rejection_id"]: row for staged in self._sources for row in rejection_rows(staged.source, staged.rejections)}
        known = present(self._lake, table, "rejection_id", set(rows))
        fresh = [row for name, row in rows.items() if name not in known]
        if not fresh:
            return []
        return [write_file(self._lake, "rejections", rejection_table(fresh, batch_id=self._batch, now=self._now), label=self._batch[:16])]

    def choose_sources(self, table: DeltaTable) -> list[DataFile]:
        seen = self._seen(table)
        elsewhere = set() if self.settled else self._elsewhere(table)
        self.states = {}
        fresh: dict[tuple[str, int], dict[str, Any]] = {}
        for staged in self._sources:
            name = (staged.source.source_id, staged.source.attempt)
            state = _state(staged, elsewhere)
            self.states[name[0]] = seen.get(name, state)
            elsewhere |= set(staged.calculation_ids)
            if name not in seen and name not in fresh:
                fresh[name] = _source_row(staged, state)
        if not fresh:
            return []
        rows = source_table(list(fresh.values()), batch_id=self._batch, now=self._now)
        return [write_file(self._lake, "sources", rows, label=self._batch[:16])]

    def _seen(self, table: DeltaTable) -> dict[tuple[str, int], str]:
        names = sorted({staged.source.source_id for staged in self._sources})
        rows = self._lake.scan(table).filter(pl.col("source_id").is_in(names)).select("source_id", "attempt", "state").collect()
        return {(name, attempt): state for name, attempt, state in rows.iter_rows()}

    def _elsewhere(self, table: DeltaTable) -> set[str]:
        """Return which calculations of the batch other sources, or earlier attempts, have brought before."""
        own = pl.DataFrame(
            {"source_id": [s.source.source_id for s in self._sources], "attempt": [s.source.attempt for s in self._sources]},
            schema={"source_id": pl.String, "attempt": pl.Int32},
        )
        names = sorted({name for staged in self._sources for name in staged.calculation_ids})
        rows = (
            self._lake.scan(table)
            .select("source_id", "attempt", "calculation_ids")
            .join(own.lazy(), on=["source_id", "attempt"], how="anti")
        )
        found = rows.select(pl.col("calculation_ids").explode()).filter(pl.col("calculation_ids").is_in(names)).unique().collect()
        return set(found["calculation_ids"])


def present(lake: Place, table: DeltaTable, column: str, wanted: set[str], *, systems: Sequence[str] | None = None) -> set[str]:
    """Return which of the wanted values of a text column a table holds.

    Only files of the named element systems (None: all), whose range of values in the log covers one of them, are read.
    """
    if not wanted:
        return set()
    files = live_files(table, systems)
    if not files.num_rows:
        return set()
    ordered = sorted(wanted)
    paths = [path for path, low, high in _ranges(files, column) if _covers(ordered, low, high)]
    if not paths:
        return set()
    # Files from before a migration lack columns, so the first one's are not those of all.
    scan = pl.scan_parquet(
        [f"{table.table_uri.rstrip('/')}/{path}" for path in paths], storage_options=lake.scan_options, hive_partitioning=False,
        extra_columns="ignore", missing_columns="insert",
    )  # fmt: skip
    return set(scan.select(column).filter(pl.col(column).is_in(ordered)).unique().collect()[column])


def _ranges(files: pa.Table, column: str) -> Iterable[tuple[str, str | None, str | None]]:
    nothing = [None] * files.num_rows
    low = files[f"min.{column}"].to_pylist() if f"min.{column}" in files.column_names else nothing
    high = files[f"max.{column}"].to_pylist() if f"max.{column}" in files.column_names else nothing
    return zip(files["path"].to_pylist(), low, high, strict=True)


def _covers(ordered: list[str], low: str | None, high: str | None) -> bool:
    return low is None or high is None or any(low <= value <= high for value in ordered)


def _state(staged: StagedSource, elsewhere: set[str]) -> str:
    if not staged.calculation_ids:
        return "rejected"
    if staged.rejections:
        return "partly_taken"
    return "duplicate" if elsewhere.issuperset(staged.calculation_ids) else "taken"


def _source_row(staged: StagedSource, state: str) -> dict[str, Any]:
    source = staged.source
    return {
        "source_id": source.source_id,
        "bucket": source.bucket,
        "key": source.key,
        "etag": source.etag,
        "version_id": source.version_id,
        "size": source.size,
        "last_modified": source.last_modified,
        "state": state,
        "attempt": source.attempt,
        "n_calculations": len(staged.calculation_ids),
        "n_frames": sum(staged.n_frames),
        "n_rejections": len(staged.rejections),
        "calculation_ids": list(staged.calculation_ids),
        "members": list(staged.members),
        "project": staged.project,
        "bytes_read": staged.bytes_read,
        "seconds": staged.seconds,
        "reader_version": __version__,
    }


def _outcomes(sources: Sequence[StagedSource], states: Mapping[str, str], new: Mapping[str, int]) -> tuple[SourceOutcome, ...]:
    """Return what became of each source; new frames of a calculation count for the first source that has it."""
    left = dict(new)
    return tuple(
        SourceOutcome(
            key=staged.source.key,
            state=states[staged.source.source_id],
            n_calculations=len(staged.calculation_ids),
            n_frames=sum(staged.n_frames),
            n_new_frames=sum(left.pop(name, 0) for name in staged.calculation_ids),
            n_rejections=len(staged.rejections),
            reasons=tuple(sorted({rejection.reason for rejection in staged.rejections})),
        )
        for staged in sources
    )
