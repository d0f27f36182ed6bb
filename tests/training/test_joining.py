"""Frames as one batch: the compiled loops and the operations of torch give the same bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from training import joining
from training.data import GraphCache
from training.structures import from_atoms

ELEMENTS = ("Si", "Cu", "H", "O")


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "_loops", lambda: None)


def structures() -> list[Atoms]:
    """Return frames of unlike sizes: a large cell, one smaller than the cutoff, a molecule, an atom without neighbours."""
    found = [bulk("Si", "diamond", a=5.43, cubic=True).repeat(2), bulk("Cu"), molecule("H2O"), Atoms("H")]
    for seed, atoms in enumerate(found):
        atoms.rattle(0.05, seed=seed)
    return found


def tensors(frames: list[int]) -> dict[str, torch.Tensor]:
    """Return every tensor of the batch of these frames, also what follows from its fields."""
    batch = GraphCache(from_atoms(structures()), ELEMENTS, 6.5).batch(frames)
    found = {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    return found | {"offset": batch.offset, "vectors": batch.vectors(), "centre": batch.centre, "slot": batch.slot}


@pytest.mark.parametrize("frames", [[2, 0, 1, 3, 1], [3], []], ids=["several", "without edges", "none"])
def test_loops_and_operations_give_the_same_batch(frames: list[int], request: pytest.FixtureRequest) -> None:
    if joining._loops() is None:
        pytest.skip("there is no C compiler on this machine")
    compiled = tensors(frames)
    request.getfixturevalue("uncompiled")
    for name, expected in tensors(frames).items():
        assert compiled[name].dtype == expected.dtype, name
        assert torch.equal(compiled[name].nan_to_num(), expected.nan_to_num()), name


@pytest.mark.parametrize("shifts", [[[0, 0, 0], [1, -1, 0], [0, 0, 0]], [[-400, 7, 300], [500, 0, -9]], []], ids=["usual", "far", "none"])
@pytest.mark.parametrize("loops", [True, False])
def test_images_and_their_places_give_the_shifts_back(shifts: list[list[int]], loops: bool, request: pytest.FixtureRequest) -> None:
    if not loops:
        request.getfixturevalue("uncompiled")
    given = np.array(shifts, dtype=np.int32).reshape(-1, 3)
    places, images = joining.images_of(given)
    assert np.array_equal(images[places], given)
    assert len(images) <= max(64, len(given)), "far images do not make a long table"


def test_neighbours_of_a_batch_are_where_the_frame_has_them() -> None:
    batch = GraphCache(from_atoms(structures()), ELEMENTS, 6.5).batch([2, 1])
    alone = GraphCache(from_atoms(structures()), ELEMENTS, 6.5).batch([1])
    edges = slice(len(batch.neighbour) - len(alone.neighbour), None)
    assert torch.equal(batch.vectors()[edges], alone.vectors())
    assert batch.vectors().norm(dim=1).max() < 6.5
