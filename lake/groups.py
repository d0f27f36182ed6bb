"""Frames that belong together: of one calculation, or of calculations that share a structure."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lake.datasets import Dataset


def groups_of(dataset: Dataset, split: str) -> list[str]:
    """Return the group of each frame of a split, in the order of its arrays: the first id among the calculations that hang together.

    Frames of one group never stand on two sides of a split, since what is known of one tells the others.
    """
    rows = dataset.frames(split).select("frame_id", "calculation_id", "configuration_hash").collect()
    order = pl.DataFrame({"frame_id": dataset.frame_ids(split)}, schema={"frame_id": pl.String})
    rows = order.join(rows, on="frame_id", how="left", maintain_order="left")
    names = rows["calculation_id"].unique().sort()
    calculation = rows["calculation_id"].cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
    structure = rows["configuration_hash"].rank("dense").fill_null(0).to_numpy().astype(np.int64)
    # An unknown structure (0) connects nothing.
    known, size = structure > 0, len(names) + int(structure.max(initial=0)) + 1
    links = coo_matrix((np.ones(int(known.sum())), (calculation[known], len(names) + structure[known])), shape=(size, size))
    label = connected_components(links, directed=False)[1][: len(names)]
    first: dict[int, str] = {}
    for place, name in enumerate(names):
        first.setdefault(int(label[place]), name)
    return [first[int(label[place])] for place in calculation]
