"""Exported files hold the numbers of the lake, read back by the programs they are for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from made_up_readings import MGCAO, MGO, made_block, made_calculation, made_reading

from lake.commit import commit_batch, stage
from lake.exports import base, export
from lake.lake import Lake
from schemas.datasets import FrameQuery, Split
from schemas.elements import NUMBERS
from schemas.errors import AlreadyThere, QueryError


@pytest.fixture
def filled(folder_lake: Lake) -> Lake:
    silent = made_calculation(
        [12], block=replace(made_block([12], 2, 9, forces=False, stress=False), cell=np.zeros((2, 3, 3)), pbc=np.zeros(3, bool))
    )
    readings = [made_reading("a", made_calculation(MGO, 5, 1), made_calculation(MGCAO, 4, 2), silent)]
    commit_batch(folder_lake, [stage(folder_lake, readings, "b" * 64, 0)], "b" * 64)
    return folder_lake


def test_extxyz_is_read_by_ase_without_loss(filled: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BATCH_FRAMES", 3)
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
    monkeypatch.setattr(base, "BATCH_FRAMES", 3)
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
    with pytest.raises(QueryError, match="formats are extxyz, parquet, runner, ase-db, ase-lmdb, mace-hdf5, deepmd"):
        export(filled.frames(), tmp_path / "x.cif")


def test_an_ase_database_is_read_by_ase_without_loss(filled: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BATCH_FRAMES", 3)
    file = tmp_path / "frames.db"
    assert export(filled.frames().sort("frame_id"), file) == 11
    found = list(ase.db.connect(file).select(sort="id"))
    for row, expected in zip(found, filled.frames().sort("frame_id").collect().iter_rows(named=True), strict=True):
        assert (row.frame_id, row.theory) == (expected["frame_id"], expected["theory"])
        atoms = row.toatoms()
        assert atoms.numbers.tolist() == expected["numbers"]
        assert atoms.positions.ravel().tolist() == expected["positions"]
        assert atoms.cell[:].ravel().tolist() == expected["cell"]
        assert atoms.pbc.tolist() == expected["pbc"]
        assert row.energy == row.free_energy == expected["energy"]
        if expected["forces"] is None:
            assert "forces" not in row
            assert "stress" not in row
        else:
            assert row.forces.ravel().tolist() == expected["forces"]
            assert np.allclose(atoms.get_stress(voigt=False).ravel(), expected["stress"], rtol=0, atol=1e-15)
    assert export(filled.frames(elements="Si"), file) == 0
    assert ase.db.connect(file).count() == 0


def read_runner(file: Path) -> list[dict[str, list[list[str]]]]:
    """Return the blocks of an input.data: the words of its lines by their key word."""
    blocks: list[dict[str, list[list[str]]]] = []
    for line in file.read_text().splitlines():
        word, *rest = line.split()
        if word == "begin":
            blocks.append({})
        elif word != "end":
            blocks[-1].setdefault(word, []).append(rest)
    return blocks


def test_runner_data_hold_the_numbers_of_the_lake(filled: Lake, tmp_path: Path) -> None:
    rows = filled.frames(with_forces=True).sort("frame_id")
    file = tmp_path / "input.data"
    assert export(rows, file) == 9
    for block, expected in zip(read_runner(file), rows.collect().iter_rows(named=True), strict=True):
        assert " ".join(block["comment"][0]).startswith(f"units eV Angstrom eV/Angstrom; frame {expected['frame_id']}; theory PBE")
        assert [float(x) for vector in block["lattice"] for x in vector] == expected["cell"]
        assert [float(x) for atom in block["atom"] for x in atom[:3]] == expected["positions"]
        assert [float(x) for atom in block["atom"] for x in atom[6:]] == expected["forces"]
        assert [NUMBERS[atom[3]] for atom in block["atom"]] == expected["numbers"]
        assert float(block["energy"][0][0]) == expected["energy"]


def test_runner_data_cannot_say_that_forces_are_missing(filled: Lake, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"has no forces, and input\.data cannot say so"):
        export(filled.frames(), tmp_path / "input.data")
    assert list(tmp_path.glob("input*")) == []


def test_deepmd_folders_hold_the_numbers_of_the_lake(filled: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BATCH_FRAMES", 3)
    folder = tmp_path / "all.deepmd"
    assert export(filled.frames().sort("frame_id"), folder) == 11
    assert sorted(each.name for each in folder.iterdir()) == ["CaMgO2", "Mg-no_cell-no_force-no_virial", "Mg2O2"]
    rows = filled.frames(systems="Ca-Mg-O").sort("frame_id").collect()
    system = folder / "CaMgO2"
    assert (system / "type_map.raw").read_text().split() == ["Ca", "Mg", "O"]
    assert (system / "type.raw").read_text().split() == ["0", "1", "2", "2"]
    found = {file.stem: np.load(file) for file in (system / "set.000").iterdir()}
    shapes = {name: values.shape for name, values in found.items()}
    assert shapes == {"coord": (4, 12), "box": (4, 9), "energy": (4,), "force": (4, 12), "virial": (4, 9)}
    order = [1, 0, 2, 3]  # Mg, Ca, O, O in the lake
    for i, row in enumerate(rows.iter_rows(named=True)):
        assert np.array_equal(found["coord"][i].reshape(4, 3), np.reshape(row["positions"], (4, 3))[order])
        assert np.array_equal(found["force"][i].reshape(4, 3), np.reshape(row["forces"], (4, 3))[order])
        assert (found["box"][i].tolist(), found["energy"][i]) == (row["cell"], row["energy"])
        assert np.allclose(found["virial"][i], -np.array(row["stress"]) * row["volume"], rtol=1e-12)
    bare = folder / "Mg-no_cell-no_force-no_virial"
    assert (bare / "nopbc").exists()
    assert sorted(file.stem for file in (bare / "set.000").iterdir()) == ["coord", "energy"]
    with pytest.raises(AlreadyThere, match="not empty"):
        export(filled.frames(), folder)


def test_a_virial_has_the_sign_of_an_expanding_gas(tmp_path: Path, folder_lake: Lake) -> None:
    """A cell that wants to expand has negative stress here (tension positive) and a positive virial in DeePMD-kit."""
    block = made_block([12], 1, 0)
    stress = np.broadcast_to(-0.01 * np.eye(3), (1, 3, 3)).copy()
    commit_batch(
        folder_lake,
        [stage(folder_lake, [made_reading("a", made_calculation([12], block=replace(block, stress=stress)))], "c" * 64, 0)],
        "c" * 64,
    )
    export(folder_lake.frames(), tmp_path / "x.deepmd")
    virial = np.load(tmp_path / "x.deepmd/Mg/set.000/virial.npy").reshape(3, 3)
    assert np.allclose(virial, 0.01 * np.linalg.det(block.cell[0]) * np.eye(3))


def test_slabs_are_refused_where_the_format_has_no_word_for_them(tmp_path: Path, folder_lake: Lake) -> None:
    slab = made_calculation([12], block=replace(made_block([12], 1, 0), pbc=np.array([True, True, False])))
    commit_batch(folder_lake, [stage(folder_lake, [made_reading("a", slab)], "c" * 64, 0)], "c" * 64)
    for name in ("x.deepmd", "input.data"):
        with pytest.raises(QueryError, match="periodic along 2 of 3 cell vectors"):
            export(folder_lake.frames(), tmp_path / name)
    assert export(folder_lake.frames(), tmp_path / "x.db") == 1
