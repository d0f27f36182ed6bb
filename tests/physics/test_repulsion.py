"""Short-range repulsion: the formula of Ziegler, Biersack and Littmark, switched off before bonds, in every architecture."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

import training
from schemas.potentials import PotentialCard
from training.gradient_check import check_gradients
from training.potentials import POTENTIALS, PotentialSpec
from training.potentials.repulsion import INNER, OUTER
from training.settings import TrainSettings
from training.stored import Potential
from training.structures import from_atoms, take

ELEMENTS = ("H", "O", "Si")
RADII = {"H": 0.31, "O": 0.66, "Si": 1.11}


EVERY = pytest.mark.parametrize("spec", POTENTIALS, ids=[spec.name for spec in POTENTIALS])


def potential_of(spec: PotentialSpec, repulsive: bool) -> Potential:
    if spec.name in ("nequip", "allegro"):
        pytest.importorskip(spec.name, reason="the extra nequip is not installed")
    settings = TrainSettings(potential=spec.name, cutoff=4.0, channels=3, hidden=(4,), l_max=2)
    torch.manual_seed(2)
    model = spec.build(ELEMENTS, 4.0, spec.configure(settings)).double()
    model.repulsive = repulsive
    # Untrained, Allegro's products of features reach a thousand eV half a bond away, and turn within the step of the numerical derivative.
    model.scale = 1e-4 if spec.name == "allegro" else 1.0
    card = PotentialCard("z", 1, spec.name, "candidate", ELEMENTS, 4.0, "", "", {}, (), {}, {}, {}, (), {}, "", 0.0, 0)
    return Potential(model, card)


def energies(potential: Potential, pair: str, distances: np.ndarray) -> np.ndarray:
    return potential.energy_forces_stress(from_atoms([Atoms(pair, [(0, 0, 0), (0, 0, d)]) for d in distances])).energy


def universal(first: int, second: int, distance: float) -> float:
    """eV: the formula as in the LAMMPS manual, pair_style zbl."""
    x = distance * (first**0.23 + second**0.23) / 0.46850
    screening = (
        0.18175 * math.exp(-3.19980 * x)
        + 0.50986 * math.exp(-0.94229 * x)
        + 0.28022 * math.exp(-0.40290 * x)
        + 0.02817 * math.exp(-0.20162 * x)
    )
    return 14.399645 * first * second / distance * screening


@EVERY
def test_pairs_repel_by_the_formula_and_bonds_do_not(spec: PotentialSpec) -> None:
    bare, with_it = potential_of(spec, False), potential_of(spec, True)
    for pair, first, second in (("SiSi", 14, 14), ("OH", 8, 1)):
        size = sum(RADII[symbol] for symbol in (("Si", "Si") if pair == "SiSi" else ("O", "H")))
        near, far = np.array([0.2, 0.9]) * INNER * size, np.array([1.0, 1.1]) * OUTER * size
        difference = energies(with_it, pair, near) - energies(bare, pair, near)
        assert difference == pytest.approx([universal(first, second, d) for d in near], rel=1e-6)
        np.testing.assert_array_equal(energies(with_it, pair, far), energies(bare, pair, far))
        between = np.linspace(INNER, OUTER, 60) * size
        ramp = energies(with_it, pair, between) - energies(bare, pair, between)
        assert (np.diff(ramp) < 0).all()


@EVERY
def test_forces_and_stress_stay_derivatives(spec: PotentialSpec) -> None:
    with_it = potential_of(spec, True)
    dense = bulk("Si", "diamond", a=4.2)
    dense.rattle(0.05, seed=1)
    for atoms in (dense, Atoms("HOSi", [(0, 0, 0), (0.55, 0, 0), (0.3, 1.1, 0.2)])):
        check = check_gradients(with_it, atoms, max_atoms=3)
        assert check.passed, check
        assert check.largest_force > 1


def test_it_is_trained_around_and_stored(tmp_path: Path) -> None:
    atoms = [bulk("Si", "diamond", a=5.4 + 0.02 * number, cubic=True) for number in range(4)]
    for number, one in enumerate(atoms):
        one.rattle(0.05, seed=number)
    arrays = dataclasses.replace(from_atoms(atoms), energy=np.full(4, -40.0), forces=np.zeros((32, 3)))
    nothing = take(arrays, np.zeros(0, np.int64))
    settings = TrainSettings(channels=2, l_max=1, hidden=(3,), epochs=2, repulsion=True, cutoff=4.0, checkpoint_seconds=0.0)
    found = training.train(training.FrameSplits(arrays, nothing, nothing), settings, work=tmp_path, progress=lambda progress: None)
    found.save(tmp_path / "stored")
    again = training.load(tmp_path / "stored")
    assert again.model.repulsive
    close = from_atoms([Atoms("Si2", [(0, 0, 0), (0.4, 0, 0)])])
    whole = again.energy_forces_stress(close)
    assert whole.energy[0] == pytest.approx(found.energy_forces_stress(close).energy[0], rel=1e-6)
    again.model.repulsive = False
    assert whole.energy[0] - again.energy_forces_stress(close).energy[0] == pytest.approx(universal(14, 14, 0.4), rel=1e-3)
