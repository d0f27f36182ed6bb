"""Identity of calculations and of structures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_outputs import made_run, part
from made_up_readings import LDA, made_block

from lake.identity import calculation_id, configuration_hashes
from schemas.frames import FrameBlock

BLOCK = made_block([12, 12, 20, 8, 8, 8], 6, 3)


def of_structure(numbers: list[int], positions: np.ndarray, cell: np.ndarray, pbc: bool = True) -> FrameBlock:
    one, natoms = made_block([8], 1, 0), len(numbers)
    return replace(
        one,
        numbers=np.array(numbers, np.int16),
        positions=positions[None],
        forces=np.zeros((1, natoms, 3)),
        cell=cell[None],
        pbc=np.full(3, pbc),
    )


def name_of(atoms: object) -> str:
    return configuration_hashes(of_structure(atoms.numbers.tolist(), atoms.positions, atoms.cell.array))[0]  # type: ignore[attr-defined]


def test_a_calculation_is_what_its_numbers_are() -> None:
    run = made_run(BLOCK)
    same = replace(
        run, format="another reader", flags=("truncated",), notes=("a note",), frames=replace(BLOCK, flags=(("net_force",),) * 6)
    )
    assert calculation_id(same) == calculation_id(run)
    assert len(calculation_id(run)) == 64
    others = [
        replace(run, code_version="2"),
        replace(run, level_of_theory=LDA),
        replace(run, frames=part(BLOCK, slice(0, 5))),
        replace(run, frames=replace(BLOCK, energy=BLOCK.energy + 1e-8)),
        replace(run, frames=replace(BLOCK, numbers=BLOCK.numbers[::-1].copy())),
        replace(run, frames=replace(BLOCK, step=BLOCK.step + 1)),
    ]
    assert len({calculation_id(other) for other in [run, *others]}) == 7


def test_signs_of_zero_and_kinds_of_nan_do_not_count() -> None:
    forces, stress = BLOCK.forces.copy(), np.full_like(BLOCK.stress, np.nan)
    forces[0, 0, 0] = 0.0
    first = replace(BLOCK, forces=forces, stress=stress)
    second = replace(BLOCK, forces=np.where(forces == 0, -0.0, forces), stress=-stress)
    assert calculation_id(made_run(first)) == calculation_id(made_run(second))


def test_the_name_of_a_structure_is_free_of_order_images_and_origin() -> None:
    rng = np.random.default_rng(5)
    order = rng.permutation(6)
    images = rng.integers(-3, 4, (6, 6, 3)) @ BLOCK.cell
    moved = replace(BLOCK, numbers=BLOCK.numbers[order], positions=(BLOCK.positions + images + np.array([0.37, -1.9, 8.1]))[:, order])
    names = configuration_hashes(BLOCK)
    assert configuration_hashes(moved) == names
    assert len(set(names)) == 6
    assert configuration_hashes(part(BLOCK, slice(2, 3))) == names[2:3]


@pytest.mark.parametrize("change", ["one atom", "cell", "species", "pbc", "sublattice"])
def test_different_structures_have_different_names(change: str) -> None:
    positions, cell, numbers, pbc = BLOCK.positions.copy(), BLOCK.cell.copy(), BLOCK.numbers.copy(), BLOCK.pbc
    if change == "one atom":
        positions[:, 0, 0] += 0.01
    elif change == "cell":
        cell[:, 1, 1] += 3e-3
    elif change == "species":
        numbers[[0, 2]] = numbers[[2, 0]]
    elif change == "pbc":
        pbc = np.array([True, True, False])
    else:
        positions[:, numbers == 8] += [0.02, 0.0, 0.0]
    other = replace(BLOCK, positions=positions, cell=cell, numbers=numbers, pbc=pbc)
    assert not set(configuration_hashes(other)) & set(configuration_hashes(BLOCK))


def test_crystals_in_supercells_are_told_apart() -> None:
    rock_salt, zinc_blende = (bulk("MgO", kind, a=4.2, cubic=True) for kind in ("rocksalt", "zincblende"))
    names = {name_of(atoms * (n, n, n)) for atoms in (rock_salt, zinc_blende) for n in (1, 2, 3, 4)}
    assert len(names) == 8
    displaced = rock_salt * (2, 2, 2)
    names = {name_of(displaced)}
    for step in (0.01, -0.01):
        moved = displaced.copy()
        moved.positions[0, 0] += step
        names.add(name_of(moved))
    assert len(names) == 3


def test_molecules_without_a_cell_have_names_too() -> None:
    water = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    here = of_structure([8, 1, 1], water, np.zeros((3, 3)), pbc=False)
    there = of_structure([1, 8, 1], (water + 7.3)[[2, 0, 1]], np.zeros((3, 3)), pbc=False)
    bent = of_structure([8, 1, 1], water * [[1], [1], [1.02]], np.zeros((3, 3)), pbc=False)
    assert configuration_hashes(here) == configuration_hashes(there)
    assert configuration_hashes(here) != configuration_hashes(bent)


def random_structures(natoms: int, n: int, seed: int) -> FrameBlock:
    """Return n structures without any symmetry, in sheared cells of 10 Å³ an atom."""
    rng = np.random.default_rng(seed)
    one = made_block([12, 8], 1, 0)
    cell = np.eye(3) * (10.0 * natoms) ** (1 / 3) + rng.normal(0, 0.3, (n, 3, 3))
    rows = {name: np.zeros((n, *shape)) for name, shape in (("energy", ()), ("forces", (natoms, 3)), ("stress", (3, 3)))}
    return replace(
        one, numbers=np.array([12, 8] * (natoms // 2), np.int16), cell=cell, positions=rng.random((n, natoms, 3)) @ cell, **rows,
        energy_sigma0=rows["energy"], energy_internal=rows["energy"], scf_converged=np.ones(n, np.int8),
        n_scf_steps=np.ones(n, np.int32), step=np.arange(n, dtype=np.int32), flags=((),) * n,
    )  # fmt: skip


def share_of_equal(first: FrameBlock, second: FrameBlock) -> float:
    return float(np.mean([a == b for a, b in zip(configuration_hashes(first), configuration_hashes(second), strict=True)]))


@pytest.mark.parametrize("natoms", [2, 8, 64])
def test_noise_rarely_changes_a_name(natoms: int) -> None:
    frames, rng = random_structures(natoms, 1000, natoms), np.random.default_rng(1)
    for size, least in ((1e-8, 0.999), (1e-7, 0.993), (1e-6, 0.96), (5e-6, 0.85)):
        cell = frames.cell + rng.uniform(-size, size, frames.cell.shape)
        positions = frames.positions + rng.uniform(-size, size, frames.positions.shape)
        assert share_of_equal(frames, replace(frames, cell=cell, positions=positions)) >= least, size


@pytest.mark.parametrize(("natoms", "step"), [(2, 0.002), (8, 0.002), (64, 0.005), (200, 0.02)])
def test_one_atom_that_moved_changes_a_name(natoms: int, step: float) -> None:
    frames = random_structures(natoms, 200, natoms)
    positions = frames.positions.copy()
    positions[:, 0, 0] += step
    assert share_of_equal(frames, replace(frames, positions=positions)) <= 0.02
    everywhere = np.random.default_rng(3).normal(0, 0.002, frames.positions.shape)
    assert share_of_equal(frames, replace(frames, positions=frames.positions + everywhere)) <= 0.01
    strain = np.zeros((3, 3))
    strain[1, 1] = 0.001
    assert share_of_equal(frames, replace(frames, cell=frames.cell + strain)) <= 0.01


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 12]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_order_translations_and_origin_never_change_a_name(seed: int, pairs: int, cubic: bool) -> None:
    frames, rng = random_structures(2 * pairs, 2, seed), np.random.default_rng(seed)
    if cubic:
        frames = replace(frames, cell=np.broadcast_to(np.eye(3) * 4.2, (2, 3, 3)).copy())
    order = rng.permutation(2 * pairs)
    images = rng.integers(-3, 4, (2, 2 * pairs, 3)) @ frames.cell
    moved = (frames.positions + images + rng.normal(0, 5, (2, 1, 3)))[:, order]
    assert share_of_equal(frames, replace(frames, numbers=frames.numbers[order], positions=moved)) == 1.0


def test_an_absurd_cell_has_a_name() -> None:
    frames = random_structures(2, 2, 0)
    cell = frames.cell.copy()
    cell[0, 0, 0], cell[1, 0, 0] = 1e300, np.inf
    assert len(configuration_hashes(replace(frames, cell=cell))) == 2
