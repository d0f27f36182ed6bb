"""A dataset as memory-mapped arrays: the same numbers in any order, made once by any number of processes, whole or not at all."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from made_up_readings import CAO, MGCAO, MGO, made_block, made_calculation, made_reading

from lake import datasets
from lake.commit import commit_batch, stage
from lake.lake import Lake
from lake.local_copy import CARD, open_copy
from schemas.datasets import FrameQuery, Split
from schemas.errors import QueryError, TableError, UnknownName
from schemas.frames import FrameArrays
from schemas.json import to_json

NAMES = ("numbers", "positions", "cell", "pbc", "energy", "forces", "stress")


@pytest.fixture
def dataset(folder_lake: Lake) -> datasets.Dataset:
    """Return 60 frames of three systems and of 3 to 5 atoms, some without forces."""
    bare = made_calculation([12, 12, 8, 8, 8], 4, block=made_block([12, 12, 8, 8, 8], 4, 9, forces=False))
    runs = [made_calculation(numbers, 7, seed) for numbers in (MGO, CAO, MGCAO, [8, 12, 8]) for seed in (1, 2)]
    readings = [made_reading(f"{i}.tar", run) for i, run in enumerate([*runs, bare])]
    commit_batch(folder_lake, [stage(folder_lake, readings, "a" * 64, 0)], "a" * 64)
    return folder_lake.publish("d", FrameQuery(only_good=False), Split(test=0.3))


def same(found: FrameArrays, whole: FrameArrays, frames: list[int]) -> bool:
    """Return whether arrays are these frames of the whole, bit for bit."""
    atoms = np.concatenate([np.arange(whole.offsets[i], whole.offsets[i + 1]) for i in frames])
    for name in NAMES:
        chosen = getattr(whole, name)[atoms if name in ("numbers", "positions", "forces") else frames]
        if getattr(found, name).tobytes() != chosen.tobytes() or getattr(found, name).dtype != chosen.dtype:
            return False
    systems = [whole.element_systems[i] for i in frames]
    return found.natoms.tolist() == whole.natoms[frames].tolist() and list(found.element_systems) == systems


@pytest.mark.parametrize("split", [None, "train", "test"])
def test_frames_come_in_any_order_bit_for_bit(
    dataset: datasets.Dataset, tmp_path: Path, split: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dataset.arrays(split)
    monkeypatch.setattr(datasets, "_CHUNK_ATOMS", 21)
    copy = dataset.local_copy(tmp_path / "copies", split)
    assert (copy.count, copy.natoms.tolist()) == (whole.count, whole.natoms.tolist())
    order = np.random.default_rng(3).permutation(whole.count).tolist()
    assert same(copy.gather(order), whole, order)
    assert same(copy.gather([order[0]] * 3), whole, [order[0]] * 3)
    assert copy.gather([]).count == 0
    copy.verify()
    assert same(pickle.loads(pickle.dumps(copy)).gather(range(whole.count)), whole, list(range(whole.count)))
    with pytest.raises(QueryError, match=f"the copy has {whole.count}"):
        copy.gather([whole.count])


def test_an_empty_split_has_an_empty_copy(folder_lake: Lake, tmp_path: Path) -> None:
    reading = made_reading("1.tar", made_calculation(MGO, 3, 1))
    commit_batch(folder_lake, [stage(folder_lake, [reading], "a" * 64, 0)], "a" * 64)
    copy = folder_lake.publish("d", FrameQuery(), Split(0.0, 0.0)).local_copy(tmp_path, "test")
    assert (copy.count, copy.gather([]).count) == (0, 0)


def test_labels_that_are_left_out_are_missing(dataset: datasets.Dataset, tmp_path: Path) -> None:
    copy = dataset.local_copy(tmp_path, columns=["energy"])
    found = copy.gather([5, 1])
    assert np.isfinite(found.energy).all()
    assert np.isnan(found.forces).all()
    assert found.forces.shape == found.positions.shape
    assert not (copy.folder / "forces.npy").exists()
    with pytest.raises(UnknownName, match="forces"):
        copy.column("forces")
    with pytest.raises(UnknownName, match="did you mean 'energy'"):
        dataset.local_copy(tmp_path, columns=["enregy"])


def test_what_does_not_fit_is_refused_before_it_is_written(dataset: datasets.Dataset, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="max_bytes"):
        dataset.local_copy(tmp_path, max_bytes=1000)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name.startswith("d-")] == []


def test_a_copy_is_made_once_and_a_damaged_one_is_told(dataset: datasets.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = dataset.local_copy(tmp_path)
    monkeypatch.setattr(datasets.Dataset, "parts", lambda *_: pytest.fail("read the lake again"))
    assert dataset.local_copy(tmp_path).folder == copy.folder
    file = copy.folder / "energy.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(TableError, match=r"energy\.npy reads as"):
        open_copy(copy.folder).verify()
    file.write_bytes(data[:-1])
    with pytest.raises(TableError, match="energy have other sizes"):
        dataset.local_copy(tmp_path)


def test_a_copy_that_was_cut_off_is_no_copy(dataset: datasets.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = datasets.Dataset.parts

    def short(self: datasets.Dataset, split: str | None = None) -> list[FrameArrays]:
        return list(real(self, split))[:-1]

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "_CHUNK_ATOMS", 50)
        patch.setattr(datasets.Dataset, "parts", short)
        with pytest.raises(TableError, match="expected 60"):
            dataset.local_copy(tmp_path)
    assert not list(tmp_path.glob(f"*/{CARD}"))
    (tmp_path / "left").mkdir()
    assert dataset.local_copy(tmp_path).count == 60


def test_several_processes_share_one_copy(dataset: datasets.Dataset, tmp_path: Path) -> None:
    program = """
import sys, lake
from schemas.json import from_json
from schemas.settings import Settings
copy = lake.open(sys.argv[1], from_json(Settings, sys.argv[2])).dataset("d").local_copy(sys.argv[3])
print(copy.folder, copy.gather(range(copy.count)).energy.sum())
"""
    arguments = [dataset.lake.url, to_json(dataset.lake.settings, indent=None), str(tmp_path / "copies")]
    running = [subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {process.communicate()[0] for process in running}
    assert len(said) == 1
    assert str(dataset.arrays().energy.sum()) in said.pop()
    assert [path.name.startswith("d-all-") for path in (tmp_path / "copies").iterdir() if path.is_dir()] == [True]


@pytest.mark.parametrize("memory", [2**30, 8_000])
def test_every_frame_comes_once_in_an_order_of_the_seed(dataset: datasets.Dataset, tmp_path: Path, memory: int) -> None:
    whole = dataset.arrays()
    copy = dataset.local_copy(tmp_path)

    def names(arrays: FrameArrays) -> list[bytes]:
        parts = [slice(a, b) for a, b in pairwise(arrays.offsets.tolist())]
        return [arrays.numbers[part].tobytes() + arrays.positions[part].tobytes() + arrays.forces[part].tobytes() for part in parts]

    places = dict(zip(names(whole), range(whole.count), strict=True))
    assert len(places) == whole.count
    orders = []
    for seed in (1, 1, 2):
        order = []
        for batch in copy.shuffled(seed, batch=7, memory=memory):
            frames = [places[name] for name in names(batch)]
            assert same(batch, whole, frames)
            assert 0 < len(frames) <= 7
            order += frames
        assert sorted(order) == list(range(whole.count))
        orders.append(order)
    assert orders[0] == orders[1] != orders[2]
    assert all(abs(np.corrcoef(order, range(whole.count))[0, 1]) < 0.5 for order in orders)


def test_a_shuffled_look_says_what_it_cannot_do(dataset: datasets.Dataset, tmp_path: Path) -> None:
    copy = dataset.local_copy(tmp_path)
    with pytest.raises(QueryError, match="batches of 256 frames with 100 bytes of memory were asked for; give one frame or more"):
        next(copy.shuffled(0, memory=100))
    with pytest.raises(QueryError, match="batches of 0 frames"):
        next(copy.shuffled(0, batch=0))
    assert list(dataset.local_copy(tmp_path / "other", "test").shuffled(0))
    assert copy.column("forces").size
    file = copy.folder / "forces.npy"
    os.truncate(file, file.stat().st_size - 5_000)
    with pytest.raises(TableError, match=r"forces\.npy ends before byte"):
        list(copy.shuffled(0))
