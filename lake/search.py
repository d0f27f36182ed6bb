"""Search by what people type: elements, element systems, formulas in any order, names of materials in any language."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from lake.materials import folded, formulas_of, known_materials
from lake.place import Place
from lake.potentials import list_potentials
from lake.query import canonical_formula, matching_systems
from schemas.datasets import FrameQuery
from schemas.elements import NUMBERS
from schemas.errors import QueryError

_LIKENESS: Final = 0.72
"""Ratio of difflib from which a name counts as a misspelling of another one."""


@dataclass(frozen=True)
class SystemSummary:
    """What the lake has of one element system, as far as the search found it."""

    element_system: str
    formulas: tuple[str, ...]
    """Reduced formulas."""
    materials: tuple[str, ...]
    """Names given by depositors."""
    n_calculations: int
    n_frames: int
    theories: Mapping[str, int]
    """Frames by level of theory."""
    potentials: tuple[str, ...]
    """Potentials, not retired, that know all its elements: 'name:version'."""


@dataclass(frozen=True)
class SearchResult:
    """What a text was taken for, and what was found."""

    text: str
    kind: str
    """'elements' (systems made of these only), 'element system', 'formula', 'material'."""
    systems: tuple[SystemSummary, ...]
    """Most frames first."""
    formulas: tuple[str, ...] = ()
    """Reduced formulas that the shipped table of names gives the text, where it was taken for a material."""
    suggestions: tuple[str, ...] = ()
    """Names of materials close to the text, where nothing was found."""


def search(lake: Place, text: str) -> SearchResult:
    """Return what the lake has for a text.

    'Mg,O' or 'Mg O': systems of these elements and their subsystems; 'Ca-Mg-O': that system; a formula in any order
    ('Mg0.5Ca0.5O'): that composition; anything else, or a formula that is not there: a material's name, where case, accents and
    width do not matter. A name that a depositor gave finds what it was given to; any other common name finds its formula.
    Raises QueryError for an empty text.
    """
    if not text.strip():
        raise QueryError("the search is empty; write elements ('Mg,O'), a system ('Mg-O'), a formula ('MgO') or the name of a material")
    calculations = lake.calculations()
    kind, condition = _meaning(text, calculations)
    rows = _described(calculations.filter(condition)) if condition is not None else pl.DataFrame()
    if not rows.is_empty() or kind not in ("formula", "material"):
        return SearchResult(text, kind, _summaries(lake, rows))
    given, formulas = _given_names(calculations), formulas_of(text)
    if folded(text) in given:
        condition = pl.col("materials").list.eval(pl.element().is_in(sorted(given[folded(text)]))).list.any()
    elif formulas:
        condition = pl.col("reduced_formula").is_in(formulas)
    else:
        return SearchResult(text, kind, (), suggestions=_suggestions(text, given))
    return SearchResult(text, "material", _summaries(lake, _described(calculations.filter(condition))), formulas)


def _meaning(text: str, calculations: pl.LazyFrame) -> tuple[str, pl.Expr | None]:
    words = text.replace(",", " ").split()
    if all(word in NUMBERS for word in words):
        return "elements", _systems_of(FrameQuery(elements=tuple(words), subsystems=True), calculations)
    symbols = text.strip().split("-")
    if len(symbols) > 1 and all(symbol in NUMBERS for symbol in symbols):
        return "element system", _systems_of(FrameQuery(systems=(text.strip(),)), calculations)
    try:
        return "formula", pl.col("reduced_formula") == canonical_formula(text)
    except QueryError:
        return "material", None


def _systems_of(query: FrameQuery, calculations: pl.LazyFrame) -> pl.Expr:
    known = calculations.select(pl.col("element_system").unique()).collect()["element_system"].to_list()
    return pl.col("element_system").is_in(matching_systems(query, sorted(known)))


def _described(calculations: pl.LazyFrame) -> pl.DataFrame:
    return calculations.select("element_system", "reduced_formula", "materials", "n_frames", "theory").collect()


def _given_names(calculations: pl.LazyFrame) -> dict[str, set[str]]:
    names = calculations.select(pl.col("materials").explode().drop_nulls().unique()).collect()["materials"].to_list()
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault(folded(name), set()).add(name)
    return found


def _suggestions(text: str, given: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    names = {key: material.name for key, material in known_materials().items()} | {key: min(names) for key, names in given.items()}
    near = difflib.get_close_matches(folded(text), list(names), n=3, cutoff=_LIKENESS)
    return tuple(names[name] for name in near)


def _summaries(lake: Place, rows: pl.DataFrame) -> tuple[SystemSummary, ...]:
    if rows.is_empty():
        return ()
    cards = [card for card in list_potentials(lake) if card.state != "retired"]
    found = []
    for part in rows.partition_by("element_system"):
        system = part["element_system"][0]
        theories = part.group_by("theory").agg(pl.col("n_frames").sum()).sort("theory")
        found.append(
            SystemSummary(
                element_system=system,
                formulas=tuple(part["reduced_formula"].unique().sort().to_list()),
                materials=tuple(part["materials"].explode().drop_nulls().unique().sort().to_list()),
                n_calculations=part.height,
                n_frames=int(part["n_frames"].sum()),
                theories={theory: int(n) for theory, n in theories.iter_rows()},
                potentials=tuple(f"{card.name}:{card.version}" for card in cards if set(system.split("-")) <= set(card.elements)),
            )
        )
    return tuple(sorted(found, key=lambda summary: (-summary.n_frames, summary.element_system)))
