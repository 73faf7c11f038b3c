"""An algorithm of one's own: SHAC in which no single sample of a window can outvote the others."""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from rpo_lightning.algorithms import SHAC
from rpo_lightning.algorithms.options import above
from rpo_lightning.rollout import RolloutBatch


class GentleSHAC(SHAC):
    """SHAC whose action-gradients are cut to a length, in every sample.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks.
        max_action_grad: the length, in units of the root mean square over the window.
        options: those of SHAC.
    """

    name = "gentle_shac"  # of run folders and messages
    ranges: ClassVar = {"max_action_grad": above(0.0)}

    def __init__(
        self, obs_dim: int, action_dim: int, total_env_steps: int, max_action_grad: float = 3.0, **options: Any
    ) -> None:
        super().__init__(obs_dim, action_dim, total_env_steps, **options)
        self.max_action_grad = max_action_grad

    def improve_actor(
        self, batch: RolloutBatch, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> dict[str, Tensor | float]:
        """Take SHAC's step with the gradients that were cut; log how many were."""
        assert batch.action_grad is not None
        length = batch.action_grad.norm(dim=-1, keepdim=True)
        longest = self.max_action_grad * length.square().mean().sqrt()
        gentle = batch.action_grad * (longest / length.clamp(min=1e-12)).clamp(max=1.0)
        metrics = super().improve_actor(replace(batch, action_grad=gentle), optimizer, generator)
        return {**metrics, "actor/cut": (length > longest).float().mean()}
