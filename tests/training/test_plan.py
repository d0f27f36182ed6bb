from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.plan import count_steps, plan_epoch, plan_in_order

SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=60)


@settings(deadline=None, max_examples=50)
@given(sizes=SIZES, seed=st.integers(0, 5), epoch=st.integers(0, 5), world=st.integers(1, 5), most=st.integers(1, 300))
def test_every_frame_once_equal_steps_and_steps_free_of_world_size(sizes: list[int], seed: int, epoch: int, world: int, most: int) -> None:
    natoms = np.array(sizes)
    plan = plan_epoch(natoms, seed, epoch, world, most)
    assert len(plan) == world
    assert {len(steps) for steps in plan} == {count_steps(natoms, most)}
    assert sorted(np.concatenate([frames for steps in plan for frames in steps]).tolist()) == list(range(len(sizes)))
    alone = plan_epoch(natoms, seed, epoch, 1, most)[0]
    for step, frames in enumerate(alone):
        assert len(frames) >= 1
        assert sorted(np.concatenate([steps[step] for steps in plan]).tolist()) == frames.tolist()


@settings(deadline=None, max_examples=50)
@given(sizes=SIZES, world=st.integers(1, 4), most=st.integers(1, 300))
def test_steps_hold_about_the_asked_atoms(sizes: list[int], world: int, most: int) -> None:
    natoms = np.array(sizes)
    for step in plan_in_order(natoms, 1, most)[0]:
        if len(step) > 1:
            assert natoms[step].sum() <= 2 * natoms.sum() / count_steps(natoms, most) + 2 * natoms.max()
    assert np.concatenate(plan_in_order(natoms, 1, most)[0]).tolist() == list(range(len(sizes)))


def test_order_changes_with_epoch_and_seed_and_repeats() -> None:
    natoms = np.full(20, 8)
    first = np.concatenate(plan_epoch(natoms, 0, 0, 1, 8)[0]).tolist()
    assert first == np.concatenate(plan_epoch(natoms, 0, 0, 1, 8)[0]).tolist()
    assert first != np.concatenate(plan_epoch(natoms, 0, 1, 1, 8)[0]).tolist()
    assert first != np.concatenate(plan_epoch(natoms, 1, 0, 1, 8)[0]).tolist()


def test_loads_are_balanced() -> None:
    natoms = np.random.default_rng(0).integers(4, 64, 200)
    plan = plan_epoch(natoms, 0, 0, 4, 1024)
    for step in range(len(plan[0])):
        loads = [natoms[steps[step]].sum() for steps in plan]
        assert max(loads) - min(loads) <= 64
