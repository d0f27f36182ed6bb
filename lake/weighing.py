"""How much frames count in a training: rules over the columns of a dataset, and tables of single frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from lake.datasets import Dataset, open_dataset
from lake.place import Place
from schemas.errors import QueryError, closest
from schemas.frames import WEIGHED, Floats, FrameArrays

_RULE: Final = re.compile(
    rf"(?:(?P<label>{'|'.join(WEIGHED)})\s*:\s*)?(?P<value>\S.*?)(?:\s+where\s+(?P<where>\S.*)|\s+in\s+dataset\s+(?P<dataset>\S+))?",
    re.IGNORECASE | re.DOTALL,
)
_TABLE_COLUMNS: Final = ("weight", *(f"{label}_weight" for label in WEIGHED))


@dataclass(frozen=True)
class WeightRule:
    """What the weights of frames are multiplied by: '[energy|forces|stress:] VALUE [where CONDITION | in dataset NAME]'."""

    text: str
    label: str
    """One of WEIGHED; '' for all."""
    value: str
    """SQL expression of the columns of frames that gives the factor: '2', '1 / natoms'."""
    where: str = ""
    """SQL condition on the columns of frames; '' for all."""
    dataset: str = ""
    """Pinned dataset whose frames are meant; '' for all."""


def parse_rule(text: str) -> WeightRule:
    """Return the rule that a text says; raises QueryError for one that says none."""
    match = _RULE.fullmatch(text.strip())
    if match is None:
        raise QueryError(f"frame weight {text!r}: expected '[energy|forces|stress:] VALUE [where CONDITION | in dataset NAME]'")
    label, value, where, dataset = (match[name] or "" for name in ("label", "value", "where", "dataset"))
    rule = WeightRule(text.strip(), label.lower(), value, where, dataset)
    _columns(rule)
    return rule


def rule_of_theory(text: str) -> WeightRule:
    """Return the rule of 'LEVEL=WEIGHT', LEVEL being the key of a level of theory or its beginning up to a '/'."""
    level, equals, value = (part.strip() for part in text.rpartition("="))
    if not equals or not level or not value:
        raise QueryError(f"theory weight {text!r}: expected LEVEL=WEIGHT, such as PBE=1 or LDA=0.1")
    name = level.replace("'", "''")
    return parse_rule(f"{value} where theory = '{name}' or starts_with(theory, '{name}/')")


def weigh(lake: Place | None, frames: pl.LazyFrame, rules: Sequence[WeightRule], table: Path | None = None) -> Floats:
    """Return (n, 3), by how much energy, forces and stress of each of n frames count, before any normalisation: products of all rules.

    frames hold frame_id and the columns that rules name, in the order of the result; lake has the datasets that rules name. table is a
    CSV or Parquet file of frame_id and weight (or energy_weight, forces_weight, stress_weight); frames that it lacks count as 1.
    Raises QueryError for an unknown column, and for weights that are negative or no numbers.
    """
    known = frames.collect_schema().names()
    needed = {name for rule in rules for name in _columns(rule)}
    for name in sorted(needed - set(known)):
        raise QueryError(f"a frame weight names the column {name!r}{closest(name, known)}; frames have {', '.join(known)}")
    rows = frames.select(sorted({"frame_id", *needed})).collect()
    weights = np.ones((rows.height, len(WEIGHED)))
    for rule in rules:
        chosen = slice(None) if not rule.label else slice(WEIGHED.index(rule.label), WEIGHED.index(rule.label) + 1)
        weights[:, chosen] *= _factors(lake, rows, rule)[:, None]
    if table is not None:
        weights *= _of_table(rows, table)
    return weights


def ordered_frames(dataset: Dataset, split: str) -> pl.LazyFrame:
    """Return the frames of a split with the columns of the table, in the order of the dataset's arrays."""
    order = pl.LazyFrame({"frame_id": dataset.frame_ids(split)}, schema={"frame_id": pl.String})
    return order.join(dataset.frames(split), on="frame_id", how="left", maintain_order="left")


def scalars_of(arrays: FrameArrays) -> pl.LazyFrame:
    """Return the columns of frames without a lake: what arrays say of them by frame."""
    forces = np.sqrt(np.square(arrays.forces).sum(axis=1))
    frame = np.repeat(np.arange(arrays.count), arrays.natoms)
    largest = np.full(arrays.count, -np.inf)
    np.maximum.at(largest, frame, forces)
    volume = np.abs(np.linalg.det(arrays.cell))
    columns = {
        "frame_id": list(arrays.frame_ids) or [str(place) for place in range(arrays.count)], "natoms": arrays.natoms,
        "energy": arrays.energy, "energy_per_atom": arrays.energy / arrays.natoms, "max_force": largest, "volume": volume,
    }  # fmt: skip
    named = {"element_system": arrays.element_systems, "theory": arrays.theories}
    return pl.LazyFrame({**columns, **{name: list(values) for name, values in named.items() if len(values)}})


def _columns(rule: WeightRule) -> list[str]:
    try:
        return [name for text in (rule.value, rule.where) if text for name in pl.sql_expr(text).meta.root_names()]
    except pl.exceptions.PolarsError as error:
        raise QueryError(f"frame weight {rule.text!r} is no SQL expression: {(str(error).splitlines() or [''])[0]}") from error


def _factors(lake: Place | None, rows: pl.DataFrame, rule: WeightRule) -> Floats:
    """Return (n,) what a rule multiplies by."""
    try:
        value = rows.select(pl.sql_expr(rule.value).cast(pl.Float64))
        factors = np.broadcast_to(value.to_series().to_numpy(), rows.height).astype(np.float64)
        meant = np.ones(rows.height, dtype=bool)
        if rule.where:
            met = rows.select(pl.sql_expr(rule.where).cast(pl.Boolean).fill_null(value=False)).to_series().to_numpy()
            meant = np.broadcast_to(met, rows.height)
    except pl.exceptions.PolarsError as error:
        raise QueryError(f"frame weight {rule.text!r} cannot be taken: {(str(error).splitlines() or [''])[0]}") from error
    if rule.dataset:
        if lake is None:
            raise QueryError(f"frame weight {rule.text!r} names a dataset, but the frames are in no lake to find it in")
        meant = rows["frame_id"].is_in(open_dataset(lake, rule.dataset).frame_ids()).to_numpy()
    return _checked(np.where(meant, factors, 1.0), rows["frame_id"], f"frame weight {rule.text!r}")


def _of_table(rows: pl.DataFrame, table: Path) -> Floats:
    """Return (n, 3) the weights that a file gives, 1 where it names none."""
    try:
        given = pl.read_parquet(table) if table.suffix == ".parquet" else pl.read_csv(table)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise QueryError(f"{table} cannot be read as a table of weights (CSV or Parquet): {error}") from error
    known = [name for name in _TABLE_COLUMNS if name in given.columns]
    if "frame_id" not in given.columns or not known:
        raise QueryError(f"{table} has the columns {', '.join(given.columns)}; expected frame_id and {' or '.join(_TABLE_COLUMNS)}")
    if given["frame_id"].is_duplicated().any():
        twice = given.filter(pl.col("frame_id").is_duplicated())["frame_id"][0]
        raise QueryError(f"{table} gives a weight to frame {twice!r} more than once; leave one of them")
    own = rows.select("frame_id").join(given.select("frame_id", *known), on="frame_id", how="left", maintain_order="left")
    weights = np.ones((rows.height, len(WEIGHED)))
    for name in known:
        factors = own[name].cast(pl.Float64).fill_null(1.0).to_numpy()
        columns = slice(None) if name == "weight" else slice(_TABLE_COLUMNS.index(name) - 1, _TABLE_COLUMNS.index(name))
        weights[:, columns] *= _checked(factors, rows["frame_id"], f"{table}, {name}")[:, None]
    return weights


def _checked(factors: Floats, ids: pl.Series, where: str) -> Floats:
    wrong = np.flatnonzero(~(np.isfinite(factors) & (factors >= 0)))
    if len(wrong):
        raise QueryError(
            f"{where} gives {factors[wrong[0]]} to frame {ids[int(wrong[0])]!r} ({len(wrong)} of {len(factors)} frames); "
            "expected numbers from 0"
        )
    return factors
