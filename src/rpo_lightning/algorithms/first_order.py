"""What RPO, NAPG, SHAC, SAPO and GI-PPO have in common: a squashed Gaussian actor, critics of states, and their options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rpo_lightning.algorithms.base import ActorFactory, RLModule
from rpo_lightning.algorithms.critics import Critics
from rpo_lightning.algorithms.learning_rate import LRSchedule
from rpo_lightning.algorithms.options import Range, above, at_least, within
from rpo_lightning.distributed import mean_over_ranks
from rpo_lightning.nn import Actor, CriticEnsemble, RunningNormalizer, SquashedGaussian
from rpo_lightning.returns import lambda_return, segment_discounts, segment_ends
from rpo_lightning.rollout import RolloutBatch, Window

__all__ = ["FirstOrder"]


class FirstOrder(RLModule):
    """Learn from action-gradients, with values of states at the window's end.

    The rollout caches the gradients of `window_objective`, the one below or an algorithm's own; `update` learns from them.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        td_lambda: lambda of the critics' targets.
        critic_epochs: L, passes over the window.
        critic_minibatches: steps per pass.
        critic_lr: learning rate of the critics at the start.
        actor: (D, A) -> network from normalised observations to a distribution; None: `Actor` with `hidden`.
        critic: (D + P) -> network from normalised observations to the values (C, ...) of C critics; None: `CriticEnsemble`
            with `hidden` and `num_critics`.
        hidden: hidden sizes of the networks that are not given.
        num_critics: size of the ensemble that is not given.
        target_reduction: ensemble reduction in the critics' targets; the actor always uses the mean.
        target_smoothing: values come from a copy of the critics, which keeps this share of itself in every iteration;
            0: from the critics.
        bootstrap_state: state whose value ends a window: the one reached, or "current", the one before the
            last step as in the paper's probable code base.
        shuffle: whether critic minibatches are random instead of consecutive in time.
        critic_precision: of the hidden layers in the critics' regression; bf16 is faster where the processor has it.
            The policy stays in float32, so that the one that learns is the one that acted.
        value_unit: what 1 of the critics' networks is worth in rewards. Values are 1 / (1 - gamma) rewards; with 1, the
            papers', first weights are that far away from them.
        options: those of RLModule.
    """

    recurrent = True
    ranges: ClassVar[dict[str, Range]] = {
        "td_lambda": within(0.0, 1.0),
        "critic_epochs": at_least(1),
        "critic_minibatches": at_least(1),
        "critic_lr": at_least(0.0),
        "num_critics": at_least(1),
        "target_smoothing": within(0.0, 1.0, high_open=True),
        "value_unit": above(0.0),
        "actor_epochs": at_least(1),
    }

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        td_lambda: float = 0.95,
        critic_epochs: int = 16,
        critic_minibatches: int = 4,
        critic_lr: float = 5e-4,
        lr_schedule: LRSchedule = "linear",
        actor: ActorFactory | None = None,
        critic: Callable[[int], nn.Module] | None = None,
        hidden: Sequence[int] = (400, 200, 100),
        num_critics: int = 2,
        target_reduction: Literal["mean", "min"] = "min",
        target_smoothing: float = 0.0,
        bootstrap_state: Literal["next", "current"] = "next",
        shuffle: bool = False,
        critic_precision: Literal["32", "bf16"] = "32",
        value_unit: float = 1.0,
        betas: tuple[float, float] = (0.7, 0.95),
        **options: Any,
    ) -> None:
        super().__init__(obs_dim, action_dim, total_env_steps, lr_schedule=lr_schedule, betas=betas, **options)
        self.td_lambda = td_lambda
        self.critic_lr = critic_lr
        self.bootstrap_state = bootstrap_state
        self.normalizer = RunningNormalizer(obs_dim)
        self.actor = Actor(obs_dim, action_dim, hidden) if actor is None else actor(obs_dim, action_dim)
        inputs = obs_dim + self.privileged_dim
        ensemble = CriticEnsemble(inputs, hidden, num_critics) if critic is None else critic(inputs)
        self.critics = Critics(
            ensemble,
            critic_epochs,
            critic_minibatches,
            target_reduction,
            target_smoothing,
            shuffle,
            critic_precision,
            value_unit,
        )

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers of actor and critics."""
        return [
            self.adamw(self.actor.parameters(), self.actor_lr),
            self.adamw(self.critics.ensemble.parameters(), self.critic_lr),
        ]

    def value(self, obs: Tensor, privileged: Tensor | None = None) -> Tensor:
        """Return the mean of the critics (...,) at raw observations (..., D) and privileged ones (..., P)."""
        return self.critics.mean(self.critic_input(obs, obs[..., :0] if privileged is None else privileged))

    def window_objective(self, window: Window) -> Tensor:
        """Return (), the sum over environments of the discounted returns of all segments, with the critics at their ends."""
        weight = segment_discounts(window.done, self.discount)
        ends = (segment_ends(window.done) & window.alive).nonzero(as_tuple=True)
        future = weight[ends] * self.discount * self.critics.mean(self.end_state(window)[ends])
        return (weight * window.reward).sum() + future.sum()

    def end_state(self, window: Window) -> Tensor:
        """Return the normalised critic inputs (H, N, K) of the states whose value may end a segment (`bootstrap_state`)."""
        if self.bootstrap_state == "next":
            return self.critic_input(window.reached, window.reached_privileged)
        cut = window.truncated[..., None]
        obs = torch.where(cut, window.reached, window.obs)
        return self.critic_input(obs, torch.where(cut, window.reached_privileged, window.privileged))

    def next_value(self, window: Window) -> Tensor:
        """Return the values (H, N) that the critics' targets bootstrap from."""
        return self.critics.bootstrap(self.end_state(window))

    def fit_critics(
        self, batch: RolloutBatch, reward: Tensor, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> dict[str, Tensor | float]:
        """Fit the critics to the TD(lambda) targets of a window; `reward` (H, N) has what bonus the value is to contain."""
        target = lambda_return(reward, batch.next_value, batch.done, self.discount, self.td_lambda)
        params = list(self.critics.ensemble.parameters())
        loss = self.critics.fit(
            self.critic_input(batch.obs, batch.privileged),
            target,
            lambda error: self.apply_gradients(optimizer, params, error, self.max_grad_norm),
            generator,
        )
        return {"critic/loss": mean_over_ranks(loss), "critic/lr": self.learning_rate(self.critic_lr)}

    def sampled_entropy(self, policy: SquashedGaussian, generator: torch.Generator) -> Tensor:
        """Estimate the action's entropy (...,) in nats from one fresh sample per state."""
        return policy.entropy(policy.noise(generator))
