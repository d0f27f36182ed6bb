"""One feed-forward network an element, with the activation functions that `input.nn` names by letters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

ACTIVATIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "l": lambda x: x,
    "t": torch.tanh,
    "s": torch.sigmoid,
    "p": lambda x: nn.functional.softplus(x, threshold=50.0),
    "r": torch.relu,
    "g": lambda x: torch.exp(-0.5 * x * x),
    "c": torch.cos,
    "S": lambda x: 1 - torch.sigmoid(x),
    "e": lambda x: torch.exp(-x),
    "h": torch.square,
}
"""n2p2 documentation, keyword global_activation_short and `NeuralNetwork::ActivationFunction`."""


class FeedForward(nn.Module):
    """Layers y = f(x W + b); W is (inputs, nodes). With normalize_nodes f sees (x W + b) / inputs."""

    def __init__(self, widths: Sequence[int], activations: str, *, normalize_nodes: bool) -> None:
        super().__init__()
        self.activations, self.normalize_nodes = activations, normalize_nodes
        pairs = list(pairwise(widths))
        grown = [float(n) if normalize_nodes else 1.0 for n, _ in pairs]
        self.hidden = nn.ParameterList(
            nn.Parameter(g * torch.randn(n, m) / math.sqrt(max(n, 1))) for (n, m), g in zip(pairs, grown, strict=True)
        )
        self.biases = nn.ParameterList(nn.Parameter(0.1 * g * torch.randn(m)) for (_, m), g in zip(pairs, grown, strict=True))

    def forward(self, values: Tensor) -> Tensor:
        """Return (atoms,) from (atoms, inputs)."""
        for weight, bias, letter in zip(self.hidden, self.biases, self.activations, strict=True):
            values = values @ weight + bias
            if self.normalize_nodes:
                values = values / weight.shape[0]
            values = ACTIVATIONS[letter](values)
        return values[:, 0]
