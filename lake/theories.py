"""Which levels of theory the lake holds, how much of each, and what they are to the most common one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl

from lake.place import Place
from lake.rows import level_of_theory
from lake.theory import Verdict, verdict
from lake.theory_rules import KINDS, SAME
from lake.visibility import visible_calculations
from schemas.errors import UnknownName, closest
from schemas.theory import LevelOfTheory

_VARIES: Final = ("cutoff", "spin", "relativity")
"""What the key of a theory leaves open and `verdict` judges, beside the pseudopotentials; the rest of it is only ever a remark."""
_IN_KEY: Final = ("code", "functional", "dispersion", "hubbard_u", "exact_exchange", "basis", "charge", "theory_extra")
_REMARKS: Final = dict.fromkeys(("density_cutoff", "kpoints", "n_kpoints", "kpoint_spacing", "smearing_width"))


@dataclass(frozen=True)
class HeldTheory:
    """One key of theory and what the calculations table has of it."""

    theory: str
    n_calculations: int
    n_frames: int
    element_systems: tuple[str, ...]
    cutoffs: tuple[float, ...]
    """eV, each cutoff met."""
    pseudopotentials: Mapping[str, tuple[str, ...]]
    """Element -> identities met, the most frequent first."""
    verdict: str
    """One of KINDS: what the most frequent settings of this theory are to those of the most common theory."""
    reasons: tuple[str, ...]
    within: str
    """One of KINDS: the worst that two cutoffs, spin treatments or pseudopotentials met within this theory are to each other."""
    within_reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Met:
    """The settings met within one theory, the most frequent first; levels are without pseudopotentials."""

    levels: tuple[LevelOfTheory, ...]
    pseudopotentials: Mapping[str, tuple[str, ...]]

    def typical(self) -> LevelOfTheory:
        """Return the most frequent settings, with the most frequent pseudopotential of every element met."""
        return replace(self.levels[0], pseudopotentials=tuple((element, names[0]) for element, names in self.pseudopotentials.items()))


def theories(lake: Place, *, retracted: bool = False) -> list[HeldTheory]:
    """Return the levels of theory of the calculations that the reader sees, most frames first; no frame is read."""
    calculations = visible_calculations(lake, retracted=retracted)
    counts = calculations.group_by("theory").agg(
        pl.len().alias("n_calculations"), pl.col("n_frames").sum().cast(pl.Int64), pl.col("element_system").unique().sort()
    )
    rows = counts.sort(["n_frames", "theory"], descending=[True, False]).collect().iter_rows()
    met = _met(calculations)
    found = []
    common: LevelOfTheory | None = None
    for theory, n_calculations, n_frames, systems in rows:
        own = met[theory]
        common = common or own.typical()
        to_common, inside = verdict(own.typical(), common), _within(own)
        cutoffs = tuple(sorted({level.cutoff for level in own.levels if level.cutoff is not None}))
        found.append(
            HeldTheory(
                theory, n_calculations, n_frames, tuple(systems), cutoffs, own.pseudopotentials,
                to_common.kind, to_common.reasons, inside.kind, inside.reasons,
            )
        )  # fmt: skip
    return found


def compare(lake: Place, first: str, second: str) -> Verdict:
    """Return what the most frequent settings of two theories of the lake are to each other; raises UnknownName."""
    met = _met(visible_calculations(lake))
    for theory in (first, second):
        if theory not in met:
            raise UnknownName(f"{lake.url}: no calculation has theory {theory!r}{closest(theory, met)}; see 'atomlake theories'")
    return verdict(met[first].typical(), met[second].typical())


def _met(calculations: pl.LazyFrame) -> dict[str, _Met]:
    settings = calculations.group_by("theory", *_VARIES).agg(pl.len().alias("n"), *(pl.col(name).first() for name in _IN_KEY))
    levels: dict[str, list[LevelOfTheory]] = {}
    for row in settings.sort(["n", *_VARIES], descending=[True, False, False, False]).collect().iter_rows(named=True):
        levels.setdefault(row["theory"], []).append(_level(row))
    exploded = calculations.select("theory", pl.col("pseudopotentials").alias("name")).explode("name").drop_nulls()
    names: dict[str, dict[str, list[str]]] = {}
    counted = exploded.group_by("theory", "name").len().sort(["len", "name"], descending=[True, False]).collect()
    for theory, name, _ in counted.iter_rows():
        element, _, identity = name.partition(":")
        names.setdefault(theory, {}).setdefault(element, []).append(identity)
    return {
        theory: _Met(tuple(found), {element: tuple(names[theory][element]) for element in sorted(names.get(theory, ()))})
        for theory, found in levels.items()
    }


def _level(row: Mapping[str, Any]) -> LevelOfTheory:
    return level_of_theory({**row, **_REMARKS, "smearing": "", "pseudopotentials": ()})


def _within(met: _Met) -> Verdict:
    """Return the worst verdict between settings met; settings are compared with the most frequent, cutoffs by their extremes."""
    typical = met.typical()
    known = sorted((level for level in met.levels if level.cutoff is not None), key=lambda level: level.cutoff or 0.0)
    pairs = [(met.levels[0], level) for level in met.levels[1:] if (level.spin, level.relativity) != (typical.spin, typical.relativity)]
    pairs += [(known[0], known[-1])] if len(known) > 1 else []
    pairs = [(_of_elements(a, typical), _of_elements(b, typical)) for a, b in pairs]
    for element, names in met.pseudopotentials.items():
        for a, b in itertools.combinations(names, 2):
            pairs.append((replace(typical, pseudopotentials=((element, a),)), replace(typical, pseudopotentials=((element, b),))))
    return _worst(verdict(a, b) for a, b in pairs)


def _of_elements(level: LevelOfTheory, typical: LevelOfTheory) -> LevelOfTheory:
    return replace(level, pseudopotentials=typical.pseudopotentials)


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    found = list(verdicts)
    kind = max((each.kind for each in found), key=KINDS.index, default=SAME)
    return Verdict(kind, tuple(dict.fromkeys(reason for each in found for reason in each.reasons)))
