"""How frames fall into train, validation and test: whole calculations, equal structures together, for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from schemas.datasets import Split
from schemas.errors import QueryError

SPLITS: Final = ("train", "validation", "test")
"""In the order in which a calculation that connects two groups moves them: towards test only."""


def draw(salt: str, name: str) -> float:
    """Return the place of a name in [0, 1), uniform and the same for ever: the first 8 bytes of SHA-256 of 'salt:name'."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{name}".encode()).digest()[:8], "big") / 2**64


def side(split: Split, calculation_id: str) -> str:
    """Return the split that a calculation draws by itself."""
    place = draw(split.salt, calculation_id)
    if place < split.test:
        return "test"
    return "validation" if place < split.test + split.validation else "train"


def assign(links: pl.DataFrame, order: Sequence[str], split: Split, former: Mapping[str, Sequence[str]] | None = None) -> pl.DataFrame:
    """Return calculation_id and split of each calculation in order.

    order holds all calculation ids, oldest in the lake first; links has configuration_hash and calculation_id of frames, of which
    only structures that several calculations have matter. A calculation that has no structure in common with older ones
    draws its own side; one that has goes where they are. One that connects groups on different sides puts them all into test
    if one of them is there, else into validation. So as the lake grows a frame never leaves test, none goes from validation to train,
    and no structure is on two sides. Given all calculations of the element systems of a query (`lake.selection`), a side depends on the
    lake alone, so that a frame is on the same side in every dataset of one salt and shares. former holds the ids under which a
    calculation first came, where a newer reader gave it another one: it draws by these. Raises QueryError for shares that are none.
    """
    if not (split.test >= 0 and split.validation >= 0 and split.test + split.validation < 1):
        raise QueryError(f"split test={split.test}, validation={split.validation}: shares are 0 or more and leave something for training")
    shared = (
        links.select("configuration_hash", "calculation_id")
        .unique()
        .filter(pl.len().over("configuration_hash") > 1)
        .group_by("calculation_id")
        .agg(pl.col("configuration_hash"))
    )
    sides = _sides(order, dict(shared.iter_rows()), split, former or {})
    return pl.DataFrame(
        {"calculation_id": list(sides), "split": list(sides.values())}, schema={"calculation_id": pl.String, "split": pl.String}
    )


def _sides(
    order: Sequence[str], structures: Mapping[str, Sequence[str]], split: Split, former: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    parent: dict[str, str] = {}
    sides: dict[str, str] = {}
    owner: dict[str, str] = {}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for name in order:
        parent[name] = name
        groups = {root(owner[structure]) for structure in structures.get(name, ()) if structure in owner}
        found = [sides[group] for group in groups] or [side(split, own) for own in former.get(name, (name,))]
        sides[name] = max(found, key=SPLITS.index)
        for group in groups:
            parent[group] = name
        for structure in structures.get(name, ()):
            owner.setdefault(structure, name)
    return {name: sides[root(name)] for name in order}


def limit(index: pl.DataFrame, limits: Mapping[str, int], salt: str) -> pl.DataFrame:
    """Return index without the training and validation frames above the limit of their element system.

    Whole calculations stay, in the order of a hash of their own; of the last one the first steps up to the limit.
    """
    if not limits:
        return index
    ids = index["calculation_id"].unique().to_list()
    places = pl.DataFrame(
        {"calculation_id": ids, "place": [draw(f"{salt}:limit", name) for name in ids]},
        schema={"calculation_id": pl.String, "place": pl.Float64},
    )
    largest = pl.DataFrame(
        {"element_system": list(limits), "limit": list(limits.values())}, schema={"element_system": pl.String, "limit": pl.Int64}
    )
    free = index.filter(pl.col("split") == "test")
    bound = (
        index.filter(pl.col("split") != "test")
        .join(places, on="calculation_id")
        .join(largest, on="element_system", how="left")
        .sort("element_system", "place", "calculation_id", "step")
        .filter(pl.col("limit").is_null() | (pl.int_range(pl.len()).over("element_system") < pl.col("limit")))
    )
    return pl.concat([free, bound.drop("place", "limit")])
