"""The stochastic policy network."""

from collections.abc import Sequence

from torch import Tensor, nn

from rpo_lightning.nn.gaussian import SquashedGaussian
from rpo_lightning.nn.mlp import MLP

__all__ = ["Actor"]

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


class Actor(nn.Module):
    """Map normalised observations to a squashed Gaussian with state-dependent standard deviation.

    Args:
        obs_dim: D.
        action_dim: A.
        hidden: sizes of the hidden layers.
    """

    def __init__(self, obs_dim: int, action_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.mlp = MLP(obs_dim, hidden, 2 * action_dim, heads=2)

    def forward(self, x: Tensor) -> SquashedGaussian:
        """Return the action distribution (..., A) at normalised observations (..., D)."""
        mean, log_std = self.mlp(x).chunk(2, dim=-1)
        return SquashedGaussian(mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX))
