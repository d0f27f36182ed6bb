"""From descriptors to an atomic energy."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

SPREAD_FLOOR = 1e-3
"""Least spread of a descriptor, relative to the median one: those that hardly change are not blown up."""


class ElementNetwork(nn.Module):
    """Small network with SiLU and a linear skip; weights are shared, each element has its own skip, scales and shifts."""

    mean: Tensor
    spread: Tensor

    def __init__(self, n_elements: int, size: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_elements, size))
        self.register_buffer("spread", torch.ones(size))
        self.skip = nn.Parameter(torch.zeros(n_elements, size))
        self.shift = nn.Parameter(torch.zeros(n_elements))
        widths = (size, *hidden)
        self.hidden = nn.ParameterList(nn.Parameter(torch.randn(n, m) / math.sqrt(n)) for n, m in pairwise(widths))
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(n_elements, m)) for m in hidden)
        self.shifts = nn.ParameterList(nn.Parameter(0.1 * torch.randn(n_elements, m)) for m in hidden)
        self.last = nn.Parameter(torch.randn(n_elements, widths[-1]) / math.sqrt(widths[-1])) if hidden else None

    def forward(self, descriptors: Tensor, species: Tensor) -> Tensor:
        """Return (atoms,) from (atoms, size)."""
        centred = descriptors - _of(self.mean, species)
        # One product for the first layer and the skips of all elements; spreads go into its matrix, which is small.
        matrices = [self.skip.T] if self.last is None else [self.skip.T, self.hidden[0]]
        products = centred @ (torch.cat(matrices, dim=1) / self.spread[:, None])
        n_elements = len(self.skip)
        own = products[:, 0] if n_elements == 1 else products[:, :n_elements].gather(1, species[:, None])[:, 0]
        energy = own + _of(self.shift, species)
        if self.last is None:
            return energy
        values = products[:, n_elements:]
        for layer, (scale, shift) in enumerate(zip(self.scales, self.shifts, strict=True)):
            values = values @ self.hidden[layer] if layer else values
            values = nn.functional.silu(torch.addcmul(_of(shift, species), values, _of(scale, species)))
        return energy + (values @ self.last[0] if n_elements == 1 else (values * self.last[species]).sum(dim=1))

    def packed(self, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows, matrices and widths as `Weights` of inference.c has them, for energies times scale."""
        parts = [self.mean, scale * self.skip / self.spread, scale * self.shift[:, None]]
        matrices = []
        for layer, matrix in enumerate(self.hidden):
            scaled = matrix if layer else matrix / self.spread[:, None]
            matrices += [scaled.flatten(), scaled.T.flatten()]
            parts += [self.scales[layer], self.shifts[layer]]
        if self.last is not None:
            parts.append(scale * self.last)
        widths = torch.tensor([self.mean.shape[1], *(len(shift[0]) for shift in self.shifts)])
        return torch.cat(parts, dim=1), torch.cat(matrices) if matrices else self.mean.new_empty(0), widths

    def standardise(self, descriptors: Tensor, species: Tensor) -> None:
        """Take the mean of each descriptor by element, and one spread of all atoms around the means of their elements."""
        mean = self.mean
        for element in range(mean.shape[0]):
            own = descriptors[species == element]
            if len(own):
                mean[element] = own.mean(dim=0)
        around = (descriptors - mean[species]).square().mean(dim=0).sqrt()
        floor = SPREAD_FLOOR * float(around.median()) + 1e-6
        self.spread.copy_(around.clamp(min=floor))


def _of(table: Tensor, species: Tensor) -> Tensor:
    """Return each atom's row; a single one as it is, to be broadcast."""
    return table if len(table) == 1 else table[species]
