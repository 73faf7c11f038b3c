"""Policy networks: normalised observations to a squashed Gaussian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rpo_lightning.nn.gaussian import SquashedGaussian
from rpo_lightning.nn.mlp import MLP, Activation, Norm, hidden_layers, orthogonal_linear

__all__ = ["Actor", "FreeStdActor", "GRUActor"]

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


class Actor(nn.Module):
    """Map normalised observations to a squashed Gaussian with state-dependent standard deviation.

    Args:
        obs_dim: D.
        action_dim: A.
        hidden: sizes of the hidden layers.
        options: of `MLP`: activation, norm, norm_first, gain.
    """

    def __init__(self, obs_dim: int, action_dim: int, hidden: Sequence[int] = (400, 200, 100), **options: Any) -> None:
        super().__init__()
        self.mlp = MLP(obs_dim, hidden, 2 * action_dim, heads=2, **options)

    def forward(self, x: Tensor) -> SquashedGaussian:
        """Return the action distribution (..., A) at normalised observations (..., D)."""
        mean, log_std = self.mlp(x).chunk(2, dim=-1)
        return SquashedGaussian(mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX))


class FreeStdActor(nn.Module):
    """Map normalised observations to a squashed Gaussian whose log standard deviation is a free parameter.

    Its defaults are those of the original SHAC (arXiv 2204.07137): ELU before LayerNorm, torch's own first weights.

    Args:
        obs_dim: D.
        action_dim: A.
        hidden: sizes of the hidden layers.
        init_log_std: log standard deviation at the start.
        activation: silu, elu, relu or tanh.
        norm: layer, rms or none.
        norm_first: whether a norm comes before its activation.
        gain: of orthogonal first weights; 0: torch's own.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        hidden: Sequence[int] = (400, 200, 100),
        init_log_std: float = -1.0,
        activation: Activation = "elu",
        norm: Norm = "layer",
        norm_first: bool = False,
        gain: float = 0.0,
    ) -> None:
        super().__init__()
        self.mlp = MLP(obs_dim, hidden, action_dim, 1, activation, norm, norm_first, gain)
        self.log_std = nn.Parameter(torch.full((action_dim,), init_log_std))

    def forward(self, x: Tensor) -> SquashedGaussian:
        """Return the action distribution (..., A) at normalised observations (..., D)."""
        mean = self.mlp(x)
        return SquashedGaussian(mean, self.log_std.expand_as(mean))


class GRUActor(nn.Module):
    """A policy that remembers: hidden layers, a GRU cell, and heads for mean and log standard deviation.

    `state_size` is what tells an algorithm that the network is to be unrolled; any module with it and this `forward` is one.

    Args:
        obs_dim: D.
        action_dim: A.
        hidden: sizes of the hidden layers before the cell.
        state_size: S.
    """

    def __init__(self, obs_dim: int, action_dim: int, hidden: Sequence[int] = (200,), state_size: int = 100) -> None:
        super().__init__()
        self.state_size = state_size
        self.trunk = nn.Sequential(*hidden_layers(obs_dim, hidden))
        self.cell = nn.GRUCell([obs_dim, *hidden][-1], state_size)
        self.heads = orthogonal_linear(state_size, 2 * action_dim, blocks=2)

    def forward(self, x: Tensor, state: Tensor, done: Tensor) -> tuple[SquashedGaussian, Tensor]:
        """Unroll over time.

        Args:
            x: normalised observations (T, N, D).
            state: hidden state before the first (N, S).
            done: (T, N) bool, an episode ended at this step: the next one begins with the state 0.

        Returns:
            the action distributions (T, N, A), and the hidden state after the last step (N, S).
        """
        features, states = self.trunk(x), []
        for feature, ended in zip(features, done, strict=True):
            after = self.cell(feature, state)
            states.append(after)
            state = after.masked_fill(ended[:, None], 0.0)
        mean, log_std = self.heads(torch.stack(states)).chunk(2, dim=-1)
        return SquashedGaussian(mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)), state
