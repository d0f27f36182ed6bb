"""Search by elements, system, formula and by names of materials in any language."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_readings import CAO, LDA, MGCAO, MGO, made_calculation, made_reading

from lake.commit import commit_batch, stage
from lake.lake import Lake
from lake.materials import folded, formulas_of, known_materials
from schemas.errors import QueryError


@pytest.fixture
def filled(folder_lake: Lake) -> Lake:
    readings = [
        made_reading("a", made_calculation(MGO, 5, 1), metadata={"material": "Periclase;ペリクレース;magnésie"}),
        made_reading("b", made_calculation(MGO, 3, 2, level=LDA), made_calculation(CAO, 4, 2)),
        made_reading("c", made_calculation(MGCAO, 6, 3), metadata={"material": "Mg-Ca solid solution"}),
    ]
    commit_batch(folder_lake, [stage(folder_lake, readings, "b" * 64, 0)], "b" * 64)
    return folder_lake


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("Mg,O", "elements", {"Mg-O": (2, 8)}),
        ("O Ca  Mg", "elements", {"Mg-O": (2, 8), "Ca-Mg-O": (1, 6), "Ca-O": (1, 4)}),
        ("Mg-O-Ca", "element system", {"Ca-Mg-O": (1, 6)}),
        ("OMg", "formula", {"Mg-O": (2, 8)}),
        ("Mg0.5Ca0.5O", "formula", {"Ca-Mg-O": (1, 6)}),
        ("SiO2", "formula", {}),
        ("PERICLASE", "material", {"Mg-O": (1, 5)}),
        ("ﾍﾟﾘｸﾚｰｽ", "material", {"Mg-O": (1, 5)}),
        ("magnesie", "material", {"Mg-O": (1, 5)}),
        ("mg ca solid  solution", "material", {"Ca-Mg-O": (1, 6)}),
        ("Fe,Ni", "elements", {}),
        ("Quick Lime", "material", {}),
        ("QUICKLIME", "material", {"Ca-O": (1, 4)}),
        ("生石灰", "material", {"Ca-O": (1, 4)}),
        ("magnesia", "material", {"Mg-O": (2, 8)}),
        ("thoria", "material", {}),
    ],
)
def test_what_is_typed_is_understood(filled: Lake, text: str, kind: str, found: dict[str, tuple[int, int]]) -> None:
    result = filled.search(text)
    assert result.kind == kind
    assert {each.element_system: (each.n_calculations, each.n_frames) for each in result.systems} == found


def test_a_summary_says_theories_and_names(filled: Lake) -> None:
    (system,) = filled.search("Mg-O").systems
    assert sorted(system.theories.values()) == [3, 5]
    assert {key.split("/")[0] for key in system.theories} == {"LDA", "PBE"}
    assert system.formulas == ("MgO",)
    assert system.materials == ("Periclase", "magnésie", "ペリクレース")
    assert system.potentials == ()


def test_a_misspelt_name_gets_the_nearest(filled: Lake) -> None:
    result = filled.search("perclase")
    assert (result.systems, result.suggestions) == ((), ("Periclase",))
    assert filled.search("ペリクレス").suggestions == ("ペリクレース",)
    assert filled.search("something else").suggestions == ()
    assert filled.search("kaolinit").suggestions[0] == "kaolinite"
    assert filled.search("カオリナイ").suggestions[0] == "カオリナイト"


def test_an_empty_search_is_refused(filled: Lake) -> None:
    with pytest.raises(QueryError, match="search is empty"):
        filled.search("  ")


def test_folding_keeps_letters_apart_that_are_letters() -> None:
    assert folded("Ｃａｆé") == "cafe"
    assert folded("ガ") == "ガ" != folded("カ")
    assert folded("Straße") == "strasse"
    assert folded("α-石英") == "α 石英"


@pytest.mark.parametrize(
    ("name", "formulas"),
    [
        ("Kaolinite", ("Al2H4O9Si2",)),
        ("カオリナイト", ("Al2H4O9Si2",)),
        ("ｶｵﾘﾅｲﾄ", ("Al2H4O9Si2",)),
        ("THORIA", ("O2Th",)),
        ("wustite", ("FeO",)),
        ("Wüstite", ("FeO",)),
        ("hydroxy-apatite", ()),
        ("hydroxyapatite", ("Ca5HO13P3",)),
        ("olivine", ("Mg2O4Si", "Fe2O4Si")),
        ("calcite", ("CCaO3",)),
        ("no such stone", ()),
    ],
)
def test_common_names_have_their_formulas(name: str, formulas: tuple[str, ...]) -> None:
    assert formulas_of(name) == formulas


def test_a_name_that_is_known_but_not_there_says_its_formula(filled: Lake) -> None:
    result = filled.search("thoria")
    assert (result.kind, result.formulas, result.systems, result.suggestions) == ("material", ("O2Th",), (), ())
    assert filled.search("Periclase").formulas == ("MgO",)


def test_the_table_of_names_has_each_name_once(root: Path) -> None:
    lines = [line for line in (root / "lake/materials.txt").read_text().splitlines() if line and not line.startswith("#")]
    names = [folded(name) for line in lines for name in line.split(" = ")[1].split(";")]
    assert len(known_materials()) == len(names) == len(set(names)) > 2000
    assert all(names)
    assert sum(name.isascii() for name in names) > 1000
    assert sum(not name.isascii() for name in names) > 700
