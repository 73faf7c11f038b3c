"""What RPO, SHAC, SAPO and GI-PPO share: actor, state values, and the critics' regression."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from rpo_lightning.algorithms.base import LRSchedule, RLModule
from rpo_lightning.distributed import mean_over_ranks
from rpo_lightning.nn import Actor, CriticEnsemble, RunningNormalizer, SquashedGaussian
from rpo_lightning.returns import lambda_return, segment_discounts, segment_ends
from rpo_lightning.rollout import RolloutBatch, Window

__all__ = ["ActorCritic"]


class ActorCritic(RLModule):
    """A squashed Gaussian actor and an ensemble of state values, fitted to TD(lambda) targets.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        discount: gamma.
        td_lambda: lambda of the critic's targets.
        critic_epochs: L, passes over the window.
        critic_minibatches: steps per pass.
        actor_lr: learning rate of the actor at the start.
        critic_lr: learning rate of the critics at the start.
        lr_schedule: exponential or linear: fall of both learning rates over the budget; constant; kl: moved to keep
            KL(old || new) near 0.008.
        final_lr: learning rate at the end of the budget.
        max_grad_norm: gradients are clipped to this norm, actor and critics apart.
        hidden: hidden sizes of actor and critics.
        num_critics: size of the critic ensemble.
        target_reduction: ensemble reduction in the critic's targets; the actor always uses the mean.
        target_smoothing: values come from a copy of the critics, which keeps this share of itself in every iteration;
            0: from the critics.
        bootstrap_state: state whose value ends a window: the one reached, or "current", the one before the
            last step as in the paper's probable code base.
        shuffle: whether critic minibatches are random instead of consecutive in time.
        critic_precision: of the hidden layers in the critics' regression; bf16 is faster where the processor has it.
            The policy stays in float32, so that the one that learns is the one that acted.
        betas: AdamW's.
        weight_decay: AdamW's.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        discount: float = 0.99,
        td_lambda: float = 0.95,
        critic_epochs: int = 16,
        critic_minibatches: int = 4,
        actor_lr: float = 5e-4,
        critic_lr: float = 5e-4,
        lr_schedule: LRSchedule = "linear",
        final_lr: float = 1e-5,
        max_grad_norm: float = 0.5,
        hidden: Sequence[int] = (400, 200, 100),
        num_critics: int = 2,
        target_reduction: Literal["mean", "min"] = "min",
        target_smoothing: float = 0.0,
        bootstrap_state: Literal["next", "current"] = "next",
        shuffle: bool = False,
        critic_precision: Literal["32", "bf16"] = "32",
        betas: tuple[float, float] = (0.7, 0.95),
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(obs_dim, action_dim, total_env_steps, discount, lr_schedule, final_lr)
        self.td_lambda = td_lambda
        self.critic_epochs = critic_epochs
        self.critic_minibatches = critic_minibatches
        self.actor_lr = actor_lr
        self.critic_lr = critic_lr
        self.max_grad_norm = max_grad_norm
        self.target_reduction = target_reduction
        self.target_smoothing = target_smoothing
        self.bootstrap_state = bootstrap_state
        self.shuffle = shuffle
        if critic_precision not in ("32", "bf16"):
            raise ValueError(f"critic_precision must be '32' or 'bf16', got {critic_precision!r}")
        self.critic_precision = critic_precision
        self.betas = betas
        self.weight_decay = weight_decay
        self.normalizer = RunningNormalizer(obs_dim)
        self.build_networks(obs_dim, action_dim, hidden, num_critics)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False) if target_smoothing > 0.0 else None

    def build_networks(self, obs_dim: int, action_dim: int, hidden: Sequence[int], num_critics: int) -> None:
        """Make `actor` and `critic`."""
        self.actor = Actor(obs_dim, action_dim, hidden)
        self.critic = CriticEnsemble(obs_dim, hidden, num_critics)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers of actor and critics."""
        return [
            torch.optim.AdamW(network.parameters(), lr=rate, betas=self.betas, weight_decay=self.weight_decay, fused=True)
            for network, rate in ((self.actor, self.actor_lr), (self.critic, self.critic_lr))
        ]

    def value(self, obs: Tensor) -> Tensor:
        """Return the mean of the critics (...,) at raw observations (..., D)."""
        return self._values(obs).mean(0)

    def target_value(self, obs: Tensor) -> Tensor:
        """Return the value (...,) that the critics' targets bootstrap from."""
        values = self._values(obs)
        return values.mean(0) if self.target_reduction == "mean" else values.amin(0)

    def _values(self, obs: Tensor) -> Tensor:
        critic = self.critic if self.target_critic is None else self.target_critic
        return critic(self.normalizer(obs))

    def window_objective(self, window: Window) -> Tensor:
        """Sum over environments the discounted return of every segment, with the critic at its end.

        The critic is differentiated only where a segment ends and the state reached has a value.
        """
        weight = segment_discounts(window.done, self.discount)
        ends = segment_ends(window.done) & window.alive
        bootstrap = weight[ends] * self.discount * self.value(window.reached[ends])
        return (weight * window.reward).sum() + bootstrap.sum()

    def fit_critic(
        self, batch: RolloutBatch, x: Tensor, reward: Tensor, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> dict[str, Tensor | float]:
        """Take L passes of regression on the TD(lambda) targets, mean squared error over critics.

        Args:
            batch: the window.
            x: its normalised observations (H, N, D).
            reward: rewards with whatever bonus the value is to contain (H, N).
            optimizer: of the critics.
            generator: for the order of shuffled minibatches.
        """
        target = lambda_return(reward, batch.next_value, batch.done, self.discount, self.td_lambda)
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
        if self.target_critic is not None:
            self.target_critic.follow(self.critic, 1.0 - self.target_smoothing)
        return {"critic/loss": mean_over_ranks(torch.stack(losses).mean()), "lr/critic": self.learning_rate(self.critic_lr)}

    def sampled_entropy(self, policy: SquashedGaussian, generator: torch.Generator) -> Tensor:
        """Estimate the action's entropy (...,) in nats from one fresh sample per state."""
        return policy.entropy(policy.noise(generator))
