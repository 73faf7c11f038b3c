"""The ensemble of value networks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from rpo_lightning.nn.mlp import MLP

__all__ = ["CriticEnsemble"]


class CriticEnsemble(nn.ModuleList):
    """Independent value networks: of states, or of states and actions side by side.

    Args:
        inputs: D, or D + A.
        hidden: sizes of the hidden layers.
        size: number of critics C.
        network: (inputs, hidden, 1) -> module of each.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], size: int, network: Callable[[int, Sequence[int], int], nn.Module] = MLP
    ) -> None:
        super().__init__(network(inputs, hidden, 1) for _ in range(size))

    def forward(self, x: Tensor) -> Tensor:
        """Return every critic's value (C, ...) at inputs (..., D)."""
        return torch.stack([critic(x).squeeze(-1) for critic in self])

    @torch.no_grad()
    def follow(self, other: nn.Module, share: float) -> None:
        """Move every weight by `share` of the way to another ensemble's."""
        for mine, theirs in zip(self.parameters(), other.parameters(), strict=True):
            mine.lerp_(theirs, share)
