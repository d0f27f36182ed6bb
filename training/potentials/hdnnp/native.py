"""The kernel's functions with their derivatives, for torch: what energies, forces and their training need and no more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from training.potentials.hdnnp.kernel import Kernel

# The vectors are constants here: their derivative is written out (pull), so that training differentiates it by the weights alone.


class _Sums(Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (as torch calls it)
        ctx: Any, kernel: Kernel, start: Tensor, vectors: Tensor, weights: Tensor, cutoff: float
    ) -> Tensor:
        ctx.kernel, ctx.cutoff = kernel, cutoff
        ctx.save_for_backward(start, vectors, weights)
        return kernel.sums(start, vectors, weights, cutoff)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        by_weight = ctx.kernel.pull_weights(*ctx.saved_tensors, ctx.cutoff, given.contiguous()) if ctx.needs_input_grad[3] else None
        return None, None, None, by_weight, None


class _Pull(Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (as torch calls it)
        ctx: Any, kernel: Kernel, start: Tensor, vectors: Tensor, weights: Tensor, cutoff: float, given: Tensor
    ) -> Tensor:
        ctx.kernel, ctx.cutoff = kernel, cutoff
        given = given.contiguous()
        ctx.save_for_backward(start, vectors, weights, given)
        out = torch.empty_like(vectors)
        kernel.pull(start, vectors, weights, cutoff, given=given, out=out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, change: Tensor) -> tuple[Tensor | None, ...]:
        start, vectors, weights, given = ctx.saved_tensors
        change = change.contiguous()
        by_weight = (
            ctx.kernel.push_weights(start, vectors, weights, ctx.cutoff, given=given, change=change) if ctx.needs_input_grad[3] else None
        )
        by_given = ctx.kernel.push(start, vectors, weights, ctx.cutoff, change) if ctx.needs_input_grad[5] else None
        return None, None, None, by_weight, None, by_given


class _Invariants(Function):
    @staticmethod
    def forward(ctx: Any, kernel: Kernel, moments: Tensor) -> Tensor:
        ctx.kernel = kernel
        moments = moments.contiguous()
        ctx.save_for_backward(moments)
        return kernel.invariants(moments)

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        return None, _InvariantsPull.apply(ctx.kernel, ctx.saved_tensors[0], given)  # type: ignore[no-untyped-call]


class _InvariantsPull(Function):
    @staticmethod
    def forward(ctx: Any, kernel: Kernel, moments: Tensor, given: Tensor) -> Tensor:
        ctx.kernel = kernel
        moments, given = moments.contiguous(), given.contiguous()
        ctx.save_for_backward(moments, given)
        return kernel.invariants_pull(moments, given)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, change: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.kernel.invariants_curve(*ctx.saved_tensors, change.contiguous())


class _Assemble(Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (as torch calls it)
        ctx: Any, kernel: Kernel, graph: tuple[Tensor, Tensor, Tensor], frames: int, vectors: Tensor, by_vector: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.kernel, ctx.graph = kernel, graph
        ctx.save_for_backward(vectors)
        return kernel.assemble(graph, vectors, by_vector.contiguous(), frames)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_force: Tensor, by_virial: Tensor) -> tuple[Tensor | None, ...]:
        (vectors,) = ctx.saved_tensors
        return None, None, None, None, ctx.kernel.assemble_back(ctx.graph, vectors, by_force.contiguous(), by_virial.contiguous())


def sums(kernel: Kernel, start: Tensor, vectors: Tensor, weights: Tensor, cutoff: float) -> Tensor:
    """Return (atoms, terms, mixed); differentiable by weights, once."""
    return _Sums.apply(kernel, start, vectors, weights, cutoff)  # type: ignore[no-any-return, no-untyped-call]


def pull(kernel: Kernel, start: Tensor, vectors: Tensor, weights: Tensor, cutoff: float, *, given: Tensor) -> Tensor:
    """Return (edges, 3) derivatives by vectors from derivatives by sums; differentiable by weights and given."""
    return _Pull.apply(kernel, start, vectors, weights, cutoff, given)  # type: ignore[no-any-return, no-untyped-call]


def invariants(kernel: Kernel, moments: Tensor) -> Tensor:
    """Return (atoms, size) invariants of moments (atoms, terms, channels); differentiable twice."""
    return _Invariants.apply(kernel, moments)  # type: ignore[no-any-return, no-untyped-call]


def assemble(
    kernel: Kernel, graph: tuple[Tensor, Tensor, Tensor], frames: int, vectors: Tensor, by_vector: Tensor
) -> tuple[Tensor, Tensor]:
    """Return forces (atoms, 3) and virials (frames, 3, 3), not yet symmetric; differentiable by by_vector."""
    return _Assemble.apply(kernel, graph, frames, vectors, by_vector)  # type: ignore[no-any-return, no-untyped-call]
