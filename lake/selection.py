"""What a dataset would hold: the frames that a query selects now, on their sides of the split, with their energies aligned if asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from deltalake import DeltaTable

from lake.alignment import COLUMNS as ALIGNED_COLUMNS
from lake.alignment import align as align_energies
from lake.departed import departed
from lake.place import Place
from lake.query import select_from
from lake.rows import level_of_theory
from lake.splits import assign, limit
from lake.theory import conflicts
from lake.theory_rules import ALIGNABLE, KINDS
from lake.visibility import hidden
from schemas.datasets import Alignment, FrameQuery, Split
from schemas.errors import MixedTheory, QueryError

_DEPARTED = "departed:"
"""Before the id of a calculation that was taken out: the same one may come back."""
_INDEX = ("frame_id", "calculation_id", "element_system", "natoms", "step", "configuration_hash", "theory")


@dataclass(frozen=True)
class Selection:
    """Frames chosen for a dataset."""

    index: pl.DataFrame
    """One row a frame: frame_id, calculation_id, element_system, natoms, step, theory, split; energy_offset (eV) where aligned."""
    versions: Mapping[str, int]
    """Versions of the tables that were read."""
    origins: pl.DataFrame
    """calculation_id, project and licence of the calculations, as their first deposit gave them."""
    alignment: Alignment | None = None
    mixed: bool = False
    """Levels of theory that do not go together stand beside each other, each with energies of its own."""


def choose(lake: Place, what: str, query: FrameQuery, split: Split, *, align: bool | str = False, mix: bool = False) -> Selection:
    """Return the frames that a query selects now, split and cut to the limits; what names the selection in errors.

    With align, levels of theory that are alignable are brought to the zeros of the named one (True: of the one with most frames).
    With mix, levels that the query names stay as they are beside each other, whatever their verdict.
    Sides depend on all that the lake holds of the element systems, not on the query: see `lake.splits.assign`.
    Raises QueryError where nothing is selected, MixedTheory where levels of theory do not go together.
    """
    frames = lake.table("frames")
    # Opened after the frames, so that no frame is without its calculation.
    calculations = lake.table("calculations")
    columns = dict.fromkeys((*_INDEX, "project", *(ALIGNED_COLUMNS if align else ())))
    index = select_from(lake, frames, query).select(list(columns)).collect()
    if index.is_empty():
        raise QueryError(f"{what}: the query selects no frame of version {frames.version()}; see 'atomlake frames' with the same filters")
    unseen = hidden(lake).of(index["element_system"].unique())
    seen = unseen.seen()
    left = index if seen is None else index.filter(seen)
    if left.is_empty():
        raise QueryError(
            f"{what}: all {index.height} frames that the query selects are of retracted sources or of projects under embargo; "
            "see 'atomlake retractions' and 'atomlake embargoes'"
        )
    own = left.select("calculation_id").unique().lazy()
    described = lake.scan(calculations).join(own, on="calculation_id", how="semi").collect()
    if mix:
        _check_mixture(what, query, left, described, align=bool(align))
    else:
        _check_theory(what, left, described, align=bool(align))
    alignment = None
    if align:
        alignment, offsets = align_energies(what, left, described, "" if align is True else align)
        left = left.join(offsets, on="calculation_id", how="left", maintain_order="left")
    gone = departed(lake, index["element_system"].unique().to_list())
    order, former = _order(lake, calculations, index, gone)
    sides = assign(pl.concat([_links(lake, frames, index, gone), *_links_of_departed(gone, order, former)]), order, split, former)
    left = left.join(sides, on="calculation_id", how="left", maintain_order="left")
    salt = f"{split.salt}:{split.draw}" if split.draw else split.salt
    left = limit(left, query.limits, salt).sort("element_system", "calculation_id", "step")
    versions = {"frames": int(frames.version()), "calculations": int(calculations.version())}
    return Selection(left, versions, described.select("calculation_id", "project", "licence"), alignment, mixed=mix)


def _links(lake: Place, table: DeltaTable, index: pl.DataFrame, gone: pl.DataFrame) -> pl.DataFrame:
    """Return configuration_hash and calculation_id of structures that several calculations of the index's element systems have, or had."""
    systems = index["element_system"].unique().to_list()
    frames = lake.scan(table).filter(pl.col("element_system").is_in(systems))
    # Integers in place of two texts make the pass over all frames small; two structures that share one by chance are parted by `assign`.
    key = pl.col("configuration_hash").hash().alias("key")
    pairs = frames.select(key, pl.col("calculation_id").hash()).unique()
    several = pairs.group_by("key").len().filter(pl.col("len") > 1).select("key").collect(engine="streaming")
    if gone.height:
        had = gone.select(pl.col("configuration_hash").explode().drop_nulls().hash().alias("key"))
        several = pl.concat([several, had]).unique()
    columns = ("configuration_hash", "calculation_id")
    if several.is_empty():
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    shared = frames.select(*columns, key).join(several.lazy(), on="key", how="semi")
    return shared.select(columns).unique().collect(engine="streaming")


def _order(lake: Place, calculations: DeltaTable, index: pl.DataFrame, gone: pl.DataFrame) -> tuple[list[str], dict[str, list[str]]]:
    """Return the calculations of the index's element systems, oldest first, and the first ids of those that came under another one.

    Retracted ones, those under embargo and (under names of their own) those that reading again took out are among them, so that none of
    these moves others.
    """
    systems = index["element_system"].unique().to_list()
    columns = ("calculation_id", "ingested_at", "formerly")
    rows = lake.scan(calculations).filter(pl.col("element_system").is_in(systems)).select(columns).collect()
    roots = pl.col("formerly").fill_null(pl.concat_list("calculation_id"))
    own = pl.col("calculation_id").str.replace("^", _DEPARTED)
    ghosts = gone.unique("calculation_id", keep="first").select(own, "ingested_at", roots, pl.lit(0).alias("rank"))
    first = pl.col("formerly").list.first().fill_null(pl.col("calculation_id"))
    both = pl.concat([ghosts, rows.with_columns(pl.lit(1).alias("rank")).cast(ghosts.schema)])
    found = both.sort("ingested_at", first, "rank", "calculation_id")
    renamed = found.filter(pl.col("formerly").list.len() > 0)
    return found["calculation_id"].to_list(), dict(renamed.select("calculation_id", "formerly").iter_rows())


def _links_of_departed(gone: pl.DataFrame, order: Iterable[str], former: Mapping[str, Iterable[str]]) -> list[pl.DataFrame]:
    """Return the links of calculations that were taken out: to what had a structure of theirs, and to what came in their place."""
    if gone.is_empty():
        return []
    ghost = pl.col("calculation_id").str.replace("^", _DEPARTED)
    structures = gone.select("configuration_hash", ghost).explode("configuration_hash").drop_nulls()
    names = [(f"{_DEPARTED}{each}", name) for name in order for each in {*former.get(name, ()), name.removeprefix(_DEPARTED)}]
    same = pl.DataFrame(names, schema={"configuration_hash": pl.String, "calculation_id": pl.String}, orient="row")
    return [structures, same]


def _check_mixture(what: str, query: FrameQuery, index: pl.DataFrame, described: pl.DataFrame, *, align: bool) -> None:
    """Raise QueryError where the levels to mix are not named, MixedTheory where calculations of one level do not go together."""
    if align:
        raise QueryError(f"{what}: levels of theory are aligned (align) or kept apart (mix), not both; leave one of them out")
    if len(query.theories) < 2:
        raise QueryError(f"{what}: levels of theory are mixed by name only; give two or more (theories=..., --theory A --theory B)")
    for (theory,), own in described.group_by("theory"):
        _check_theory(what, index.filter(pl.col("theory") == theory), own, align=False)


def _check_theory(what: str, index: pl.DataFrame, described: pl.DataFrame, *, align: bool) -> None:
    """Raise MixedTheory where levels of theory among the calculations do not go together, aligned or as they are."""
    rows: Iterable[dict[str, Any]] = described.iter_rows(named=True)
    found = conflicts(dict.fromkeys(level_of_theory(row) for row in rows))
    worst = max(found, key=lambda conflict: KINDS.index(conflict.verdict.kind), default=None)
    if worst is None or (align and worst.verdict.kind == ALIGNABLE):
        return
    grouped = index.group_by("theory").agg(pl.len().alias("frames"), pl.col("calculation_id").n_unique().alias("calculations"))
    counts = grouped.sort("frames", "theory", descending=[True, False])
    listed = "; ".join(f"{theory!r}: {n} frames of {c} calculations" for theory, n, c in counts.iter_rows())
    advice = f"choose one, such as theory={counts['theory'][0]!r}" if counts.height > 1 else "narrow the selection by project or systems"
    if worst.verdict.kind == ALIGNABLE:
        advice += ", or have their energies aligned (align=True, --align)"
    elif counts.height > 1:
        advice += ", or name them all and keep them apart (mix=True, --mix)"
    raise MixedTheory(
        f"{what} would mix levels of theory. There are {listed}; {advice}. "
        f"Two of them are {worst.verdict.kind}: {'; '.join(worst.verdict.reasons)}"
    )
