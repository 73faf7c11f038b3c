"""PPO's network: one trunk for policy and value."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from rpo_lightning.nn.gaussian import ClippedGaussian
from rpo_lightning.nn.mlp import orthogonal_linear

__all__ = ["SharedActorCritic"]

STD_MIN, STD_MAX = 0.1, 1.0
STD_SHIFT = 2.0
"""Of the standard deviation's logit: it starts near 0.9."""


class SharedActorCritic(nn.Module):
    """Map normalised observations to a Gaussian with mean in [-1, 1] and std in [0.1, 1], and to a value.

    Args:
        obs_dim: D.
        action_dim: A.
        hidden: sizes of the hidden layers, shared by all heads.
    """

    def __init__(self, obs_dim: int, action_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size = obs_dim
        for width in hidden:
            layers += [orthogonal_linear(size, width, gain=math.sqrt(2.0)), nn.LayerNorm(width), nn.SiLU()]
            size = width
        self.trunk = nn.Sequential(*layers)
        self.mean = orthogonal_linear(size, action_dim, gain=0.01)
        self.std = orthogonal_linear(size, action_dim, gain=0.01)
        self.value = orthogonal_linear(size, 1)

    def forward(self, x: Tensor) -> tuple[ClippedGaussian, Tensor]:
        """Return the policy (..., A) and the value (...,) at normalised observations (..., D)."""
        features = self.trunk(x)
        std = STD_MIN + (STD_MAX - STD_MIN) * (self.std(features) + STD_SHIFT).sigmoid()
        return ClippedGaussian(self.mean(features).tanh(), std.log()), self.value(features).squeeze(-1)
