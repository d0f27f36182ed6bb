"""Selections find what they say, and read only the partitions that can hold it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from made_up_readings import CAO, LDA, MGCAO, MGO, made_block, made_calculation, made_reading

from lake.commit import commit_batch, stage
from lake.lake import Lake
from lake.query import canonical_formula, frame_query
from schemas.datasets import FrameQuery
from schemas.errors import QueryError


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
    assert canonical_formula("CuSO4·5H2O") == canonical_formula("H10CuSO9")
    with pytest.raises(QueryError, match="counts 0"):
        canonical_formula("Mg0O")


def test_lists_may_be_text() -> None:
    assert frame_query(elements="O Mg,Ca", containing={"O"}) == FrameQuery(elements=("Ca", "Mg", "O"), containing=("O",))
