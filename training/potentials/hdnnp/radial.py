"""Radial basis and cutoff."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def smooth_cutoff(distance: Tensor, cutoff: float) -> Tensor:
    """Return 1 - 10x³ + 15x⁴ - 6x⁵ of x = distance/cutoff: value, slope and curvature are zero at the cutoff and beyond."""
    x = (distance / cutoff).clamp(max=1.0)
    return 1.0 + x**3 * (-10.0 + x * (15.0 - 6.0 * x))


def radial_basis(distance: Tensor, cutoff: float, count: int) -> Tensor:
    """Return (..., count): sqrt(2/cutoff) sin(kπr/cutoff)/r for k = 1..count, times the smooth cutoff.

    These are the spherical Bessel functions of order zero that vanish at the cutoff (Gasteiger et al., arXiv 2003.03123, eq. 7).
    """
    order = torch.arange(1, count + 1, dtype=distance.dtype, device=distance.device) * (math.pi / cutoff)
    envelope = math.sqrt(2.0 / cutoff) * smooth_cutoff(distance, cutoff) / distance
    return torch.sin(distance[..., None] * order) * envelope[..., None]
