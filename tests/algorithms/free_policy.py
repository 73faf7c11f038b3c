"""GI-PPO with a policy made of free numbers, so that a test can put it anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from rpo_lightning.algorithms import GIPPO
from rpo_lightning.algorithms.gippo import RETRIES
from rpo_lightning.nn import SquashedGaussian
from tests.algorithms.captured import H, N, captured

DOUBLE = torch.float64


class FreeActor(nn.Module):
    """A policy whose mean and log standard deviation are its parameters, whatever the observation."""

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        super().__init__()
        self.mean, self.log_std = nn.Parameter(mean.clone()), nn.Parameter(log_std.clone())

    def forward(self, x: Tensor) -> SquashedGaussian:
        """Return the policy."""
        return SquashedGaussian(1.0 * self.mean, 1.0 * self.log_std)


def stand_in(action_dim: int = 1, **options: Any) -> tuple[GIPPO, Any, SquashedGaussian]:
    """Return a module with a free policy N(0, 0.5), and a window without gradients whose samples are its means."""
    module = captured(GIPPO, **options)
    shape = (H, N, action_dim)
    module.actor = FreeActor(torch.zeros(shape, dtype=DOUBLE), torch.full(shape, math.log(0.5), dtype=DOUBLE))
    old = SquashedGaussian(torch.zeros(shape, dtype=DOUBLE), torch.full(shape, math.log(0.5), dtype=DOUBLE))
    zeros = torch.zeros(shape, dtype=DOUBLE)
    return module, SimpleNamespace(sample=zeros, action_grad=zeros, done=torch.zeros(H, N, dtype=torch.bool)), old


def follow(
    module: GIPPO,
    batch: Any,
    old: SquashedGaussian,
    move: Callable[[], Any],
    advantage: float | Tensor = 0.0,
    fitted: bool = True,
) -> float:
    """Let the fit do what `move` does, and return the factor by which alpha has changed."""

    def descend(loss_of: Callable[[], Tensor], steps: int, optimizer: Any, rate: float) -> tuple[int, Tensor]:
        move()
        return 0 if fitted else RETRIES, torch.zeros(())

    module._descend = descend
    before = float(module.alpha)
    advantage = torch.as_tensor(advantage, dtype=DOUBLE).expand(H, N)
    module.follow_gradients(batch, None, old, advantage, None)
    return float(module.alpha) / before
