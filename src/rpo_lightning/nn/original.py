"""The networks of the original SHAC (arXiv 2204.07137): ELU before LayerNorm, a standard deviation without a state."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from rpo_lightning.nn.gaussian import SquashedGaussian
from rpo_lightning.nn.mlp import MLP, orthogonal_linear

__all__ = ["OriginalActor", "original_critic"]

INITIAL_LOG_STD = -1.0


def original_critic(inputs: int, hidden: Sequence[int], outputs: int) -> MLP:
    """Build hidden layers Linear -> ELU -> LayerNorm and a linear output, orthogonal with gain sqrt(2)."""
    return _OriginalMLP(inputs, hidden, outputs, lambda i, o: orthogonal_linear(i, o, gain=math.sqrt(2.0)))


class OriginalActor(nn.Module):
    """Map normalised observations to a squashed Gaussian whose log standard deviation is a free parameter.

    Linear layers keep torch's own initial weights.

    Args:
        obs_dim: D.
        action_dim: A.
        hidden: sizes of the hidden layers.
    """

    def __init__(self, obs_dim: int, action_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.mlp = _OriginalMLP(obs_dim, hidden, action_dim, nn.Linear)
        self.log_std = nn.Parameter(torch.full((action_dim,), INITIAL_LOG_STD))

    def forward(self, x: Tensor) -> SquashedGaussian:
        """Return the action distribution (..., A) at normalised observations (..., D)."""
        mean = self.mlp(x)
        return SquashedGaussian(mean, self.log_std.expand_as(mean))


class _OriginalMLP(MLP):
    """Other layers, the same forward pass."""

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, linear: Callable[[int, int], nn.Linear]) -> None:
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [linear(inputs, size), nn.ELU(), nn.LayerNorm(size)]
            inputs = size
        nn.Sequential.__init__(self, *layers, linear(inputs, outputs))
