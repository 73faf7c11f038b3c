"""Reparameterization PPO (arXiv 2508.06214)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from rpo_lightning.algorithms.base import LRSchedule, RLModule
from rpo_lightning.distributed import max_over_ranks, mean_over_ranks
from rpo_lightning.losses import (
    entropy_bonus,
    gaussian_kl,
    importance_ratio,
    inside_clip,
    regenerate,
    weighted_mean,
)
from rpo_lightning.nn import Actor, CriticEnsemble, RunningNormalizer, SquashedGaussian
from rpo_lightning.returns import lambda_return, segment_discounts
from rpo_lightning.rollout import RolloutBatch

__all__ = ["RPO"]


class RPO(RLModule):
    """Several policy updates per window from cached action-gradients, kept stable by clipping and KL.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        discount: gamma.
        td_lambda: lambda of the critic's targets.
        actor_epochs: M, full-batch policy updates per window.
        critic_epochs: L, passes over the window.
        critic_minibatches: steps per pass.
        actor_lr: learning rate of the actor at the start.
        critic_lr: learning rate of the critics at the start.
        lr_schedule: fall of both learning rates over the budget.
        final_lr: learning rate at the end of the budget.
        surrogate_coef: lambda_surr, weight of the surrogate averaged over time and environments.
        kl_coef: lambda_KL, weight of KL(old || new); a buffer, which a callback may move.
        entropy_coef: lambda_ent, weight of the entropy bonus in the loss and in the return.
        target_entropy_per_dim: scale of the entropy bonus, nats per action dimension.
        entropy_offset: whether the bonus is shifted to be 0 at minus the target entropy.
        soft_value: whether the bonus is part of the return and of the critic's targets.
        discounted_regularizers: whether entropy and KL terms are weighted by gamma^t as the surrogate is.
        clip_low: samples with a ratio below 1 - clip_low are left out.
        clip_high: samples with a ratio above 1 + clip_high are left out.
        max_grad_norm: gradients are clipped to this norm, actor and critics apart.
        hidden: hidden sizes of actor and critics.
        num_critics: size of the critic ensemble.
        target_reduction: ensemble reduction in the critic's targets; the actor always uses the mean.
        bootstrap_state: state whose value ends a window: the one reached, or "current", the one before the
            last step as in the paper's probable code base.
        shuffle: whether critic minibatches are random instead of consecutive in time.
        critic_precision: of the hidden layers in the critics' regression; bf16 is faster where the processor has it.
            The policy stays in float32, so that the one that learns is the one that acted.
        betas: AdamW's.
        weight_decay: AdamW's.
    """

    name = "rpo"
    kl_coef: Tensor

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        discount: float = 0.99,
        td_lambda: float = 0.95,
        actor_epochs: int = 5,
        critic_epochs: int = 16,
        critic_minibatches: int = 4,
        actor_lr: float = 5e-4,
        critic_lr: float = 5e-4,
        lr_schedule: LRSchedule = "exponential",
        final_lr: float = 1e-5,
        surrogate_coef: float = 1.0,
        kl_coef: float = 0.25,
        entropy_coef: float = 0.2,
        target_entropy_per_dim: float = 0.5,
        entropy_offset: bool = True,
        soft_value: bool = True,
        discounted_regularizers: bool = False,
        clip_low: float = 0.8,
        clip_high: float = 1.0,
        max_grad_norm: float = 0.5,
        hidden: Sequence[int] = (400, 200, 100),
        num_critics: int = 2,
        target_reduction: Literal["mean", "min"] = "mean",
        bootstrap_state: Literal["next", "current"] = "next",
        shuffle: bool = False,
        critic_precision: Literal["32", "bf16"] = "32",
        betas: tuple[float, float] = (0.7, 0.95),
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(obs_dim, action_dim, total_env_steps, discount, lr_schedule, final_lr)
        self.save_hyperparameters()
        self.td_lambda = td_lambda
        self.actor_epochs = actor_epochs
        self.critic_epochs = critic_epochs
        self.critic_minibatches = critic_minibatches
        self.actor_lr = actor_lr
        self.critic_lr = critic_lr
        self.surrogate_coef = surrogate_coef
        self.entropy_coef = entropy_coef
        self.target_entropy = target_entropy_per_dim * action_dim
        self.entropy_offset = entropy_offset
        self.soft_value = soft_value
        self.discounted_regularizers = discounted_regularizers
        self.clip_low = clip_low
        self.clip_high = clip_high
        self.max_grad_norm = max_grad_norm
        self.target_reduction = target_reduction
        self.bootstrap_state = bootstrap_state
        self.shuffle = shuffle
        if critic_precision not in ("32", "bf16"):
            raise ValueError(f"critic_precision must be '32' or 'bf16', got {critic_precision!r}")
        self.critic_precision = critic_precision
        self.betas = betas
        self.weight_decay = weight_decay
        self.normalizer = RunningNormalizer(obs_dim)
        self.actor = Actor(obs_dim, action_dim, hidden)
        self.critic = CriticEnsemble(obs_dim, hidden, num_critics)
        self.register_buffer("kl_coef", torch.tensor(kl_coef))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers of actor and critics."""
        return [
            torch.optim.AdamW(network.parameters(), lr=rate, betas=self.betas, weight_decay=self.weight_decay, fused=True)
            for network, rate in ((self.actor, self.actor_lr), (self.critic, self.critic_lr))
        ]

    # Rollout: the collector calls these for the samples u, the cached action-gradients g = dR/du and V'.

    def policy(self, obs: Tensor) -> SquashedGaussian:
        """Return the action distribution (..., A) at raw observations (..., D)."""
        return self.actor(self.normalizer(obs))

    def value(self, obs: Tensor) -> Tensor:
        """Return the mean of the critics (...,) at raw observations (..., D)."""
        return self.critic(self.normalizer(obs)).mean(0)

    def target_value(self, obs: Tensor) -> Tensor:
        """Return the value (...,) that the critics' targets bootstrap from."""
        values = self.critic(self.normalizer(obs))
        return values.mean(0) if self.target_reduction == "mean" else values.amin(0)

    def reward_bonus(self, policy: SquashedGaussian, generator: torch.Generator) -> Tensor:
        """Return the entropy bonus alpha * b (...,) that belongs to the reward.

        Its noise is its own, so that the action-gradient holds the bonus's path through later states only;
        the direct path to the policy is the entropy term of each epoch.
        """
        if not self.soft_value or self.entropy_coef == 0.0:
            return torch.zeros_like(policy.mean[..., 0])
        return self.entropy_coef * self._bonus(self._entropy(policy, generator))

    # Update: M actor epochs on the cached window, then L critic epochs.

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Run M actor epochs and L critic epochs on one window."""
        actor_optimizer, critic_optimizer = self.scheduled_optimizers(self.actor_lr, self.critic_lr)
        generator = torch.Generator(self.device).manual_seed(batch.seed)
        # Every epoch sees the window normalised as the rollout saw it.
        x = self.normalizer(batch.obs)
        metrics = self.improve_actor(batch, x, actor_optimizer, generator)
        metrics |= self.fit_critic(batch, x, critic_optimizer, generator)
        self.normalizer.update(batch.obs)
        return metrics

    def improve_actor(
        self, batch: RolloutBatch, x: Tensor, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> dict[str, Tensor | float]:
        """Take M full-batch steps on the surrogate, KL and entropy (eq. 13)."""
        assert batch.action_grad is not None
        params = list(self.actor.parameters())
        weight = segment_discounts(batch.done, self.discount) if self.discounted_regularizers else None
        new = self.actor(x)
        # The behaviour policy by the same forward pass: in the first epoch rho = 1 and KL = 0 exactly.
        old = new.detach()
        epochs = []
        for epoch in range(self.actor_epochs):
            ratio = importance_ratio(new, old, batch.pre_tanh)
            keep = inside_clip(ratio, self.clip_low, self.clip_high)
            # eq. 11: cached dR/du times the regenerated sample (eq. 10), weighted by rho, 0 outside the clip.
            action = regenerate(new, batch.pre_tanh)
            surrogate = (keep * ratio * (batch.action_grad * action).sum(-1)).mean()
            kl = gaussian_kl(old, new)
            entropy = self._entropy(new, generator)
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
            new = self.actor(x)
        # The paper's share of effective samples leaves out the first epoch, on-policy by construction.
        kept, top = torch.stack(epochs[1:] or epochs)[:, :2].mean(0)
        nats, norm = torch.stack(epochs)[:, 2:].mean(0)
        kl, std = mean_over_ranks(torch.stack([gaussian_kl(old, new).mean(), new.std.mean()]).detach())
        return {
            "lr/actor": self.learning_rate(self.actor_lr),
            "lr/critic": self.learning_rate(self.critic_lr),
            "actor/kl": kl,
            "actor/kl_coef": self.kl_coef,
            "actor/effective_samples": kept,
            "actor/max_ratio": top,
            "actor/grad_norm": norm,
            "actor/entropy": nats,
            "actor/std": std,
        }

    def fit_critic(
        self, batch: RolloutBatch, x: Tensor, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Take L passes of regression on the TD(lambda) targets, mean squared error over critics."""
        target = lambda_return(batch.reward + batch.bonus, batch.next_value, batch.done, self.discount, self.td_lambda)
        x, target = x.flatten(0, 1), target.flatten()
        params = list(self.critic.parameters())
        losses = []
        for _ in range(self.critic_epochs):
            if self.shuffle:
                order = torch.randperm(len(x), generator=generator, device=x.device)
                x, target = x[order], target[order]
            parts = (tensor.tensor_split(self.critic_minibatches) for tensor in (x, target))
            for x_part, target_part in zip(*parts, strict=True):
                with torch.autocast(x.device.type, torch.bfloat16, enabled=self.critic_precision == "bf16"):
                    value = self.critic(x_part)
                loss = (value - target_part).square().mean()
                self.apply_gradients(optimizer, params, loss, self.max_grad_norm)
                losses.append(loss.detach())
        return {"critic/loss": mean_over_ranks(torch.stack(losses).mean())}

    def _entropy(self, policy: SquashedGaussian, generator: torch.Generator) -> Tensor:
        """Entropy estimate (...,) from one fresh sample per state."""
        shape, dtype = policy.mean.shape, policy.mean.dtype
        return policy.entropy(torch.randn(shape, generator=generator, device=generator.device, dtype=dtype))

    def _bonus(self, entropy: Tensor) -> Tensor:
        return entropy_bonus(entropy, self.target_entropy, self.entropy_offset)
