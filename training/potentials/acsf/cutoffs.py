"""Cutoff functions and the compact core functions, by the names that RuNNer and n2p2 give them.

Formulas: n2p2 documentation, "Cutoff functions" (types 0 to 8) and "Symmetry function types" (core functions p1 to p4 and e); cosine and
tanh³ are eqs. 4 and 5 of Behler, J. Chem. Phys. 134, 074106 (2011); the compact functions are those of Bircher, Singraber and Dellago,
Mach. Learn.: Sci. Technol. 2, 035026 (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from schemas.errors import TrainingError, closest

CUTOFF_TYPES: Final[Mapping[int, str]] = {
    0: "hard", 1: "cos", 2: "tanhu", 3: "tanh", 4: "exp", 5: "p1", 6: "p2", 7: "p3", 8: "p4",
}  # fmt: skip
"""Number of cutoff_type in input.nn -> form."""


def cutoff_function(r: Tensor, radius: Tensor | float, cutoff_type: int, alpha: float) -> Tensor:
    """Return fc(r): 1 up to alpha * radius, 0 from radius on, and the form of that type between; the tanh forms know no alpha.

    r and radius broadcast. Raises TrainingError for a type that does not exist.
    """
    form = CUTOFF_TYPES.get(cutoff_type)
    if form is None:
        raise TrainingError(f"there is no cutoff_type {cutoff_type}; known are {', '.join(map(str, CUTOFF_TYPES))}")
    inside = r < radius
    if form in ("tanhu", "tanh"):
        height = 1.0 if form == "tanhu" else math.tanh(1.0) ** -3
        return height * torch.tanh((1 - r / radius).clamp(min=0.0)) ** 3
    if form == "hard":
        return inside.to(r.dtype)
    x = (r - alpha * radius) / ((1 - alpha) * radius)
    return core_function(x.clamp(0.0, 1.0), form)


def core_function(x: Tensor, form: str) -> Tensor:
    """Return the core function of 0 <= x <= 1 that falls from 1 to 0."""
    return _CORES[form](x)


def split_subtype(subtype: str) -> tuple[str, bool]:
    """Return the core function of a subtype of compact functions and whether it is asymmetric: 'p2a' is ('p2', True)."""
    known = ("e", *(f"p{order}{side}" for order in range(1, 5) for side in ("", "a")))
    if subtype not in known:
        raise TrainingError(f"there is no compact function {subtype!r}{closest(subtype, known)}; known are {', '.join(known)}")
    return subtype.removesuffix("a"), subtype.endswith("a")


def compact_function(x: Tensor, low: Tensor | float, high: Tensor | float, form: str, asymmetric: bool) -> Tensor:
    """Return C(x, low, high): the core function on both sides of the middle, zero outside; asymmetric takes 2y - y² for y.

    x, low and high broadcast.
    """
    middle, half = (low + high) / 2, (high - low) / 2
    y = ((x - middle).abs() / half).clamp(max=1.0)
    return core_function((2 - y) * y if asymmetric else y, form)


def _exponential(x: Tensor) -> Tensor:
    inner = (1 - x * x) > 1e-6
    room = torch.where(inner, 1 - x * x, torch.ones_like(x))
    return torch.where(inner, torch.exp(1 - 1 / room), torch.zeros_like(x))


_CORES: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "cos": lambda x: 0.5 * (torch.cos(math.pi * x) + 1),
    "exp": _exponential,
    "e": _exponential,
    "p1": lambda x: (2 * x - 3) * x**2 + 1,
    "p2": lambda x: ((15 - 6 * x) * x - 10) * x**3 + 1,
    "p3": lambda x: (x * (x * (20 * x - 70) + 84) - 35) * x**4 + 1,
    "p4": lambda x: (x * (x * ((315 - 70 * x) * x - 540) + 420) - 126) * x**5 + 1,
}
