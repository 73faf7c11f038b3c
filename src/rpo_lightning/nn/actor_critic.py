"""PPO's network: one trunk for policy and value."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from rpo_lightning.nn.gaussian import ClippedGaussian
from rpo_lightning.nn.mlp import MLP, hidden_layers, orthogonal_linear

__all__ = ["SharedActorCritic"]

STD_MIN, STD_MAX = 0.1, 1.0


class SharedActorCritic(nn.Module):
    """Map normalised observations to a Gaussian with mean in [-1, 1] and std in [0.1, 1], and to a value.

    Args:
        obs_dim: D.
        action_dim: A.
        hidden: sizes of the hidden layers, shared by all heads.
        privileged_dim: P; above 0 the value has a trunk of its own, which sees these observations too.
        std_shift: of the standard deviation's logit: with 2 it starts near 0.9, with -1 near 0.34, with -3 near 0.14.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        hidden: Sequence[int] = (400, 200, 100),
        privileged_dim: int = 0,
        std_shift: float = 2.0,
    ) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*hidden_layers(obs_dim, hidden, linear=partial(orthogonal_linear, gain=math.sqrt(2.0))))
        size = [obs_dim, *hidden][-1]
        self.mean = orthogonal_linear(size, action_dim, gain=0.01)
        self.std = orthogonal_linear(size, action_dim, gain=0.01)
        self.std_shift = std_shift
        self.apart = privileged_dim > 0
        self.value = MLP(obs_dim + privileged_dim, hidden, 1) if self.apart else orthogonal_linear(size, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[ClippedGaussian, Tensor]:
        """Return the policy (..., A) and the value (...,).

        Args:
            x: normalised observations (..., D).
            y: what the value sees (..., D + P), if that is more; None: the policy alone is wanted, the value is NaN.
        """
        features = self.trunk(x)
        std = STD_MIN + (STD_MAX - STD_MIN) * (self.std(features) + self.std_shift).sigmoid()
        policy = ClippedGaussian(self.mean(features).tanh(), std.log())
        if self.apart:
            return policy, torch.full_like(x[..., 0], torch.nan) if y is None else self.value(y).squeeze(-1)
        return policy, self.value(features).squeeze(-1)
