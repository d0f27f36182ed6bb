"""Scaling of symmetry functions before the network, as RuNNer and n2p2 do it."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

SCALINGS: Final = ("none", "scale", "center", "scale+center", "sigma")
"""n2p2 documentation, `SymFnc::ScalingType`: none; range; minus mean; minus mean over range; minus mean over standard deviation."""

SPREAD_FLOOR: Final = 1e-3
"""Least range and standard deviation that training sets, relative to the largest of the element: noise is not blown up."""

PRIOR_ATOMS: Final = 4
"""Spreads are those seen plus the mean times PRIOR_ATOMS / (PRIOR_ATOMS + atoms): few atoms do not tell a spread."""


class Scaling(nn.Module):
    """One element's statistics (size, 4): minimum, maximum, mean and standard deviation of each function."""

    statistics: Tensor

    def __init__(self, size: int, kind: str, low: float, high: float) -> None:
        super().__init__()
        self.kind, self.low, self.high = kind, low, high
        self.register_buffer("statistics", torch.tensor([0.0, 1.0, 0.0, 1.0]).repeat(size, 1))

    def forward(self, values: Tensor) -> Tensor:
        """Return scaled values (atoms, size); a function without any spread gives low."""
        if self.kind == "none":
            return values
        lowest, highest, mean, sigma = self.statistics.unbind(dim=1)
        if self.kind == "center":
            return values - mean
        spread = sigma if self.kind == "sigma" else highest - lowest
        factor = torch.where(spread > 0, (self.high - self.low) / torch.where(spread > 0, spread, 1.0), 0.0)
        return self.low + (values - (lowest if self.kind == "scale" else mean)) * factor

    def standardise(self, values: Tensor) -> None:
        """Take the statistics of values (atoms, size); without atoms they stay as they are."""
        if len(values) == 0 or values.shape[1] == 0:
            return
        lowest, highest, mean = values.min(dim=0).values, values.max(dim=0).values, values.mean(dim=0)
        unseen = mean.abs() * PRIOR_ATOMS / (PRIOR_ATOMS + len(values))
        room, sigma = (_floored(spread + unseen) for spread in (highest - lowest, values.std(dim=0, correction=0)))
        self.statistics.copy_(torch.stack([lowest, lowest + room, mean, sigma], dim=1))


def _floored(spread: Tensor) -> Tensor:
    """Return spreads (size,) that are not noise; 1 where no function was ever anything but zero."""
    largest = float(spread.max())
    return spread.clamp(min=SPREAD_FLOOR * largest if largest > 0 else 1.0)
