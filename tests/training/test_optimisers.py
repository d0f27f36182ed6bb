"""SOAP against its algorithm written out in numpy, against Adam, and through a kill."""

from __future__ import annotations

import dataclasses
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from training.fit import fit, newest_checkpoint
from training.job import FrameSplits, make_job, write_job
from training.optimisers import Soap, make_optimiser
from training.potentials import find_potential
from training.progress import Progress
from training.settings import TrainSettings

Floats = NDArray[np.float64]


def algorithm_3(w: Floats, gradients: list[Floats], q_l: Floats, q_r: Floats, *, lr: float, decay: float, f: int) -> Floats:
    """Return the weights after all gradients but the first, which only begins L and R (Vyas et al., arXiv 2409.11321, algorithms 3, 4)."""
    beta1, beta2, epsilon = 0.95, 0.95, 1e-8
    m, v = np.zeros_like(w), np.zeros_like(w)
    first = gradients[0]
    left, right = (1 - beta2) * first @ first.T, (1 - beta2) * first.T @ first
    for t, g in enumerate(gradients[1:], start=1):
        g_rotated = q_l.T @ g @ q_r
        m = beta1 * m + (1 - beta1) * g
        m_rotated = q_l.T @ m @ q_r
        v = beta2 * v + (1 - beta2) * g_rotated * g_rotated
        n_rotated = (m_rotated / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
        n = q_l @ n_rotated @ q_r.T
        w = w - lr * decay * w
        w = w - lr * n
        left = beta2 * left + (1 - beta2) * g @ g.T
        right = beta2 * right + (1 - beta2) * g.T @ g
        if t % f == 0:
            q_l = np.linalg.qr(left @ q_l)[0]
            q_r = np.linalg.qr(right @ q_r)[0]
    return w


def descend(
    optimiser: Callable[[list[Tensor]], torch.optim.Optimizer], start: Tensor, loss: Callable[[Tensor], Tensor], steps: int
) -> float:
    """Return the loss after some steps."""
    weights = start.clone().requires_grad_(True)
    stepping = optimiser([weights])
    for _ in range(steps):
        stepping.zero_grad()
        loss(weights).backward()
        stepping.step()
    return float(loss(weights.detach()))


@pytest.mark.parametrize(("shape", "frequency"), [((4, 4), 1), ((3, 6), 1), ((3, 6), 4), ((5, 2), 4), ((1, 4), 4)])
def test_steps_are_those_of_the_algorithm(shape: tuple[int, int], frequency: int) -> None:
    random = np.random.default_rng(sum(shape) + frequency)
    scale = 10.0 ** -np.arange(shape[1])
    start, gradients = random.normal(size=shape), [random.normal(size=shape) * scale for _ in range(50)]
    weights = torch.tensor(start, requires_grad=True)
    optimiser = Soap([weights], 0.02, weight_decay=0.1, frequency=frequency)
    for step, gradient in enumerate(gradients):
        weights.grad = torch.tensor(gradient)
        optimiser.step()
        if step == 0:
            np.testing.assert_array_equal(weights.detach().numpy(), start)
            q_l, q_r = (basis.numpy().copy() for basis in optimiser.state[weights]["bases"])
    for basis, factor in ((q_l, gradients[0] @ gradients[0].T), (q_r, gradients[0].T @ gradients[0])):
        rotated = basis.T @ factor @ basis
        np.testing.assert_allclose(rotated, np.diag(np.diag(rotated)), atol=1e-12)
    expected = algorithm_3(start, gradients, q_l, q_r, lr=0.02, decay=0.1, f=frequency)
    assert np.abs(expected - start).max() > 0.1
    np.testing.assert_allclose(weights.detach().numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("shape", "largest"), [((4, 3), 0), ((2, 3, 4), 0), ((7,), 1024), ((), 1024)])
def test_without_preconditioners_it_is_adam(shape: tuple[int, ...], largest: int) -> None:
    torch.manual_seed(1)
    ours = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_(True)
    options = {"betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.05}
    pair = Soap([ours], 0.01, largest=largest, **options), torch.optim.AdamW([theirs], 0.01, **options)
    for _ in range(30):
        ours.grad = torch.randn(shape, dtype=torch.float64)
        theirs.grad = ours.grad.clone()
        for optimiser in pair:
            optimiser.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_one_large_dimension_keeps_its_basis() -> None:
    weights = torch.randn(3, 9, 2, dtype=torch.float64, requires_grad=True)
    optimiser = Soap([weights], largest=8)
    weights.grad = torch.randn_like(weights)
    optimiser.step()
    assert [None if basis is None else tuple(basis.shape) for basis in optimiser.state[weights]["bases"]] == [(3, 3), None, (2, 2)]


def test_steps_turn_with_the_axes_of_a_parameter() -> None:
    torch.manual_seed(2)
    turns = [torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for n in (4, 4)]
    plain = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
    turned = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
    pair = Soap([plain], 0.1, frequency=3), Soap([turned], 0.1, frequency=3)
    for _ in range(20):
        plain.grad = torch.randn(4, 4, dtype=torch.float64)
        turned.grad = turns[0] @ plain.grad @ turns[1].T
        for optimiser in pair:
            optimiser.step()
    torch.testing.assert_close(turned, turns[0] @ plain @ turns[1].T, rtol=0, atol=1e-9)


def test_ill_conditioned_quadratic_falls_faster_than_with_adam() -> None:
    torch.manual_seed(3)
    basis = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64))[0]
    curvature = (basis * 10.0 ** torch.linspace(0, -4, 12, dtype=torch.float64)) @ basis.T
    start = torch.randn(12, 8, dtype=torch.float64)

    def loss(weights: Tensor) -> Tensor:
        return 0.5 * (weights * (curvature @ weights)).sum()

    adam = min(descend(lambda parameters, lr=lr: torch.optim.Adam(parameters, lr), start, loss, 200) for lr in (0.01, 0.03, 0.1))
    soap = min(descend(lambda parameters, lr=lr: Soap(parameters, lr), start, loss, 200) for lr in (0.01, 0.03, 0.1))
    assert soap < 0.3 * adam


def test_state_comes_back_exactly() -> None:
    torch.manual_seed(4)
    weights = [torch.randn(shape, requires_grad=True) for shape in ((4, 3), (5,), (2, 3, 2))]
    gradients = [[torch.randn_like(weight) for weight in weights] for _ in range(25)]
    optimiser = Soap(weights, frequency=4)
    for number, step in enumerate(gradients):
        if number == 10:
            stored = io.BytesIO()
            torch.save({"state": optimiser.state_dict(), "weights": weights}, stored)
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient
        optimiser.step()
    stored.seek(0)
    kept = torch.load(stored, weights_only=True)
    others = [weight.detach().requires_grad_(True) for weight in kept["weights"]]
    other = Soap(others)
    other.load_state_dict(kept["state"])
    for step in gradients[10:]:
        for weight, gradient in zip(others, step, strict=True):
            weight.grad = gradient
        other.step()
    assert all(torch.equal(one, two) for one, two in zip(weights, others, strict=True))


def test_zero_gradients_and_closure() -> None:
    weights = torch.ones(3, 2, requires_grad=True)
    unused = torch.ones(2, requires_grad=True)
    optimiser = Soap([weights, unused], 0.1, frequency=1)
    for _ in range(3):
        weights.grad = torch.zeros_like(weights)
        optimiser.step()
    assert torch.equal(weights, torch.ones(3, 2))

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = weights.square().sum()
        loss.backward()
        return loss

    assert optimiser.step(closure).item() == 6.0
    assert torch.isfinite(weights).all()
    assert weights.max() < 1.0
    assert torch.equal(unused, torch.ones(2))


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("soap", Soap)])
def test_settings_choose_the_optimiser(name: str, kind: type, small: TrainSettings) -> None:
    settings = dataclasses.replace(small, optimiser=name, weight_decay=0.3)
    spec = find_potential("hdnnp")
    model = spec.build(("Al", "Cu"), settings.cutoff, spec.configure(settings))
    optimiser = make_optimiser(model, settings)
    assert type(optimiser) is kind
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert {name: decays[id(p)] for name, p in model.named_parameters()} == {
        name: 0.3 if ".hidden." in name else 0.0 for name, p in model.named_parameters()
    }


def test_run_with_soap_goes_on_bit_for_bit(splits: FrameSplits, small: TrainSettings, tmp_path: Path) -> None:
    work = tmp_path / "run"
    settings = dataclasses.replace(small, optimiser="soap", learning_rate=3e-3, checkpoint_steps=3, epochs=5)
    write_job(make_job(splits.train, splits.validation, settings), work)
    copies: list[Path] = []

    def keep(progress: Progress) -> None:
        copies.append(tmp_path / f"after-{progress.epoch}")
        shutil.copytree(work, copies[-1])

    fit(work, keep)
    whole = load_file(work / "weights.safetensors")
    for folder in copies[1:4:2]:
        assert newest_checkpoint(folder) is not None
        fit(folder)
        again = load_file(folder / "weights.safetensors")
        assert all(torch.equal(again[name], value) for name, value in whole.items())


RANK = """
import sys, torch
from torch.nn.parallel import DistributedDataParallel
from training.optimisers import Soap

rank, world, store, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
torch.manual_seed(0)
model = torch.nn.Linear(4, 4).double()
parallel = DistributedDataParallel(model)
optimiser = Soap(model.parameters(), 0.02, frequency=3)
for step in range(30):
    x, y = torch.randn(2, 8, 4, dtype=torch.float64)
    share = slice(8 // world * rank, 8 // world * (rank + 1))
    optimiser.zero_grad()
    (parallel(x[share]) - y[share]).square().mean().backward()
    optimiser.step()
torch.save([p.detach() for p in model.parameters()], f"{out}-{world}-{rank}")
"""


@pytest.mark.slow
def test_ranks_take_the_same_step_which_is_that_of_one_process(tmp_path: Path) -> None:
    ranks = [(0, 1), (0, 2), (1, 2)]
    commands = [
        [sys.executable, "-W", "ignore", "-c", RANK, str(rank), str(world), str(tmp_path / f"store-{world}"), str(tmp_path / "weights")]
        for rank, world in ranks
    ]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in running:
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said
    one, first, second = (torch.load(tmp_path / f"weights-{world}-{rank}", weights_only=True) for rank, world in ranks)
    for alone, left, right in zip(one, first, second, strict=True):
        assert torch.equal(left, right)
        torch.testing.assert_close(left, alone, rtol=0, atol=1e-9)
