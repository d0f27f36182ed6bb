"""Laws that hold for every potential, whatever its weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from schemas.potentials import PotentialCard
from training.batch import collate, graph
from training.gradient_check import check_gradients
from training.neighbours import neighbours
from training.potentials import POTENTIALS, PotentialSpec
from training.potentials.base import EnergyModel
from training.settings import TrainSettings
from training.stored import Potential
from training.structures import from_atoms

ELEMENTS = ("H", "C", "N", "O", "Mg", "Al", "Si", "Ca", "Cu")
"""Nine, more than species_channels: elements share their embedding."""

CUTOFF = 4.0


def card(architecture: str) -> PotentialCard:
    return PotentialCard(
        "laws", 1, architecture, "candidate", ELEMENTS, CUTOFF, "", "", {}, (), {}, {}, dict.fromkeys(ELEMENTS, 0.0), (), {}, "", 0.0, 0
    )


def structures() -> list[Atoms]:
    """Crystals, a slab, molecules, an atom alone, and a cell smaller than the cutoff, all off their symmetric places."""
    oxide = bulk("MgO", "rocksalt", a=4.25, cubic=True)
    oxide.symbols[0] = "Ca"
    slab = fcc111("Al", (2, 2, 2), vacuum=6.0)
    slab.pbc = (True, True, False)
    ethanol = molecule("CH3CH2OH")
    chain = Atoms("CN", [(0, 0, 0), (1.3, 0.2, 0)], cell=(2.6, 0, 0), pbc=(True, False, False))
    small = bulk("Cu", "fcc", a=3.6)
    found = [oxide, slab, ethanol, chain, small, Atoms("Si"), Atoms("O", cell=np.eye(3) * 20, pbc=True)]
    for number, atoms in enumerate(found):
        atoms.rattle(0.08, seed=number)
    return found


@pytest.fixture(scope="module", params=POTENTIALS, ids=[spec.name for spec in POTENTIALS])
def potential(request: pytest.FixtureRequest) -> Potential:
    spec: PotentialSpec = request.param
    if spec.name in ("nequip", "allegro"):
        pytest.importorskip(spec.name, reason="the extra nequip is not installed")
    return make(spec)


@pytest.fixture(scope="module")
def four_body() -> Potential:
    return make(POTENTIALS[0], four_body=True)


def make(spec: PotentialSpec, **changes: object) -> Potential:
    """Return a potential of random weights whose energies are of the size of real ones."""
    settings = TrainSettings(potential=spec.name, cutoff=CUTOFF, channels=5, hidden=(12, 12), **changes)
    torch.manual_seed(3)
    model: EnergyModel = spec.build(ELEMENTS, CUTOFF, spec.configure(settings)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.references = tuple(-1000.0 - 7.0 * place for place in range(len(ELEMENTS)))
    arrays = from_atoms(structures()[:4])
    graphs = []
    for frame in range(arrays.count):
        atoms = slice(arrays.offsets[frame], arrays.offsets[frame + 1])
        edges = neighbours(arrays.positions[atoms], arrays.cell[frame], arrays.pbc[frame], CUTOFF)
        graphs.append(graph(arrays, frame, edges, ELEMENTS))
    model.standardise([collate(graphs)])
    return Potential(model, card(spec.name))


def energy_forces(potential: Potential, atoms: Atoms) -> tuple[float, np.ndarray]:
    found = potential.energy_forces_stress(from_atoms([atoms]))
    return float(found.energy[0]), found.forces


def test_rotation_turns_forces_and_stress_and_keeps_the_energy(potential: Potential) -> None:
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    for atoms in structures():
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ turn.T)
        turned.positions = atoms.positions @ turn.T
        before, after = (potential.energy_forces_stress(from_atoms([each])) for each in (atoms, turned))
        assert after.energy == pytest.approx(before.energy, rel=1e-12)
        np.testing.assert_allclose(after.forces, before.forces @ turn.T, atol=1e-9)
        if atoms.pbc.all():
            np.testing.assert_allclose(after.stress[0], turn @ before.stress[0] @ turn.T, atol=1e-9)


def test_translation_and_wrapping_change_nothing(potential: Potential) -> None:
    for atoms in structures():
        energy, forces = energy_forces(potential, atoms)
        moved = atoms.copy()
        moved.positions += (0.7, -13.1, 4.4)
        moved.positions[0] += np.where(atoms.pbc, 1, 0) @ atoms.cell.array
        found, found_forces = energy_forces(potential, moved)
        assert found == pytest.approx(energy, rel=1e-12)
        np.testing.assert_allclose(found_forces, forces, atol=1e-9)


def test_permutation_of_atoms_permutes_forces(potential: Potential) -> None:
    for atoms in structures():
        order = np.random.default_rng(2).permutation(len(atoms))
        energy, forces = energy_forces(potential, atoms)
        found, found_forces = energy_forces(potential, atoms[order])
        assert found == pytest.approx(energy, rel=1e-12)
        np.testing.assert_allclose(found_forces, forces[order], atol=1e-9)


def test_batch_gives_what_single_frames_and_the_calculator_give(potential: Potential) -> None:
    all_together = potential.energy_forces_stress(from_atoms(structures()))
    start = 0
    for number, atoms in enumerate(structures()):
        energy, forces = energy_forces(potential, atoms)
        atoms.calc = potential.calculator(skin=0.4)
        assert all_together.energy[number] == pytest.approx(energy, rel=1e-12)
        assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-10)
        np.testing.assert_allclose(all_together.forces[start : start + len(atoms)], forces, atol=1e-10)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-10)
        np.testing.assert_allclose(atoms.get_potential_energies().sum(), energy, rtol=1e-12)
        start += len(atoms)


def test_forces_and_stress_are_derivatives_of_the_energy(potential: Potential, four_body: Potential) -> None:
    for each in (potential, four_body):
        for atoms in structures()[:5]:
            check = check_gradients(each, atoms, max_atoms=4)
            assert check.passed, (atoms, check)
            assert len(atoms) == 1 or check.largest_force > 0.01


def test_four_body_terms_do_not_turn_with_the_axes(four_body: Potential) -> None:
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    atoms = structures()[2]
    turned = atoms.copy()
    turned.positions = atoms.positions @ turn.T
    assert energy_forces(four_body, turned)[0] == pytest.approx(energy_forces(four_body, atoms)[0], rel=1e-13)


def test_energy_is_additive_over_copies_far_apart(potential: Potential) -> None:
    water, ethanol = molecule("H2O"), molecule("CH3CH2OH")
    far = ethanol.copy()
    far.positions += 50.0
    together = energy_forces(potential, water + far)[0]
    assert together == pytest.approx(energy_forces(potential, water)[0] + energy_forces(potential, ethanol)[0], rel=1e-13)


def test_energy_is_smooth_where_a_neighbour_crosses_the_cutoff(potential: Potential) -> None:
    def force(distance: float) -> float:
        return float(energy_forces(potential, Atoms("OMg", [(0, 0, 0), (distance, 0, 0)]))[1][1, 0])

    alone = sum(energy_forces(potential, Atoms(symbol))[0] for symbol in ("O", "Mg"))
    near = energy_forces(potential, Atoms("OMg", [(0, 0, 0), (CUTOFF - 1e-4, 0, 0)]))[0]
    assert near == pytest.approx(alone, abs=1e-9)
    assert force(CUTOFF + 1e-6) == 0.0
    # The curvature goes to zero too, so the force falls as the square of the distance to the cutoff.
    assert abs(force(CUTOFF - 1e-3)) < 1e-3 * max(abs(force(CUTOFF - 0.1)), 1e-6)


def test_atom_without_neighbours_has_an_energy_and_no_force(potential: Potential) -> None:
    energy, forces = energy_forces(potential, Atoms("Si"))
    assert np.isfinite(energy)
    np.testing.assert_array_equal(forces, 0.0)


def test_cell_smaller_than_the_cutoff_equals_its_supercell(potential: Potential) -> None:
    for atoms in (structures()[4], bulk("MgO", "rocksalt", a=4.2)):
        one = potential.energy_forces_stress(from_atoms([atoms]))
        many = potential.energy_forces_stress(from_atoms([atoms.repeat((3, 2, 2))]))
        assert many.energy[0] == pytest.approx(12 * one.energy[0], rel=1e-12)
        np.testing.assert_allclose(many.stress[0], one.stress[0], atol=1e-10)


def test_forces_add_up_to_zero(potential: Potential) -> None:
    for atoms in structures():
        np.testing.assert_allclose(energy_forces(potential, atoms)[1].sum(axis=0), 0.0, atol=1e-9)
