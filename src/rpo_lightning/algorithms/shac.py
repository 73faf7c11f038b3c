"""Short-Horizon Actor-Critic (arXiv 2204.07137), as improved by SAPO's authors; as first published by other networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rpo_lightning.algorithms.first_order import FirstOrder
from rpo_lightning.distributed import mean_over_ranks
from rpo_lightning.losses import regenerate
from rpo_lightning.rollout import RolloutBatch

__all__ = ["SHAC"]


class SHAC(FirstOrder):
    """One policy step per window along the gradient of its return, then the critics.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        options: those of FirstOrder and RLModule.
    """

    name = "shac"
    capturable = True

    def __init__(self, obs_dim: int, action_dim: int, total_env_steps: int, actor_lr: float = 2e-3, **options: Any) -> None:
        super().__init__(obs_dim, action_dim, total_env_steps, actor_lr=actor_lr, **options)

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Take one actor step and L critic epochs on one window."""
        actor_optimizer, critic_optimizer = self.scheduled_optimizers(self.actor_lr, self.critic_lr)
        generator = self.generator(batch)
        metrics = self.improve_actor(batch, actor_optimizer, generator)
        metrics |= self.fit_critics(batch, batch.reward, critic_optimizer, generator)
        self.rates.adapt(metrics["actor/kl"])
        self.update_normalizers(batch)
        return metrics

    def improve_actor(
        self, batch: RolloutBatch, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> dict[str, Tensor | float]:
        """Take one step along dR/dtheta = sum_t g_t du_t/dtheta, averaged over time and environments."""
        assert batch.action_grad is not None
        x = self.normalizer(batch.obs)
        old = self.over_window(x, batch)
        # Equal to the samples of the rollout, with their dependence on theta.
        sample = regenerate(old, batch.sample)
        objective = (batch.action_grad * sample).sum(-1).mean()
        norm = self.apply_gradients(optimizer, list(self.actor.parameters()), -objective, self.max_grad_norm)

        entropy = mean_over_ranks(self.sampled_entropy(old, generator).mean().detach())
        step = self.measure_step(old, self.over_window(x, batch))
        return {**step, "actor/lr": self.learning_rate(self.actor_lr), "actor/grad_norm": norm, "actor/entropy": entropy}
