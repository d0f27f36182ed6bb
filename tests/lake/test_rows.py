"""Readings become rows without a change of any number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from made_up_readings import LDA, MGCAO, MGO, NOON, made_block, made_calculation, made_reading

from lake.frame_table import Labelled, frame_table
from lake.rows import calculation_rows, calculation_table, frame_rows, level_of_theory
from schemas.columns import CALCULATIONS, FRAMES
from schemas.theory import LevelOfTheory


def test_arrays_come_back_bit_for_bit() -> None:
    calculation = made_calculation(MGCAO, 6, 1)
    block = calculation.run.frames
    rows = frame_rows(calculation, project="p", licence="CC-BY-4.0")
    assert rows.schema.equals(FRAMES.arrow_schema())
    for name in ("positions", "cell", "forces", "stress"):
        found = rows[name].combine_chunks().flatten().to_numpy()
        assert found.tobytes() == getattr(block, name).tobytes()
    assert rows["energy"].to_numpy().tobytes() == block.energy.tobytes()
    assert rows["energy_per_atom"].to_pylist() == (block.energy / 4).tolist()
    assert rows["numbers"].to_pylist() == [MGCAO] * 6
    assert rows["pbc"].to_pylist() == [[True] * 3] * 6
    assert rows["frame_id"].to_pylist() == [f"{calculation.calculation_id}:{i}" for i in range(6)]
    assert set(rows["element_system"].to_pylist()) == {"Ca-Mg-O"}
    assert set(rows["formula"].to_pylist()) == {"CaMgO2"}
    assert set(rows["licence"].to_pylist()) == {"CC-BY-4.0"}


def test_lists_share_memory_with_the_block() -> None:
    calculation = made_calculation(MGO, 3, 1)
    rows = frame_rows(calculation, project="", licence="")
    assert np.shares_memory(rows["positions"].chunk(0).flatten().to_numpy(), calculation.run.frames.positions)


def test_what_the_output_does_not_give_is_null() -> None:
    block = made_block(MGO, 3, 1, forces=False, stress=False)
    block.forces[1] = 0.25
    rows = frame_rows(made_calculation(MGO, block=replace(block, energy=np.array([1.0, np.nan, 2.0]))), project="", licence="")
    assert rows["forces"].is_valid().to_pylist() == [False, True, False]
    assert rows["forces"][1].as_py() == [0.25] * 12
    assert rows["stress"].null_count == rows["stress_source"].null_count == 3
    assert rows["energy"].to_pylist() == [1.0, None, 2.0]
    assert rows["energy_sigma0"].null_count == 3
    assert rows["fixed"].null_count == 3
    assert rows["max_force"].is_valid().to_pylist() == [False, True, False]


def test_convergence_and_steps_that_are_not_known_are_null() -> None:
    block = made_block(MGO, 3, 1)
    block = replace(block, scf_converged=np.array([1, 0, -1], np.int8), n_scf_steps=np.array([9, 60, -1], np.int32))
    rows = frame_rows(made_calculation(MGO, block=block), project="", licence="")
    assert rows["scf_converged"].to_pylist() == [True, False, None]
    assert rows["n_scf_steps"].to_pylist() == [9, 60, None]


def test_flags_of_the_run_hold_for_its_frames_and_decide_what_is_good() -> None:
    block = replace(made_block(MGO, 3, 1), flags=((), ("scf_not_converged",), ("net_force",)))
    calculation = made_calculation(MGO, block=block)
    calculation = replace(calculation, run=replace(calculation.run, flags=("truncated",)))
    rows = frame_rows(calculation, project="", licence="")
    assert rows["flags"].to_pylist() == [["truncated"], ["scf_not_converged", "truncated"], ["net_force", "truncated"]]
    assert rows["good"].to_pylist() == [True, False, True]
    (row,) = calculation_rows(made_reading("x", calculation))
    assert (row["n_frames"], row["n_good"], row["flags"]) == (3, 2, ["truncated"])


def test_fixed_coordinates_stand_at_every_frame() -> None:
    fixed = np.zeros((4, 3), bool)
    fixed[2] = True
    rows = frame_rows(made_calculation(MGO, block=replace(made_block(MGO, 2, 1), fixed=fixed)), project="", licence="")
    assert rows["fixed"].to_pylist() == [fixed.ravel().tolist()] * 2


def test_rows_of_many_calculations_at_once_are_those_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = np.zeros((4, 3), bool)
    fixed[1, 2] = True
    blocks = [
        replace(made_block(MGO, 3, 1), flags=((), ("net_force",), ())),
        made_block(MGO, 2, 2, forces=False, stress=False),
        replace(made_block(MGO, 2, 3), fixed=fixed, energy=np.array([np.nan, 1.0])),
    ]
    given = [Labelled(made_calculation(MGO, block=block), project=f"p{k}", licence="é" * k) for k, block in enumerate(blocks)]
    given.append(Labelled(made_calculation(MGCAO, 4, 1), project="", licence="x"))
    singly = [frame_rows(each.calculation, project=each.project, licence=each.licence).to_pylist() for each in given]
    for at_once in (1 << 20, 60, 1):
        monkeypatch.setattr("lake.frame_table._NUMBERS_AT_ONCE", at_once)
        assert str(frame_table(given).to_pylist()) == str([row for rows in singly for row in rows])


@pytest.mark.parametrize(
    "level",
    [
        LDA,
        LevelOfTheory("vasp"),
        LevelOfTheory(
            "vasp", "PBE", "D3(BJ)", (("Fe", "d", 5.3), ("Ni", "d", 6.2)), 0.25, "plane waves", 520.0, 1000.0,
            (("Fe", "PAW_PBE Fe_pv:06Sep2000"), ("O", "PAW_PBE O")), (4, 4, 2), 18, 0.23, "gaussian", 0.05, "collinear", 1.0, "scalar",
            (("dipole", "z=3"), ("field", "0.1")),
        ),
    ],
)  # fmt: skip
def test_a_level_of_theory_survives_the_table(level: LevelOfTheory) -> None:
    calculation = made_calculation(MGO, level=level)
    calculation = replace(calculation, run=replace(calculation.run, code=level.code))
    table = calculation_table(calculation_rows(made_reading("x", calculation)), batch_id="b", now=NOON)
    assert table.schema.equals(CALCULATIONS.arrow_schema())
    assert level_of_theory(table.to_pylist()[0]) == level


def test_names_of_materials_are_separated() -> None:
    (row,) = calculation_rows(made_reading("x", made_calculation(MGO), metadata={"material": "periclase; ペリクレース;"}))
    assert row["materials"] == ["periclase", "ペリクレース"]
    assert isinstance(pa.array([row["materials"]]), pa.ListArray)
