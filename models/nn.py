"""Small torch networks for tables, for our examples and for yours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

__all__ = ["Mlp"]


class Mlp(nn.Module):  # type: ignore[misc]
    """A multilayer perceptron with ReLU between its layers.

    Args:
        inputs: Columns of the input.
        hidden: Width of the hidden layer, or of each of them in order.
        outputs: Columns of the output.
    """

    def __init__(self, inputs: int, hidden: int | Sequence[int], outputs: int) -> None:
        super().__init__()
        widths = [inputs, *([hidden] if isinstance(hidden, int) else hidden)]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], outputs))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Maps float32 rows (n, inputs) to logits (n, outputs)."""
        out: torch.Tensor = self.layers(rows)
        return out
