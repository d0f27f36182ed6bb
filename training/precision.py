"""Products of matrices in less than the full precision of the weights, where the forces bear it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch

from training.batch import Batch
from training.potentials.base import EnergyModel

TOLERANCE: Final = 2e-3
"""Root mean square error of forces, relative to the forces' own, that a reduced precision may make: tens of times below the errors that
good potentials have."""

NAMES: Final = {"high": "TF32", "bf16": "bfloat16"}


@contextmanager
def reduced_precision(model: EnergyModel, matmul: str, batch: Callable[[], Batch], accelerator: str) -> Iterator[str]:
    """Let a potential compute in the precision of the setting matmul where its forces on the batch bear that; yield what was found.

    Nothing is yielded for full precision. TF32 holds for the whole process while the context lasts.
    """
    if matmul == "highest":
        yield ""
        return
    if accelerator == "cpu" and not model.path().startswith("torch operations"):
        yield f"products not in {NAMES[matmul]}: the compiled kernel has full precision"
        return
    before = torch.get_float32_matmul_precision()
    try:
        error = force_error(model, matmul, batch().to(torch.device(accelerator)))
        good = error <= TOLERANCE
        _set(model, matmul if good else "highest")
        told = f"forces differ by {error:.1g} of their size from double precision"
        yield f"products in {NAMES[matmul]}, {told}" if good else f"products not in {NAMES[matmul]} but in full precision: {told}"
    finally:
        torch.set_float32_matmul_precision(before)


def force_error(model: EnergyModel, matmul: str, batch: Batch) -> float:
    """Return the root mean square error of forces in a precision, relative to the forces in double precision, on the batch's device."""
    device, before = batch.positions.device, torch.get_float32_matmul_precision()
    exact, reduced = (copy.deepcopy(model).to(device) for _ in range(2))
    exact.double()
    # As in training: torch operations, the graph of the forces kept.
    for each in (exact, reduced):
        each.compiled = "off"
    try:
        expected = exact.by_operations(batch).forces.detach()
        _set(reduced, matmul)
        found = reduced.by_operations(batch).forces.detach().double()
    finally:
        torch.set_float32_matmul_precision(before)
    size = float(expected.square().mean().sqrt()) if expected.numel() else 0.0
    return float((found - expected).square().mean().sqrt()) / size if size > 0 else 0.0


def _set(model: EnergyModel, matmul: str) -> None:
    model.matmul = matmul
    torch.set_float32_matmul_precision("high" if matmul == "high" else "highest")
