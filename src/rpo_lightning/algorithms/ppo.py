"""Proximal Policy Optimization (arXiv 1707.06347), for what it gains without gradients of the simulation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rpo_lightning.algorithms.base import ActorFactory, RLModule
from rpo_lightning.algorithms.learning_rate import LRSchedule
from rpo_lightning.algorithms.options import Range, at_least, within
from rpo_lightning.distributed import max_over_ranks, mean_over_ranks, standardize
from rpo_lightning.losses import clipped_surrogate, gaussian_kl, importance_ratio, inside_clip
from rpo_lightning.nn import ClippedGaussian, RunningNormalizer, SharedActorCritic
from rpo_lightning.returns import lambda_return
from rpo_lightning.rollout import RolloutBatch, Window

__all__ = ["PPO"]

NORMALIZED_LIMIT = 5.0
"""Normalised observations and value targets are clamped to this."""


class PPO(RLModule):
    """Several epochs of minibatches on the clipped surrogate and the value, with one network for both.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        td_lambda: lambda of the generalised advantage estimate.
        actor_epochs: passes over the window.
        minibatch_size: samples of a gradient step, per process.
        clip: ratios count up to 1 - clip and 1 + clip.
        value_coef: weight of the mean squared error of the normalised value.
        entropy_coef: weight of the Gaussian's entropy, nats summed over dimensions.
        timeout_bootstrap: whether an episode cut off by the time limit is continued by the value of the state reached;
            False: the time limit counts as failure, as in the code of the papers compared to.
        network: (D, A) -> network from (x, y=None), what policy and value see, to a distribution and a value; None:
            `SharedActorCritic` with `hidden`.
        hidden: hidden sizes of the network that is not given.
        options: those of RLModule; schedule kl is applied after every epoch.
    """

    name = "ppo"
    capturable = True
    needs_action_grad = False
    ranges: ClassVar[dict[str, Range]] = {
        "td_lambda": within(0.0, 1.0),
        "actor_epochs": at_least(1),
        "minibatch_size": at_least(1),
        "clip": at_least(0.0),
        "value_coef": at_least(0.0),
        "entropy_coef": at_least(0.0),
    }

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        td_lambda: float = 0.95,
        actor_epochs: int = 5,
        minibatch_size: int = 2048,
        lr_schedule: LRSchedule = "kl",
        clip: float = 0.2,
        value_coef: float = 2.0,
        entropy_coef: float = 0.0,
        timeout_bootstrap: bool = True,
        network: ActorFactory | None = None,
        hidden: Sequence[int] = (400, 200, 100),
        **options: Any,
    ) -> None:
        super().__init__(obs_dim, action_dim, total_env_steps, lr_schedule=lr_schedule, **options)
        self.td_lambda = td_lambda
        self.actor_epochs = actor_epochs
        self.minibatch_size = minibatch_size
        self.clip = clip
        self.value_coef = value_coef
        self.entropy_coef = entropy_coef
        self.timeout_bootstrap = timeout_bootstrap
        self.normalizer = RunningNormalizer(obs_dim, limit=NORMALIZED_LIMIT)
        self.value_normalizer = RunningNormalizer(1, limit=NORMALIZED_LIMIT)
        if network is None:
            self.actor = SharedActorCritic(obs_dim, action_dim, hidden, self.privileged_dim)
        else:
            self.actor = network(obs_dim, action_dim)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizer of the network."""
        return [self.adamw(self.actor.parameters(), self.actor_lr, eps=1e-5)]

    def policy(self, obs: Tensor) -> ClippedGaussian:
        """Return the action distribution (..., A) at raw observations (..., D)."""
        return self.actor(self.normalizer(obs))[0]

    def next_value(self, window: Window) -> Tensor:
        """Return the values (H, N) of the states reached, in units of the return."""
        y = self.critic_input(window.reached, window.reached_privileged)
        return self._unscaled(self.actor(self.normalizer(window.reached), y)[1])

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Run the epochs on one window."""
        (optimizer,) = self.scheduled_optimizers(self.actor_lr)
        # Actions, values and every epoch see the same normalised observations.
        x, y = self.normalizer(batch.obs), self.critic_input(batch.obs, batch.privileged)
        advantage, target = self.estimate(batch, x, y)
        metrics = self.improve(batch, x, y, advantage, target, optimizer)
        self.update_normalizers(batch)
        return metrics

    @torch.no_grad()
    def estimate(self, batch: RolloutBatch, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the generalised advantages and the value targets (H, N), both in units of the return."""
        value = self._unscaled(self.actor(x, y)[1])
        cut = batch.truncated & (not self.timeout_bootstrap)
        next_value = torch.where(cut, 0.0, batch.next_value)
        target = lambda_return(batch.reward, next_value, batch.done, self.discount, self.td_lambda)
        return target - value, target

    def improve(
        self,
        batch: RolloutBatch,
        x: Tensor,
        y: Tensor,
        advantage: Tensor,
        target: Tensor,
        optimizer: torch.optim.Optimizer,
    ) -> dict[str, Tensor | float]:
        """Take the epochs' gradient steps on surrogate, value and entropy; x and y are what actor and critic see."""
        advantage = standardize(advantage)
        self.value_normalizer.update(target[..., None])
        target = self.value_normalizer(target[..., None]).squeeze(-1)
        behaviour = ClippedGaussian(batch.mean, batch.log_std)
        # A minibatch is a stretch of time of some environments.
        columns = [x, y, batch.sample, behaviour.log_prob(batch.sample), advantage, target]
        flat = [column.transpose(0, 1).flatten(0, 1) for column in columns]
        minibatches = max(1, len(flat[0]) // self.minibatch_size)

        params = list(self.actor.parameters())
        previous, records, epochs = behaviour, [], []
        for epoch in range(self.actor_epochs):
            for part in zip(*(column.tensor_split(minibatches) for column in flat), strict=True):
                x_part, y_part, sample, old_log_prob, advantage_part, target_part = part
                policy, value = self.actor(x_part, y_part)
                log_ratio = policy.log_prob(sample) - old_log_prob
                surrogate = clipped_surrogate(log_ratio, advantage_part, self.clip).mean()
                error = (value - target_part).square().mean()
                entropy = policy.sample_entropy().sum(-1).mean()
                loss = -surrogate + self.value_coef * error - self.entropy_coef * entropy
                norm = self.apply_gradients(optimizer, params, loss, self.max_grad_norm)
                records.append(torch.stack([error.detach(), entropy.detach(), norm]))
            with torch.no_grad():
                new = self.actor(x)[0]
            ratio = importance_ratio(new, behaviour, batch.sample)
            inside = inside_clip(ratio, self.clip, self.clip)
            moved = mean_over_ranks(torch.stack([gaussian_kl(previous, new).mean(), inside.float().mean()]))
            top = max_over_ranks(ratio.max())
            epochs.append(torch.stack([moved[1], top]))
            self.hook("on_actor_epoch_end", epoch, {"kl": moved[0], "effective_samples": moved[1], "max_ratio": top})
            previous = new
            self.rates.adapt(moved[0])
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate(self.actor_lr)
        error, entropy, norm = mean_over_ranks(torch.stack(records).mean(0))
        kept, top = torch.stack(epochs).mean(0)
        return {
            **self.measure_step(behaviour, previous),
            "actor/lr": self.learning_rate(self.actor_lr),
            "actor/effective_samples": kept,
            "actor/max_ratio": top,
            "actor/grad_norm": norm,
            "actor/entropy": entropy,
            "critic/loss": error,
        }

    def _unscaled(self, value: Tensor) -> Tensor:
        return self.value_normalizer.inverse(value[..., None]).squeeze(-1)
