"""Short-Horizon Actor-Critic (arXiv 2204.07137), as improved by SAPO's authors and as first published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from rpo_lightning.algorithms.actor_critic import ActorCritic
from rpo_lightning.algorithms.base import LRSchedule
from rpo_lightning.distributed import mean_over_ranks
from rpo_lightning.losses import regenerate
from rpo_lightning.nn import CriticEnsemble, OriginalActor, original_critic
from rpo_lightning.rollout import RolloutBatch

__all__ = ["SHAC"]


class SHAC(ActorCritic):
    """One policy step per window along the gradient of its return, then the critics.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        architecture: improved: SiLU after LayerNorm, standard deviation of the state; original: ELU before LayerNorm,
            a standard deviation that is a parameter.
        actor_lr: learning rate of the actor at the start.
        lr_schedule: exponential or linear: fall of both learning rates over the budget; constant; kl: moved to keep
            KL(old || new) near 0.008.
        options: those of ActorCritic.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        architecture: Literal["improved", "original"] = "improved",
        actor_lr: float = 2e-3,
        lr_schedule: LRSchedule = "linear",
        **options: Any,
    ) -> None:
        self.architecture = architecture
        super().__init__(obs_dim, action_dim, total_env_steps, actor_lr=actor_lr, lr_schedule=lr_schedule, **options)

    @property
    def name(self) -> str:  # type: ignore[override]
        """`shac`, or `shac_original`."""
        return "shac" if self.architecture == "improved" else "shac_original"

    def build_networks(self, obs_dim: int, action_dim: int, hidden: Sequence[int], num_critics: int) -> None:
        """Make `actor` and `critic`."""
        if self.architecture == "improved":
            super().build_networks(obs_dim, action_dim, hidden, num_critics)
        else:
            self.actor = OriginalActor(obs_dim, action_dim, hidden)
            self.critic = CriticEnsemble(obs_dim, hidden, num_critics, original_critic)

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Take one actor step and L critic epochs on one window."""
        actor_optimizer, critic_optimizer = self.scheduled_optimizers(self.actor_lr, self.critic_lr)
        generator = torch.Generator(self.device).manual_seed(batch.seed)
        x = self.normalizer(batch.obs)
        metrics = self.improve_actor(batch, x, actor_optimizer, generator)
        metrics |= self.fit_critic(batch, x, batch.reward, critic_optimizer, generator)
        self.adapt_learning_rate(metrics["actor/kl"])
        self.normalizer.update(batch.obs)
        return metrics

    def improve_actor(
        self, batch: RolloutBatch, x: Tensor, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> dict[str, Tensor | float]:
        """Take one step along dR/dtheta = sum_t g_t du_t/dtheta, averaged over time and environments."""
        assert batch.action_grad is not None
        old = self.actor(x)
        # Equal to the samples of the rollout, with their dependence on theta.
        sample = regenerate(old, batch.sample)
        objective = (batch.action_grad * sample).sum(-1).mean()
        norm = self.apply_gradients(optimizer, list(self.actor.parameters()), -objective, self.max_grad_norm)

        entropy = mean_over_ranks(self.sampled_entropy(old, generator).mean().detach())
        step = self.measure_step(old, self.actor(x))
        return {**step, "lr/actor": self.learning_rate(self.actor_lr), "actor/grad_norm": norm, "actor/entropy": entropy}
