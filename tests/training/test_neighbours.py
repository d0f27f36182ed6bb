from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from schemas.errors import TrainingError
from training.neighbours import neighbours


def brute_force(atoms: Atoms, cutoff: float) -> list[tuple[int, ...]]:
    """Return all (centre, neighbour, shift) by trying every image."""
    reach = [range(-6, 7) if periodic else range(1) for periodic in atoms.pbc]
    found = []
    for shift in itertools.product(*reach):
        far = atoms.positions + np.array(shift) @ atoms.cell.array
        distance = np.linalg.norm(far[None] - atoms.positions[:, None], axis=2)
        for centre, neighbour in np.argwhere(distance < cutoff):
            if centre != neighbour or any(shift):
                found.append((int(centre), int(neighbour), *shift))
    return sorted(found)


def cases() -> list[Atoms]:
    slab = fcc111("Al", (2, 2, 2), vacuum=5.0)
    no_third = slab.copy()
    no_third.cell[2] = 0.0
    skewed = bulk("Cu", "fcc", a=3.6)
    skewed.cell[2] += 2 * skewed.cell[0]
    outside = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    outside.positions += (30.0, -25.0, 7.0)
    chain = Atoms("C2", [(0, 0, 0), (1.2, 0.4, 0)], cell=(2.5, 0, 0), pbc=(1, 0, 0))
    found = [slab, no_third, skewed, outside, chain, molecule("CH3CH2OH"), Atoms("O"), Atoms("O", cell=np.eye(3) * 30, pbc=True)]
    for atoms in found:
        atoms.rattle(0.05, seed=1)
    slab.pbc = (False, True, True)
    no_third.pbc = (True, True, False)
    return found


@pytest.mark.parametrize("number", range(8))
def test_pairs_equal_those_of_trying_every_image(number: int) -> None:
    atoms = cases()[number]
    edges = neighbours(atoms.positions, atoms.cell.array, atoms.pbc, 4.0)
    found = sorted(zip(*edges.index.tolist(), *edges.shift.T.tolist(), strict=True))
    assert found == brute_force(atoms, 4.0)


def test_edges_are_sorted_by_centre_and_stand_in_both_directions() -> None:
    atoms = cases()[3]
    edges = neighbours(atoms.positions, atoms.cell.array, atoms.pbc, 4.0)
    assert (np.diff(edges.index[0]) >= 0).all()
    there = set(zip(*edges.index.tolist(), *edges.shift.T.tolist(), strict=True))
    back = set(zip(*edges.index[::-1].tolist(), *(-edges.shift).T.tolist(), strict=True))
    assert there == back


def test_periodic_axis_without_a_vector_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"periodic along cell vectors \[2\]"):
        neighbours(np.zeros((1, 3)), np.diag([3.0, 3.0, 0.0]), np.array([True, True, True]), 4.0)
