"""Natural analytic policy gradients: the simulator's gradient, and the step that it is worth (docs/napg.md)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from rpo_lightning.algorithms.descent import step_back
from rpo_lightning.algorithms.first_order import FirstOrder
from rpo_lightning.algorithms.learning_rate import LRSchedule
from rpo_lightning.algorithms.natural import natural_step
from rpo_lightning.algorithms.options import Range, above, at_least
from rpo_lightning.distributed import mean_over_ranks
from rpo_lightning.losses import entropy_bonus, regenerate
from rpo_lightning.nn import SquashedGaussian
from rpo_lightning.rollout import RolloutBatch

__all__ = ["NAPG"]


class NAPG(FirstOrder):
    """One step per window, as far as a KL allows and in the metric of the policy, up the gradient of the simulation.

    The file follows docs/napg.md: roll out and cache dR/du, one natural step of the actor, L critic epochs.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the schedules too.
        kl_coef: lambda_KL, weight of KL(old || new); 0: the radius alone says how far a step goes.
        radius: KL(old || new) of a window's step is no more than that, at the start of the run [nats].
        final_radius: likewise at its end; it falls exponentially in between.
        iterations: of conjugate gradients.
        damping: added to the Fisher matrix.
        fisher_stride: only every so many steps of a window, the first of them in turn, are in the Fisher matrix.
        entropy_coef: lambda_ent, weight of the entropy bonus in the objective and in the return.
        target_entropy_per_dim: scale of the entropy bonus, nats per action dimension.
        options: those of FirstOrder and RLModule; `actor_lr` is without effect.
    """

    name = "napg"
    capturable = True
    recurrent = False  # a fused GRU cannot be differentiated twice
    ranges: ClassVar[dict[str, Range]] = {
        "kl_coef": at_least(0.0),
        "radius": above(0.0),
        "final_radius": above(0.0),
        "iterations": at_least(1),
        "damping": above(0.0),
        "fisher_stride": at_least(1),
        "entropy_coef": at_least(0.0),
        "target_entropy_per_dim": above(0.0),
    }

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        kl_coef: float = 0.25,
        radius: float = 0.3,
        final_radius: float = 0.006,
        iterations: int = 10,
        damping: float = 0.1,
        fisher_stride: int = 1,
        entropy_coef: float = 0.2,
        target_entropy_per_dim: float = 0.5,
        critic_epochs: int = 4,
        num_critics: int = 1,
        value_unit: float = 100.0,
        lr_schedule: LRSchedule = "exponential",
        **options: Any,
    ) -> None:
        super().__init__(
            obs_dim,
            action_dim,
            total_env_steps,
            critic_epochs=critic_epochs,
            num_critics=num_critics,
            value_unit=value_unit,
            lr_schedule=lr_schedule,
            **options,
        )
        if self.capture and fisher_stride > 1:
            raise ValueError("NAPG: capture is not possible: fisher_stride takes other steps of every window.")
        self.kl_coef = kl_coef
        self.radius = radius
        self.final_radius = final_radius
        self.iterations = iterations
        self.damping = damping
        self.fisher_stride = fisher_stride
        self.entropy_coef = entropy_coef
        self.target_entropy = target_entropy_per_dim * action_dim

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the critics' optimizer; the actor has none."""
        return [self.adamw(self.critics.ensemble.parameters(), self.critic_lr)]

    # Rollout: the collector samples u from the policy and caches the action-gradients g = dR/du of the soft return R,
    # that of `FirstOrder.window_objective`, of rewards with their bonus.

    def reward_bonus(self, policy: SquashedGaussian, generator: torch.Generator) -> Tensor:
        """Return the entropy bonus alpha * b (...,) that belongs to the reward, with noise of its own."""
        return self.entropy_coef * self._bonus(self.sampled_entropy(policy, generator))

    # Update: one natural step on the cached window, then L critic epochs.

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Take a step of the actor and L critic epochs on one window."""
        (critic_optimizer,) = self.scheduled_optimizers(self.critic_lr)
        generator = self.generator(batch)
        metrics = self.improve_actor(batch, generator)
        metrics |= self.fit_critics(batch, batch.reward + batch.bonus, critic_optimizer, generator)
        self.rates.adapt(metrics["actor/kl"])
        self.update_normalizers(batch)
        return metrics

    def improve_actor(self, batch: RolloutBatch, generator: torch.Generator) -> dict[str, Tensor | float]:
        """Take the step that maximises the mean of <g, u> + lambda_ent b - lambda_KL KL(old || new) within the radius."""
        assert batch.action_grad is not None
        params = list(self.actor.parameters())
        before = [param.detach().clone() for param in params]
        x = self.normalizer(batch.obs)
        policy = self.actor(x)
        old = policy.detach()
        sample = regenerate(policy, batch.sample)
        entropy = self.sampled_entropy(policy, generator)
        objective = ((batch.action_grad * sample).sum(-1) + self.entropy_coef * self._bonus(entropy)).mean()

        radius = self.radius * (self.final_radius / self.radius) ** self.progress
        stride = min(self.fisher_stride, len(x))
        metric = policy if stride == 1 else self.actor(x[self.iteration % stride :: stride])
        norm, refused, scale, *steps = self.at_once(
            self._natural_step, self.kl_coef, radius, objective, metric.mean, metric.log_std, *params
        )
        self.nonfinite_updates += refused
        with torch.no_grad():
            for param, step in zip(params, steps, strict=True):
                param.add_(step)

        def measured() -> dict[str, Tensor]:
            return self.measure_step(old, self.actor(x))

        # What is 0.3 nats to second order may be more of them in truth.
        left = step_back(params, before, lambda: measured()["actor/kl"], radius)
        return {
            **measured(),
            "actor/lr": scale,
            "actor/radius": radius,
            "actor/step_left": left,
            "actor/grad_norm": norm,
            "actor/entropy": mean_over_ranks(entropy.mean().detach()),
        }

    def _natural_step(
        self, kl_coef: Any, radius: Any, objective: Tensor, mean: Tensor, log_std: Tensor, *params: Tensor
    ) -> tuple[Tensor, ...]:
        weight, limit = (
            each.to(objective) if isinstance(each, Tensor) else objective.new_full((), each) for each in (kl_coef, radius)
        )
        policy = SquashedGaussian(mean, log_std)
        return natural_step(objective, policy, params, weight, limit, self.iterations, self.damping)

    def _bonus(self, entropy: Tensor) -> Tensor:
        return entropy_bonus(entropy, self.target_entropy, offset=True)
