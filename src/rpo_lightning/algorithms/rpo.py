"""Reparameterization PPO (arXiv 2508.06214)."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rpo_lightning.algorithms.descent import step_back
from rpo_lightning.algorithms.first_order import FirstOrder
from rpo_lightning.algorithms.learning_rate import TARGET_KL, LRSchedule
from rpo_lightning.algorithms.options import Range, above, at_least, within
from rpo_lightning.distributed import max_over_ranks, mean_over_ranks
from rpo_lightning.losses import (
    entropy_bonus,
    gaussian_kl,
    importance_ratio,
    inside_clip,
    regenerate,
    shortened,
    weighted_mean,
)
from rpo_lightning.nn import SquashedGaussian
from rpo_lightning.returns import segment_discounts, segment_ends
from rpo_lightning.rollout import RolloutBatch, Window

__all__ = ["RPO"]


class RPO(FirstOrder):
    """Several policy updates per window from cached action-gradients, kept stable by clipping and KL.

    The file follows Algorithm 1: roll out and cache dR/du, M actor epochs, L critic epochs.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        actor_epochs: M, full-batch policy updates per window.
        surrogate_coef: lambda_surr, weight of the surrogate averaged over time and environments.
        kl_coef: lambda_KL, weight of KL(old || new); a buffer, which a callback may move.
        entropy_coef: lambda_ent, weight of the entropy bonus in the loss and in the return.
        target_entropy_per_dim: scale of the entropy bonus, nats per action dimension.
        entropy_offset: whether the bonus is shifted to be 0 at minus the target entropy.
        soft_value: whether the bonus is part of the return and of the critic's targets.
        discounted_regularizers: whether entropy and KL terms are weighted by gamma^t as the surrogate is.
        clip_low: samples with a ratio below 1 - clip_low are left out.
        clip_high: samples with a ratio above 1 + clip_high are left out; infinity leaves none out.
        regenerate_actions: False: the rollout's noise stays, and only the ratio accounts for the new policy.
        gradient_lambda: not in the paper: below 1 an action-gradient is that of the step's lambda-return, so that the
            critics' slope joins at every step, with weight 1 - gradient_lambda, and what is far away counts less.
        gradient_limit: not in the paper: action-gradients longer than so many medians of their window are shortened to that.
        kl_limit: not in the paper: where a window's epochs have moved the policy by more KL(old || new) than that, they
            are taken back in part, until it is no more.
        options: those of FirstOrder and RLModule.
    """

    name = "rpo"
    capturable = True
    ranges: ClassVar[dict[str, Range]] = {
        "surrogate_coef": at_least(0.0),
        "kl_coef": at_least(0.0),
        "entropy_coef": at_least(0.0),
        "target_entropy_per_dim": above(0.0),
        "clip_low": within(0.0, 1.0),
        "clip_high": at_least(0.0, infinite=True),
        "gradient_lambda": within(0.0, 1.0, low_open=True),
        "gradient_limit": above(0.0, infinite=True),
        "kl_limit": above(0.0, infinite=True),
    }
    moved_by_training: ClassVar[dict[str, str]] = {"kl_coef": "kl_coef"}
    kl_coef: Tensor

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        actor_epochs: int = 5,
        surrogate_coef: float = 1.0,
        kl_coef: float = 0.25,
        entropy_coef: float = 0.2,
        target_entropy_per_dim: float = 0.5,
        entropy_offset: bool = True,
        soft_value: bool = True,
        discounted_regularizers: bool = False,
        clip_low: float = 0.8,
        clip_high: float = 1.0,
        regenerate_actions: bool = True,
        gradient_lambda: float = 1.0,
        gradient_limit: float = math.inf,
        kl_limit: float = math.inf,
        lr_schedule: LRSchedule = "exponential",
        target_reduction: Literal["mean", "min"] = "mean",
        **options: Any,
    ) -> None:
        super().__init__(
            obs_dim,
            action_dim,
            total_env_steps,
            lr_schedule=lr_schedule,
            target_reduction=target_reduction,
            **options,
        )
        if lr_schedule == "kl" and kl_limit <= 2.0 * TARGET_KL:
            raise ValueError(
                f"RPO: lr_schedule kl holds the KL near {TARGET_KL}, but kl_limit takes back what is above {kl_limit:g} "
                f"before it is seen: choose one, or a limit above {2.0 * TARGET_KL}."
            )
        self.actor_epochs = actor_epochs
        self.surrogate_coef = surrogate_coef
        self.entropy_coef = entropy_coef
        self.target_entropy = target_entropy_per_dim * action_dim
        self.entropy_offset = entropy_offset
        self.soft_value = soft_value
        self.discounted_regularizers = discounted_regularizers
        self.clip_low = clip_low
        self.clip_high = clip_high
        self.regenerate_actions = regenerate_actions
        self.gradient_lambda = gradient_lambda
        self.gradient_limit = gradient_limit
        self.kl_limit = kl_limit
        self.register_buffer("kl_coef", torch.tensor(kl_coef))

    # Rollout: the collector samples u from the policy, takes the value of the states reached, and caches the
    # action-gradients g = dR/du of the return R below, one backward pass for all environments and steps.

    def window_objective(self, window: Window) -> Tensor:
        """Return R (), the sum over environments of the soft discounted returns of their windows.

        Of each segment, between two ends of episodes or of the window, R has sum_k gamma^k r_k, r with its bonus, and the
        critics' value of the state at its end, weighted likewise, where that state has a future. Environments do not touch
        each other, so that the gradient of their sum with respect to a sample is that of its own environment's return: it
        is not divided by their number. The mean over time and environments is taken once, in the surrogate.

        With `gradient_lambda` l the sum has (l gamma)^k r_k, and a share 1 - l of the value at every step: the lambda-return
        of the segment's first step. Of this sum the gradient by the sample of step k is (l gamma)^k times that of its own
        lambda-return, all of which one backward pass hence knows.
        """
        weight = segment_discounts(window.done, self.discount * self.gradient_lambda)
        share = segment_ends(window.done).to(weight.dtype).clamp(min=1.0 - self.gradient_lambda)
        joins = ((share > 0.0) & window.alive).nonzero(as_tuple=True)
        future = (weight * share)[joins] * self.discount * self.critics.mean(self.end_state(window)[joins])
        return (weight * window.reward).sum() + future.sum()

    def action_gradients(self, batch: RolloutBatch) -> tuple[Tensor, Tensor]:
        """Return the cached gradients (H, N, A), discounted from a segment's start by gamma alone, and the share () cut."""
        assert batch.action_grad is not None
        grad = batch.action_grad / segment_discounts(batch.done, self.gradient_lambda)[..., None]
        return shortened(grad, self.gradient_limit)

    def reward_bonus(self, policy: SquashedGaussian, generator: torch.Generator) -> Tensor:
        """Return the entropy bonus alpha * b (...,) that belongs to the reward.

        Its noise is its own, so that the action-gradient holds the bonus's path through later states only;
        the direct path to the policy is the entropy term of each epoch.
        """
        if not self.soft_value or self.entropy_coef == 0.0:
            return torch.zeros_like(policy.mean[..., 0])
        return self.entropy_coef * self._bonus(self.sampled_entropy(policy, generator))

    # Update: M actor epochs on the cached window, then L critic epochs.

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Run M actor epochs and L critic epochs on one window."""
        actor_optimizer, critic_optimizer = self.scheduled_optimizers(self.actor_lr, self.critic_lr)
        generator = self.generator(batch)
        metrics = self.improve_actor(batch, actor_optimizer, generator)
        metrics |= self.fit_critics(batch, batch.reward + batch.bonus, critic_optimizer, generator)
        self.rates.adapt(metrics["actor/kl"])
        # Last, so that every epoch has seen the window normalised as the rollout saw it.
        self.update_normalizers(batch)
        return metrics

    def improve_actor(
        self, batch: RolloutBatch, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> dict[str, Tensor | float]:
        """Take M full-batch steps on the overall objective: surrogate, KL and entropy (eq. 14)."""
        params = list(self.actor.parameters())
        before = [param.detach().clone() for param in params]
        grad, cut = self.action_gradients(batch)
        weight = segment_discounts(batch.done, self.discount) if self.discounted_regularizers else None
        x = self.normalizer(batch.obs)
        new = self.over_window(x, batch)
        # The behaviour policy by the same forward pass: in the first epoch rho = 1 and KL = 0 exactly.
        old = new.detach()
        epochs = []
        for epoch in range(self.actor_epochs):
            if epoch > 0:
                new = self.over_window(x, batch)
            ratio = importance_ratio(new, old, batch.sample)
            keep = inside_clip(ratio, self.clip_low, self.clip_high)
            # eq. 11: cached dR/du times the regenerated sample (eq. 10), weighted by rho, 0 outside the clip.
            sample = regenerate(new, batch.sample, source=new if self.regenerate_actions else old)
            surrogate = (keep * ratio * (grad * sample).sum(-1)).mean()
            kl = gaussian_kl(old, new)
            entropy = self.sampled_entropy(new, generator)
            loss = -(
                self.surrogate_coef * surrogate
                - self.kl_coef * weighted_mean(kl, weight)
                + self.entropy_coef * weighted_mean(self._bonus(entropy), weight)
            )
            norm = self.apply_gradients(optimizer, params, loss, self.max_grad_norm)

            means = torch.stack([kl.mean(), keep.float().mean(), entropy.mean()]).detach()
            kl, kept, nats = mean_over_ranks(means)
            top = max_over_ranks(ratio.max())
            epochs.append(torch.stack([kept, top, nats, norm]))
            self.hook("on_actor_epoch_end", epoch, {"kl": kl, "effective_samples": kept, "max_ratio": top})
        # The paper's share of effective samples leaves out the first epoch, on-policy by construction.
        kept, top = torch.stack(epochs[1:] or epochs)[:, :2].mean(0)
        nats, norm = torch.stack(epochs)[:, 2:].mean(0)

        def step() -> dict[str, Tensor]:
            return self.measure_step(old, self.over_window(x, batch))

        left = step_back(params, before, lambda: step()["actor/kl"], self.kl_limit)
        return {
            **step(),
            "actor/lr": self.learning_rate(self.actor_lr),
            "actor/kl_coef": self.kl_coef,
            "actor/effective_samples": kept,
            "actor/max_ratio": top,
            "actor/grad_norm": norm,
            "actor/entropy": nats,
            "actor/cut_gradients": mean_over_ranks(cut),
            "actor/step_left": left,
        }

    def _bonus(self, entropy: Tensor) -> Tensor:
        return entropy_bonus(entropy, self.target_entropy, self.entropy_offset)
