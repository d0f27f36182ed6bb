"""Search by what people type: elements, element systems, formulas in any order, names of materials in any language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from lake.datasets import list_datasets
from lake.materials import calculations_of, formulas_of, given_names, nearest_names
from lake.place import Place
from lake.potentials import list_potentials
from lake.query import matching_systems, of_anonymous
from lake.visibility import Hidden, hidden
from schemas.datasets import FrameQuery
from schemas.elements import NUMBERS, canonical_formula, parse_anonymous
from schemas.errors import QueryError, UnknownName


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
    trained_on_it: tuple[str, ...]
    """Those of them whose dataset holds frames of it."""


@dataclass(frozen=True)
class SearchResult:
    """What a text was taken for, and what was found."""

    text: str
    kind: str
    """'elements' (systems made of these only), 'element system', 'formula', 'anonymous formula', 'material'."""
    systems: tuple[SystemSummary, ...]
    """Most frames first."""
    formulas: tuple[str, ...] = ()
    """Reduced formulas that the shipped table of names gives the text, where it was taken for a material."""
    suggestions: tuple[str, ...] = ()
    """Names of materials close to the text, where nothing was found."""
    left_out: Hidden = field(default_factory=Hidden)
    """What of it the reader does not see, see `lake.visibility`."""


def search(lake: Place, text: str, *, retracted: bool = False) -> SearchResult:
    """Return what the lake has for a text; what only retracted sources have is left out unless retracted=True.

    'Mg,O' or 'Mg O': systems of these elements and their subsystems; 'Ca-Mg-O': that system; a formula in any order
    ('Mg0.5Ca0.5O') or an anonymous one ('ABC3'): that composition; anything else, or a formula that is not there: a material's name,
    where case, accents and width do not matter. A name that a depositor gave finds what it was given to; any other common name finds
    its formula.
    Raises QueryError for an empty text.
    """
    if not text.strip():
        raise QueryError("the search is empty; write elements ('Mg,O'), a system ('Mg-O'), a formula ('MgO') or the name of a material")
    everything = lake.scan(lake.table("calculations"))
    unseen = hidden(lake, retracted=retracted)
    seen = unseen.seen()
    calculations = everything if seen is None else everything.filter(seen)
    kind, condition = _meaning(text, everything)
    rows = _described(calculations.filter(condition)) if condition is not None else pl.DataFrame()
    formulas: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    if condition is None or (kind == "formula" and rows.is_empty()):
        try:
            named = calculations_of(text, calculations)
        except UnknownName:
            suggestions = nearest_names(text, given_names(calculations))
            if condition is None:
                return SearchResult(text, kind, (), suggestions=suggestions)
        else:
            kind, condition, formulas = "material", named, formulas_of(text)
            rows = _described(calculations.filter(condition))
    return SearchResult(text, kind, _summaries(lake, rows), formulas, suggestions, _left_out(unseen, everything.filter(condition)))


def _meaning(text: str, calculations: pl.LazyFrame) -> tuple[str, pl.Expr | None]:
    words = text.replace(",", " ").split()
    if all(word in NUMBERS for word in words):
        return "elements", _systems_of(FrameQuery(elements=tuple(words), subsystems=True), calculations)
    anonymous = parse_anonymous(text)
    if anonymous:
        return "anonymous formula", of_anonymous(anonymous, calculations)
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


def _left_out(unseen: Hidden, rows: pl.LazyFrame) -> Hidden:
    """Return what is not seen of some rows of `calculations`, its counts being those of these rows."""
    seen = unseen.seen()
    if seen is None:
        return unseen
    n_frames, embargoed = pl.col("n_frames"), pl.col("project").is_in(list(unseen.projects))
    grouped = rows.filter(~seen).group_by("element_system")
    counted = grouped.agg(n_frames.filter(~embargoed).sum().alias("a"), n_frames.filter(embargoed).sum().alias("b")).collect()
    return replace(unseen, counts={system: (int(a), int(b)) for system, a, b in counted.iter_rows()})


def _summaries(lake: Place, rows: pl.DataFrame) -> tuple[SystemSummary, ...]:
    if rows.is_empty():
        return ()
    cards = [card for card in list_potentials(lake) if card.state != "retired"]
    datasets = {manifest.content_hash: manifest.element_systems for manifest in list_datasets(lake)} if cards else {}
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
                trained_on_it=tuple(f"{card.name}:{card.version}" for card in cards if system in datasets.get(card.dataset_hash, ())),
            )
        )
    return tuple(sorted(found, key=lambda summary: (-summary.n_frames, summary.element_system)))
