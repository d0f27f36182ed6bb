"""Datasets: pinned, split for ever, checked by hash, of one level of theory."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_readings import CAO, LDA, MGCAO, MGO, made_block, made_calculation, made_reading

from lake.arrays import content_digest, frame_arrays
from lake.commit import commit_batch, stage
from lake.lake import Lake
from lake.splits import SPLITS, assign, draw, limit, side
from schemas.calculations import Calculation
from schemas.datasets import FrameQuery, Split
from schemas.errors import AlreadyThere, MixedTheory, ObjectMissing, QueryError, TableError, UnknownName

THIRDS = Split(test=0.3, validation=0.3)
ALL = FrameQuery(elements=("Ca", "Mg", "O"), subsystems=True)


def add(lake: Lake, name: str, calculations: Iterable[Calculation]) -> None:
    commit_batch(lake, [stage(lake, [made_reading(f"{name}.tar", *calculations)], name * 64, 0)], name * 64)


@pytest.fixture
def filled(folder_lake: Lake) -> Lake:
    add(folder_lake, "a", [made_calculation(numbers, 4, seed) for seed in range(6) for numbers in (MGO, CAO, MGCAO)])
    return folder_lake


def test_a_dataset_says_what_is_in_it(filled: Lake) -> None:
    manifest = filled.publish("d", ALL, THIRDS).manifest
    assert sum(manifest.n_frames.values()) == 72
    assert sum(manifest.n_calculations.values()) == 18
    assert manifest.n_atoms == {name: 4 * n for name, n in manifest.n_frames.items()}
    assert {system: sum(splits.values()) for system, splits in manifest.element_systems.items()} == {"Ca-Mg-O": 24, "Ca-O": 24, "Mg-O": 24}
    assert manifest.elements == ("Ca", "Mg", "O")
    assert len(manifest.theories) == 1
    assert [each.name for each in filled.datasets()] == ["d"]
    assert filled.dataset("d").manifest == manifest


def test_calculations_are_never_torn_and_fall_as_their_hash_says(filled: Lake) -> None:
    dataset = filled.publish("d", ALL, THIRDS)
    by_calculation = dataset.index.group_by("calculation_id").agg(pl.col("split").unique())
    for name, found in by_calculation.iter_rows():
        assert found == [side(THIRDS, name)]
    assert {name: len(dataset.frame_ids(name)) for name in SPLITS} == dataset.manifest.n_frames


def test_arrays_are_the_numbers_that_came_in(filled: Lake) -> None:
    arrays = filled.publish("d", ALL, THIRDS).arrays()
    assert arrays.count == 72
    given_in = {c.calculation_id: c.run.frames for seed in range(6) for c in (made_calculation(n, 4, seed) for n in (MGO, CAO, MGCAO))}
    for i, name in enumerate(arrays.frame_ids):
        calculation, _, step = name.rpartition(":")
        block, atoms = given_in[calculation], slice(arrays.offsets[i], arrays.offsets[i + 1])
        assert np.array_equal(arrays.positions[atoms], block.positions[int(step)])
        assert np.array_equal(arrays.forces[atoms], block.forces[int(step)])
        assert np.array_equal(arrays.numbers[atoms], block.numbers)
        assert np.array_equal(arrays.cell[i], block.cell[int(step)])
        assert np.array_equal(arrays.stress[i], block.stress[int(step)])
        assert arrays.energy[i] == block.energy[int(step)]
    assert arrays.element_systems == sorted(arrays.element_systems)


def test_splits_come_apart_and_together(filled: Lake) -> None:
    dataset = filled.publish("d", ALL, THIRDS)
    for name in SPLITS:
        assert list(dataset.arrays(name).frame_ids) == dataset.frame_ids(name)
        assert sorted(dataset.frames(name).collect()["frame_id"]) == sorted(dataset.frame_ids(name))
    assert sorted(n for name in SPLITS for n in dataset.frame_ids(name)) == sorted(dataset.frame_ids())
    with pytest.raises(UnknownName, match="did you mean 'train'"):
        dataset.arrays("trian")


def test_an_empty_split_is_empty_arrays(filled: Lake) -> None:
    dataset = filled.publish("d", ALL, Split(test=0.0, validation=0.0))
    assert dataset.arrays("test").count == 0
    assert dataset.frames("test").collect().is_empty()


def test_missing_labels_are_nan(folder_lake: Lake) -> None:
    block = made_block(MGO, 3, 1, stress=False)
    block.forces[1] = np.nan
    add(folder_lake, "a", [made_calculation(MGO, block=block)])
    arrays = folder_lake.publish("d", FrameQuery()).arrays()
    assert np.isnan(arrays.stress).all()
    assert np.isnan(arrays.forces).reshape(3, -1).all(axis=1).tolist() == [False, True, False]
    assert np.array_equal(arrays.forces[8:], block.forces[2])


def test_later_frames_do_not_change_a_dataset(filled: Lake) -> None:
    dataset = filled.publish("d", ALL, THIRDS)
    add(filled, "b", [made_calculation(MGO, 9, 99)])
    again = filled.dataset("d")
    again.verify()
    assert again.frame_ids() == dataset.frame_ids()
    assert again.arrays().count == 72
    larger = filled.publish("e", ALL, THIRDS)
    old = dict(dataset.index.select("frame_id", "split").iter_rows())
    new = dict(larger.index.select("frame_id", "split").iter_rows())
    assert len(new) == 81
    assert {name: new[name] for name in old} == old


def test_publishing_again_is_the_same_or_refused(filled: Lake) -> None:
    first = filled.publish("d-1", ALL, THIRDS)
    assert filled.publish("d-1", ALL, THIRDS).manifest == first.manifest
    with pytest.raises(AlreadyThere, match="'d-2'"):
        filled.publish("d-1", FrameQuery(elements=("Mg", "O")), THIRDS)
    with pytest.raises(AlreadyThere, match="another content"):
        filled.publish("d-1", ALL, replace(THIRDS, salt="other"))
    first.verify()
    assert len(list(filled.store.list("datasets/d-1"))) == 2


@pytest.mark.parametrize("change", ["a byte", "the length", "no file"])
def test_damage_is_found(filled: Lake, change: str) -> None:
    dataset = filled.publish("d", ALL, THIRDS)
    (key, *_) = [found.key for found in filled.store.list("frames/element_system=Mg-O")]
    data = bytearray(filled.store.get(key))
    group = pq.read_metadata(io.BytesIO(data)).row_group(0)
    (column,) = [c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "positions.list.element"]
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    if change == "no file":
        filled.store.delete(key)
    else:
        filled.store.put(key, bytes(data) + (b"more" if change == "the length" else b""))
    with pytest.raises(TableError, match="restore") as caught:
        dataset.verify()
    assert "dataset 'd'" in str(caught.value)


def test_arrays_of_an_uncompacted_lake_equal_those_that_polars_reads(filled: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    add(filled, "b", [made_calculation(numbers, 3, seed) for seed in range(6, 9) for numbers in (MGO, MGCAO)])
    dataset = filled.publish("d", ALL, THIRDS)
    # Slices and batches of a few frames: files hold what is not wanted before, between and after what is.
    monkeypatch.setattr("lake.datasets._CHUNK_ATOMS", 30)
    monkeypatch.setattr("lake.frame_files._BATCH", 3000)
    for split in (None, *SPLITS):
        arrays = dataset.arrays(split)
        ids = pl.DataFrame({"frame_id": dataset.frame_ids(split)})
        expected = frame_arrays(ids.join(dataset.frames(split).collect(), on="frame_id", maintain_order="left"))
        for name in ("offsets", "numbers", "positions", "cell", "pbc", "energy", "forces", "stress"):
            assert np.array_equal(getattr(arrays, name), getattr(expected, name), equal_nan=name in {"energy", "forces", "stress"}), name
        assert arrays.frame_ids == expected.frame_ids
        assert arrays.element_systems == expected.element_systems


def test_a_file_that_is_gone_is_named(filled: Lake) -> None:
    dataset = filled.publish("d", ALL, THIRDS)
    (key, *_) = [found.key for found in filled.store.list("frames/element_system=Mg-O")]
    filled.store.delete(key)
    with pytest.raises(ObjectMissing, match=key):
        dataset.arrays()


def test_a_changed_number_is_found(filled: Lake) -> None:
    rows = filled.frames().collect().with_columns(pl.lit("train").alias("split"))
    changed = rows.with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(pl.col("energy") + 1e-12).otherwise(pl.col("energy")).alias("energy")
    )
    assert content_digest(rows) == content_digest(rows.reverse()) != content_digest(changed)
    assert content_digest(rows) != content_digest(rows.with_columns(pl.lit("test").alias("split")))


def test_mixed_theories_are_refused_with_a_choice(filled: Lake) -> None:
    add(filled, "b", [made_calculation(MGO, 3, 1, level=LDA)])
    with pytest.raises(MixedTheory) as caught:
        filled.publish("d", ALL)
    message = str(caught.value)
    assert "72 frames of 18 calculations" in message
    assert "3 frames of 1 calculations" in message
    assert "functionals differ" in message
    assert "theory='PBE/plane waves/qe'" in message
    assert filled.publish("d", replace(ALL, theory="PBE")).manifest.n_frames["train"] > 0
    assert sum(filled.publish("l", replace(ALL, theory="LDA")).manifest.n_frames.values()) == 3


def test_limits_cut_training_and_validation_only(filled: Lake) -> None:
    whole = filled.publish("whole", ALL, THIRDS).index
    cut = filled.publish("cut", replace(ALL, limits={"Ca-Mg-O": 6}), THIRDS).index
    kept = cut.filter(pl.col("element_system") == "Ca-Mg-O", pl.col("split") != "test")
    assert kept.height == 6
    assert kept.group_by("calculation_id").len()["len"].sort().to_list() == [2, 4]
    for part in (pl.col("element_system") != "Ca-Mg-O", pl.col("split") == "test"):
        assert cut.filter(part).equals(whole.filter(part))
    none = filled.publish("none", replace(ALL, limits={"Ca-Mg-O": 0}), THIRDS).manifest.element_systems["Ca-Mg-O"]
    assert (none["train"], none["validation"]) == (0, 0)


def test_equal_structures_fall_together(folder_lake: Lake) -> None:
    names = [draw(THIRDS.salt, made_calculation(MGO, 4, seed).calculation_id) for seed in range(12)]
    assert min(names) < 0.3 < max(names)
    start = made_block(MGO, 1, 7)
    blocks = [made_block(MGO, 4, seed) for seed in range(12)]
    for block in blocks:
        block.positions[0], block.cell[0] = start.positions[0], start.cell[0]
    add(folder_lake, "a", [made_calculation(MGO, 4, seed, block=block) for seed, block in enumerate(blocks)])
    assert folder_lake.publish("d", ALL, THIRDS).index["split"].n_unique() == 1


def test_names_and_selections_that_cannot_be_are_said(filled: Lake) -> None:
    for name in ("", "a/b", "../x", "カ"):
        with pytest.raises(QueryError, match="cannot name a dataset"):
            filled.publish(name, ALL)
    with pytest.raises(QueryError, match="selects no frame"):
        filled.publish("d", FrameQuery(elements=("Si",)))
    with pytest.raises(QueryError, match="shares"):
        filled.publish("d", ALL, Split(0.5, 0.5))
    filled.publish("oxides", ALL)
    with pytest.raises(UnknownName, match="did you mean 'oxides'"):
        filled.dataset("oxide")


calculations = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), min_size=1, max_size=25)


@given(calculations, calculations)
@settings(max_examples=60, deadline=None)
def test_as_the_lake_grows_no_frame_leaves_test(older: list[tuple[int, int]], newer: list[tuple[int, int]]) -> None:
    def index(pairs: list[tuple[int, int]]) -> tuple[pl.DataFrame, list[str]]:
        unique = list(dict.fromkeys(pairs))
        rows = pl.DataFrame(
            {
                "frame_id": [f"{c}:{h}" for c, h in unique],
                "calculation_id": [f"c{c}" for c, _ in unique],
                "configuration_hash": [f"h{h}" for _, h in unique],
            }
        )
        return rows, list(dict.fromkeys(f"c{c}" for c, _ in unique))

    def split(pairs: list[tuple[int, int]]) -> pl.DataFrame:
        rows, order = index(pairs)
        return rows.join(assign(rows, order, THIRDS), on="calculation_id")

    before = split(older)
    known = {c for c, _ in older}
    after = split([*older, *((c + 100 if c in known else c, h) for c, h in newer)])
    old, new = (dict(rows.select("frame_id", "split").iter_rows()) for rows in (before, after))
    assert all(SPLITS.index(new[name]) >= SPLITS.index(old[name]) for name in old)
    assert after.group_by("configuration_hash").agg(pl.col("split").n_unique())["split"].max() == 1
    assert after.group_by("calculation_id").agg(pl.col("split").n_unique())["split"].max() == 1


def test_shares_are_met_on_many_calculations() -> None:
    sides = [side(Split(), f"c{i}") for i in range(20_000)]
    assert abs(sides.count("test") / 20_000 - 0.1) < 0.01
    assert abs(sides.count("validation") / 20_000 - 0.1) < 0.01


def test_without_limits_nothing_is_cut() -> None:
    index = pl.DataFrame({"frame_id": ["a"], "split": ["train"]})
    assert limit(index, {}, "salt") is index


def test_another_draw_of_limited_frames_keeps_the_sides(filled: Lake) -> None:
    few = replace(ALL, limits={"Ca-Mg-O": 4})
    first, same, other = (filled.publish(f"d{n}", few, replace(THIRDS, draw=draw)) for n, draw in enumerate(("", "", "b")))
    assert first.manifest.content_hash == same.manifest.content_hash
    whole = dict(filled.publish("whole", ALL, THIRDS).index.select("frame_id", "split").iter_rows())
    for dataset in (first, other):
        assert dataset.frame_ids("test") == first.frame_ids("test")
        assert all(whole[name] == side for name, side in dataset.index.select("frame_id", "split").iter_rows())
        drawn = dataset.index.filter((pl.col("element_system") == "Ca-Mg-O") & (pl.col("split") != "test"))
        assert drawn.height == 4
    assert set(first.frame_ids()) != set(other.frame_ids())


@pytest.mark.s3
def test_a_dataset_on_a_real_server(weed_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    add(weed_lake, "a", [made_calculation(MGO, 4, seed) for seed in range(3)])
    dataset = weed_lake.publish("d", ALL, THIRDS)
    dataset.verify()
    whole = weed_lake.dataset("d").arrays()
    assert whole.count == 12
    # As files of many megabytes: range by range.
    monkeypatch.setattr("lake.frame_files._WHOLE", 0)
    ranges = weed_lake.dataset("d").arrays()
    assert np.array_equal(ranges.positions, whole.positions)
    assert ranges.frame_ids == whole.frame_ids


def test_a_side_does_not_depend_on_the_query(folder_lake: Lake) -> None:
    start = made_block(MGO, 1, 7)
    linked = [made_block(MGO, 4, seed) for seed in range(12)]
    for block in linked:
        block.positions[0], block.cell[0] = start.positions[0], start.cell[0]
    add(folder_lake, "a", [made_calculation(MGO, 4, seed, block=block) for seed, block in enumerate(linked)])
    add(folder_lake, "b", [made_calculation(MGO, 4, seed) for seed in range(50, 62)])
    whole = dict(folder_lake.publish("whole", ALL, THIRDS).index.select("frame_id", "split").iter_rows())
    frames = folder_lake.frames().select("frame_id", "max_force").collect()
    largest = frames["max_force"].median()
    part = folder_lake.publish("part", replace(ALL, max_force=largest), THIRDS).index.select("frame_id", "split")
    assert 0 < part.height < frames.height
    assert {name: whole[name] for name in part["frame_id"]} == dict(part.iter_rows()), "links that the query leaves out count too"


def test_a_newcomer_that_links_two_sides_takes_both_to_the_test(folder_lake: Lake) -> None:
    seeds = {wanted: next(s for s in range(200) if side(THIRDS, made_calculation(MGO, 4, s).calculation_id) == wanted) for wanted in SPLITS}
    add(folder_lake, "a", [made_calculation(MGO, 4, seed) for seed in seeds.values()])
    before = folder_lake.publish("before", ALL, THIRDS)
    assert set(before.index["split"]) == set(SPLITS)
    newcomer = made_block(MGO, 4, 999)
    for step, seed in enumerate(seeds.values()):
        newcomer.positions[step], newcomer.cell[step] = made_block(MGO, 4, seed).positions[0], made_block(MGO, 4, seed).cell[0]
    add(folder_lake, "b", [made_calculation(MGO, 4, 999, block=newcomer)])
    after = folder_lake.publish("after", ALL, THIRDS)
    assert set(after.index["split"]) == {"test"}
    before.verify()
    assert set(before.arrays("test").frame_ids) <= set(after.frame_ids("test")), "no frame leaves the test"


def test_a_dataset_says_whose_frames_it_holds_and_under_which_licences(folder_lake: Lake) -> None:
    readings = [
        made_reading("a", made_calculation(MGO, 5, 1), metadata={"project": "oxides", "licence": "CC-BY-4.0"}),
        made_reading("b", made_calculation(MGO, 3, 2), metadata={"project": "oxides", "licence": "CC0-1.0"}),
        made_reading("c", made_calculation(CAO, 4, 3)),
    ]
    commit_batch(folder_lake, [stage(folder_lake, readings, "b" * 64, 0)], "b" * 64)
    manifest = folder_lake.publish("d", FrameQuery(only_good=False, limits={"Ca-O": 2}), Split(0.0, 0.0)).manifest
    assert manifest.projects == {"": 2, "oxides": 8}
    assert manifest.licences == {"": 2, "CC-BY-4.0": 5, "CC0-1.0": 3}
    key = "datasets/d/manifest.json"
    before = {name: value for name, value in json.loads(folder_lake.store.get(key)).items() if name not in ("projects", "licences")}
    folder_lake.store.put(key, json.dumps(before).encode())
    old = folder_lake.dataset("d")
    assert (old.manifest.projects, old.manifest.licences) == ({}, {})
    old.verify()
