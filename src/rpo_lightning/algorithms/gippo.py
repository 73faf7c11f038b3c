"""Gradient-Informed PPO (arXiv 2312.08710): a policy step by analytic gradients, then PPO from there."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rpo_lightning.algorithms.first_order import FirstOrder
from rpo_lightning.algorithms.learning_rate import LRSchedule
from rpo_lightning.algorithms.options import Range, above, at_least, within
from rpo_lightning.distributed import max_over_ranks, mean_over_ranks, standardize
from rpo_lightning.losses import clipped_surrogate, gaussian_kl, inside_clip, regenerate
from rpo_lightning.nn import SquashedGaussian
from rpo_lightning.returns import lambda_return, segment_discounts
from rpo_lightning.rollout import RolloutBatch, Window

__all__ = ["GIPPO"]

RETRIES = 8
RETRY_FACTOR = 1.5
LOWEST_LR = 1e-5
LOG_RATIO_LIMIT = 16.0
SMALLEST_WEIGHT = 1e-6


class GIPPO(FirstOrder):
    """Move the samples along the gradients of their advantages, fit the policy to them, and let PPO correct the bias.

    How far the samples move, alpha, adapts: to the change of the policy's spread, to the share of samples that leaves
    PPO's clip range, and to how well the step predicted its own gain.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        alpha: distance of the samples' move at the start.
        alpha_interval: the product of the standard deviations' ratios may leave 1 by so much.
        alpha_factor: alpha is multiplied or divided by it.
        max_out_of_range: share of samples that may leave the clip range by the alpha step.
        fit_steps: full-batch steps that fit the policy to the moved samples.
        actor_epochs: full-batch epochs of PPO after it.
        clip: PPO's.
        options: those of FirstOrder and RLModule; td_lambda is that of the advantages, too.
    """

    name = "gippo"
    recurrent = False
    ranges: ClassVar[dict[str, Range]] = {
        "alpha": above(0.0),
        "alpha_interval": within(0.0, 1.0, low_open=True, high_open=True),
        "alpha_factor": above(1.0),
        "max_out_of_range": within(0.0, 1.0),
        "fit_steps": at_least(1),
        "clip": at_least(0.0),
        "td_lambda": within(0.0, 1.0, low_open=True),
    }
    moved_by_training: ClassVar[dict[str, str]] = {"alpha": "alpha", "actor_lr": "fit_lr"}
    alpha: Tensor
    fit_lr: Tensor
    ppo_lr: Tensor
    gains: Tensor

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        alpha: float = 0.5,
        alpha_interval: float = 0.4,
        alpha_factor: float = 1.02,
        max_out_of_range: float = 0.8,
        fit_steps: int = 16,
        actor_epochs: int = 5,
        clip: float = 0.2,
        lr_schedule: LRSchedule = "constant",
        max_grad_norm: float = 1.0,
        target_reduction: Literal["mean", "min"] = "mean",
        target_smoothing: float = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(
            obs_dim,
            action_dim,
            total_env_steps,
            lr_schedule=lr_schedule,
            max_grad_norm=max_grad_norm,
            target_reduction=target_reduction,
            target_smoothing=target_smoothing,
            **options,
        )
        self.alpha_interval = alpha_interval
        self.alpha_factor = alpha_factor
        self.max_out_of_range = max_out_of_range
        self.fit_steps = fit_steps
        self.actor_epochs = actor_epochs
        self.clip = clip
        self.register_buffer("alpha", torch.tensor(alpha))
        self.register_buffer("fit_lr", torch.tensor(self.actor_lr))
        self.register_buffer("ppo_lr", torch.tensor(self.actor_lr))
        """The rate at which PPO's epochs have last lowered their loss."""
        self.register_buffer("gains", torch.zeros(3, dtype=torch.float64))
        """Number, sum and sum of squares of the predicted gains of all iterations."""

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers of PPO's epochs, of the critics, and of the fit to the moved samples."""
        return [*super().configure_optimizers(), self.adamw(self.actor.parameters(), self.actor_lr)]

    def window_objective(self, window: Window) -> Tensor:
        """Sum over environments the lambda-weighted advantage A_0 of every segment's first step.

        A_0 = sum_t (gamma lambda)^t (r_t + gamma V(s_{t+1}) - V(s_t)), so that its gradient with respect to u_t is
        (gamma lambda)^t times that of A_t: one backward pass yields all of them.
        """
        future = torch.where(window.alive, self.critics.mean(self.end_state(window)), 0.0)
        value = self.value(window.obs, window.privileged)
        residual = window.reward + self.discount * future - value
        return (segment_discounts(window.done, self.discount * self.td_lambda) * residual).sum()

    def advantage_grad(self, batch: RolloutBatch) -> Tensor:
        """Return dA_t/du_t (H, N, A), each of its own step's advantage."""
        assert batch.action_grad is not None
        weight = segment_discounts(batch.done, self.discount * self.td_lambda)[..., None]
        # beyond some steps of a small gamma lambda nothing of a gradient is left to divide
        return torch.where(weight > SMALLEST_WEIGHT, batch.action_grad / weight.clamp(min=SMALLEST_WEIGHT), 0.0)

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Take the alpha step, PPO's epochs, and L critic epochs on one window."""
        optimizers = self.scheduled_optimizers(self.actor_lr, self.critic_lr)
        actor_optimizer, critic_optimizer, fit_optimizer = optimizers
        generator = self.generator(batch)
        x = self.normalizer(batch.obs)
        with torch.no_grad():
            old = self.actor(x)
            value = self.critics.bootstrap(self.critic_input(batch.obs, batch.privileged))
        target = lambda_return(batch.reward, batch.next_value, batch.done, self.discount, self.td_lambda)
        advantage = target - value
        metrics = self.follow_gradients(batch, x, old, advantage, fit_optimizer)
        metrics |= self.correct(batch, x, old, advantage, actor_optimizer)
        nats = mean_over_ranks(self.sampled_entropy(old, generator).mean())
        metrics |= self.fit_critics(batch, batch.reward, critic_optimizer, generator)
        self.rates.adapt(metrics["actor/kl"])
        self.update_normalizers(batch)
        return {**metrics, "actor/entropy": nats}

    def follow_gradients(
        self, batch: RolloutBatch, x: Tensor, old: SquashedGaussian, advantage: Tensor, optimizer: torch.optim.Optimizer
    ) -> dict[str, Tensor | float]:
        """Fit the policy to the samples moved by alpha dA/du, and adapt alpha."""
        moved = batch.sample + self.alpha * self.advantage_grad(batch)

        def distance() -> Tensor:
            return (regenerate(self.actor(x), batch.sample, source=old) - moved).square().sum(-1).mean()

        taken_back, _ = self._descend(distance, self.fit_steps, optimizer, float(self.fit_lr))
        with torch.no_grad():
            new = self.actor(x)
        spread = (new.log_std - old.log_std).sum(-1)
        widest, narrowest = max_over_ranks(torch.stack([spread.max(), -spread.min()]))
        log_ratio = (new.log_prob(batch.sample) - old.log_prob(batch.sample)).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        change = log_ratio.exp() - 1.0
        means = torch.stack([(change.abs() > self.clip).float().mean(), (advantage * change).mean()])
        outside, gain = mean_over_ranks(means)
        surprise = self._standardize(gain)

        before = self.alpha.clone()
        if taken_back == RETRIES:
            self.fit_lr.div_(RETRY_FACTOR).clamp_(min=LOWEST_LR)
        elif widest > math.log(1.0 + self.alpha_interval) or -narrowest < math.log(1.0 - self.alpha_interval):
            self.alpha.div_(self.alpha_factor)
        else:
            self.alpha.mul_(self.alpha_factor)
        if outside > self.max_out_of_range or (gain < 0.0 and surprise < -1.0):
            self.alpha.copy_(before / self.alpha_factor)
        self.alpha.clamp_(max=1.0)
        return {
            "actor/alpha": before,
            "actor/alpha_kl": mean_over_ranks(gaussian_kl(old, new).mean()),
            "actor/alpha_outside": outside,
            "actor/alpha_taken_back": float(taken_back),
        }

    def correct(
        self, batch: RolloutBatch, x: Tensor, old: SquashedGaussian, advantage: Tensor, optimizer: torch.optim.Optimizer
    ) -> dict[str, Tensor | float]:
        """Run PPO from the alpha policy, with ratios to the mixture of it and the behaviour policy.

        The rate begins at 1.5 times the one that has last lowered the loss: once the policy is narrow, that of the start is
        hundreds of times too large for it.
        """
        with torch.no_grad():
            log_old, log_alpha = old.log_prob(batch.sample), self.actor(x).log_prob(batch.sample)
        # Samples that pi_alpha has left behind have ratios near 0 to the mixture, and no say. With ratios to pi_alpha alone
        # theirs would be 1, and their steep densities all that the loss sees.
        reference = torch.logaddexp(log_old, log_alpha) - math.log(2.0)
        normalized = standardize(advantage)

        def surrogate() -> Tensor:
            log_ratio = (self.actor(x).log_prob(batch.sample) - reference).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
            return -clipped_surrogate(log_ratio, normalized, self.clip).mean()

        rate = min(self.learning_rate(self.actor_lr), float(self.ppo_lr) * RETRY_FACTOR)
        taken_back, norm = self._descend(surrogate, self.actor_epochs, optimizer, rate)
        rate /= RETRY_FACTOR**taken_back
        self.ppo_lr.fill_(rate)
        with torch.no_grad():
            new = self.actor(x)
        ratio = (new.log_prob(batch.sample) - reference).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
        kept = mean_over_ranks(inside_clip(ratio, self.clip, self.clip).float().mean())
        step = self.measure_step(old, new)
        return {
            **step,
            "actor/lr": rate,
            "actor/effective_samples": kept,
            "actor/taken_back": float(taken_back),
            "actor/max_ratio": max_over_ranks(ratio.max()),
            "actor/grad_norm": norm,
        }

    def _descend(
        self, loss_of: Callable[[], Tensor], steps: int, optimizer: torch.optim.Optimizer, rate: float
    ) -> tuple[int, Tensor]:
        """Take steps on the actor; where the loss has risen, go back and try with a smaller rate.

        Returns:
            number of tries taken back (if all eight, the actor is what it was), and the mean gradient norm of the last.
        """
        params = list(self.actor.parameters())
        weights, state = [param.detach().clone() for param in params], copy.deepcopy(optimizer.state_dict())
        for taken_back in range(RETRIES):
            for group in optimizer.param_groups:
                group["lr"] = rate
            first, norms = torch.zeros((), device=self.device), []
            for step in range(steps):
                loss = loss_of()
                first = loss.detach() if step == 0 else first
                norms.append(self.apply_gradients(optimizer, params, loss, self.max_grad_norm))
            with torch.no_grad():
                first, last = mean_over_ranks(torch.stack([first, loss_of()]))
            if last <= first:
                return taken_back, torch.stack(norms).mean()
            with torch.no_grad():
                for param, weight in zip(params, weights, strict=True):
                    param.copy_(weight)
            optimizer.load_state_dict(copy.deepcopy(state))
            rate /= RETRY_FACTOR
        return RETRIES, torch.stack(norms).mean()

    def _standardize(self, gain: Tensor) -> Tensor:
        """Measure a gain in standard deviations of those so far, itself included; one that is not finite is none."""
        if not gain.isfinite():
            return torch.zeros_like(gain)
        self.gains += torch.stack([torch.ones_like(gain), gain, gain.square()]).double()
        count, total, squares = self.gains
        mean = total / count
        return (gain - mean) / ((squares / count - mean.square()).clamp(min=0.0).sqrt() + 1e-8)
