"""What two datasets have in common: frames of the same calculations, under whatever ids, and equal structures."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from lake.datasets import Dataset


def frames_in_common(new: Dataset, splits: Iterable[str], old: Dataset, old_splits: Iterable[str]) -> set[str]:
    """Return the ids of frames in splits of new whose calculation or whose structure is in old_splits of old.

    Whole calculations count, for the steps of one run are near each other. Ids that a calculation had before it was read again are
    followed. Reads one column of both datasets' frames.
    """
    mine = new.index.filter(pl.col("split").is_in(list(splits))).select("frame_id", "calculation_id")
    theirs = old.index.filter(pl.col("split").is_in(list(old_splits)))
    if mine.is_empty() or theirs.is_empty():
        return set()
    calculations = _names(old, set(theirs["calculation_id"].unique()))
    common = set(mine.filter(pl.col("calculation_id").is_in(sorted(calculations)))["frame_id"])
    structures = [
        dataset.frames().filter(pl.col("frame_id").is_in(rows["frame_id"].implode())).select("frame_id", "configuration_hash")
        for dataset, rows in ((new, mine), (old, theirs))
    ]
    equal = structures[0].join(structures[1], on="configuration_hash", how="semi").select("frame_id").collect()
    return common | set(equal["frame_id"])


def _names(dataset: Dataset, calculations: set[str]) -> set[str]:
    """Return the calculations with all ids that these have now or had before."""
    lake, found = dataset.lake, set(calculations)
    systems = list(dataset.manifest.element_systems)
    rows = lake.scan(lake.table("calculations")).filter(
        pl.col("element_system").is_in(systems) & (pl.col("formerly").list.len() > 0)
    )  # fmt: skip
    for name, formerly in rows.select("calculation_id", "formerly").collect().iter_rows():
        names = {name, *formerly}
        if names & calculations:
            found |= names
    return found
