"""Energies of several levels of theory in one dataset: brought to one zero for each element, by evidence that is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from ase.io import read
from made_up_readings import CAO, LDA, MGCAO, MGO, PBE, made_block, made_calculation, made_reading

from lake.alignment import COMPOSITIONS, MINIMUM_NORM, REFERENCE, REFERENCES, STRUCTURES
from lake.commit import commit_batch, stage
from lake.datasets import open_dataset, preview
from lake.exports import export
from lake.lake import Lake
from lake.theory import theory_key
from schemas.calculations import Calculation
from schemas.datasets import DatasetManifest, EnergyOffset, FrameQuery, Split
from schemas.errors import MixedTheory, QueryError, TableError
from schemas.json import from_json, to_json
from schemas.theory import LevelOfTheory

VASP = replace(PBE, code="vasp", cutoff=520.0, pseudopotentials=(("Ca", "PAW_PBE Ca_sv"), ("Mg", "PAW_PBE Mg"), ("O", "PAW_PBE O")))
SHIFTS = {8: 400.0, 12: -1700.0, 20: -900.0}
"""eV of an atom in VASP less that in QE."""
ALL = FrameQuery()
METAL, OXYGEN = [12, 12], [8, 8]


def made(numbers: list[int], seed: int, level: LevelOfTheory = PBE, *, noise: float = 0.0, n: int = 4) -> Calculation:
    """Return frames whose energy follows from their structure, with the zeros of their level of theory."""
    block = made_block(numbers, n, seed)
    chemistry = -1.5 * len(numbers) * (len(set(numbers)) > 1) + 0.1 * block.positions[:, 0, 0]
    zeros = sum(SHIFTS[z] for z in numbers) if level.code == "vasp" else 0.0
    wrong = np.random.default_rng(seed).normal(0, noise * len(numbers), n) if level.code == "vasp" else 0.0
    block = replace(block, energy=chemistry + zeros + wrong, energy_internal=chemistry + zeros)
    return made_calculation(numbers, n, seed, level=level, block=block)


def fill(lake: Lake, *calculations: Calculation, name: str = "a") -> None:
    commit_batch(lake, [stage(lake, [made_reading(f"{name}.tar", *calculations)], name * 64, 0)], name * 64)


def offsets(manifest: DatasetManifest) -> Mapping[tuple[str, str], EnergyOffset]:
    assert manifest.alignment is not None
    return {(each.element, each.theories[0].rpartition("/")[2]): each for each in manifest.alignment.offsets}


def aligned_energies(lake: Lake, name: str) -> pl.DataFrame:
    return lake.dataset(name).frames().select("configuration_hash", "theory", "energy").sort("configuration_hash", "theory").collect()


def test_equal_structures_fix_the_offsets_of_elements(folder_lake: Lake) -> None:
    runs = [made(numbers, seed, level) for numbers, seed in ((MGO, 1), (METAL, 2), (CAO, 3)) for level in (PBE, VASP)]
    fill(folder_lake, *runs, made(MGCAO, 4), made(MGCAO, 5, VASP), made(MGO, 6))
    with pytest.raises(MixedTheory, match=r"Two of them are alignable.*pseudopotentials"):
        folder_lake.publish("d", ALL)
    dataset = folder_lake.publish("d", ALL, align=True)
    assert dataset.manifest.alignment is not None
    assert dataset.manifest.alignment.to == theory_key(PBE)
    found = offsets(dataset.manifest)
    for number, symbol in ((8, "O"), (12, "Mg"), (20, "Ca")):
        assert found[symbol, "vasp"].offset == pytest.approx(-SHIFTS[number], abs=1e-6)
        assert (found[symbol, "vasp"].method, found[symbol, "vasp"].alone) == (STRUCTURES, True)
        assert (found[symbol, "qe"].offset, found[symbol, "qe"].method) == (0.0, REFERENCE)
    (step,) = dataset.manifest.alignment.steps
    assert (step.method, step.n_equations, step.rank) == (STRUCTURES, 12, 3)
    assert step.rms < 1e-6
    assert dataset.manifest.alignment.notes == ()
    energies = aligned_energies(folder_lake, "d").group_by("configuration_hash").agg(pl.col("energy"), pl.len())
    assert energies.filter(pl.col("len") == 2).height == 12
    assert energies.select((pl.col("energy").list.max() - pl.col("energy").list.min()).max()).item() < 1e-6


def test_all_that_hands_out_energies_has_them_aligned_and_the_table_keeps_its_own(folder_lake: Lake, tmp_path: Path) -> None:
    fill(folder_lake, *(made(MGO, 1, level) for level in (PBE, VASP)), made(MGO, 2), made(MGO, 3, VASP))
    before = folder_lake.frames().sort("frame_id").collect()
    dataset = folder_lake.publish("d", ALL, align=theory_key(VASP))
    assert folder_lake.frames().sort("frame_id").collect().equals(before)
    rows = dataset.frames().sort("frame_id").collect()
    added = rows["energy_offset"].to_numpy()
    qe = rows["code"].to_numpy() == "qe"
    assert sorted({round(x, 6) for x in added}) == [round(2 * (SHIFTS[8] + SHIFTS[12]), 6), 0.0]
    assert not added[~qe].any()
    assert np.array_equal(rows["energy"], before["energy"].to_numpy() + added)
    assert np.array_equal(rows["energy_internal"], before["energy_internal"].to_numpy() + added)
    assert np.allclose(rows["energy_per_atom"] * 4, rows["energy"], atol=1e-9)
    assert rows["forces"].equals(before["forces"])
    by_frame = dict(rows.select("frame_id", "energy").iter_rows())
    arrays = dataset.arrays()
    assert arrays.energy.tolist() == [by_frame[name] for name in arrays.frame_ids]
    assert dataset.local_copy(tmp_path / "copies").gather(range(16)).energy.tolist() == arrays.energy.tolist()
    export(dataset.frames(), tmp_path / "d.xyz")
    assert sorted(atoms.get_potential_energy() for atoms in read(tmp_path / "d.xyz", ":")) == pytest.approx(sorted(by_frame.values()))
    dataset.verify()


def test_magnesia_alone_fixes_the_sum_only_and_that_is_said(folder_lake: Lake) -> None:
    fill(folder_lake, *(made(MGO, 1, level) for level in (PBE, VASP)), made(METAL, 2, VASP), made(CAO, 3, VASP))
    manifest = folder_lake.publish("d", ALL, align=theory_key(PBE)).manifest
    found = offsets(manifest)
    assert found["Mg", "vasp"].offset + found["O", "vasp"].offset == pytest.approx(-SHIFTS[8] - SHIFTS[12], abs=1e-6)
    assert found["Ca", "vasp"].method == REFERENCE, "no other kind of calculation holds it"
    assert found["Mg", "vasp"].alone is False
    assert manifest.alignment is not None
    assert "8 frames (Ca2O2, Mg2)" in manifest.alignment.notes[-1]
    assert "minimum norm" in manifest.alignment.notes[-1]


def test_without_equal_structures_the_lowest_of_equal_compositions_count(folder_lake: Lake) -> None:
    fill(folder_lake, made(MGO, 1), made(MGO, 2), made(MGO, 3, VASP), made(CAO, 4), made(CAO, 5, VASP))
    manifest = folder_lake.publish("d", ALL, align=True).manifest
    assert manifest.alignment is not None
    (step,) = manifest.alignment.steps
    assert (step.method, step.n_equations, step.rank) == (COMPOSITIONS, 2, 2)
    assert np.isnan(step.rms)
    assert "nothing left to tell" in manifest.alignment.notes[0]
    found = offsets(manifest)
    total = found["Mg", "vasp"].offset + found["O", "vasp"].offset
    assert total == pytest.approx(-SHIFTS[8] - SHIFTS[12], abs=0.2)
    assert from_json(DatasetManifest, to_json(manifest)).alignment is not None


def test_element_references_come_last_and_warn(folder_lake: Lake) -> None:
    fill(folder_lake, made(MGO, 1), made(METAL, 2), made(METAL, 3, VASP), made(OXYGEN, 4, VASP))
    manifest = folder_lake.publish("d", ALL, align=theory_key(PBE)).manifest
    assert manifest.alignment is not None
    assert [step.method for step in manifest.alignment.steps] == [COMPOSITIONS, REFERENCES]
    found = offsets(manifest)
    assert found["Mg", "vasp"].offset == pytest.approx(-SHIFTS[12], abs=0.2)
    assert (found["Mg", "vasp"].method, found["O", "vasp"].method) == (COMPOSITIONS, REFERENCES)
    assert found["O", "vasp"].offset == pytest.approx(-SHIFTS[8] - 3.0, abs=0.4), "the energy of formation is in it"
    assert any("energies of formation" in note for note in manifest.alignment.notes)


def test_what_constants_cannot_bring_together_is_told(folder_lake: Lake) -> None:
    fill(folder_lake, made(MGO, 1), made(MGO, 1, VASP, noise=0.05))
    alignment = folder_lake.publish("d", ALL, align=True).manifest.alignment
    assert alignment is not None
    assert 0.01 < alignment.steps[0].rms < alignment.steps[0].largest < 0.2
    assert "constants of the elements do not bring these levels together" in alignment.notes[0]


def test_pseudopotentials_within_one_key_are_aligned_too(folder_lake: Lake) -> None:
    other = replace(PBE, pseudopotentials=(("Ca", "Ca.upf"), ("Mg", "Mg_pv.upf"), ("O", "O.upf")))
    first, shifted = made(MGO, 1), made(MGO, 1, other)
    shifted = replace(shifted, run=replace(shifted.run, frames=replace(shifted.run.frames, energy=shifted.run.frames.energy + 2 * 55.0)))
    fill(folder_lake, first, made(MGO, 2), shifted)
    manifest = folder_lake.publish("d", ALL, align=True).manifest
    assert len(manifest.theories) == 1
    assert manifest.alignment is not None
    assert [(each.element, round(each.offset, 6)) for each in manifest.alignment.offsets] == [("Mg", 0.0), ("Mg", -55.0), ("O", 0.0)]


def test_levels_that_go_together_need_no_offset(folder_lake: Lake) -> None:
    denser = replace(PBE, kpoint_spacing=0.1, cutoff=540.0)
    fill(folder_lake, made(MGO, 1), made(MGO, 2, denser))
    manifest = folder_lake.publish("d", ALL, align=True).manifest
    assert manifest.alignment is not None
    assert {each.method for each in manifest.alignment.offsets} == {REFERENCE}
    assert manifest.alignment.steps == ()
    assert not folder_lake.dataset("d").index["energy_offset"].to_numpy().any()


def test_what_is_incompatible_is_refused_with_the_reason(folder_lake: Lake) -> None:
    fill(folder_lake, made(MGO, 1), made(MGO, 2, LDA), made(MGO, 1, VASP))
    with pytest.raises(MixedTheory, match=r"incompatible: functionals differ: (PBE and LDA|LDA and PBE)"):
        folder_lake.publish("d", ALL, align=True)
    dataset = folder_lake.publish("d", ALL, theories=(theory_key(PBE), theory_key(VASP)), align="PBE/plane waves/qe")
    assert dataset.manifest.query.theories == (theory_key(PBE), theory_key(VASP))
    assert len(dataset.index) == 8
    with pytest.raises(QueryError, match="no theory 'r2SCAN' to align to"):
        folder_lake.publish("e", ALL, theories=["PBE"], align="r2SCAN")
    assert len(preview(folder_lake, FrameQuery(theories=("PBE",)), Split(), align=True)) == 8


def test_the_hash_covers_the_alignment(folder_lake: Lake) -> None:
    fill(folder_lake, *(made(MGO, 1, level) for level in (PBE, VASP)))
    one, two = (folder_lake.publish(name, ALL, align=theory_key(level)) for name, level in (("one", PBE), ("two", VASP)))
    assert one.manifest.content_hash != two.manifest.content_hash
    assert folder_lake.publish("one", ALL, align=theory_key(PBE)).manifest == one.manifest
    assert one.manifest.alignment is not None
    wrong = replace(one.manifest, alignment=replace(one.manifest.alignment, to="elsewhere"))
    with pytest.raises(TableError, match="its manifest says"):
        replace(one, manifest=wrong).verify()


def test_a_manifest_from_before_alignment_is_read(folder_lake: Lake) -> None:
    fill(folder_lake, made(MGO, 1))
    manifest = folder_lake.publish("d", ALL).manifest
    older = json.loads(to_json(manifest))
    del older["alignment"], older["query"]["theories"]
    folder_lake.store.put("datasets/d/manifest.json", json.dumps(older).encode())
    dataset = open_dataset(folder_lake, "d")
    assert dataset.manifest.alignment is None
    assert "energy_offset" not in dataset.index.columns
    dataset.verify()


def test_what_no_data_fix_has_no_method_of_its_own(folder_lake: Lake) -> None:
    fill(folder_lake, made(MGO, 1), made(CAO, 2, VASP))
    found = offsets(folder_lake.publish("d", ALL, align=theory_key(PBE)).manifest)
    assert (found["O", "vasp"].method, found["O", "vasp"].offset) == (MINIMUM_NORM, 0.0)
