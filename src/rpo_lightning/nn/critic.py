"""The ensemble of value networks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rpo_lightning.nn.mlp import MLP

__all__ = ["CriticEnsemble", "side_by_side"]


class CriticEnsemble(nn.ModuleList):
    """Independent value networks: of states, or of states and actions side by side.

    Args:
        inputs: features in.
        hidden: sizes of the hidden layers.
        size: number of critics C.
        options: of `MLP`: activation, norm, norm_first, gain.
    """

    def __init__(self, inputs: int, hidden: Sequence[int] = (400, 200, 100), size: int = 2, **options: Any) -> None:
        super().__init__(MLP(inputs, hidden, 1, **options) for _ in range(size))

    def forward(self, x: Tensor) -> Tensor:
        """Return every critic's value (C, ...) at inputs (..., D)."""
        return torch.stack([critic(x).squeeze(-1) for critic in self])


def side_by_side(x: Tensor, z: Tensor) -> Tensor:
    """Return observations (..., D) with privileged ones (..., P) after them; the very tensor where there are none."""
    return torch.cat([x, z], -1) if z.shape[-1] else x
