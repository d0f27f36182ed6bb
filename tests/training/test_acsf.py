"""Classical symmetry functions against their formulas written out with loops; scaling, networks, training."""

from __future__ import annotations

import dataclasses
import math
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

import training
from schemas.elements import NUMBERS
from schemas.errors import TrainingError
from schemas.potentials import PotentialCard
from training.batch import Batch, collate, graph
from training.job import FrameSplits
from training.neighbours import neighbours
from training.potentials import acsf, find_potential
from training.potentials.acsf.cutoffs import CUTOFF_TYPES, compact_function, core_function, cutoff_function
from training.potentials.acsf.descriptors import SymmetryFunctions, angle_of, environments_of
from training.potentials.acsf.functions import SymmetryFunction, generated, in_order, parse_function
from training.potentials.acsf.network import ACTIVATIONS, FeedForward
from training.potentials.acsf.scaling import Scaling
from training.settings import TrainSettings, settings_from
from training.stored import Potential
from training.structures import from_atoms, take

LINES = (
    "O 2 H 0.3 0.0 5.0", "O 2 O 1.1 1.7 4.0", "H 2 O 0.05 0.4 5.0",
    "O 3 H H 0.1 -1.0 1.0 5.0", "O 3 O H 0.2 1.0 3.0 4.5 0.3", "O 3 H H 0.1 1.0 1.7 5.0", "O 3 H O 0.07 0.5 16.0 3.5",
    "O 9 H H 0.01 1.0 4.0 5.0", "H 9 O O 0.3 -1.0 2.0 5.0 0.2", "H 9 H O 0.3 -1.0 5.0 5.0",
    "O 12 0.2 0.5 5.0", "O 13 0.1 0.2 1.0 4.0 5.0",
    "O 20 H -3.0 5.0 p2", "H 20 O 1.0 4.0 p3a", "O 20 O 0.5 5.0 e",
    "O 21 H H -4.0 4.0 -90.0 90.0 p1a", "O 21 O H 0.5 5.0 20.0 140.0 p4",
    "O 22 H H -5.0 5.0 60.0 180.0 p2a", "H 22 O H 1.0 4.5 90.0 270.0 e", "H 22 O O 0.0 5.0 0.0 180.0 p3",
    "O 23 -4.0 4.0 p1", "O 24 0.0 5.0 0.0 120.0 p2", "H 25 1.0 5.0 49.1 169.1 p2a",
)  # fmt: skip
"""Every type, with lengths in Å."""


@pytest.fixture(scope="module")
def crystal() -> Atoms:
    """Return a skewed cell with an edge below the cutoff."""
    atoms = Atoms(
        "OH2OH", scaled_positions=np.random.default_rng(5).random((5, 3)), cell=[(3.1, 0, 0), (0.4, 5.3, 0.2), (-1, 0.3, 6)], pbc=True
    )
    atoms.positions[:] = [(0, 0, 0), (0.96, 0.1, 0.2), (-0.3, 0.9, 0.1), (1.4, 2.6, 3.0), (1.5, 3.4, 2.4)]
    return atoms


def batch_of(atoms: Atoms, elements: tuple[str, ...], cutoff: float) -> Batch:
    arrays = from_atoms([atoms])
    edges = neighbours(arrays.positions, arrays.cell[0], arrays.pbc[0], cutoff)
    return collate([graph(arrays, 0, edges, elements)])


def cut(r: float, rc: float, kind: int, alpha: float) -> float:
    """fc as the documentation of n2p2 gives it."""
    if r >= rc:
        return 0.0
    if kind in (2, 3):
        return math.tanh(1 - r / rc) ** 3 / (math.tanh(1.0) ** 3 if kind == 3 else 1.0)
    if r < alpha * rc or kind == 0:
        return 1.0
    return core((r - alpha * rc) / (rc - alpha * rc), CUTOFF_TYPES[kind])


def core(x: float, form: str) -> float:
    return {
        "cos": 0.5 * (math.cos(math.pi * x) + 1), "exp": math.exp(1 - 1 / (1 - x * x)), "e": math.exp(1 - 1 / (1 - x * x)),
        "p1": (2 * x - 3) * x**2 + 1, "p2": ((15 - 6 * x) * x - 10) * x**3 + 1, "p3": (x * (x * (20 * x - 70) + 84) - 35) * x**4 + 1,
        "p4": (x * (x * ((315 - 70 * x) * x - 540) + 420) - 126) * x**5 + 1,
    }[form]  # fmt: skip


def compact(x: float, low: float, high: float, form: str) -> float:
    y = abs(x - (low + high) / 2) / ((high - low) / 2)
    if y >= 1:
        return 0.0
    return core(2 * y - y * y, form[:-1]) if form.endswith("a") else core(y, form)


def direct(atoms: Atoms, centre: int, function: SymmetryFunction, kind: int, alpha: float) -> float:
    """The sum over neighbours and pairs of them, one after the other, images found by walking through the cells."""
    f, around = function, []
    for other, shift in product(range(len(atoms)), product(range(-3, 4), repeat=3)):
        vector = atoms.positions[other] + np.array(shift) @ atoms.cell.array - atoms.positions[centre]
        if 1e-9 < np.linalg.norm(vector) < f.cutoff:
            around.append((atoms.symbols[other], vector))
    form = f.subtype.removesuffix("a")

    def radial(r: float) -> float:
        if f.type >= 20:
            return compact(r, f.inner, f.cutoff, f.subtype) if r < f.cutoff else 0.0
        return math.exp(-f.eta * (r - f.shift) ** 2) * cut(r, f.cutoff, kind, alpha)

    total = 0.0
    for number, (one, first) in enumerate(around):
        r_ij = np.linalg.norm(first)
        if f.type in (2, 12, 20, 23):
            if not f.neighbours or one == f.neighbours[0]:
                total += radial(r_ij) * (1 if f.neighbours else NUMBERS[one])
            continue
        for two, second in around[number + 1 :]:
            if f.neighbours and sorted((one, two)) != sorted(f.neighbours):
                continue
            r_ik, r_jk = np.linalg.norm(second), np.linalg.norm(second - first)
            cosine = first @ second / (r_ij * r_ik)
            if f.type >= 20:
                angular = compact(math.degrees(math.acos(max(-1.0, min(1.0, cosine)))), f.left, f.right, form)
            else:
                angular = 2 ** (1 - f.zeta) * max(1 + f.lambda_ * cosine, 0.0) ** f.zeta
            value = radial(r_ij) * radial(r_ik) * angular * (1 if f.neighbours else NUMBERS[one] * NUMBERS[two])
            total += value * (radial(r_jk) if f.type in (3, 13, 21, 24) else 1.0)
    return float(total)


@pytest.mark.parametrize(("kind", "alpha"), [(1, 0.0), (2, 0.0), (6, 0.3)])
def test_every_type_is_the_sum_of_its_formula(crystal: Atoms, kind: int, alpha: float) -> None:
    functions = in_order(parse_function(line.split(), "test") for line in LINES)
    descriptor = SymmetryFunctions(("H", "O"), functions, cutoff_type=kind, alpha=alpha, length_unit=1.0)
    batch = batch_of(crystal, ("H", "O"), 5.0)
    seen = 0
    for symbol, (atoms, values) in zip(("H", "O"), descriptor(environments_of(batch, batch.vectors())[1]), strict=True):
        own = [function for function in functions if function.centre == symbol]
        assert values.shape == (int((crystal.symbols == symbol).sum()), len(own))
        for row, atom in enumerate(atoms.tolist()):
            expected = [direct(crystal, atom, function, kind, alpha) for function in own]
            np.testing.assert_allclose(values[row].numpy(), expected, rtol=1e-11, atol=1e-14)
            seen += sum(value > 1e-6 for value in expected)
    assert seen > 45


@pytest.mark.parametrize("kind", sorted(CUTOFF_TYPES))
@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_cutoffs_are_those_of_the_documentation(kind: int, alpha: float) -> None:
    r = np.linspace(0, 6.5, 131)
    found = cutoff_function(torch.from_numpy(r), 6.0, kind, alpha).numpy()
    np.testing.assert_allclose(found, [cut(value, 6.0, kind, alpha) for value in r], atol=1e-14)


def test_unknown_cutoff_and_subtype_say_so() -> None:
    with pytest.raises(TrainingError, match="there is no cutoff_type 9"):
        cutoff_function(torch.ones(1), 6.0, 9, 0.0)
    with pytest.raises(TrainingError, match=r"there: there is no compact function 'p2b' \(did you mean 'p2"):
        parse_function("H 20 H 0.0 5.0 p2b".split(), "there")


@pytest.mark.parametrize("form", ["p1", "p2", "p3", "p4", "e", "cos", "exp"])
def test_core_functions_fall_from_one_to_zero(form: str) -> None:
    x = torch.linspace(0, 1, 101, dtype=torch.float64, requires_grad=True)
    values = core_function(x, form)
    (slope,) = torch.autograd.grad(values.sum(), x)
    assert values[[0, -1]].tolist() == pytest.approx([1.0, 0.0], abs=1e-15)
    assert torch.isfinite(slope).all()
    assert (values[1:] <= values[:-1] + 1e-15).all()
    assert compact_function(torch.tensor([-1.0, 2.0, 5.0]), 0.0, 4.0, form, False).tolist() == [0.0, 1.0, 0.0]


def test_neighbours_on_one_line_have_finite_forces_and_second_derivatives() -> None:
    lines = ("Mg 22 O O -5 5 0 120 p2", "Mg 22 O O -5 5 90 270 p1", "O 22 Mg Mg -5 5 60 180 p2a", "Mg 3 O O 0.1 -1 0.5 5", "O 2 Mg 0.1 0 5")
    torch.manual_seed(0)
    shape = acsf.AcsfConfig(symmetry_functions=lines, scaling="none", hidden=(4,))
    model = acsf.Acsf(("O", "Mg"), 5.0, shape).double()
    found = model(batch_of(bulk("MgO", "rocksalt", a=4.2, cubic=True), ("O", "Mg"), 5.0), create_graph=True)
    assert float(found.forces.detach().abs().max()) < 1e-12
    (found.forces.square().sum() + found.energy.sum()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_angle_is_exact_up_to_the_straight_line() -> None:
    angles = torch.tensor([0.0, 1e-5, 0.3, 1.5, 3.1, math.pi - 1e-5, math.pi], dtype=torch.float64)
    cosine = torch.cos(angles).requires_grad_(True)
    found = angle_of(cosine)
    (slope,) = torch.autograd.grad(found.sum(), cosine)
    np.testing.assert_allclose(found.detach().numpy(), angles.numpy(), atol=1e-11)
    np.testing.assert_allclose(slope[2:5].numpy(), -1 / np.sin(angles[2:5].numpy()), rtol=1e-12)
    assert slope[[0, -1]].tolist() == [0.0, 0.0]


def test_pieces_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    model = acsf.build(("Al", "Cu"), 4.0, acsf.configure(TrainSettings())).double()
    atoms = bulk("Cu", "fcc", a=3.7, cubic=True).repeat((2, 2, 1))
    atoms.numbers[::3] = 13
    atoms.rattle(0.1, seed=2)
    batch = batch_of(atoms, ("Al", "Cu"), 4.0)
    model.standardise([batch])
    whole = model(batch)
    monkeypatch.setattr(acsf, "MAX_PAIRS", 200)
    with torch.no_grad():
        pieces = model(batch)
    assert whole.energy.requires_grad
    assert not pieces.energy.requires_grad
    np.testing.assert_allclose(pieces.energy, whole.energy.detach(), rtol=1e-13)
    np.testing.assert_allclose(pieces.forces, whole.forces, atol=1e-12)
    np.testing.assert_allclose(pieces.stress, whole.stress, atol=1e-13)


def test_scalings_are_those_of_the_documentation() -> None:
    values = torch.tensor([[1.0, 4.0, 2.0], [3.0, 4.0, 5.0]], dtype=torch.float64)
    low, high, mean, sigma = (np.array(row) for row in ([0.5, 4.0, 1.0], [3.5, 4.0, 6.0], [2.0, 4.0, 3.0], [0.5, 0.0, 2.0]))
    g = values.numpy()
    expected = {
        "none": g,
        "scale": [-1 + 3 * (g[:, [0, 2]] - low[[0, 2]]) / (high - low)[[0, 2]]],
        "center": g - mean,
        "scale+center": [-1 + 3 * (g[:, [0, 2]] - mean[[0, 2]]) / (high - low)[[0, 2]]],
        "sigma": [-1 + 3 * (g[:, [0, 2]] - mean[[0, 2]]) / sigma[[0, 2]]],
    }
    for kind, wanted in expected.items():
        scaling = Scaling(3, kind, -1.0, 2.0).double()
        scaling.statistics.copy_(torch.from_numpy(np.stack([low, high, mean, sigma], axis=1)))
        found = scaling(values).numpy()
        if kind in ("none", "center"):
            np.testing.assert_allclose(found, wanted)
        else:
            np.testing.assert_allclose(found[:, [0, 2]], wanted[0])
            assert found[:, 1].tolist() == [-1.0, -1.0]


def test_networks_are_layers_of_the_named_functions() -> None:
    direct_functions = {
        "l": lambda x: x, "t": np.tanh, "s": lambda x: 1 / (1 + np.exp(-x)), "p": lambda x: np.log(1 + np.exp(x)),
        "r": lambda x: np.maximum(x, 0), "g": lambda x: np.exp(-(x**2) / 2), "c": np.cos, "S": lambda x: 1 - 1 / (1 + np.exp(-x)),
        "e": lambda x: np.exp(-x), "h": lambda x: x**2,
    }  # fmt: skip
    assert set(direct_functions) == set(ACTIVATIONS)
    x = torch.randn(5, 3, dtype=torch.float64)
    for letter, normalize in product(ACTIVATIONS, (False, True)):
        network = FeedForward((3, 4, 1), f"{letter}l", normalize_nodes=normalize).double()
        (w1, w2), (b1, b2) = ([parameter.detach().numpy() for parameter in group] for group in (network.hidden, network.biases))
        hidden = direct_functions[letter]((x.numpy() @ w1 + b1) / (3 if normalize else 1))
        expected = (hidden @ w2 + b2)[:, 0] / (4 if normalize else 1)
        np.testing.assert_allclose(network(x).detach().numpy(), expected, rtol=1e-12)


def test_generated_set_serves_any_elements() -> None:
    functions = generated(("O", "Mg", "Ca"), 5.0, 6)
    assert len(functions) == 3 * (3 * 6 + 6 * 12)
    radial = [function for function in functions if function.type == 2 and function.centre == "O" and function.neighbours == ("Ca",)]
    shifts = sorted(function.shift for function in radial)
    assert shifts[0] == pytest.approx(5.0 / 6)
    assert shifts[-1] < 5.0
    assert [parse_function(function.line().split(), "") for function in functions] == list(functions)
    assert generated(("H",), 4.0, 1)[0].shift == 0.0


def test_configuration_says_what_does_not_fit() -> None:
    good = dict(acsf.configure(TrainSettings()))
    for change, said in (
        ({"scaling": "sigm"}, r"there is no scaling 'sigm' \(did you mean 'sigma'\?\)"),
        ({"cutoff_type": 11}, "there is no cutoff_type 11"),
        ({"cutoff_alpha": 1.0}, "cutoff_alpha is 1.0, expected 0 up to below 1"),
        ({"activations": "tl"}, "expected 3 letters"),
        ({"symmetry_functions": ["H 2 O 1.0 0.0 3.0"]}, "names O, the elements are H"),
        ({"symmetry_functions": ["H 2 H 1.0 0.0 9.0"]}, "reaches to 9.0000 Å, the cutoff is 4.0 Å"),
        ({"hiden": [3]}, r"'hiden' is unknown or missing \(did you mean 'hidden'\?\)"),
    ):
        with pytest.raises(TrainingError, match=said):
            acsf.build(("H",), 4.0, {**good, **change})


def test_batch_without_frames_and_atom_without_neighbours() -> None:
    model = acsf.build(("H", "O"), 4.0, acsf.configure(TrainSettings()))
    nothing = model(collate([]), create_graph=True)
    nothing.energy.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters()), "DDP waits for every parameter"
    model.standardise([collate([])])
    alone = model(batch_of(Atoms("O"), ("H", "O"), 4.0))
    assert torch.isfinite(alone.energy).all()
    assert alone.forces.tolist() == [[0.0, 0.0, 0.0]]


def test_trains_by_the_same_task_and_is_stored(splits: FrameSplits, tmp_path: Path) -> None:
    settings = TrainSettings(
        potential="acsf", cutoff=4.5, radial_functions=5, hidden=(12,), epochs=12, batch_atoms=48, learning_rate=0.01, validate_every=6
    )
    potential = training.train(splits, settings, name="alloy", work=tmp_path, progress=lambda progress: None)
    metrics = potential.card.metrics["test"]
    assert potential.card.architecture == "acsf"
    assert metrics.overall.force_mae < 0.5 * metrics.trivial.force_mae
    potential.save(tmp_path / "saved")
    loaded = training.load(tmp_path / "saved")
    few = take(splits.test, np.arange(2))
    first, second = (each.energy_forces_stress(few) for each in (potential, loaded))
    np.testing.assert_array_equal(first.energy, second.energy)
    np.testing.assert_array_equal(first.forces, second.forces)


CU_AL = (
    *(function.line() for function in generated(("Al", "Cu"), 4.5, 5) if function.type == 2),
    "Cu 3 Cu Cu 0.05 1.0 1.0 4.0", "Cu 9 Al Cu 0.05 -1.0 2.0 4.0", "Al 21 Cu Cu 0.5 4.0 20.0 140.0 p2",
)  # fmt: skip


def test_trains_on_the_functions_of_an_input_file(splits: FrameSplits, tmp_path: Path) -> None:
    chosen = {"potential": "acsf", "symmetry_functions": list(CU_AL), "cutoff": 4.5, "hidden": [12]}
    settings = settings_from({**chosen, "epochs": 12, "batch_atoms": 48, "learning_rate": 0.01})
    potential = training.train(splits, settings, name="alloy", work=tmp_path, progress=lambda progress: None)
    assert settings_from(potential.card.settings) == settings
    assert [function.line() for function in potential.model.functions] == [
        function.line() for function in in_order(parse_function(line.split(), "") for line in CU_AL)
    ]
    metrics = potential.card.metrics["test"]
    assert metrics.overall.force_mae < 0.8 * metrics.trivial.force_mae


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Cu 2 Cu 0.4 0.0", "symmetry function 'Cu 2 Cu 0.4 0.0': type 2 has 3 parameters"),
        ("Cu 4 Cu 0.4 0.0 4.5", "symmetry functions of type '4' are not known"),
        ("symfunction_short Cu 2 Cu 0.4 0.0 4.5", "symmetry functions of type 'Cu' are not known"),
        ("Cu 2 Cu 0.4 zero 4.5", "shift is 'zero', expected a number"),
        ("Cu 2 O 0.4 0.0 4.5", "names O, the elements are"),
        ("Cu 2 Cu 0.4 0.0 6.0", "reaches to 6.0000 Å, the cutoff is 4.5 Å"),
    ],
)
def test_wrong_function_is_told_before_a_run_begins(splits: FrameSplits, tmp_path: Path, line: str, said: str) -> None:
    settings = TrainSettings(potential="acsf", cutoff=4.5, symmetry_functions=(*CU_AL, line))
    with pytest.raises(TrainingError, match=re.escape(said)):
        training.train(splits, settings, name="alloy", work=tmp_path / "work", progress=lambda progress: None)
    assert not (tmp_path / "work").exists()


def test_readme_runs(root: Path) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", (root / "training/potentials/acsf/README.md").read_text(), re.DOTALL)
    exec(text, {})


def test_deeper_copy_in_other_precision_keeps_the_functions() -> None:
    model = find_potential("acsf").build(("Cu",), 4.0, acsf.configure(TrainSettings())).double()
    card = PotentialCard("copy", 1, "acsf", "candidate", ("Cu",), 4.0, "", "", {}, (), {}, {}, {"Cu": 0.0}, (), {}, "", 0.0, 0)
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.rattle(0.1, seed=4)
    exact = Potential(model, card)
    rough = exact.in_precision("float32")
    a, b = (each.energy_forces_stress(from_atoms([atoms])) for each in (exact, rough))
    np.testing.assert_allclose(b.forces, a.forces, atol=1e-4 * float(np.abs(a.forces).max()) + 1e-6)
    assert dataclasses.asdict(rough.model.shape) == dataclasses.asdict(model.shape)
