"""Formulas, compositions and element systems."""

from __future__ import annotations

import pytest

from schemas.elements import SYMBOLS, atomic_number, composition, element_system, formula, parse_formula, reduced_formula
from schemas.errors import QueryError


def test_numbers_and_symbols() -> None:
    assert [atomic_number(s) for s in ("H", "O", "Ca", "Og")] == [1, 8, 20, 118]
    assert SYMBOLS[118] == "Og"
    for wrong in ("mg", "X", "", "Xx"):
        with pytest.raises(QueryError, match="symbol of an element"):
            atomic_number(wrong)


def test_compositions_and_formulas() -> None:
    counts = composition([12, 8, 12, 8, 20, 20, 8, 8])
    assert counts == {"Ca": 2, "Mg": 2, "O": 4}
    assert (formula(counts), reduced_formula(counts)) == ("Ca2Mg2O4", "CaMgO2")
    assert formula({"O": 1, "H": 6, "C": 2}) == "C2H6O"
    assert element_system(["O", "Mg", "Ca", "O"]) == "Ca-Mg-O"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("OMg", {"Mg": 1, "O": 1}), ("Mg0.5Ca0.5O", {"Ca": 0.5, "Mg": 0.5, "O": 1}), ("Al2Si2O5(OH)4", {"Al": 2, "H": 4, "O": 9, "Si": 2}),
        ("CuSO4·5H2O", {"Cu": 1, "H": 10, "O": 9, "S": 1}), ("K4[Fe(CN)6]", {"C": 6, "Fe": 1, "K": 4, "N": 6}),
    ],
)  # fmt: skip
def test_formulas_are_read(text: str, found: dict[str, float]) -> None:
    assert parse_formula(text) == found


@pytest.mark.parametrize("text", ["", "mgo", "Mg)", "(Mg", "Mg-O", "Qq2"])
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(QueryError):
        parse_formula(text)
