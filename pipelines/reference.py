"""Compare what the lake holds with a file of expected values, row by row."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from lake import Lake
from schemas.units import GPA

ENERGY_TOLERANCE = 1e-6
"""eV"""
FORCE_TOLERANCE = 1e-5
"""eV/Å"""
STRESS_TOLERANCE = 1e-4
"""GPa"""
_VOIGT = (0, 4, 8, 5, 2, 1)
"""Places of xx yy zz yz xz xy in a row-major 3x3."""


@dataclass(frozen=True)
class Comparison:
    """One expected calculation and how far the lake is from it; NaN where the file expects nothing."""

    ERRORS: ClassVar[tuple[str, ...]] = ("energy_error", "force_error", "stress_error")

    archive: str
    member: str
    expected_frames: int
    frames: int
    energy_error: float
    """eV, the larger of first and last step."""
    force_error: float
    """eV/Å, largest force of the last step."""
    stress_error: float
    """GPa, largest component of the last step."""

    @property
    def agrees(self) -> bool:
        """Whether frames are equal and every number is within its tolerance."""
        within = (
            (self.energy_error, ENERGY_TOLERANCE),
            (self.force_error, FORCE_TOLERANCE),
            (self.stress_error, STRESS_TOLERANCE),
        )
        return self.frames == self.expected_frames and all(math.isnan(error) or error <= limit * 1.0001 for error, limit in within)


def compare(lake: Lake, expected: Path, keys: dict[str, str]) -> list[Comparison]:
    """Return a comparison for each row of the file whose archive is in keys ({archive name: object key})."""
    with expected.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["archive"] in keys]
    sources = lake.sources().filter(pl.col("key").is_in(list(keys.values()))).select("key", "calculation_ids", "members").collect()
    ids = {
        (key, member): calculation
        for key, calculations, members in sources.iter_rows()
        for calculation, member in zip(calculations, members, strict=True)
    }
    wanted = list({ids[place] for row in rows if (place := (keys[row["archive"]], row["member"])) in ids})
    columns = ["calculation_id", "step", "energy", "max_force", "stress"]
    frames = lake.frames(only_good=False).filter(pl.col("calculation_id").is_in(wanted)).select(columns).sort("step").collect()
    by_calculation = {key[0]: group for key, group in frames.partition_by("calculation_id", as_dict=True).items()}
    return [_compare_row(row, by_calculation.get(ids.get((keys[row["archive"]], row["member"]), ""))) for row in rows]


def largest(comparisons: Sequence[Comparison], error: str) -> float:
    """Return the largest of one of Comparison.ERRORS; 0 where nothing was expected."""
    return max((value for c in comparisons if not math.isnan(value := getattr(c, error))), default=0.0)


def _compare_row(row: dict[str, str], found: pl.DataFrame | None) -> Comparison:
    place = (row["archive"], row["member"], int(row["n_energies"] or 0))
    if found is None:
        return Comparison(*place, 0, math.nan, math.nan, math.nan)
    energies = found["energy"].to_list()
    energy_error = max(abs(energies[0] - float(row["E_first_eV"])), abs(energies[-1] - float(row["E_last_eV"])))
    force = row["fmax_last_eV_per_A"]
    force_error = abs(found["max_force"][-1] - float(force)) if force else math.nan
    stress = row["stress_last_GPa_tension_positive_xx_yy_zz_yz_xz_xy"]
    stress_error = math.nan
    if stress:
        ours = [found["stress"][-1][place] / GPA for place in _VOIGT]
        stress_error = max(abs(a - float(b)) for a, b in zip(ours, stress.split(";"), strict=True))
    return Comparison(*place, found.height, energy_error, force_error, stress_error)
