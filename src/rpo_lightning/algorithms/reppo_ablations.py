"""REPPO with parts of it replaced: by those its paper compares it to, or by those of the published code."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rpo_lightning.algorithms.options import Range, at_least
from rpo_lightning.algorithms.reppo import REPPO
from rpo_lightning.algorithms.reppo_samples import Samples
from rpo_lightning.distributed import standardize
from rpo_lightning.losses import clipped_surrogate
from rpo_lightning.nn import Norm, SquashedGaussian
from rpo_lightning.rollout import RolloutBatch
from rpo_lightning.seeding import normal

__all__ = ["REPPOAblation"]

SCORE_CLIP = 0.2
"""Ratios count within 1 -+ this where the surrogate is clipped ("score_gae")."""
PAPER_RANGE = (0.0, 150.0)


class REPPOAblation(REPPO):
    """REPPO whose gradient, constraint or details may be others; by default it is REPPO.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        policy_gradient: pathwise: through the action value; score_q: likelihood ratio weighted by it; score_gae:
            likelihood ratio weighted by the generalised advantage, clipped as in PPO.
        kl_control: switch: states whose KL is beyond the target are only pulled back; penalty: all are; none.
        kl_estimator: analytic, or mc: mean over samples of the old policy. None: analytic, mc under compat "paper".
        kl_samples: k of the estimator mc.
        norm: of hidden layers. None: layer, rms under compat "paper".
        return_scaling: whether rewards are divided so that returns fit the range of values. None: yes, no under compat
            "paper".
        value_range: lowest and highest value, in scaled units. None: -150 and 150; 0 and 150 under compat "paper".
        compat: paper: what the published code does and we do not: the multipliers are parameters of the actor, with its
            rate, decay and clipping; entropy is charged, and next features predicted, beyond failures too; and the
            defaults above.
        options: those of REPPO.

    """

    ranges: ClassVar[dict[str, Range]] = {"kl_samples": at_least(1)}

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        policy_gradient: Literal["pathwise", "score_q", "score_gae"] = "pathwise",
        kl_control: Literal["switch", "penalty", "none"] = "switch",
        kl_estimator: Literal["analytic", "mc"] | None = None,
        kl_samples: int = 16,
        norm: Norm | None = None,
        return_scaling: bool | None = None,
        value_range: tuple[float, float] | None = None,
        compat: Literal["paper"] | None = None,
        **options: Any,
    ) -> None:
        paper = compat == "paper"
        given = {"norm": norm, "return_scaling": return_scaling, "value_range": value_range}
        published = {"norm": "rms", "return_scaling": False, "value_range": PAPER_RANGE} if paper else {}
        options |= published | {name: value for name, value in given.items() if value is not None}
        super().__init__(obs_dim, action_dim, total_env_steps, **options)
        self.paper = paper
        self.policy_gradient = policy_gradient
        self.kl_control = kl_control
        self.kl_estimator = kl_estimator or ("mc" if paper else "analytic")
        self.kl_samples = kl_samples
        self.after_failure = 1.0 if paper else 0.0

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers; the paper's multipliers are the actor's, and decay with it."""
        if not self.paper:
            return super().configure_optimizers()
        return [
            self.adamw([*self.actor.parameters(), *self.multipliers], self.actor_lr),
            self.adamw(self.critic.parameters(), self.critic_lr),
        ]

    @torch.no_grad()
    def targets(self, batch: RolloutBatch, generator: torch.Generator) -> Samples:
        """Return the window as REPPO does, with its advantages for score_gae."""
        spoken = self.scale
        samples = super().targets(batch, generator)
        if self.policy_gradient != "score_gae":
            return samples
        policy = self.actor(self.normalizer(batch.obs))
        y = self.critic_input(batch.obs, batch.privileged)
        value = self.values(y, policy.action(policy.from_noise(policy.noise(generator))))
        advantage = samples.target - (spoken / self.scale * value).view_as(samples.target)
        return samples._replace(advantage=standardize(advantage))

    def objective(self, part: Samples, policy: SquashedGaussian, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what is to be minimised in every state, and the log density of the action drawn there, both (B,)."""
        if self.policy_gradient == "pathwise":
            return super().objective(part, policy, generator)
        u = policy.from_noise(policy.noise(generator))
        log_prob = policy.action_log_prob(u)
        if self.policy_gradient == "score_gae":
            old = SquashedGaussian(part.mean, part.log_std)
            log_ratio = policy.log_prob(part.sample) - old.log_prob(part.sample)
            surrogate = clipped_surrogate(log_ratio, part.advantage.squeeze(-1), SCORE_CLIP)
            return self.temperature * log_prob - surrogate, log_prob
        # A second action of the policy is the baseline of the first.
        with torch.no_grad():
            other = policy.from_noise(policy.noise(generator))
            weight = self.soft_value(part.y, u, log_prob) - self.soft_value(part.y, other, policy.action_log_prob(other))
        return -weight * policy.action_log_prob(u.detach()), log_prob

    def kl(self, old: SquashedGaussian, new: SquashedGaussian, generator: torch.Generator) -> Tensor:
        """Return KL(old || new) of every state (B,), or its estimate, which the tanh does not change either."""
        if self.kl_estimator == "analytic":
            return super().kl(old, new, generator)
        shape = (self.kl_samples, *old.mean.shape)
        u = old.from_noise(normal(shape, generator, like=old.mean))
        return (old.log_prob(u) - new.log_prob(u)).mean(0)

    def constrain(self, objective: Tensor, kl: Tensor) -> Tensor:
        """Return the loss of every state (B,) under another constraint, or none."""
        if self.kl_control == "switch":
            return super().constrain(objective, kl)
        return objective + self.log_kl_coef.detach().exp() * kl if self.kl_control == "penalty" else objective

    def descend(self, loss: Tensor, multiplier_loss: Tensor, optimizers: list[torch.optim.Optimizer]) -> Tensor:
        """Take a step of the actor and the multipliers, the paper's together; return the norm of the gradient."""
        if not self.paper:
            return super().descend(loss, multiplier_loss, optimizers)
        params = [*self.actor.parameters(), *self.multipliers]
        return self.apply_gradients(optimizers[0], params, loss + multiplier_loss, self.max_grad_norm)
