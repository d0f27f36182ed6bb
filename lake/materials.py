"""Names of materials that everybody uses and their formulas: the table that is shipped, `materials.txt`."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

import polars as pl

from schemas.elements import canonical_formula
from schemas.errors import UnknownName

_LIKENESS: Final = 0.72
"""Ratio of difflib from which a name counts as a misspelling of another one."""


@dataclass(frozen=True)
class Material:
    """One name of a material."""

    name: str
    """As the table writes it."""
    formulas: tuple[str, ...]
    """Reduced formulas; several where the name means a series, such as olivine."""


def folded(name: str) -> str:
    """Return a name without what does not matter in a search: case, accents, width, hyphens and runs of spaces."""
    # Marks of kana (voiced sounds) are part of the letter and stay; marks on Latin, Greek and Cyrillic letters go.
    kept = []
    for letter in unicodedata.normalize("NFKC", name).casefold():
        parts = unicodedata.normalize("NFD", letter)
        kept.append(letter if len(parts) > 1 and parts[1] in "\u3099\u309a" else "".join(p for p in parts if not unicodedata.combining(p)))
    return " ".join("".join(kept).replace("-", " ").split())


@cache
def known_materials() -> Mapping[str, Material]:
    """Return the shipped table, by folded name."""
    found: dict[str, Material] = {}
    for formulas, names in _lines():
        reduced = tuple(canonical_formula(formula) for formula in formulas)
        for name in names:
            found[folded(name)] = Material(name, reduced)
    return MappingProxyType(found)


def formulas_of(name: str) -> tuple[str, ...]:
    """Return the reduced formulas that the shipped table gives a name; empty for a name that it does not have."""
    material = known_materials().get(folded(name))
    return material.formulas if material else ()


def given_names(calculations: pl.LazyFrame) -> dict[str, set[str]]:
    """Return the names that depositors gave to these calculations, by folded name."""
    names = calculations.select(pl.col("materials").explode().drop_nulls().unique()).collect()["materials"].to_list()
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault(folded(name), set()).add(name)
    return found


def nearest_names(text: str, given: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Return up to three names of materials, shipped or given by depositors, that a text may be a misspelling of."""
    names = {key: material.name for key, material in known_materials().items()} | {key: min(names) for key, names in given.items()}
    near = difflib.get_close_matches(folded(text), list(names), n=3, cutoff=_LIKENESS)
    return tuple(names[name] for name in near)


def calculations_of(name: str, calculations: pl.LazyFrame) -> pl.Expr:
    """Return the condition that a row of `calculations` is of a material: what depositors gave the name to, else its shipped formulas.

    Raises UnknownName, with the nearest names, where there is neither.
    """
    given, formulas = given_names(calculations), formulas_of(name)
    if folded(name) in given:
        return pl.col("materials").list.eval(pl.element().is_in(sorted(given[folded(name)]))).list.any()
    if formulas:
        return pl.col("reduced_formula").is_in(formulas)
    near = " or ".join(repr(each) for each in nearest_names(name, given))
    raise UnknownName(
        f"no depositor named a material {name!r} and the table of common names lacks it{f' (did you mean {near}?)' if near else ''}"
    )


def _lines() -> Iterator[tuple[list[str], list[str]]]:
    for line in (files("lake") / "materials.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            formulas, _, names = line.partition(" = ")
            yield formulas.split(), [name.strip() for name in names.split(";")]
