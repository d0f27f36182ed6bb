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


def repulsion(
    elements: Sequence[str], cutoff: float, species: tuple[Tensor, Tensor], vectors: Tensor, *, dense: bool | None = None
) -> tuple[Tensor, Tensor]:
    """Return energies of directed pairs (edges,), half of a pair's each, in eV, and their gradients by vectors (edges, 3) in eV/Å.

    species holds the places in elements of centre and neighbour, (edges,) each; vectors is (edges, 3) in Å. Twice continuously
    differentiable: between INNER and OUTER, or the cutoff (Å) where that is less, it is switched off by 1 - 10x³ + 15x⁴ - 6x⁵.
    dense computes all pairs and not the near ones alone, as by default off the CPU: to count them, the host would wait for the device.
    """
    dense = vectors.device.type != "cpu" if dense is None else dense
    charges, radii = _properties(tuple(elements), vectors.device)
    reach = (OUTER * (radii[species[0]] + radii[species[1]])).clamp(max=cutoff)
    every = vectors.detach().double()
    near = every.square().sum(dim=1) < reach.square()
    if dense:
        # A pair that is too far stands where the switch is zero.
        far = torch.nn.functional.pad(reach[:, None], (0, 2))
        pair, slope = _energies_and_slopes(torch.where(near[:, None], every, far), charges[species[0]], charges[species[1]], reach)
        return torch.where(near, pair, 0.0).to(vectors), torch.where(near[:, None], slope, 0.0).to(vectors)
    energy, gradient = vectors.new_zeros(len(vectors)), torch.zeros_like(vectors)
    places = near.nonzero()[:, 0]
    if len(places) == 0:
        return energy, gradient
    pair, slope = _energies_and_slopes(every[places], charges[species[0][places]], charges[species[1][places]], reach[places])
    return energy.index_copy(0, places, pair.to(energy)), gradient.index_copy(0, places, slope.to(gradient))


def _energies_and_slopes(vectors: Tensor, first: Tensor, second: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Return half the energies of pairs and their gradients by vectors, which are in double precision.

    At short range the energies are large, and the switch takes differences.
    """
    own = vectors.requires_grad_(True)
    with torch.enable_grad():
        pair = _pair_energy(own.square().sum(dim=1).sqrt(), first, second, reach) / 2
        (slope,) = torch.autograd.grad(pair.sum(), own)
    return pair.detach(), slope


def _pair_energy(distance: Tensor, first: Tensor, second: Tensor, reach: Tensor) -> Tensor:
    length = SCREENING_LENGTH / (first**0.23 + second**0.23)
    screening = torch.stack([factor * torch.exp(-exponent * distance / length) for factor, exponent in SCREENING]).sum(dim=0)
    start = reach * (INNER / OUTER)
    x = ((distance - start) / (reach - start)).clamp(0.0, 1.0)
    switch = 1.0 + x**3 * (-10.0 + x * (15.0 - 6.0 * x))
    return COULOMB * first * second / distance * screening * switch


@cache
def _properties(elements: tuple[str, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return charges and covalent radii of elements."""
    numbers = [NUMBERS[symbol] for symbol in elements]
    columns = [float(number) for number in numbers], [float(covalent_radii[number]) for number in numbers]
    charges, radii = (torch.tensor(column, dtype=torch.float64, device=device) for column in columns)
    return charges, radii
