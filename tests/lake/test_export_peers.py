"""Exports for fairchem, MACE and DeePMD-kit: their layout as documented, and read by their own readers where these are installed."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path

import ase.db
import h5py
import lmdb
import numpy as np
import polars as pl
import pytest
from ase.db.row import AtomsRow
from ase.io.jsonio import decode
from made_up_readings import MGCAO, MGO, made_block, made_calculation, made_reading

from lake.commit import commit_batch, stage
from lake.exports import ase_lmdb, base, export
from lake.lake import Lake
from schemas.datasets import FrameQuery, Split


@pytest.fixture
def filled(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Return a lake of 11 frames, the last two of one atom without cell, forces and stress; exports take three frames at a time."""
    silent = made_calculation(
        [12], block=replace(made_block([12], 2, 9, forces=False, stress=False), cell=np.zeros((2, 3, 3)), pbc=np.zeros(3, bool))
    )
    readings = [made_reading("a", made_calculation(MGO, 5, 1), made_calculation(MGCAO, 4, 2), silent)]
    commit_batch(folder_lake, [stage(folder_lake, readings, "b" * 64, 0)], "b" * 64)
    monkeypatch.setattr(base, "BATCH_FRAMES", 3)
    return folder_lake


def rows(lake: Lake) -> pl.LazyFrame:
    return lake.frames().sort("natoms", "frame_id", descending=[True, False])


def expected(lake: Lake) -> list[dict]:
    return rows(lake).collect().to_dicts()


def same_labels(row: dict, found: dict) -> None:
    assert found["energy"] == row["energy"]
    assert np.asarray(found["numbers"]).tolist() == row["numbers"]
    assert np.asarray(found["positions"]).ravel().tolist() == row["positions"]
    assert np.asarray(found["cell"]).ravel().tolist() == row["cell"]
    assert np.asarray(found["pbc"]).tolist() == row["pbc"]


def test_lmdb_holds_rows_as_ase_knows_them(filled: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ase_lmdb, "_FIRST_BYTES", 2**14)
    file = tmp_path / "x.aselmdb"
    assert export(rows(filled), file) == 11
    assert [each.name for each in tmp_path.glob("x*")] == ["x.aselmdb"], "no lock file is left"
    with lmdb.open(str(file), subdir=False, readonly=True, lock=False) as store, store.begin() as transaction:
        held = {key.decode(): decode(zlib.decompress(value).decode()) for key, value in transaction.cursor()}
    assert (held.pop("nextid"), held.pop("deleted_ids"), held.pop("metadata")["units"]["forces"]) == (12, [], "eV/Å")
    assert sorted(map(int, held)) == list(range(1, 12))
    for i, row in enumerate(expected(filled), 1):
        found = held[str(i)]
        same_labels(row, found)
        assert found["key_value_pairs"] == {"frame_id": row["frame_id"], "theory": row["theory"]}
        assert found["free_energy"] == row["energy"]
        assert ("forces" in found, "stress" in found) == (row["forces"] is not None, row["stress"] is not None)
        if row["stress"] is not None:
            atoms = AtomsRow(found | {"id": i}).toatoms()
            assert np.abs(atoms.get_stress(voigt=False).ravel() - row["stress"]).max() < 1e-15
            assert atoms.get_forces().ravel().tolist() == row["forces"]


def test_lmdb_is_read_by_ase_db_backends(filled: Lake, tmp_path: Path) -> None:
    pytest.importorskip("ase_db_backends", reason="ase-db-backends is not installed")
    export(rows(filled), tmp_path / "x.aselmdb")
    database = ase.db.connect(tmp_path / "x.aselmdb", type="aselmdb", readonly=True)
    assert database.count() == 11
    for row, found in zip(expected(filled), database.select(), strict=True):
        same_labels(row, {name: found[name] for name in ("energy", "numbers", "positions", "cell", "pbc")})
        assert (found.frame_id, found.theory) == (row["frame_id"], row["theory"])
        assert ("forces" in found) == (row["forces"] is not None)
    database.close()


def test_an_empty_selection_makes_an_empty_lmdb(filled: Lake, tmp_path: Path) -> None:
    assert export(filled.frames(elements="Si"), tmp_path / "x.aselmdb") == 0
    with lmdb.open(str(tmp_path / "x.aselmdb"), subdir=False, readonly=True, lock=False) as store, store.begin() as transaction:
        assert json.loads(zlib.decompress(transaction.get(b"nextid"))) == 1


def test_hdf5_for_mace_gives_a_missing_label_no_weight(filled: Lake, tmp_path: Path) -> None:
    file = tmp_path / "x.h5"
    assert export(rows(filled), file) == 11
    with h5py.File(file) as store:
        assert list(store) == ["config_batch_0"], "their reader takes the number of configurations of one batch for that of all"
        group = store["config_batch_0"]
        assert len(group) == 11
        for i, row in enumerate(expected(filled)):
            found = group[f"config_{i}"]
            assert found.attrs["frame_id"] == row["frame_id"]
            plain = {name: found[name][()] for name in ("positions", "cell", "pbc")}
            same_labels(row, {**plain, "numbers": found["atomic_numbers"][()], "energy": found["properties/energy"][()]})
            weights = {name: float(value[()]) for name, value in found["property_weights"].items()}
            there = float(row["forces"] is not None)
            assert weights == {"energy": 1.0, "forces": there, "stress": there, "virials": 0.0, "dipole": 0.0, "charges": 0.0}
            assert set(found["properties"]) == ({"energy", "forces", "stress"} if there else {"energy"})
            if there:
                assert found["properties/stress"][()].ravel().tolist() == row["stress"], "3x3, tension positive"
                assert found["properties/forces"].shape == (row["natoms"], 3)


@pytest.mark.parametrize("name", ["x.h5", "x.aselmdb"])
def test_mace_reads_them_itself(filled: Lake, name: str, tmp_path: Path) -> None:
    pytest.importorskip("mace", reason="mace-torch is not installed")
    import torch
    from mace.data import HDF5Dataset
    from mace.data.lmdb_dataset import LMDBDataset
    from mace.tools.utils import AtomicNumberTable

    export(rows(filled), tmp_path / name)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        table = AtomicNumberTable([8, 12, 20])
        found = (HDF5Dataset if name == "x.h5" else LMDBDataset)(str(tmp_path / name), r_max=4.0, z_table=table)
        assert len(found) == 11
        for data, row in zip((found[i] for i in range(11)), expected(filled), strict=True):
            assert data.energy.item() == row["energy"]
            assert data.positions.numpy().ravel().tolist() == row["positions"]
            weights = [float(getattr(data, f"{label}_weight")) for label in ("energy", "forces", "stress", "virials")]
            there = float(row["forces"] is not None)
            assert weights == [1.0, there, there, 0.0]
            if there:
                assert data.forces.numpy().ravel().tolist() == row["forces"]
                assert np.abs(data.stress.numpy().ravel() - row["stress"]).max() < 1e-15
    finally:
        torch.set_default_dtype(before)


def test_dpdata_reads_deepmd_folders(filled: Lake, tmp_path: Path) -> None:
    dpdata = pytest.importorskip("dpdata", reason="dpdata is not installed")
    export(rows(filled), tmp_path / "x.deepmd")
    by_formula = {row["formula"]: [each for each in expected(filled) if each["formula"] == row["formula"]] for row in expected(filled)}
    for formula in ("CaMgO2", "Mg2O2"):
        system = dpdata.LabeledSystem(str(tmp_path / "x.deepmd" / formula), fmt="deepmd/npy")
        assert system["atom_names"] == sorted({"Ca", "Mg", "O"} if formula == "CaMgO2" else {"Mg", "O"})
        for i, row in enumerate(by_formula[formula]):
            assert system["energies"][i] == row["energy"]
            order = np.argsort([{12: "Mg", 20: "Ca", 8: "O"}[z] for z in row["numbers"]], kind="stable")
            assert np.array_equal(system["forces"][i], np.reshape(row["forces"], (-1, 3))[order])
            assert np.allclose(system["virials"][i].ravel(), -np.array(row["stress"]) * row["volume"], rtol=1e-12)


@pytest.mark.parametrize("name", ["x.aselmdb", "x.h5"])
def test_a_dataset_is_exported_split_by_split(filled: Lake, name: str, tmp_path: Path) -> None:
    dataset = filled.publish("d", FrameQuery(containing=("O",)), Split(test=0.5, validation=0))
    written = {split: export(dataset.frames(split), tmp_path / split / name) for split in ("train", "test")}
    assert written == {split: dataset.manifest.n_frames[split] for split in written}
    assert sum(written.values()) == 9
