"""What a reader does not see: calculations that only retracted sources have, and projects under embargo that no profile of his names.

Both are few: they are looked up once for each state of the lake, and frames are filtered only where one of their element systems
holds some. A calculation that an open source has too is seen, whoever brought it first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import polars as pl

from lake.embargoes import hidden_projects
from lake.place import Place
from lake.retractions import retracted_sources, retractions
from lake.transactions import newest_version
from schemas.sources import Retraction


@dataclass(frozen=True)
class Hidden:
    """What is left out for a reader now."""

    retracted: frozenset[str] = frozenset()
    """Calculations that retracted sources have and no open one."""
    projects: Mapping[str, str] = field(default_factory=dict)
    """Projects under embargo, with the day from which on everybody sees them."""
    open_elsewhere: frozenset[str] = frozenset()
    """Calculations of these projects that an open source has too: they are seen."""
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Element system -> frames left out for a retraction, and for an embargo."""

    def seen(self) -> pl.Expr | None:
        """Return the condition on calculation_id and project that leaves what is seen; None where that is everything."""
        if not self.counts:
            return None
        calculation, project = pl.col("calculation_id"), pl.col("project")
        under_embargo = project.is_in(list(self.projects)) & ~calculation.is_in(sorted(self.open_elsewhere))
        return ~(calculation.is_in(sorted(self.retracted)) | under_embargo)

    def of(self, systems: Iterable[str]) -> Hidden:
        """Return what is left out of some element systems; nothing costs nothing."""
        counts = {system: self.counts[system] for system in systems if system in self.counts}
        return Hidden(self.retracted, self.projects, self.open_elsewhere, counts)

    def n_frames(self) -> tuple[int, int]:
        """Return how many frames are left out for a retraction, and for an embargo."""
        return sum(n for n, _ in self.counts.values()), sum(n for _, n in self.counts.values())


def hidden(lake: Place, *, retracted: bool = False) -> Hidden:
    """Return what the reader of these settings does not see now; retracted=True shows him what was retracted.

    Costs two listings where nothing is retracted or under embargo; otherwise a look at `sources` and `calculations`, once for each
    version of these.
    """
    gone = frozenset() if retracted else retracted_sources(lake)
    projects = hidden_projects(lake)
    if not gone and not projects:
        return Hidden()
    versions = tuple(newest_version(lake, name) for name in ("sources", "calculations"))
    return _look(lake, versions, gone, tuple(projects.items()))


def visible_calculations(lake: Place, version: int | None = None, *, retracted: bool = False) -> pl.LazyFrame:
    """Return the rows of `calculations` that the reader sees; see `hidden`."""
    rows = lake.scan(lake.table("calculations", version))
    seen = hidden(lake, retracted=retracted).seen()
    return rows if seen is None else rows.filter(seen)


def visible_retractions(lake: Place) -> list[Retraction]:
    """Return all retractions, oldest first, but those of sources of projects under embargo that the reader's profile does not name."""
    found, projects = retractions(lake), hidden_projects(lake)
    if not found or not projects:
        return found
    rows = lake.all_sources().filter(pl.col("project").is_in(list(projects))).select("source_id").collect()
    closed = set(rows["source_id"])
    return [retraction for retraction in found if retraction.source_id not in closed]


def less_hidden(systems: pl.DataFrame, unseen: Hidden) -> pl.DataFrame:
    """Return rows of element_system, n_frames and so on with what is seen counted only; systems of which nothing is are left out."""
    if not unseen.counts:
        return systems
    frames = pl.col("element_system").replace_strict({system: a + b for system, (a, b) in unseen.counts.items()}, default=0)
    return systems.with_columns(pl.col("n_frames") - frames).filter(pl.col("n_frames") > 0)


@lru_cache(maxsize=16)
def _look(lake: Place, versions: tuple[int, ...], gone: frozenset[str], days: tuple[tuple[str, str], ...]) -> Hidden:
    projects = dict(days)
    sources = lake.all_sources(versions[0]).select("source_id", "project", pl.col("calculation_ids").alias("calculation_id"))
    retracted_here = pl.col("source_id").is_in(sorted(gone))
    is_open = ~retracted_here & ~pl.col("project").is_in(list(projects))
    columns = ("calculation_id", "element_system", "project", "n_frames")
    calculations = lake.scan(lake.table("calculations", versions[1])).select(columns)
    own = sources.filter(retracted_here).explode("calculation_id").drop_nulls("calculation_id")
    closed = calculations.filter(pl.col("project").is_in(list(projects)))
    concerned = pl.concat([own.select("calculation_id"), closed.select("calculation_id")]).unique().collect()
    elsewhere = sources.filter(is_open).explode("calculation_id").join(concerned.lazy(), on="calculation_id", how="semi")
    open_ids = elsewhere.select("calculation_id").unique().collect()["calculation_id"]
    only = concerned.filter(~pl.col("calculation_id").is_in(open_ids.implode())).lazy()
    rows = calculations.join(only, on="calculation_id", how="semi").collect()
    own_ids = own.select("calculation_id").unique().collect()["calculation_id"]
    retracted = rows["calculation_id"].is_in(own_ids.implode()) & ~rows["project"].is_in(list(projects))
    rows = rows.with_columns(retracted.alias("retracted"))
    counts = rows.group_by("element_system").agg(
        pl.col("n_frames").filter(pl.col("retracted")).sum().alias("a"), pl.col("n_frames").filter(~pl.col("retracted")).sum().alias("b")
    )
    return Hidden(
        retracted=frozenset(own_ids) - frozenset(open_ids),
        projects=projects,
        open_elsewhere=frozenset(closed.select("calculation_id").collect()["calculation_id"]) & frozenset(open_ids),
        counts={system: (int(a), int(b)) for system, a, b in counts.iter_rows()},
    )
