"""Repulsion of nuclei at short range, where no frame teaches a potential: that of Ziegler, Biersack and Littmark."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import torch
from ase.data import covalent_radii
from torch import Tensor

from schemas.elements import NUMBERS

COULOMB: Final = 14.399645478425668
"""e²/(4 pi epsilon_0) in eV Å (CODATA 2018)."""

SCREENING_LENGTH: Final = 0.46850
"""Å; the universal length is this over Z1^0.23 + Z2^0.23."""

SCREENING: Final = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
"""Factors and exponents of the universal screening function: Ziegler, Biersack, Littmark, "The Stopping and Range of Ions in Matter",
vol. 1, Pergamon 1985; digits as in the LAMMPS manual, pair_style zbl."""

INNER: Final = 0.5
"""Up to this many times the sum of the covalent radii the repulsion is whole."""

OUTER: Final = 0.9
"""From here on it is zero, so that bonds are left to the potential."""


def repulsion(elements: Sequence[str], cutoff: float, species: tuple[Tensor, Tensor], vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return energies of directed pairs (edges,), half of a pair's each, in eV, and their gradients by vectors (edges, 3) in eV/Å.

    species holds the places in elements of centre and neighbour, (edges,) each; vectors is (edges, 3) in Å. Twice continuously
    differentiable: between INNER and OUTER, or the cutoff (Å) where that is less, it is switched off by 1 - 10x³ + 15x⁴ - 6x⁵.
    """
    energy, gradient = vectors.new_zeros(len(vectors)), torch.zeros_like(vectors)
    charges, radii = (torch.tensor(values, dtype=torch.float64, device=vectors.device) for values in _properties(tuple(elements)))
    reach = (OUTER * (radii[species[0]] + radii[species[1]])).clamp(max=cutoff)
    near = (vectors.detach().double().square().sum(dim=1) < reach.square()).nonzero()[:, 0]
    if len(near) == 0:
        return energy, gradient
    first, second, reach = species[0][near], species[1][near], reach[near]
    # In double precision: at short range the energies are large, and the switch takes differences.
    own = vectors.detach()[near].double().requires_grad_(True)
    with torch.enable_grad():
        pair = _pair_energy(own.square().sum(dim=1).sqrt(), charges[first], charges[second], reach) / 2
        (slope,) = torch.autograd.grad(pair.sum(), own)
    return energy.index_copy(0, near, pair.detach().to(energy)), gradient.index_copy(0, near, slope.to(gradient))


def _pair_energy(distance: Tensor, first: Tensor, second: Tensor, reach: Tensor) -> Tensor:
    length = SCREENING_LENGTH / (first**0.23 + second**0.23)
    screening = torch.stack([factor * torch.exp(-exponent * distance / length) for factor, exponent in SCREENING]).sum(dim=0)
    start = reach * (INNER / OUTER)
    x = ((distance - start) / (reach - start)).clamp(0.0, 1.0)
    switch = 1.0 + x**3 * (-10.0 + x * (15.0 - 6.0 * x))
    return COULOMB * first * second / distance * screening * switch


@cache
def _properties(elements: tuple[str, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    numbers = [NUMBERS[symbol] for symbol in elements]
    return tuple(map(float, numbers)), tuple(float(covalent_radii[number]) for number in numbers)
