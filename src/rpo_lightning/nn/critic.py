"""The ensemble of state-value networks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rpo_lightning.nn.mlp import MLP

__all__ = ["CriticEnsemble"]


class CriticEnsemble(nn.ModuleList):
    """Independent state-value networks.

    Args:
        obs_dim: D.
        hidden: sizes of the hidden layers.
        size: number of critics C.
    """

    def __init__(self, obs_dim: int, hidden: Sequence[int], size: int) -> None:
        super().__init__(MLP(obs_dim, hidden, 1) for _ in range(size))

    def forward(self, x: Tensor) -> Tensor:
        """Return every critic's value (C, ...) of normalised observations (..., D)."""
        return torch.stack([critic(x).squeeze(-1) for critic in self])
