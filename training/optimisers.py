"""The optimisers that a potential can be trained with: AdamW, and SOAP (Shampoo with Adam in the preconditioner's eigenbasis)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from training.settings import TrainSettings


def make_optimiser(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return the optimiser of the settings, with weight decay on the matrices of the hidden layers alone; AdamW is its AMSGrad form."""
    decayed = [p for name, p in model.named_parameters() if ".hidden." in name]
    others = [p for name, p in model.named_parameters() if ".hidden." not in name]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if settings.optimiser == "soap":
        return Soap(groups, settings.learning_rate)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, amsgrad=True)


class Soap(torch.optim.Optimizer):
    """SOAP: Adam in the eigenbasis of Shampoo's preconditioner.

    Vyas et al., arXiv 2409.11321, algorithm 3, with algorithm 4 (one power iteration, then QR) for the eigenbases every `frequency` steps.
    A parameter of more than two dimensions has a preconditioner for each. Where the algorithm is silent, it is as in the authors' program:
    the first gradient sets the bases (by eigenvectors) and moves nothing, moments are corrected for their start as in Adam, epsilon is
    added to the root, weight decay is decoupled. Parameters of one dimension, and dimensions above `largest`, keep their own basis: Adam.
    All state is in state_dict; equal gradients give equal steps, so DDP needs nothing more. Where the gradients so far do not span a
    dimension, rounding decides on the basis there: runs on other numbers of processes are equally good, but not equal.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 3e-3,
        *,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        frequency: int = 10,
        largest: int = 1024,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "frequency": frequency, "largest": largest}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient; return what closure returns, which computes loss and gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        beta1, beta2 = group["betas"]
        if not state:
            state.update(_first_state(gradient, beta2, group["largest"]))
            if any(basis is not None for basis in state["bases"]):
                return
        state["step"] += 1
        bases = state["bases"]
        rotated = _rotate(gradient, bases)  # line 3
        state["mean"].lerp_(gradient, 1 - beta1)  # line 4
        state["square"].mul_(beta2).addcmul_(rotated, rotated, value=1 - beta2)  # line 7
        start1, start2 = 1 - beta1 ** state["step"], 1 - beta2 ** state["step"]
        spread = (state["square"].sqrt() / math.sqrt(start2)).add_(group["eps"])
        direction = _rotate(_rotate(state["mean"], bases) / spread, bases, back=True)  # lines 5, 8 and 10
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(direction, alpha=-group["lr"] / start1)  # line 11
        for factor, new in zip(state["factors"], _factors(gradient, group["largest"]), strict=True):
            if factor is not None:
                factor.lerp_(new, 1 - beta2)  # lines 13 and 14
        if state["step"] % group["frequency"] == 0:
            state["bases"] = [
                None if basis is None else torch.linalg.qr(factor @ basis)[0]  # algorithm 4
                for factor, basis in zip(state["factors"], bases, strict=True)
            ]


def _first_state(gradient: Tensor, beta2: float, largest: int) -> dict[str, Any]:
    """Return moments of zero, and the preconditioner of the first gradient with its eigenvectors, those of large eigenvalues first."""
    factors = [None if factor is None else (1 - beta2) * factor for factor in _factors(gradient, largest)]
    bases = [None if factor is None else torch.linalg.eigh(factor)[1].flip(-1) for factor in factors]
    return {"step": 0, "mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient), "factors": factors, "bases": bases}


def _factors(gradient: Tensor, largest: int) -> list[Tensor | None]:
    """Return for each dimension the products of its slices, G Gᵀ and Gᵀ G of a matrix; None for one that keeps its basis."""
    if gradient.dim() < 2:
        return [None] * gradient.dim()
    unfolded = (gradient.movedim(axis, 0).flatten(1) for axis in range(gradient.dim()))
    return [None if len(rows) > largest else rows @ rows.T for rows in unfolded]


def _rotate(values: Tensor, bases: Sequence[Tensor | None], *, back: bool = False) -> Tensor:
    """Return values in the basis of each dimension, Q_Lᵀ G Q_R of a matrix, or back from there."""
    for axis, basis in enumerate(bases):
        if basis is not None:
            values = torch.tensordot(values, basis, dims=([axis], [1 if back else 0])).movedim(-1, axis)
    return values
