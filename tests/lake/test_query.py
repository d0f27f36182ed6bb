"""Selections find what they say, and read only the partitions that can hold it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from made_up_readings import CAO, LDA, MGCAO, MGO, made_block, made_calculation, made_reading

from lake.commit import commit_batch, stage
from lake.lake import Lake
from lake.query import frame_query
from schemas.datasets import FrameQuery
from schemas.elements import canonical_formula, parse_anonymous
from schemas.errors import QueryError, UnknownName
from schemas.json import from_json, to_json


def fill(lake: Lake) -> Lake:
    bad = made_calculation([12], block=replace(made_block([12], 2, 9), flags=(("scf_not_converged",), ())))
    silent = made_calculation(MGO, block=made_block(MGO, 2, 10, forces=False))
    readings = [
        made_reading("a", made_calculation(MGO, 5, 1), made_calculation(CAO, 4, 2), metadata={"project": "oxides"}),
        made_reading("b", made_calculation(MGCAO, 6, 3), bad, silent),
        made_reading("c", made_calculation([12, 12, 12, 8, 8, 8], 3, 4, level=LDA)),
        made_reading("d", made_calculation([12, 8, 1, 1], 2, 5)),
    ]
    commit_batch(lake, [stage(lake, readings, "b" * 64, 0)], "b" * 64)
    return lake


@pytest.fixture
def filled(folder_lake: Lake) -> Lake:
    return fill(folder_lake)


def counts(frames: pl.LazyFrame) -> dict[str, int]:
    return dict(frames.group_by("element_system").len().sort("element_system").collect().iter_rows())


def test_elements_with_and_without_subsystems(filled: Lake) -> None:
    assert counts(filled.frames(elements={"Mg", "O"})) == {"Mg-O": 10}
    assert counts(filled.frames(elements=["O", "Ca", "Mg"], subsystems=True)) == {"Ca-Mg-O": 6, "Ca-O": 4, "Mg": 1, "Mg-O": 10}
    assert counts(filled.frames(elements="Ca, Mg O")) == {"Ca-Mg-O": 6}
    assert counts(filled.frames(systems=["O-Mg", "Ca-O"])) == {"Ca-O": 4, "Mg-O": 10}
    assert counts(filled.frames(containing="H")) == {"H-Mg-O": 2}
    assert counts(filled.frames(elements="Si")) == {}
    assert counts(filled.frames()) == {"Ca-Mg-O": 6, "Ca-O": 4, "H-Mg-O": 2, "Mg": 1, "Mg-O": 10}


def test_scalars_narrow(filled: Lake) -> None:
    assert counts(filled.frames(only_good=False, systems="Mg")) == {"Mg": 2}
    assert counts(filled.frames(natoms=(5, 6))) == {"Mg-O": 3}
    assert counts(filled.frames(formula="OMg")) == {"Mg-O": 10}
    assert counts(filled.frames(formula="Mg0.5Ca0.5O")) == {"Ca-Mg-O": 6}
    assert counts(filled.frames(project="oxides")) == {"Ca-O": 4, "Mg-O": 5}
    assert counts(filled.frames(code="vasp")) == {}
    assert counts(filled.frames(systems="Mg-O", with_forces=True)) == {"Mg-O": 8}
    energies = filled.frames(systems="Ca-O").select("energy_per_atom").collect()["energy_per_atom"].sort()
    assert counts(filled.frames(systems="Ca-O", energy_per_atom=(energies[1], energies[2]))) == {"Ca-O": 2}
    largest = filled.frames(systems="Ca-O").select("max_force").collect()["max_force"].sort()
    assert counts(filled.frames(systems="Ca-O", max_force=largest[2])) == {"Ca-O": 3}


def test_theory_by_its_key_or_its_beginning_up_to_a_slash(filled: Lake) -> None:
    keys = filled.frames(elements="Mg,O").select(pl.col("theory").unique()).collect()["theory"].to_list()
    (lda,) = [key for key in keys if key.startswith("LDA")]
    assert counts(filled.frames(theory=lda)) == counts(filled.frames(theory="LDA")) == {"Mg-O": 3}
    assert counts(filled.frames(theory="LDA/plane waves/")) == {"Mg-O": 3}
    assert counts(filled.frames(theory="LD")) == {}


def test_elements_any_and_none(filled: Lake) -> None:
    assert counts(filled.frames(any_of="Ca,H")) == {"Ca-Mg-O": 6, "Ca-O": 4, "H-Mg-O": 2}
    assert counts(filled.frames(containing="O", without="Ca H")) == {"Mg-O": 10}
    assert counts(filled.frames(containing={"Mg", "O"}, any_of=["Ca", "H"], without=["H"])) == {"Ca-Mg-O": 6}


def test_anonymous_formulas_name_shapes(filled: Lake) -> None:
    assert counts(filled.frames(formula="AB")) == {"Ca-O": 4, "Mg-O": 10}
    assert counts(filled.frames(formula="A2BC")) == counts(filled.frames(formula="ABC2")) == {"Ca-Mg-O": 6, "H-Mg-O": 2}
    assert counts(filled.frames(formula="ABC3")) == {}
    assert counts(filled.frames(formula="AB", elements="Mg,O,Ca", subsystems=True, theory="LDA")) == {"Mg-O": 3}


def test_ranges_may_be_open(filled: Lake) -> None:
    for name, column in [
        ("energy_per_atom", pl.col("energy_per_atom")), ("largest_force", pl.col("max_force")), ("density", pl.col("density")),
        ("volume", pl.col("volume")), ("volume_per_atom", pl.col("volume") / pl.col("natoms")), ("pressure", pl.col("pressure")),
    ]:  # fmt: skip
        values = filled.frames(systems="Ca-O").select(column.alias("x")).collect()["x"].sort().to_list()
        assert len(set(values)) == 4
        for bounds, expected in [((values[1], values[2]), 2), ((values[1], None), 3), ((None, values[0]), 1), ((None, None), 4)]:
            assert counts(filled.frames(systems="Ca-O", **{name: bounds})) == {"Ca-O": expected}, name
    assert counts(filled.frames(natoms=(5, None))) == {"Mg-O": 3}


def test_flags_with_and_without(filled: Lake) -> None:
    assert counts(filled.frames(flags="scf_not_converged", only_good=False)) == {"Mg": 1}
    assert counts(filled.frames(without_flags=["scf_not_converged"], only_good=False, systems="Mg")) == {"Mg": 1}
    assert counts(filled.frames(flags=["net_force"])) == {}
    assert counts(filled.frames(systems="Mg-O", without_flags="missing_forces")) == {"Mg-O": 10}


def test_days_and_licences(filled: Lake) -> None:
    day = datetime.now(UTC).date()
    later = made_reading("e", made_calculation(MGO, 7, 77), metadata={"licence": "CC0-1.0"})
    commit_batch(filled, [stage(filled, [later], "c" * 64, 0)], "c" * 64, now=datetime.now(UTC) + timedelta(days=3))
    assert counts(filled.frames(systems="Mg-O", ingested=(str(day), str(day)))) == {"Mg-O": 10}
    assert counts(filled.frames(systems="Mg-O", ingested=(str(day + timedelta(days=1)), None))) == {"Mg-O": 7}
    assert counts(filled.frames(ingested=(None, str(day - timedelta(days=1))))) == {}
    assert counts(filled.frames(licence="CC0-1.0")) == {"Mg-O": 7}


def test_materials_by_any_name(filled: Lake) -> None:
    given = made_reading("e", made_calculation([12, 8, 8], 4, 78), metadata={"material": "過酸化マグネシウム;Peroxide"})
    commit_batch(filled, [stage(filled, [given], "c" * 64, 0)], "c" * 64)
    assert counts(filled.frames(material="過酸化ﾏｸﾞﾈｼｳﾑ")) == counts(filled.frames(material="PEROXIDE")) == {"Mg-O": 4}
    assert counts(filled.frames(material="quicklime")) == {"Ca-O": 4}
    assert counts(filled.frames(material="Periclase", theory="LDA")) == {"Mg-O": 3}
    with pytest.raises(UnknownName, match="did you mean 'periclase'"):
        filled.frames(material="periclaze")


def test_a_query_survives_json() -> None:
    query = frame_query(
        formula="ABC3", energy_per_atom=(-8.5, None), natoms=(None, 64), ingested=("2026-01-01", None), flags=["net_force"], any_of="Mg"
    )
    assert from_json(FrameQuery, to_json(query)) == query
    assert from_json(FrameQuery, '{"elements": ["Mg"], "energy_per_atom": [-8.0, -7.5], "natoms": [1, 64], "max_force": 5}').natoms == (
        1,
        64,
    )


def test_only_the_files_that_can_match_are_read(filled: Lake) -> None:
    for found in list(filled.store.list("frames")):
        if "element_system=Ca-O/" in found.key or "element_system=Ca-Mg-O/" in found.key:
            filled.store.delete(found.key)
    assert filled.frames(elements={"Mg", "O"}, subsystems=True).select("positions", "forces").collect().height == 11
    with pytest.raises(OSError, match="No such file"):
        filled.frames(elements={"Ca", "O"}).collect()
    plan = filled.frames(elements={"Mg", "O"}, subsystems=True).explain()
    assert "element_system=Mg-O" in plan
    assert "element_system=Ca-O" not in plan


def test_a_version_of_the_past_is_read(filled: Lake) -> None:
    before = filled.versions()["frames"]
    later = made_reading("e", made_calculation(MGO, 7, 77))
    commit_batch(filled, [stage(filled, [later], "c" * 64, 0)], "c" * 64)
    assert counts(filled.frames(elements="Mg,O")) == {"Mg-O": 17}
    assert counts(filled.frames(elements="Mg,O", version=before)) == {"Mg-O": 10}


def test_counts_of_systems_come_from_the_log(filled: Lake) -> None:
    for found in list(filled.store.list("frames")):
        if found.key.endswith(".parquet"):
            filled.store.delete(found.key)
    assert filled.systems().select("element_system", "n_frames").rows() == [
        ("Ca-Mg-O", 6), ("Ca-O", 4), ("H-Mg-O", 2), ("Mg", 2), ("Mg-O", 10),
    ]  # fmt: skip


@pytest.mark.s3
def test_the_same_on_a_real_server(weed_lake: Lake) -> None:
    filled = fill(weed_lake)
    assert counts(filled.frames(elements=["O", "Ca", "Mg"], subsystems=True)) == {"Ca-Mg-O": 6, "Ca-O": 4, "Mg": 1, "Mg-O": 10}
    frames = filled.frames(systems="Ca-Mg-O").sort("step").collect()
    assert np.array_equal(frames["forces"].explode().to_numpy(), made_calculation(MGCAO, 6, 3).run.frames.forces.ravel())


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"element": "Mg"}, "did you mean 'elements'"),
        ({"elements": "Mg,Oo"}, "Oo"),
        ({"systems": "mg-o"}, "did you mean 'Mg'"),
        ({"elements": "Mg", "systems": "Mg"}, "not both"),
        ({"subsystems": True}, "needs elements"),
        ({"natoms": (5, 2)}, "smaller one first"),
        ({"formula": "Mg(O"}, "bracket"),
        ({"any_of": "Mg,Qq"}, "'Qq' is not the symbol"),
        ({"flags": "scf_not_convergd", "only_good": False}, "did you mean 'scf_not_converged'"),
        ({"flags": "scf_not_converged"}, "no good frame carries"),
        ({"ingested": ("2026-02-01", "2026-01-01")}, "smaller one first"),
        ({"limits": {"Mg-O": -1}}, "0 or more"),
    ],
)
def test_selections_that_cannot_be_made_say_why(filled: Lake, filters: dict[str, object], words: str) -> None:
    with pytest.raises(QueryError, match=words):
        filled.frames(**filters)


def test_formulas_become_one_form() -> None:
    assert canonical_formula("OMg") == "MgO"
    assert canonical_formula("Mg0.5Ca0.5O") == canonical_formula("O2CaMg") == "CaMgO2"
    assert canonical_formula("Al2Si2O5(OH)4") == "Al2H4O9Si2"
    assert canonical_formula("CuSO4·5H2O") == canonical_formula("H10CuSO9") == canonical_formula("CuSO4.5H2O") == "CuH10O9S"
    assert canonical_formula("CuSO₄ • 5 H₂O") == canonical_formula("CuSO4.5(H2O)") == canonical_formula("[Cu(H2O)4]SO4.H2O") == "CuH10O9S"
    assert canonical_formula("CaSO4·0.5H2O") == canonical_formula("CaSO4.0.5H2O") == canonical_formula("CaSO4·½H2O") == "Ca2H2O9S2"
    assert canonical_formula("K2CO3.1.5H2O") == canonical_formula("K2CO3·3/2H2O") == "C2H6K4O9"
    assert canonical_formula("3CaO·SiO2") == "Ca3O5Si"
    assert canonical_formula("Mg1/2Ca1/2O") == canonical_formula("Mg.5Ca.5O") == "CaMgO2"
    assert canonical_formula("Mg0.5H2O") == "H4MgO2", "no hydrate of Mg0"
    with pytest.raises(QueryError, match="counts 0"):
        canonical_formula("Mg0O")


def test_lists_may_be_text() -> None:
    assert frame_query(elements="O Mg,Ca", containing={"O"}) == FrameQuery(elements=("Ca", "Mg", "O"), containing=("O",))


def test_anonymous_formulas_become_one_form() -> None:
    assert parse_anonymous("A3BC") == parse_anonymous("BC3A") == parse_anonymous("ABC3") == "ABC3"
    assert parse_anonymous("A2B2") == "AB"
    assert [parse_anonymous(text) for text in ("BC3", "AgB", "AC", "MgO", "AB0", "")] == [None] * 6
