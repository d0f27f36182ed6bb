"""Selections: a FrameQuery becomes a lazy frame that reads only the partitions and columns it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import lcm
from typing import Any

import polars as pl
import pyarrow.compute as pc
from deltalake import DeltaTable

from lake.place import Place
from lake.tables import live_files
from schemas.datasets import FrameQuery
from schemas.elements import atomic_number, element_system, parse_formula, reduced_formula
from schemas.errors import QueryError, closest

_NAMES = {field.name for field in dataclasses.fields(FrameQuery)}
_LISTS = ("elements", "systems", "containing")
_LARGEST_DENOMINATOR = 1000


def frame_query(**filters: Any) -> FrameQuery:
    """Return a FrameQuery of filters by name; lists may be any iterable of text, or text with commas or spaces between.

    Raises QueryError for an unknown filter (with the closest one) or an unknown element.
    """
    for name in filters:
        if name not in _NAMES:
            raise QueryError(f"frames cannot be selected by {name!r}{closest(name, _NAMES)}; filters are {', '.join(sorted(_NAMES))}")
    lists = {name: names_of(filters[name]) for name in _LISTS if name in filters}
    query = FrameQuery(**{**filters, **lists})
    check(query)
    return query


def names_of(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return names given as an iterable or as text with commas or spaces between, sorted and each once."""
    words = value.replace(",", " ").split() if isinstance(value, str) else value
    return tuple(sorted(set(words)))


def check(query: FrameQuery) -> None:
    """Raise QueryError where a query names no element, an empty range or contradicts itself."""
    for symbol in (*query.elements, *query.containing, *(s for system in query.systems for s in system.split("-"))):
        atomic_number(symbol)
    if query.systems and query.elements:
        raise QueryError("a selection takes either elements or systems, not both; leave one out")
    if query.subsystems and not query.elements:
        raise QueryError("subsystems needs elements: the frames of all subsets of these are taken")
    for name in ("natoms", "energy_per_atom"):
        bounds = getattr(query, name)
        if bounds is not None and bounds[0] > bounds[1]:
            raise QueryError(f"{name} goes from {bounds[0]} to {bounds[1]}, which holds nothing; write the smaller number first")
    for system, limit in query.limits.items():
        for symbol in system.split("-"):
            atomic_number(symbol)
        if limit < 0:
            raise QueryError(f"the limit of {system} is {limit}; it is a number of frames, 0 or more")


def select(lake: Place, query: FrameQuery, version: int | None = None) -> pl.LazyFrame:
    """Return the frames that a query selects from a version of the table (None: the newest)."""
    return select_from(lake, lake.table("frames", version), query)


def select_from(lake: Place, table: DeltaTable, query: FrameQuery) -> pl.LazyFrame:
    """Return the frames that a query selects from an opened table, pruned to the element systems that match."""
    check(query)
    systems = matching_systems(query, systems_of(table))
    frames = lake.scan(table)
    if len(systems) == 1:
        frames = frames.filter(pl.col("element_system") == systems[0])
    else:
        frames = frames.filter(pl.col("element_system").is_in(systems))
    conditions = _conditions(query)
    return frames.filter(*conditions) if conditions else frames


def systems_of(table: DeltaTable) -> list[str]:
    """Return the element systems that a version of `frames` holds, sorted, from its log."""
    files = live_files(table)
    return sorted(pc.unique(files["partition.element_system"]).to_pylist()) if files.num_rows else []


def matching_systems(query: FrameQuery, systems: Sequence[str]) -> list[str]:
    """Return which of the element systems a query can select from."""
    wanted: Mapping[str, None] | None = None
    if query.systems:
        wanted = dict.fromkeys(element_system(system.split("-")) for system in query.systems)
    own, containing = set(query.elements), set(query.containing)
    formula = set(parse_formula(query.formula)) if query.formula else set()
    found = []
    for system in systems:
        symbols = set(system.split("-"))
        if wanted is not None and system not in wanted:
            continue
        if own and not (symbols <= own if query.subsystems else symbols == own):
            continue
        if containing <= symbols and (not formula or symbols == formula):
            found.append(system)
    return found


def _conditions(query: FrameQuery) -> list[pl.Expr]:
    conditions: list[pl.Expr] = []
    if query.formula:
        conditions.append(pl.col("reduced_formula") == canonical_formula(query.formula))
    if query.theory:
        key = query.theory.rstrip("/")
        conditions.append((pl.col("theory") == key) | pl.col("theory").str.starts_with(key + "/"))
    for name in ("code", "project"):
        if getattr(query, name):
            conditions.append(pl.col(name) == getattr(query, name))
    for name in ("natoms", "energy_per_atom"):
        bounds = getattr(query, name)
        if bounds is not None:
            conditions.append(pl.col(name).is_between(bounds[0], bounds[1]))
    if query.max_force is not None:
        conditions.append(pl.col("max_force") <= query.max_force)
    if query.only_good:
        conditions.append(pl.col("good"))
    if query.with_forces:
        conditions.append(pl.col("forces").is_not_null())
    return conditions


def canonical_formula(text: str) -> str:
    """Return the reduced formula, in the order of the tables, of a formula in any order: 'Mg0.5Ca0.5O' is 'CaMgO2'.

    Raises QueryError where the numbers have no common measure with a denominator up to 1000.
    """
    parts = {symbol: Fraction(n).limit_denominator(_LARGEST_DENOMINATOR) for symbol, n in parse_formula(text).items()}
    if any(n <= 0 for n in parts.values()):
        raise QueryError(f"formula {text!r}: an element counts 0; leave it out")
    scale = lcm(*(n.denominator for n in parts.values()))
    return reduced_formula({symbol: int(n * scale) for symbol, n in parts.items()})


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
