"""Soft Analytic Policy Optimization (arXiv 2412.12089): SHAC that maximises entropy, too."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rpo_lightning.algorithms.first_order import FirstOrder
from rpo_lightning.algorithms.options import Range, above, at_least
from rpo_lightning.distributed import mean_over_ranks
from rpo_lightning.losses import entropy_bonus, regenerate, weighted_mean
from rpo_lightning.nn import SquashedGaussian
from rpo_lightning.returns import segment_discounts
from rpo_lightning.rollout import RolloutBatch

__all__ = ["SAPO"]


class SAPO(FirstOrder):
    """One policy step per window along the gradient of its soft return, a step of the temperature, then the critics.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        entropy_coef: a fixed temperature alpha; None: tuned to hold the target entropy.
        init_temperature: alpha at the start, if tuned.
        temperature_lr: learning rate of log alpha; it follows no schedule.
        target_entropy_per_dim: the target entropy is minus this, nats per action dimension; it also scales the bonus.
        entropy_offset: whether the bonus is shifted to be 0 at the target entropy.
        options: those of FirstOrder and RLModule.
    """

    name = "sapo"
    capturable = True
    ranges: ClassVar[dict[str, Range]] = {
        "entropy_coef": at_least(0.0),
        "init_temperature": above(0.0),
        "temperature_lr": at_least(0.0),
        "target_entropy_per_dim": above(0.0),
    }
    moved_by_training: ClassVar[dict[str, str]] = {"init_temperature": "log_temperature"}

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        entropy_coef: float | None = None,
        init_temperature: float = 1.0,
        temperature_lr: float = 5e-3,
        target_entropy_per_dim: float = 0.5,
        entropy_offset: bool = True,
        actor_lr: float = 2e-3,
        **options: Any,
    ) -> None:
        super().__init__(obs_dim, action_dim, total_env_steps, actor_lr=actor_lr, **options)
        self.entropy_coef = entropy_coef
        self.temperature_lr = temperature_lr
        self.target_entropy = target_entropy_per_dim * action_dim
        self.entropy_offset = entropy_offset
        self.log_temperature = nn.Parameter(torch.tensor(math.log(init_temperature)))

    @property
    def temperature(self) -> Tensor:
        """The weight alpha of the entropy bonus."""
        if self.entropy_coef is not None:
            return torch.full((), self.entropy_coef, device=self.device)
        return self.log_temperature.detach().exp()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers of actor, critics and temperature; the latter does not decay."""
        temperature = self.adamw([self.log_temperature], self.temperature_lr, weight_decay=0.0)
        return [*super().configure_optimizers(), temperature]

    def reward_bonus(self, policy: SquashedGaussian, generator: torch.Generator) -> Tensor:
        """Return the entropy bonus alpha * b (...,) that belongs to the reward.

        Its noise is its own, so that the action-gradient holds the bonus's path through later states only; the
        direct path to the policy is in the actor's step.
        """
        return self.temperature * self._bonus(self.sampled_entropy(policy, generator))

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Take one actor step, one temperature step and L critic epochs on one window."""
        optimizers = self.scheduled_optimizers(self.actor_lr, self.critic_lr)
        actor_optimizer, critic_optimizer, temperature_optimizer = optimizers
        generator = self.generator(batch)
        before = self.temperature
        metrics = self.improve_actor(batch, actor_optimizer, generator)
        if self.entropy_coef is None:
            self.tune_temperature(metrics["actor/entropy"], temperature_optimizer)
        # The rollout's bonus was weighted by the old temperature, the targets take the new one.
        reward = batch.reward + batch.bonus * (self.temperature / before if self.entropy_coef is None else 1.0)
        metrics |= self.fit_critics(batch, reward, critic_optimizer, generator)
        self.rates.adapt(metrics["actor/kl"])
        self.update_normalizers(batch)
        return {**metrics, "actor/temperature": self.temperature}

    def improve_actor(
        self, batch: RolloutBatch, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> dict[str, Any]:
        """Take one step along the gradient of the soft return, averaged over time and environments.

        It is that of the cached action-gradients, plus the direct path of every step's own entropy, which the return
        weights by gamma^t.
        """
        assert batch.action_grad is not None
        x = self.normalizer(batch.obs)
        old = self.over_window(x, batch)
        sample = regenerate(old, batch.sample)
        entropy = self.sampled_entropy(old, generator)
        weight = segment_discounts(batch.done, self.discount)
        direct = weighted_mean(self._bonus(entropy), weight)
        objective = (batch.action_grad * sample).sum(-1).mean() + self.temperature * direct
        norm = self.apply_gradients(optimizer, list(self.actor.parameters()), -objective, self.max_grad_norm)

        step = self.measure_step(old, self.over_window(x, batch))
        nats = mean_over_ranks(entropy.mean().detach())
        return {**step, "actor/lr": self.learning_rate(self.actor_lr), "actor/grad_norm": norm, "actor/entropy": nats}

    def tune_temperature(self, entropy: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Raise the temperature where the mean entropy [nats] is below the target, lower it where it is above."""
        # The reference multiplies by the target once more, to undo the bonus's scale.
        loss = self.log_temperature.exp() * self.target_entropy * (entropy + self.target_entropy)
        self.apply_gradients(optimizer, [self.log_temperature], loss, self.max_grad_norm)

    def _bonus(self, entropy: Tensor) -> Tensor:
        return entropy_bonus(entropy, self.target_entropy, self.entropy_offset)
