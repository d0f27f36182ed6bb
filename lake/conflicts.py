"""Equal structures whose labels differ although their theory is the same: what makes a fit worse without any flag saying so.

Frames that share `configuration_hash` and `theory` form a group. A frame is compared with the lowest in energy of those made with the
same numerics and pseudopotentials; the lowest of each such setup with the lowest of the whole group. So the work grows linearly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl
from deltalake import DeltaTable
from numpy.typing import NDArray

from lake.arrays import ARRAY_COLUMNS, frame_arrays
from lake.embargoes import visible_sources
from lake.matching import match_atoms
from lake.place import Place
from lake.query import system_counts
from lake.rows import level_of_theory
from lake.theory import verdict
from lake.visibility import Hidden, hidden
from schemas.errors import QueryError
from schemas.frames import FrameArrays

SCHEMA: Final = pl.Schema(
    {
        "element_system": pl.String(),
        "formula": pl.String(),
        "theory": pl.String(),
        "frame_id": pl.String(),
        "other_frame_id": pl.String(),
        "energy_difference": pl.Float64(),
        "force_difference": pl.Float64(),
        "displacement": pl.Float64(),
        "verdict": pl.String(),
        "reasons": pl.List(pl.String),
        "sources": pl.List(pl.String),
        "other_sources": pl.List(pl.String),
    }
)
ENERGY_TOLERANCE: Final = 0.001
"""eV/atom"""
FORCE_TOLERANCE: Final = 0.05
"""eV/Å"""
_FRAMES_AT_ONCE: Final = 1_000_000
"""Frames whose structures are looked through at a time: some 100 MB of keys."""
_ATOMS_AT_ONCE: Final = 1_000_000
"""Atoms read at a time to compare forces: about 50 MB, twice."""
_INDEX: Final = ("element_system", "formula", "theory", "numerics", "frame_id", "calculation_id", "configuration_hash", "natoms")


def conflicts(
    lake: Place,
    *,
    energy_tolerance: float = ENERGY_TOLERANCE,
    force_tolerance: float = FORCE_TOLERANCE,
    only_good: bool = True,
    retracted: bool = False,
) -> pl.DataFrame:
    """Return pairs of equal structures of one theory whose labels differ, with the columns of SCHEMA, largest difference first.

    energy_difference is that of frame_id less that of other_frame_id, in eV/atom; force_difference the largest norm of a difference of
    forces on one atom in eV/Å, null where one has none or the atoms could not be matched; displacement in Å is how far the structures
    are apart within the tolerance of configuration_hash, which explains small differences of forces. verdict and reasons compare the
    levels of theory: 'same' leaves no excuse. only_good leaves out frames with a disqualifying flag; what the reader does not see
    (`lake.visibility`) is left out, what was retracted unless retracted=True. Memory is bounded by one million frames (or one larger
    element system) and the result. Raises QueryError for a tolerance below zero.
    """
    for name, value in (("energy", energy_tolerance), ("force", force_tolerance)):
        if not value >= 0:
            raise QueryError(f"the {name} tolerance of conflicts is {value}; it is a number, 0 or more")
    table = lake.table("frames")
    unseen = hidden(lake, retracted=retracted)
    found = [SCHEMA.to_frame()]
    for systems in _portions(table):
        for pairs in _chunks(_pairs(lake, table, systems, _conditions(unseen.of(systems), only_good=only_good))):
            compared = _compared(lake, table, pairs)
            differs = (pl.col("energy_difference").abs() > energy_tolerance) | (pl.col("force_difference") > force_tolerance)
            kept = compared.filter(differs.fill_null(value=False))
            if kept.height:
                found.append(_told(lake, kept).select(SCHEMA.names()))
    order = [pl.col("energy_difference").abs(), pl.col("force_difference"), pl.col("frame_id")]
    return pl.concat(found).sort(order, descending=[True, True, False], nulls_last=True)


def _portions(table: DeltaTable) -> Iterator[list[str]]:
    """Yield element systems in lists that together hold about _FRAMES_AT_ONCE frames, or one larger system."""
    systems: list[str] = []
    size = 0
    for system, n in system_counts(table).select("element_system", "n_frames").iter_rows():
        if systems and size + n > _FRAMES_AT_ONCE:
            yield systems
            systems, size = [], 0
        systems.append(system)
        size += n
    if systems:
        yield systems


def _conditions(unseen: Hidden, *, only_good: bool) -> list[pl.Expr]:
    seen = unseen.seen()
    return [pl.col("good")] * only_good + ([] if seen is None else [seen])


def _pairs(lake: Place, table: DeltaTable, systems: list[str], conditions: list[pl.Expr]) -> pl.DataFrame:
    """Return a row for each frame that has to be compared, with other_frame_id, other_calculation_id and energy_difference."""
    # An integer in place of two texts makes the pass over all frames small; two groups that share one by chance are parted below.
    key = pl.concat_str("configuration_hash", "theory", separator="\0").hash()
    frames = lake.scan(table).filter(pl.col("element_system").is_in(systems), *conditions)
    several = frames.select(key.alias("key")).group_by("key").len().filter(pl.col("len") > 1).collect(engine="streaming")
    columns = (*_INDEX, "energy_per_atom")
    index = frames.select(*columns, key.alias("key")).join(several.lazy(), on="key", how="semi").collect(engine="streaming")
    names = index.lazy().select("calculation_id").unique()
    titles = lake.scan(lake.table("calculations")).select("calculation_id", pl.col("pseudopotentials").list.join("\0").alias("titles"))
    index = index.join(titles.join(names, on="calculation_id", how="semi").collect(), on="calculation_id", how="left")
    index = index.sort("configuration_hash", "theory", "energy_per_atom", "frame_id", nulls_last=True)
    group = ["configuration_hash", "theory"]
    setup = [*group, "numerics", "titles"]
    lowest = pl.col("frame_id") == pl.col("frame_id").first().over(setup)
    others = [
        pl.when(lowest).then(pl.col(name).first().over(group)).otherwise(pl.col(name).first().over(setup)).alias(f"other_{name}")
        for name in ("frame_id", "calculation_id", "energy_per_atom")
    ]
    pairs = index.with_columns(others).filter(pl.col("frame_id") != pl.col("other_frame_id"))
    difference = (pl.col("energy_per_atom") - pl.col("other_energy_per_atom")).alias("energy_difference")
    return pairs.select(*_INDEX, "other_frame_id", "other_calculation_id", difference)


def _chunks(pairs: pl.DataFrame) -> Iterator[pl.DataFrame]:
    chunk = (pl.col("natoms").cast(pl.Int64).cum_sum() // _ATOMS_AT_ONCE).alias("chunk")
    yield from pairs.with_columns(chunk).partition_by("chunk", maintain_order=True, include_key=False)


def _compared(lake: Place, table: DeltaTable, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return pairs with force_difference and displacement."""
    names = pl.concat([pairs["frame_id"], pairs["other_frame_id"].rename("frame_id")]).unique()
    systems = pairs["element_system"].unique().to_list()
    frames = lake.scan(table).filter(pl.col("element_system").is_in(systems), pl.col("frame_id").is_in(names.implode()))
    arrays = frame_arrays(frames.select(ARRAY_COLUMNS).collect(engine="streaming"))
    place = {name: n for n, name in enumerate(arrays.frame_ids)}
    found = [_difference(arrays, place[name], place[other]) for name, other in pairs.select("frame_id", "other_frame_id").iter_rows()]
    values: NDArray[np.float64] = np.array(found, np.float64).reshape(-1, 2)
    columns = [pl.Series(name, values[:, n]).fill_nan(None) for n, name in enumerate(("force_difference", "displacement"))]
    return pairs.with_columns(columns)


def _difference(arrays: FrameArrays, first: int, second: int) -> tuple[float, float]:
    """Return the largest norm of a difference of forces (eV/Å) and the largest displacement (Å) of matched atoms; NaN for none."""
    one, two = (slice(int(arrays.offsets[n]), int(arrays.offsets[n + 1])) for n in (first, second))
    match = match_atoms((arrays.numbers[one], arrays.numbers[two]), (arrays.positions[one], arrays.positions[two]), arrays.cell[first])
    if match is None:
        return float("nan"), float("nan")
    apart = np.linalg.norm(arrays.forces[one] - arrays.forces[two][match.order], axis=1)
    return float(apart.max()), match.displacement


def _told(lake: Place, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return pairs with verdict, reasons, sources and other_sources."""
    both = pl.concat([pairs["calculation_id"], pairs["other_calculation_id"].rename("calculation_id")]).unique().to_frame().lazy()
    calculations = lake.scan(lake.table("calculations")).join(both, on="calculation_id", how="semi").collect()
    levels = {row["calculation_id"]: level_of_theory(row) for row in calculations.iter_rows(named=True)}
    origins = visible_sources(lake).select("key", pl.col("calculation_ids").alias("calculation_id")).explode("calculation_id")
    keys = (
        origins.join(both, on="calculation_id", how="semi").group_by("calculation_id").agg(pl.col("key").unique().sort().alias("sources"))
    )
    sources = keys.collect()
    judged = {
        names: verdict(levels[names[0]], levels[names[1]])
        for names in set(pairs.select("calculation_id", "other_calculation_id").iter_rows())
    }
    found = [judged[names] for names in pairs.select("calculation_id", "other_calculation_id").iter_rows()]
    others = sources.rename({"calculation_id": "other_calculation_id", "sources": "other_sources"})
    return pairs.with_columns(
        pl.Series("verdict", [each.kind for each in found], pl.String),
        pl.Series("reasons", [list(each.reasons) for each in found], pl.List(pl.String)),
    ).join(sources, on="calculation_id", how="left").join(others, on="other_calculation_id", how="left")  # fmt: skip
