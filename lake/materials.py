"""Names of materials that everybody uses and their formulas: the table that is shipped, `materials.txt`."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from lake.query import canonical_formula


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


def _lines() -> Iterator[tuple[list[str], list[str]]]:
    for line in (files("lake") / "materials.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            formulas, _, names = line.partition(" = ")
            yield formulas.split(), [name.strip() for name in names.split(";")]
