"""Checks that need only numbers, and the numbers that tables hold beside the labels."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_outputs import made_run, part
from made_up_readings import made_block

from lake import checks
from lake.checks import check, derive
from lake.distances import smallest_distances
from lake.identity import configuration_hashes

BLOCK = made_block([12, 12, 8, 8], 6, 1)


def test_a_sound_run_stays_as_it_is() -> None:
    run = made_run(BLOCK)
    assert check(run) is run


def test_each_flag_is_raised_where_it_belongs_and_others_stay() -> None:
    energy, forces, stress, positions = (a.copy() for a in (BLOCK.energy, BLOCK.forces, BLOCK.stress, BLOCK.positions))
    energy[0] = np.nan
    forces[1] = np.nan
    stress[2] = np.nan
    forces[3, 0] += [0.2, 0, 0]
    forces[4, :2] = [[0, 101.0, 0], [0, -101.0, 0]]
    forces[4, 2:] = 0
    positions[5, 1] = positions[5, 0] + [0.3, 0, 0] + 2 * BLOCK.cell[5, 2]
    flags = (("scf_not_converged",), *BLOCK.flags[1:])
    frames = replace(BLOCK, energy=energy, forces=forces, stress=stress, positions=positions, flags=flags)
    assert check(made_run(frames)).frames.flags == (
        ("missing_energy", "scf_not_converged"),
        ("missing_forces",),
        ("missing_stress",),
        ("net_force",),
        ("large_force",),
        ("atoms_too_close",),
    )
    assert check(made_run(frames)).frames.energy is frames.energy


def test_atoms_without_force_beside_forces_that_do_not_add_up_were_held() -> None:
    forces = np.zeros((6, 4, 3))
    forces[0, :2] = [[0.5, 0, 0], [0, 0.2, 0]]  # two atoms of a slab that is held below them
    forces[1, :2] = [[0.5, 0, 0], [-0.5, 0, 0]]  # symmetry leaves the others no force
    forces[2] = [[0.5, 0, 0], [0, 0.2, 0], [0, 0, 0.1], [0, 0.0, 0.001]]  # they do not add up, and nobody is held
    frames = replace(BLOCK, forces=forces)
    flagged = [("constrained_forces" in flags, "net_force" in flags) for flags in check(made_run(frames)).frames.flags]
    assert flagged == [(True, True), (False, False), (False, True), *[(False, False)] * 3]


def test_derived_numbers() -> None:
    stress = np.zeros((1, 3, 3))
    stress[0, 0, 0] = 0.3
    one = replace(part(BLOCK, slice(0, 1)), cell=np.diag([4.2, 4.2, 2.1])[None], stress=stress)
    derived = derive(one)
    assert derived.max_force[0] == pytest.approx(np.linalg.norm(one.forces[0], axis=1).max())
    assert derived.net_force[0] == pytest.approx(0, abs=1e-12)
    assert derived.pressure[0] == pytest.approx(-0.1)
    assert derived.volume[0] == pytest.approx(4.2 * 4.2 * 2.1)
    # periclase: 3.58 g/cm3 at a = 4.21 Å, 4 formula units in a**3 (Hazen, Am. Mineral. 61, 266, 1976)
    assert derived.density[0] == pytest.approx(3.58 * (4.213**3 / 4.2**3), rel=0.01)
    none = derive(replace(one, cell=np.zeros((1, 3, 3)), forces=np.full((1, 4, 3), np.nan)))
    assert np.isnan([none.volume[0], none.density[0], none.max_force[0], none.net_force[0]]).all()


def by_ase(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float = 3.0) -> float:
    atoms = Atoms(numbers=np.ones(len(positions)), positions=positions, cell=cell, pbc=pbc)
    return float(np.min(neighbor_list("d", atoms, reach), initial=np.inf))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    natoms=st.integers(1, 7),
    lengths=st.tuples(*[st.floats(0.8, 14)] * 3),
    skew=st.floats(0, 0.9),
    periodic=st.sampled_from(list(itertools.product([True, False], repeat=3))),
)
def test_smallest_distance_is_that_of_a_neighbour_list(
    seed: int, natoms: int, lengths: tuple[float, ...], skew: float, periodic: tuple[bool, ...]
) -> None:
    rng = np.random.default_rng(seed)
    cell = np.diag(lengths) + np.tril(skew * rng.normal(size=(3, 3)), -1) * np.array(lengths)
    pbc = np.array(periodic)
    positions = (rng.random((2, natoms, 3)) * 3 - 1) @ cell
    found = smallest_distances(positions, np.stack([cell, cell]), pbc, 3.0)
    for i in range(2):
        expected = by_ase(positions[i], cell, pbc)
        assert (np.isnan(found[i]) and expected >= 3.0 - 1e-9) or found[i] == pytest.approx(expected, abs=1e-9)


def test_many_atoms_go_by_a_tree_with_the_same_result() -> None:
    rng = np.random.default_rng(2)
    cell = np.array([[9.0, 0, 0], [5.0, 8.0, 0], [-3.0, 2.0, 7.0]])
    for natoms in (199, 200, 260):
        positions = (rng.random((1, natoms, 3)) * 5) @ cell
        for pbc in (np.array([True, True, True]), np.array([True, False, True])):
            assert smallest_distances(positions, cell[None], pbc, 3.0)[0] == pytest.approx(by_ase(positions[0], cell, pbc), abs=1e-9)


def test_no_cell_one_atom_and_nothing_near() -> None:
    pbc = np.ones(3, bool)
    far = np.array([[[0.0, 0, 0], [0, 0, 3.5]]])
    assert np.isnan(smallest_distances(far, np.zeros((1, 3, 3)), ~pbc, 3.0)[0])
    assert np.isnan(smallest_distances(far[:, :1], 9 * np.eye(3)[None], pbc, 3.0)[0])
    assert smallest_distances(far[:, :1], 2.5 * np.eye(3)[None], pbc, 3.0)[0] == pytest.approx(2.5)
    assert smallest_distances(far, np.diag([20.0, 20, 6.0])[None], pbc, 3.0)[0] == pytest.approx(2.5)


@pytest.mark.parametrize("natoms", [1, 3, 210])
def test_images_along_one_or_two_vectors_count(natoms: int) -> None:
    random = np.random.default_rng(natoms)
    for axes in ((0,), (2,), (0, 1), (1, 2)):
        cell = np.zeros((3, 3))
        cell[list(axes)] = 3.5 * np.linalg.qr(random.normal(size=(3, 3)))[0][list(axes)] + random.normal(scale=0.2, size=(len(axes), 3))
        pbc = np.isin(range(3), axes)
        positions = random.normal(scale=4.0, size=(1, natoms, 3))
        expected = by_ase(positions[0], cell, pbc, reach=5.0)
        found = smallest_distances(positions, cell[None], pbc, 5.0)[0]
        assert found == pytest.approx(expected, abs=1e-9)
        assert found < 4.5, "an image of its own at least"


def test_absurd_numbers_cost_nothing_and_raise_nothing() -> None:
    frames = part(BLOCK, slice(0, 5))
    positions, cell, energy = frames.positions.copy(), frames.cell.copy(), frames.energy.copy()
    positions[0, 0], positions[1, 0] = np.nan, np.inf
    cell[2] = np.diag([1e-4, 1e-4, 1e9])
    cell[3, 0] = np.nan
    run = check(made_run(replace(frames, positions=positions, cell=cell, energy=energy)))
    assert run.frames.flags[2] == ("atoms_too_close",)
    assert run.frames.flags[4] == ()
    assert len(set(configuration_hashes(run.frames))) == 5


def test_what_is_derived_for_the_flags_is_not_derived_again_for_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smallest distances cost as much as reading; a block and its flagged copy share them, other blocks do not."""
    counted: list[int] = []
    smallest = checks.smallest_distances

    def count(*args: object) -> object:
        counted.append(1)
        return smallest(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(checks, "smallest_distances", count)
    run = made_run(replace(BLOCK, forces=np.full_like(BLOCK.forces, np.nan)))
    checked = check(run)
    assert checked is not run
    first = derive(checked.frames)
    assert (len(counted), derive(checked.frames) is first) == (1, True)
    moved = replace(run, frames=replace(run.frames, positions=run.frames.positions * 1.01))
    assert derive(check(moved).frames).min_distance[0] != first.min_distance[0]
    assert len(counted) == 2
