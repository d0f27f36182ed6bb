"""Potentials of n2p2 say here what n2p2 says of them: energies, atomic energies and forces of every reference folder.

Where a cell is so small that atoms see images of themselves, n2p2 leaves out how an atom acts as a neighbour of its own images, so its
forces are not the gradient of its own energy. Ours are: there they are compared after leaving out the same terms, and with the numeric
gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.elements import NUMBERS
from schemas.frames import Floats, FrameArrays
from schemas.units import BOHR, HARTREE
from training.batch import Batch, collate, graph
from training.neighbours import neighbours
from training.runner_potential import ATOMIC_UNITS, EV_ANGSTROM, read_runner, write_runner
from training.stored import Potential, Predictions
from training.structures import take

pytestmark = pytest.mark.shared

FOLDERS = ("ethylbenzene-scan", "h2o-rpbe-d3", "mlearn-cu", "mlearn-si")
PRINTED = 0.51
"""Half a unit in the last printed digit: *.comp print nine digits, *.out all."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What n2p2 printed, with half a unit in the last digit of each number."""

    energy: Floats
    energy_digit: Floats
    forces: Floats
    forces_digit: Floats
    atomic_energies: Floats | None


def read_configurations(file: Path) -> FrameArrays:
    """Return the configurations of an input.data in its own units."""
    numbers, positions, cells, pbc, counts = [], [], [], [], []
    for line in file.read_text().splitlines():
        words = line.split()
        if words[:1] == ["begin"]:
            lattice, count = [], 0
        elif words[:1] == ["lattice"]:
            lattice.append([float(word) for word in words[1:4]])
        elif words[:1] == ["atom"]:
            count += 1
            positions.append([float(word) for word in words[1:4]])
            numbers.append(NUMBERS[words[4]])
        elif words[:1] == ["end"]:
            cells.append(lattice or np.zeros((3, 3)))
            pbc.append([bool(lattice)] * 3)
            counts.append(count)
    n, atoms = len(counts), len(numbers)
    return FrameArrays(
        np.concatenate([[0], np.cumsum(counts)]),
        np.array(numbers, dtype=np.int16),
        np.array(positions),
        np.array(cells, dtype=np.float64),
        np.array(pbc),
        np.full(n, np.nan),
        np.full((atoms, 3), np.nan),
        np.full((n, 3, 3), np.nan),
    )


def columns(file: Path) -> tuple[Floats, Floats]:
    """Return the numbers of an output file and half a unit in the last digit of each."""
    rows = [line.split() for line in file.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    digits = [[PRINTED * 10.0 ** (_exponent(word) - _decimals(word)) for word in row] for row in rows]
    return np.array(rows, dtype=np.float64), np.array(digits)


def _exponent(word: str) -> int:
    return int(word.upper().partition("E")[2] or 0)


def _decimals(word: str) -> int:
    return len(word.upper().partition("E")[0].partition(".")[2])


def read_answers(folder: Path) -> Answers:
    if (folder / "energy.out").is_file():
        energy, energy_digit = columns(folder / "energy.out")
        forces, forces_digit = columns(folder / "nnforces.out")
        atomic, _ = columns(folder / "nnatoms.out")
        return Answers(energy[:, 3], energy_digit[:, 3], forces[:, -3:], forces_digit[:, -3:], atomic[:, 6])
    energy, energy_digit = columns(folder / "energy.comp")
    forces, forces_digit = columns(folder / "forces.comp")
    return Answers(energy[:, 3], energy_digit[:, 3], forces[:, 3].reshape(-1, 3), forces_digit[:, 3].reshape(-1, 3), None)


@dataclass(frozen=True, eq=False)
class Case:
    """A reference folder with what we say and what n2p2 says of its configurations."""

    folder: Path
    potential: Potential
    arrays: FrameArrays
    found: Predictions
    answers: Answers

    def batch(self, frame: int) -> Batch:
        atoms = slice(int(self.arrays.offsets[frame]), int(self.arrays.offsets[frame + 1]))
        model = self.potential.model
        edges = neighbours(self.arrays.positions[atoms], self.arrays.cell[frame], self.arrays.pbc[frame], model.cutoff)
        return collate([graph(self.arrays, frame, edges, model.elements)])

    def forces_on(self, frame: int) -> tuple[Floats, Floats]:
        """Return our forces and n2p2's on the atoms of one frame."""
        atoms = slice(int(self.arrays.offsets[frame]), int(self.arrays.offsets[frame + 1]))
        return self.found.forces[atoms], self.answers.forces[atoms]

    def frames_that_see_themselves(self) -> list[int]:
        """Return the frames in which an atom is nearer to an image of its own than the cutoff."""
        frames = []
        for frame in range(self.arrays.count):
            batch = self.batch(frame)
            if bool((batch.centre == batch.neighbour).any()):
                frames.append(frame)
        return frames


@pytest.fixture(scope="module", params=FOLDERS)
def case(request: pytest.FixtureRequest, shared: Path) -> Case:
    folder = shared / "benchmarks" / "hdnnp-reference" / request.param
    potential = read_runner(folder, EV_ANGSTROM)
    arrays = read_configurations(folder / "input.data")
    return Case(folder, potential, arrays, potential.energy_forces_stress(arrays), read_answers(folder))


def test_energies_are_those_of_n2p2(case: Case) -> None:
    found, expected = case.found.energy, case.answers.energy
    assert found.shape == expected.shape == (case.arrays.count,)
    assert (np.abs(found - expected) <= np.maximum(1e-9 * np.abs(expected), case.answers.energy_digit)).all()


def test_forces_are_those_of_n2p2(case: Case) -> None:
    assert case.found.forces.shape == case.answers.forces.shape
    assert np.abs(case.answers.forces).max() > 1e-3
    own_images = case.frames_that_see_themselves()
    for frame in range(case.arrays.count):
        found, expected = case.forces_on(frame)
        if frame in own_images:
            found = forces_without_own_images(case, frame)
        assert np.abs(found - expected).max() < 1e-8, f"frame {frame}"


def forces_without_own_images(case: Case, frame: int) -> Floats:
    """Return minus the gradient without its part in which an atom is the neighbour of its own image."""
    model, batch = case.potential.model, case.batch(frame)
    vectors = batch.vectors().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.atomic_energies(batch, vectors).sum() * model.scale, vectors)
    others = batch.centre != batch.neighbour
    forces = torch.zeros_like(batch.positions).index_add(0, batch.centre, gradient)
    return forces.index_add(0, batch.neighbour[others], -gradient[others]).numpy()


def test_forces_are_the_gradient_where_those_of_n2p2_are_not(case: Case) -> None:
    frames = case.frames_that_see_themselves()
    if not frames:
        pytest.skip("no cell of this folder is smaller than the cutoff")
    for frame in frames:
        found, printed = case.forces_on(frame)
        atom, axis = np.unravel_index(np.abs(found - printed).argmax(), found.shape)
        assert abs(found[atom, axis] - printed[atom, axis]) > 1e-6
        one = take(case.arrays, np.array([frame]))
        energies = []
        for step in (-2e-3, -1e-3, 1e-3, 2e-3):
            positions = one.positions.copy()
            positions[atom, axis] += step
            energies.append(float(case.potential.energy_forces_stress(replace(one, positions=positions)).energy[0]))
        numeric = -(energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / 12e-3
        assert numeric == pytest.approx(found[atom, axis], abs=1e-9)


def test_atomic_energies_are_those_of_n2p2(case: Case) -> None:
    if case.answers.atomic_energies is None:
        pytest.skip("nnp-dataset prints no atomic energies")
    model = case.potential.model
    references = {NUMBERS[symbol]: value for symbol, value in zip(model.elements, model.references, strict=True)}
    bare = case.found.atomic_energies - np.array([references[int(number)] for number in case.arrays.numbers])
    assert np.abs(bare - case.answers.atomic_energies).max() < 1e-12


def test_in_electronvolt_it_is_the_same_potential(case: Case) -> None:
    potential, one = read_runner(case.folder, ATOMIC_UNITS), some_atoms(case.arrays)
    expected = case.potential.energy_forces_stress(one)
    found = potential.energy_forces_stress(replace(one, positions=one.positions * BOHR, cell=one.cell * BOHR))
    assert found.energy[0] == pytest.approx(expected.energy[0] * HARTREE, rel=1e-12)
    np.testing.assert_allclose(found.forces, expected.forces * HARTREE / BOHR, atol=1e-9)
    np.testing.assert_allclose(found.stress, expected.stress * HARTREE / BOHR**3, atol=1e-12)


def test_written_and_read_again_it_is_the_same_potential(case: Case, tmp_path: Path) -> None:
    write_runner(case.potential, tmp_path, ATOMIC_UNITS)
    again = read_runner(tmp_path, ATOMIC_UNITS)
    assert len(again.model.functions) == len(case.potential.model.functions)
    one = some_atoms(case.arrays)
    first, second = (each.energy_forces_stress(one) for each in (case.potential, again))
    assert second.energy[0] == pytest.approx(first.energy[0], rel=1e-12)
    np.testing.assert_allclose(second.forces, first.forces, atol=1e-11)


def some_atoms(arrays: FrameArrays, count: int = 60) -> FrameArrays:
    """Return the first atoms of the first frame."""
    one = take(arrays, np.array([0]))
    return replace(one, offsets=np.array([0, count]), **{name: getattr(one, name)[:count] for name in ("numbers", "positions", "forces")})
