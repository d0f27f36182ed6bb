"""Invariants of the density of neighbours around each atom."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from training.batch import Batch
from training.potentials.hdnnp.harmonics import gaunt, harmonics, monomial_steps
from training.potentials.hdnnp.kernel import Kernel, KernelShape
from training.potentials.hdnnp.native import invariants
from training.potentials.hdnnp.radial import radial_basis


class DensityInvariants(nn.Module):
    """Descriptors of an atom from A_{n,lm} = sum over neighbours of R_n(r) Y_lm, unchanged by rotation and by order.

    R_n mixes radial_functions basis functions and an embedding of the neighbour's element; the mixture belongs to the element of the
    centre and is learned. Mixing comes after the sum over neighbours, so its cost does not grow with neighbours or elements.
    Descriptors: A_{n,00}; sum_m A_{n,lm} A_{n',lm} for l = 1..l_max and n <= n'; also Gaunt contractions of three A up to
    four_body_l.
    """

    picked: Tensor

    def __init__(
        self,
        n_elements: int,
        cutoff: float,
        *,
        radial_functions: int,
        channels: int,
        species_channels: int,
        l_max: int,
        four_body_l: int,
    ) -> None:
        super().__init__()
        self.cutoff, self.radial_functions, self.channels, self.l_max = cutoff, radial_functions, channels, l_max
        width = min(species_channels, n_elements)
        # Where each element has a number of its own, the mixing learns all that the embedding could.
        self.embedding = nn.Parameter(_first_embedding(n_elements, width), requires_grad=n_elements > width)
        self.mixing = nn.Parameter(torch.randn(n_elements, channels, radial_functions * width) / math.sqrt(radial_functions))
        self.steps = [(torch.from_numpy(parent), torch.from_numpy(axis)) for parent, axis in monomial_steps(l_max)]
        # Memory of torch, not of numpy: products round differently with its alignment, and a run must repeat bit for bit.
        tensor, self.triples = _contractions(min(l_max, four_body_l))
        # Not buffers: in another precision and back they would not be the same.
        self._exact = torch.from_numpy(harmonics(l_max)).clone(), torch.from_numpy(tensor).clone()
        self.harmonics, self.contractions = self._exact
        rows, columns = np.triu_indices(channels)
        picked = torch.zeros(channels * channels, len(rows))
        picked[torch.from_numpy(rows * channels + columns), torch.arange(len(rows))] = 1.0
        self.register_buffer("picked", picked, persistent=False)
        self.cubics = _cubics(tensor)
        self.size = channels + l_max * len(rows) + channels * self.triples

    def kernel_shape(self, dtype: torch.dtype) -> KernelShape:
        """Return what the compiled kernel of this descriptor is made for."""
        width = self.embedding.shape[1]
        return KernelShape(self.radial_functions, width, self.l_max, self.channels, self.triples, self.cubics, dtype)

    def of_sums(self, kernel: Kernel, sums: Tensor, species: Tensor) -> Tensor:
        """Return (atoms, size) descriptors from the kernel's sums over neighbours (atoms, terms, mixed)."""
        if len(self.mixing) == 1:
            return invariants(kernel, (sums.flatten(0, 1) @ self.mixing[0].T).view(*sums.shape[:2], self.channels))
        return invariants(kernel, torch.bmm(sums, self.mixing[species].transpose(1, 2)))

    def forward(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Return (atoms, size) descriptors; vectors is (edges, 3) in Å."""
        moments = self.moments(batch, vectors)
        parts = [moments[:, :, 0]]
        for degree in range(1, self.l_max + 1):
            part = moments[:, :, degree**2 : (degree + 1) ** 2]
            parts.append(torch.bmm(part, part.transpose(1, 2)).flatten(1) @ (self.picked / math.sqrt(2 * degree + 1)))
        if self.triples:
            parts.append(self._four_body(moments))
        return torch.cat(parts, dim=1)

    def moments(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Return A as (atoms, channels, (l_max+1)²)."""
        atoms, width = batch.n_atoms, batch.width
        place = batch.centre * width + batch.slot
        # Empty places of the table hold a vector at the cutoff, where the density is zero with its first two derivatives.
        # Repeated, not expanded: inductor of torch 2.13 drops what is copied into an expanded tensor.
        empty = nn.functional.pad(vectors.new_full((1,), self.cutoff), (0, 2)).repeat(atoms * width, 1)
        table = empty.index_copy(0, place, vectors).view(atoms, width, 3)
        species = torch.zeros(atoms * width, dtype=torch.int64, device=vectors.device).index_copy(0, place, batch.species[batch.neighbour])
        distance = table.square().sum(dim=2).sqrt()
        radial = radial_basis(distance, self.cutoff, self.radial_functions)
        element = self.embedding[species].view(atoms, width, 1, self.embedding.shape[1])
        density = (radial[..., None] * element).flatten(2)
        angular = self._monomials(table / distance[..., None])
        raw = torch.bmm(density.transpose(1, 2), angular)
        mixed: Tensor = torch.bmm(self.mixing[batch.species], raw) @ self.harmonics.to(raw)
        return mixed

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DensityInvariants:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # Constants go where the weights are: a copy in each step would make the host wait for the device.
        self.harmonics, self.contractions = (table.to(self.mixing) for table in self._exact)
        self.steps = [(parent.to(self.mixing.device), axis.to(self.mixing.device)) for parent, axis in self.steps]
        return self

    def _monomials(self, unit: Tensor) -> Tensor:
        """Return (atoms, width, monomials) of unit vectors by degree."""
        degree = torch.ones_like(unit[..., :1])
        parts = [degree]
        for parent, axis in self.steps:
            degree = degree[..., parent] * unit[..., axis]
            parts.append(degree)
        return torch.cat(parts, dim=-1)

    def _four_body(self, moments: Tensor) -> Tensor:
        """Return (atoms, channels * triples) contractions of three moments of one channel."""
        table = self.contractions.to(moments)
        low = moments[:, :, : table.shape[0]]
        paired = (low[..., :, None] * low[..., None, :]).flatten(2)
        triples = table.permute(1, 2, 3, 0).reshape(paired.shape[2], table.shape[3] * table.shape[0])
        contracted: Tensor = (paired @ triples).view(*low.shape[:2], table.shape[3], low.shape[2])
        return (contracted * low[:, :, None, :]).sum(dim=3).flatten(1)


def _first_embedding(n_elements: int, width: int) -> Tensor:
    """Return (elements, width): one number an element where that fits, else random directions of length one."""
    if n_elements <= width:
        return torch.eye(n_elements)
    rows = torch.randn(n_elements, width)
    directions: Tensor = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return directions


def _cubics(table: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[tuple[int, int, int, int, float], ...]:
    """Return the terms of the contractions: triple, three harmonics in order, factor."""
    sums: dict[tuple[int, int, int, int], float] = {}
    for *harmonic, triple in np.argwhere(np.abs(table) > 1e-12).tolist():
        first, second, third = sorted(harmonic)
        key = (triple, first, second, third)
        sums[key] = sums.get(key, 0.0) + float(table[(*harmonic, triple)])
    return tuple((*key, factor) for key, factor in sorted(sums.items()))


def _contractions(l_max: int) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], int]:
    """Return (n, n, n, triples) Gaunt integrals kept apart by (l1 <= l2 <= l3), all above zero, and the number of such triples."""
    table = gaunt(l_max)
    degree = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)
    kept = []
    for a in range(1, l_max + 1):
        for b in range(a, l_max + 1):
            for c in range(b, min(a + b, l_max) + 1):
                if (a + b + c) % 2 == 0:
                    mask = (degree[:, None, None] == a) & (degree[None, :, None] == b) & (degree[None, None, :] == c)
                    kept.append(np.where(mask, table, 0.0))
    return np.stack(kept, axis=3) if kept else np.zeros((*table.shape, 0)), len(kept)
