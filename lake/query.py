"""Selections: a FrameQuery becomes a lazy frame that reads only the partitions and columns it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import polars as pl
import pyarrow.compute as pc
from deltalake import DeltaTable

from lake.log import live_paths
from lake.materials import calculations_of
from lake.place import Place
from lake.scalars import COLUMNS, scan_newest_scalars, scan_scalars
from lake.tables import live_files
from lake.visibility import Hidden, hidden, less_hidden, visible_calculations
from schemas.datasets import FrameQuery
from schemas.elements import anonymous_formula, atomic_number, canonical_formula, element_system, parse_anonymous, parse_formula
from schemas.errors import QueryError, closest
from schemas.flags import DISQUALIFYING, FLAG_NAMES

_NAMES = {field.name for field in dataclasses.fields(FrameQuery)}
_LISTS: Final = ("elements", "systems", "containing", "any_of", "without", "flags", "without_flags")
RANGES: Final = ("natoms", "energy_per_atom", "largest_force", "volume", "volume_per_atom", "density", "pressure", "ingested")
"""Filters that are (least, most), both included; None leaves an end open."""
_RANGE_OF: Final = {"largest_force": pl.col("max_force"), "volume_per_atom": pl.col("volume") / pl.col("natoms")}


def frame_query(**filters: Any) -> FrameQuery:
    """Return a FrameQuery of filters by name; lists may be any iterable of text, or text with commas or spaces between.

    Raises QueryError for an unknown filter (with the closest one) or an unknown element.
    """
    for name in filters:
        if name not in _NAMES:
            raise QueryError(f"frames cannot be selected by {name!r}{closest(name, _NAMES)}; filters are {', '.join(sorted(_NAMES))}")
    lists: dict[str, tuple[str, ...]] = {name: names_of(filters[name]) for name in _LISTS if name in filters}
    if "theories" in filters:
        lists["theories"] = (filters["theories"],) if isinstance(filters["theories"], str) else tuple(filters["theories"])
    query = FrameQuery(**{**filters, **lists})
    check(query)
    return query


def names_of(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return names given as an iterable or as text with commas or spaces between, sorted and each once."""
    words = value.replace(",", " ").split() if isinstance(value, str) else value
    return tuple(sorted(set(words)))


def check(query: FrameQuery) -> None:
    """Raise QueryError where a query names no element or flag, an empty range or contradicts itself."""
    symbols = (*query.elements, *query.containing, *query.any_of, *query.without, *(s for name in query.systems for s in name.split("-")))
    for symbol in symbols:
        atomic_number(symbol)
    if query.systems and query.elements:
        raise QueryError("a selection takes either elements or systems, not both; leave one out")
    if query.subsystems and not query.elements:
        raise QueryError("subsystems needs elements: the frames of all subsets of these are taken")
    for name in RANGES:
        low, high = getattr(query, name) or (None, None)
        if low is not None and high is not None and low > high:
            raise QueryError(f"{name} goes from {low} to {high}, which holds nothing; write the smaller one first")
    for flag in (*query.flags, *query.without_flags):
        if flag not in FLAG_NAMES:
            raise QueryError(f"there is no flag {flag!r}{closest(flag, FLAG_NAMES)}; flags are {', '.join(sorted(FLAG_NAMES))}")
    for flag in query.flags if query.only_good else ():
        if flag in DISQUALIFYING:
            raise QueryError(f"no good frame carries the flag {flag!r}, which disqualifies; ask for all frames (only_good=False, --all)")
    for system, limit in query.limits.items():
        for symbol in system.split("-"):
            atomic_number(symbol)
        if limit < 0:
            raise QueryError(f"the limit of {system} is {limit}; it is a number of frames, 0 or more")


def select(lake: Place, query: FrameQuery, version: int | None = None, *, retracted: bool = False) -> pl.LazyFrame:
    """Return the frames that a query selects from a version of the table (None: the newest), and that the reader sees.

    Left out are projects under embargo and, unless retracted=True, what only retracted sources have: see `lake.visibility`.
    """
    frames, left_out = _selected(lake, lake.table("frames", version), query, retracted=retracted)
    seen = left_out.seen()
    return frames if seen is None else frames.filter(seen)


def select_scalars(lake: Place, query: FrameQuery, version: int | None = None, *, retracted: bool = False) -> pl.LazyFrame:
    """Return what `select` does, without the arrays: `lake.scalars.COLUMNS`, read from a few files however many systems there are."""
    if query.with_forces:
        return select(lake, query, version, retracted=retracted).select(COLUMNS)
    rows = scan_newest_scalars(lake) if version is None else None
    if rows is None:
        table = lake.table("frames", version)
        rows, there = scan_scalars(lake, table), systems_of(table)
    else:
        there = live_paths(lake, "frames")["element_system"].unique().sort().to_list()
    frames, systems = _matching(lake, query, rows, there)
    seen = hidden(lake, retracted=retracted).of(systems).seen()
    return frames if seen is None else frames.filter(seen)


def left_out(lake: Place, query: FrameQuery, version: int | None = None, *, retracted: bool = False) -> Hidden:
    """Return what `select` leaves out of the same selection, its counts being those of the selection's own frames."""
    frames, found = _selected(lake, lake.table("frames", version), query, retracted=retracted)
    seen = found.seen()
    if seen is None:
        return found
    embargoed = pl.col("project").is_in(list(found.projects))
    rows = frames.filter(pl.col("element_system").is_in(sorted(found.counts)), ~seen).group_by("element_system")
    counted = rows.agg((~embargoed).sum().alias("retracted"), embargoed.sum().alias("embargoed")).collect()
    return dataclasses.replace(found, counts={system: (int(a), int(b)) for system, a, b in counted.iter_rows()})


def select_from(lake: Place, table: DeltaTable, query: FrameQuery) -> pl.LazyFrame:
    """Return the frames that a query selects from an opened table, pruned to the element systems that match; nothing is left out."""
    return _matching(lake, query, lake.scan(table), systems_of(table))[0]


def _selected(lake: Place, table: DeltaTable, query: FrameQuery, *, retracted: bool) -> tuple[pl.LazyFrame, Hidden]:
    frames, systems = _matching(lake, query, lake.scan(table), systems_of(table))
    return frames, hidden(lake, retracted=retracted).of(systems)


def _matching(lake: Place, query: FrameQuery, frames: pl.LazyFrame, there: list[str]) -> tuple[pl.LazyFrame, list[str]]:
    """Return the frames that match, out of those of the element systems that are there, and the systems that they can be of."""
    check(query)
    systems = matching_systems(query, there)
    conditions = _conditions(query)
    own = _calculations_that_match(lake, query)
    if own is not None:
        systems = sorted(set(systems) & set(own["element_system"].unique()))
        conditions.append(pl.col("calculation_id").is_in(own["calculation_id"].implode()))
    if len(systems) == 1:
        frames = frames.filter(pl.col("element_system") == systems[0])
    elif len(systems) < len(there):
        frames = frames.filter(pl.col("element_system").is_in(systems))
    return (frames.filter(*conditions) if conditions else frames), systems


def systems_of(table: DeltaTable) -> list[str]:
    """Return the element systems that a version of `frames` holds, sorted, from its log."""
    files = live_files(table)
    return sorted(pc.unique(files["partition.element_system"]).to_pylist()) if files.num_rows else []


def matching_systems(query: FrameQuery, systems: Sequence[str]) -> list[str]:
    """Return which of the element systems a query can select from."""
    wanted: Mapping[str, None] | None = None
    if query.systems:
        wanted = dict.fromkeys(element_system(system.split("-")) for system in query.systems)
    own, containing, any_of, without = set(query.elements), set(query.containing), set(query.any_of), set(query.without)
    anonymous = parse_anonymous(query.formula)
    n_letters = sum(letter.isalpha() for letter in anonymous or "")
    formula = set(parse_formula(query.formula)) if query.formula and not anonymous else set()
    found = []
    for system in systems:
        symbols = set(system.split("-"))
        if wanted is not None and system not in wanted:
            continue
        if own and not (symbols <= own if query.subsystems else symbols == own):
            continue
        if (any_of and not any_of & symbols) or without & symbols or (n_letters and len(symbols) != n_letters):
            continue
        if containing <= symbols and (not formula or symbols == formula):
            found.append(system)
    return found


def _conditions(query: FrameQuery) -> list[pl.Expr]:
    conditions: list[pl.Expr] = []
    if query.formula and not parse_anonymous(query.formula):
        conditions.append(pl.col("reduced_formula") == canonical_formula(query.formula))
    if query.theory:
        conditions.append(of_theory(query.theory))
    if query.theories:
        conditions.append(pl.any_horizontal(of_theory(theory) for theory in query.theories))
    for name in ("code", "project", "licence"):
        if getattr(query, name):
            conditions.append(pl.col(name) == getattr(query, name))
    for name in RANGES:
        if name != "ingested" and getattr(query, name) is not None:
            conditions += _between(_RANGE_OF.get(name, pl.col(name)), *getattr(query, name))
    if query.max_force is not None:
        conditions.append(pl.col("max_force") <= query.max_force)
    conditions += [pl.col("flags").list.contains(flag) for flag in query.flags]
    conditions += [~pl.col("flags").list.contains(flag) for flag in query.without_flags]
    if query.only_good:
        conditions.append(pl.col("good"))
    if query.with_forces:
        conditions.append(pl.col("forces").is_not_null())
    return conditions


def of_theory(theory: str) -> pl.Expr:
    """Return the condition that the level of theory has this key, or a key that begins with it up to a '/'."""
    key = theory.rstrip("/")
    return (pl.col("theory") == key) | pl.col("theory").str.starts_with(key + "/")


def _between(value: pl.Expr, low: Any, high: Any) -> list[pl.Expr]:
    lower = [] if low is None else [value >= low]
    return lower if high is None else [*lower, value <= high]


def _calculations_that_match(lake: Place, query: FrameQuery) -> pl.DataFrame | None:
    """Return calculation_id and element_system where a query asks for what only `calculations` tells; None where it does not."""
    anonymous = parse_anonymous(query.formula)
    if not (anonymous or query.material or query.ingested):
        return None
    calculations = lake.scan(lake.table("calculations"))
    if query.ingested:
        calculations = calculations.filter(*_between(pl.col("ingested_at").dt.strftime("%Y-%m-%d"), *query.ingested))
    if query.material:
        calculations = calculations.filter(calculations_of(query.material, visible_calculations(lake)))
    if anonymous:
        calculations = calculations.filter(of_anonymous(anonymous, calculations))
    return calculations.select("calculation_id", "element_system").collect()


def of_anonymous(anonymous: str, calculations: pl.LazyFrame) -> pl.Expr:
    """Return the condition that a reduced formula, out of those of these calculations, has an anonymous form."""
    known = calculations.select(pl.col("reduced_formula").unique()).collect()["reduced_formula"]
    same = [name for name in known if anonymous_formula({s: int(n) for s, n in parse_formula(name).items()}) == anonymous]
    return pl.col("reduced_formula").is_in(same)


def system_counts(table: DeltaTable) -> pl.DataFrame:
    """Return element_system, n_frames, n_files and bytes from the log of a version of `frames`, sorted by name."""
    schema = {"element_system": pl.String, "n_frames": pl.Int64, "n_files": pl.Int64, "bytes": pl.Int64}
    files = live_files(table)
    if not files.num_rows:
        return pl.DataFrame(schema=schema)
    rows = pl.DataFrame(
        {
            "element_system": files["partition.element_system"].to_pylist(),
            "n": files["num_records"].to_pylist(),
            "b": files["size_bytes"].to_pylist(),
        }
    )
    counted = rows.group_by("element_system").agg(
        pl.col("n").sum().cast(pl.Int64).alias("n_frames"),
        pl.len().cast(pl.Int64).alias("n_files"),
        pl.col("b").sum().cast(pl.Int64).alias("bytes"),
    )
    return counted.sort("element_system")


def visible_systems(lake: Place, *, retracted: bool = False) -> pl.DataFrame:
    """Return element_system, n_frames, n_files and bytes of what the reader sees; systems of which he sees nothing are left out.

    From the log, less what `hidden` counts; files and bytes are those of the whole system.
    """
    return less_hidden(system_counts(lake.table("frames")), hidden(lake, retracted=retracted))
