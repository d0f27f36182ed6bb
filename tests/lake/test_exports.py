"""Exported files hold the numbers of the lake, read back by the programs they are for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from made_up_readings import MGCAO, MGO, made_block, made_calculation, made_reading

from lake import exports
from lake.commit import commit_batch, stage
from lake.exports import export
from lake.lake import Lake
from schemas.datasets import FrameQuery, Split
from schemas.errors import QueryError


@pytest.fixture
def filled(folder_lake: Lake) -> Lake:
    silent = made_calculation(
        [12], block=replace(made_block([12], 2, 9, forces=False, stress=False), cell=np.zeros((2, 3, 3)), pbc=np.zeros(3, bool))
    )
    readings = [made_reading("a", made_calculation(MGO, 5, 1), made_calculation(MGCAO, 4, 2), silent)]
    commit_batch(folder_lake, [stage(folder_lake, readings, "b" * 64, 0)], "b" * 64)
    return folder_lake


def test_extxyz_is_read_by_ase_without_loss(filled: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "BATCH_FRAMES", 3)
    said: list[int] = []
    file = tmp_path / "out" / "frames.extxyz"
    assert export(filled.frames().sort("frame_id"), file, progress=said.append) == 11
    assert said[-1] == 11
    assert len(said) > 1
    rows = filled.frames().sort("frame_id").collect()
    for atoms, row in zip(ase.io.read(file, ":"), rows.iter_rows(named=True), strict=True):
        assert atoms.info["frame_id"] == row["frame_id"]
        assert atoms.info["theory"] == row["theory"]
        assert atoms.numbers.tolist() == row["numbers"]
        assert atoms.pbc.tolist() == row["pbc"]
        assert atoms.positions.ravel().tolist() == row["positions"]
        assert atoms.cell[:].ravel().tolist() == row["cell"]
        assert atoms.get_potential_energy() == row["energy"] == atoms.get_potential_energy(force_consistent=True)
        if row["forces"] is None:
            assert "forces" not in atoms.calc.results
            assert "stress" not in atoms.calc.results
        else:
            assert atoms.get_forces().ravel().tolist() == row["forces"]
            assert np.allclose(atoms.get_stress(voigt=False).ravel(), row["stress"], rtol=0, atol=1e-15)


def test_parquet_holds_all_columns(filled: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "BATCH_FRAMES", 3)
    file = tmp_path / "frames.parquet"
    assert export(filled.frames(), file) == 11
    found = pl.read_parquet(file).sort("frame_id")
    assert found.equals(filled.frames().sort("frame_id").collect())
    assert pq.read_schema(file).field("positions").type.value_type == "double"
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("frames")] == ["frames.parquet"]


def test_a_dataset_is_exported_with_its_split(filled: Lake, tmp_path: Path) -> None:
    dataset = filled.publish("d", FrameQuery(elements=("Mg", "O")), Split(test=0, validation=0))
    assert export(dataset.frames("train"), tmp_path / "x.parquet") == 5
    assert pl.read_parquet(tmp_path / "x.parquet")["split"].unique().to_list() == ["train"]


def test_nothing_is_exported_as_an_empty_file(filled: Lake, tmp_path: Path) -> None:
    assert export(filled.frames(elements="Si"), tmp_path / "x.xyz") == 0
    assert (tmp_path / "x.xyz").read_text() == ""
    assert export(filled.frames(elements="Si"), tmp_path / "x.parquet") == 0
    assert pl.read_parquet(tmp_path / "x.parquet").is_empty()


def test_formats_by_name_or_ending_and_no_others(filled: Lake, tmp_path: Path) -> None:
    assert export(filled.frames(), tmp_path / "x.data", "extxyz") == 11
    with pytest.raises(QueryError, match="did you mean 'extxyz'"):
        export(filled.frames(), tmp_path / "x.xyz", "extxzy")
    with pytest.raises(QueryError, match="formats are extxyz, parquet"):
        export(filled.frames(), tmp_path / "x.cif")
