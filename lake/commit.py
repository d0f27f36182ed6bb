"""The one place where rows become visible: a staged batch is committed exactly once, whatever crashes or runs beside it.

Calculations first, then their frames, then rejections, last the sources, which close the batch. Each step looks into the
table for what is there already (by content, so a batch that crashed may come again with other members), adds the rest and
commits on the handle that it looked through: of two that meet, one fails and looks again (`lake.transactions`).

No step searches what came long before. Calculations and sources are looked up by key, in few files because each commit may join
small ones. Frames are not searched for a calculation that this batch added: nobody could have added its frames before, so only
what came to the table since counts. Nor are they for one whose own batch was closed: then they are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from lake.embargoes import ask
from lake.keys import present, rows_in, rows_of
from lake.log import application_ids, entries, live_additions
from lake.place import Place
from lake.rows import calculation_table, rejection_rows, rejection_table, source_table
from lake.staging import StagedBatch, StagedFrames, StagedSource, count_rows, stage, write_frames
from lake.tables import DataFile, write_file
from lake.tidying import tidy
from lake.transactions import commit_ahead, commit_files, newest_version, remove_unused
from schemas.version import __version__

__all__ = ["BatchReport", "SourceOutcome", "StagedBatch", "commit_batch", "commit_files", "stage"]


@dataclass(frozen=True)
class SourceOutcome:
    """What became of one source."""

    key: str
    state: str
    """taken, partly_taken, rejected, duplicate, needs_units."""
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
    log = _SourceLog(lake, sources, batch, now)
    # Before the commit of the calculations: whoever adds frames of those that are new does it after this version.
    before = newest_version(lake, "frames")
    versions = {"calculations": commit_files(lake, "calculations", batch, calculations.choose)}
    log.brought_before = calculations.brought_before()
    frames = _Frames(lake, staged, owners, _Sure(calculations.new, before, log.brought_before))
    versions["frames"] = frames.commit(batch)
    versions["rejections"] = commit_files(lake, "rejections", batch, log.choose_rejections)
    log.settled = calculations.new | log.brought_before == set(owners)
    versions["sources"] = commit_files(lake, "sources", batch, log.choose_sources)
    for name in ("calculations", "rejections", "sources"):
        tidy(lake, name)
    found = sum(len(staged.calculation_ids) for staged in sources)
    n_new = len(calculations.new)
    return BatchReport(batch, _outcomes(sources, log.states, frames.new), n_new, sum(frames.new.values()), found - n_new, versions)


class _Calculations:
    """The step that adds the rows of `calculations`; new says which were added, batches which batch added each of the others."""

    def __init__(self, lake: Place, staged: Sequence[StagedBatch], owners: Mapping[str, int], batch: str, now: datetime) -> None:
        self._lake, self._batch, self._now = lake, batch, now
        self._rows = [row for share in staged for row in share.calculations if owners[row["calculation_id"]] == share.part]
        self.new: set[str] = set()
        self.batches: dict[str, str] = {}

    def choose(self, table: DeltaTable) -> list[DataFile]:
        wanted = {row["calculation_id"] for row in self._rows}
        self.batches = dict(rows_of(self._lake, table, "calculation_id", wanted, ("calculation_id", "batch_id")).iter_rows())
        fresh = [row for row in self._rows if row["calculation_id"] not in self.batches]
        self.new = {row["calculation_id"] for row in fresh}
        if not fresh:
            return []
        rows = calculation_table(fresh, batch_id=self._batch, now=self._now)
        return [write_file(self._lake, "calculations", rows, label=self._batch[:16])]

    def brought_before(self) -> set[str]:
        """Return the calculations that another batch has added and closed: their frames are there, and a source that names them."""
        others = {name: batch for name, batch in self.batches.items() if batch != self._batch}
        if not others:
            return set()
        closed = application_ids(self._lake, "sources", newest_version(self._lake, "sources"))
        return {name for name, batch in others.items() if batch in closed}


@dataclass(frozen=True)
class _Sure:
    """What is known of frames without a search for them."""

    new: set[str]
    """Calculations that this batch added: the table had no frame of them at version before."""
    before: int
    there: set[str]
    """Calculations whose frames are there."""


class _Frames:
    """The step that adds frames; a staged file that holds frames which must not be added is written anew without them."""

    def __init__(self, lake: Place, staged: Sequence[StagedBatch], owners: Mapping[str, int], sure: _Sure) -> None:
        self._lake, self._staged, self._owners, self._sure = lake, staged, owners, sure
        self._rewritten: dict[tuple[str, frozenset[str]], StagedFrames] = {}
        self._left: set[str] = set()
        self.new: dict[str, int] = {}

    def commit(self, batch: str) -> int:
        """Add the frames and return the version that holds them; staged files that were not taken as they are go only then.

        A later attempt may have to write such a file anew with still fewer frames, so they must stay until one has succeeded.
        """
        version = commit_ahead(self._lake, "frames", batch, self.choose)
        if self._left:
            remove_unused(self._lake, self._lake.table("frames"), "frames", self._left)
        return version

    def choose(self, version: int) -> list[DataFile]:
        files = [frames for share in self._staged for frames in share.frames]
        known = self._known(version, {frames.file.partition["element_system"] for frames in files})
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

    def _known(self, version: int, systems: set[str]) -> set[str]:
        """Return the calculations of the batch whose frames the table has."""
        sure = self._sure
        unsure = set(self._owners) - sure.new - sure.there
        found = self._search(version, unsure, systems) if unsure else set()
        came = live_additions(entries(self._lake, "frames", sure.before, version))
        paths = [file.path for file in came if file.partition["element_system"] in systems]
        late = rows_in(self._lake, "frames", paths, "calculation_id", sorted(sure.new), columns=("calculation_id",))["calculation_id"]
        return sure.there | found | set(late)

    def _search(self, version: int, names: set[str], systems: set[str]) -> set[str]:
        return present(self._lake, self._lake.table("frames", version), "calculation_id", names, systems=sorted(systems))

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
        self.brought_before: set[str] = set()
        """Calculations that earlier batches have brought."""
        self.settled = False
        """Of every calculation of the batch it is known whether it has an older origin."""
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
        elsewhere = set(self.brought_before) if self.settled else self._elsewhere(table)
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
        names = {staged.source.source_id for staged in self._sources}
        rows = rows_of(self._lake, table, "source_id", names, ("source_id", "attempt", "state"))
        return {(name, attempt): state for name, attempt, state in rows.iter_rows()}

    def _elsewhere(self, table: DeltaTable) -> set[str]:
        """Return which calculations of the batch other sources, or earlier attempts, have brought before.

        Reads all sources, so only for a batch that meets what a crashed or unfinished one has left.
        """
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


def _state(staged: StagedSource, elsewhere: set[str]) -> str:
    if any(rejection.reason == "needs_units" for rejection in staged.rejections):
        return "needs_units"
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
