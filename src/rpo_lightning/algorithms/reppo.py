"""Relative Entropy Pathwise Policy Optimization (arXiv 2507.11019): up the gradient of a learned action value, on-policy."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from rpo_lightning.algorithms.base import LRSchedule, RLModule
from rpo_lightning.distributed import mean_over_ranks, standardize
from rpo_lightning.losses import clipped_surrogate, gaussian_kl
from rpo_lightning.nn import ActionValue, HLGauss, MinStdActor, Norm, ReturnScaler, RunningNormalizer, SquashedGaussian
from rpo_lightning.returns import lambda_return, segment_discounts, segment_ends
from rpo_lightning.rollout import RolloutBatch, Window
from rpo_lightning.seeding import normal, permutation

__all__ = ["REPPO"]

log = logging.getLogger("rpo_lightning")

RETURN_LIMIT = 100.0
"""Scaled returns stay within this: those of rewards in [0, 1] at discount 0.99, for which the paper's rates were found."""
VALUE_RANGE = 150.0
"""Range of scaled values; entropy and errors of the critic take them beyond the returns."""
PAPER_RANGE = (0.0, 150.0)
CLIPPED_SHARE = 0.01
"""More targets than this outside the range of values are worth a warning."""
GRADIENT_LIMIT = 10.0
"""Times the median length: longer action-gradients are shortened to this."""
SCORE_CLIP = 0.2
"""Ratios count within 1 -+ this where the surrogate is clipped ("score_gae")."""


class Samples(NamedTuple):
    """Transitions of a window, or of a minibatch; leading dimensions (B,)."""

    x: Tensor
    """Normalised observations, (B, D)."""
    sample: Tensor
    """Samples u acted on, (B, A)."""
    mean: Tensor
    log_std: Tensor
    """Of the policy that acted, (B, A)."""
    next_x: Tensor
    """Normalised observations reached, before any reset, (B, D)."""
    next_action: Tensor
    """Fresh actions there, (B, A)."""
    action_grad: Tensor
    """Gradient of the scaled return with respect to u, NaN where the simulator supplies none, (B, A)."""
    alive: Tensor
    """1 where the state reached has a future, (B, 1)."""
    target: Tensor
    """Scaled soft lambda-returns, (B, 1)."""
    advantage: Tensor
    """Of the action taken, mean 0 and deviation 1, (B, 1)."""


class REPPO(RLModule):
    """Fit a soft action value to a window, climb it, and hold the policy to the one that acted by a KL constraint.

    No replay buffer, no target network, one critic. Sections are those of docs/reppo.md.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        discount: gamma.
        td_lambda: lambda of the soft returns.
        epochs: passes over the window.
        minibatch_size: samples of a step of critic and actor, per process.
        actor_lr: learning rate of the actor at the start.
        critic_lr: learning rate of the critic at the start.
        multiplier_lr: learning rate of log alpha and log beta; it follows no schedule. The paper's 3e-4 needs some 5 M steps
            until the constraint holds.
        lr_schedule: constant; exponential or linear: fall of actor's and critic's rate over the budget; kl: moved to keep
            KL(old || new) near 0.008.
        final_lr: learning rate at the end of the budget.
        policy_gradient: pathwise: through the action value; score_q: likelihood ratio weighted by it; score_gae:
            likelihood ratio weighted by the generalised advantage, clipped as in PPO.
        kl_control: switch: states whose KL is beyond the target are only pulled back; penalty: all are; none.
        kl_target: epsilon, of KL(old || new) per state [nats].
        kl_estimator: analytic, or mc: mean over samples of the old policy. None: analytic, mc under compat "paper".
        kl_samples: k of the estimator mc.
        init_temperature: alpha at the start.
        init_kl_coef: beta at the start.
        target_entropy_per_dim: the target entropy is minus this, nats per action dimension.
        critic_loss: hl_gauss: classification; mse: regression.
        bins: of the classification.
        return_scaling: whether rewards are divided so that returns fit the range of values. None: yes, no under compat
            "paper".
        value_range: lowest and highest value, in scaled units. None: -150 and 150; 0 and 150 under compat "paper".
        aux_coef: weight of the prediction of the next features.
        action_grad_coef: weight of the relative error of dQ/du against the simulator's action-gradients; above 0 the task
            must be differentiable.
        max_grad_norm: gradients are clipped to this norm, actor and critic apart.
        hidden: hidden sizes of the actor.
        critic_width: size of every layer of the critic.
        norm: of hidden layers. None: layer, rms under compat "paper".
        min_std: least standard deviation of the policy, before the tanh.
        critic_precision: of the critic's passes: 32, or bf16 for speed.
        weight_decay: AdamW's, for the networks.
        compat: paper: what the published code does and we do not: the multipliers are parameters of the actor, with its
            rate, decay and clipping; entropy is charged, and next features predicted, beyond failures too; and the
            defaults above.

    Raises:
        ValueError: for an option that cannot work.
    """

    name = "reppo"
    actor: MinStdActor

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        discount: float = 0.99,
        td_lambda: float = 0.95,
        epochs: int = 8,
        minibatch_size: int = 2048,
        actor_lr: float = 3e-4,
        critic_lr: float = 3e-4,
        multiplier_lr: float = 3e-3,
        lr_schedule: LRSchedule = "constant",
        final_lr: float = 1e-5,
        policy_gradient: Literal["pathwise", "score_q", "score_gae"] = "pathwise",
        kl_control: Literal["switch", "penalty", "none"] = "switch",
        kl_target: float = 0.1,
        kl_estimator: Literal["analytic", "mc"] | None = None,
        kl_samples: int = 16,
        init_temperature: float = 0.01,
        init_kl_coef: float = 0.01,
        target_entropy_per_dim: float = 0.5,
        critic_loss: Literal["hl_gauss", "mse"] = "hl_gauss",
        bins: int = 151,
        return_scaling: bool | None = None,
        value_range: tuple[float, float] | None = None,
        aux_coef: float = 1.0,
        action_grad_coef: float = 0.0,
        max_grad_norm: float = 0.5,
        hidden: Sequence[int] = (512, 512),
        critic_width: int = 512,
        norm: Norm | None = None,
        min_std: float = 0.1,
        critic_precision: Literal["32", "bf16"] = "32",
        weight_decay: float = 0.01,
        compat: Literal["paper"] | None = None,
    ) -> None:
        super().__init__(obs_dim, action_dim, total_env_steps, discount, lr_schedule, final_lr)
        _check(epochs=epochs, minibatch_size=minibatch_size, kl_samples=kl_samples)
        _check(init_temperature=init_temperature, init_kl_coef=init_kl_coef, kl_target=kl_target)
        _choose("policy_gradient", policy_gradient, "pathwise", "score_q", "score_gae")
        _choose("kl_control", kl_control, "switch", "penalty", "none")
        _choose("kl_estimator", kl_estimator, "analytic", "mc", None)
        _choose("critic_loss", critic_loss, "hl_gauss", "mse")
        _choose("critic_precision", critic_precision, "32", "bf16")
        _choose("compat", compat, "paper", None)
        paper = self.paper = compat == "paper"
        self.td_lambda = td_lambda
        self.epochs = epochs
        self.minibatch_size = minibatch_size
        self.actor_lr = actor_lr
        self.critic_lr = critic_lr
        self.multiplier_lr = multiplier_lr
        self.policy_gradient = policy_gradient
        self.kl_control = kl_control
        self.kl_target = kl_target
        self.kl_estimator = kl_estimator or ("mc" if paper else "analytic")
        self.kl_samples = kl_samples
        self.target_entropy = -target_entropy_per_dim * action_dim
        self.return_scaling = not paper if return_scaling is None else return_scaling
        self.aux_coef = aux_coef
        self.action_grad_coef = action_grad_coef
        self.needs_action_grad = action_grad_coef > 0.0
        self.max_grad_norm = max_grad_norm
        self.critic_precision = critic_precision
        self.weight_decay = weight_decay
        self.normalizer = RunningNormalizer(obs_dim)
        if not 0.0 <= discount < 1.0:
            raise ValueError(f"discount must be at least 0 and below 1, not {discount}.")
        self.scaler = ReturnScaler(discount, RETURN_LIMIT)
        norm = norm or ("rms" if paper else "layer")
        low, high = value_range or (PAPER_RANGE if paper else (-VALUE_RANGE, VALUE_RANGE))
        self.bins = HLGauss(low, high, bins)
        self.actor = MinStdActor(obs_dim, action_dim, hidden, norm, min_std)
        self.critic = ActionValue(obs_dim, action_dim, critic_width, norm, self.bins if critic_loss == "hl_gauss" else None)
        self._warned = False
        self.log_temperature = nn.Parameter(torch.tensor(math.log(init_temperature)))
        self.log_kl_coef = nn.Parameter(torch.tensor(math.log(init_kl_coef)))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers of actor, critic and multipliers; the latter do not decay unless they are the actor's."""
        actor, multipliers = list(self.actor.parameters()), [self.log_temperature, self.log_kl_coef]
        groups = [(actor + multipliers if self.paper else actor, self.actor_lr), (self.critic.parameters(), self.critic_lr)]
        networks: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(params, lr, weight_decay=self.weight_decay, fused=True) for params, lr in groups
        ]
        return networks if self.paper else [*networks, torch.optim.Adam(multipliers, self.multiplier_lr)]

    @property
    def temperature(self) -> Tensor:
        """alpha, the weight of the entropy in scaled returns, ()."""
        return self.log_temperature.detach().exp()

    @property
    def scale(self) -> Tensor:
        """Units of reward in one unit of value, ()."""
        return self.scaler.scale if self.return_scaling else torch.ones_like(self.scaler.scale)

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Build the targets once, then alternate steps of critic and actor over shuffled minibatches."""
        optimizers = self.scheduled_optimizers(self.actor_lr, self.critic_lr)
        generator = self.generator(batch)
        samples = self.targets(batch, generator)
        encoder = copy.deepcopy(self.critic.encoder).requires_grad_(False)  # whose features are to be predicted
        # One matrix, so that a minibatch is gathered at once.
        table, widths = torch.cat(samples, -1), [column.shape[-1] for column in samples]
        minibatches = max(1, len(table) // self.minibatch_size)
        records = []
        for _ in range(self.epochs):
            order = permutation(len(table), generator, table.device)
            for rows in order.tensor_split(minibatches):
                part = Samples(*table[rows].split(widths, -1))
                fitted = self.fit_critic(part, encoder, optimizers)
                records.append(fitted | self.improve_actor(part, optimizers, generator))
        metrics = {name: torch.stack([record[name] for record in records]).mean() for name in records[0]}
        outside = self.bins.outside(samples.target).float().mean() * (self.critic.bins is not None)
        means = mean_over_ranks(torch.stack([*metrics.values(), outside, samples.target.mean()]))
        self._warn_of_clipping(float(means[-2]))
        with torch.no_grad():
            step = self.measure_step(SquashedGaussian(batch.mean, batch.log_std), self.policy(batch.obs))
        rates = {"lr/actor": self.learning_rate(self.actor_lr), "lr/critic": self.learning_rate(self.critic_lr)}
        self.adapt_learning_rate(step["actor/kl"])
        # All of this iteration has seen the same normalised observations.
        self.update_normalizers(batch)
        return {
            **dict(zip([*metrics, "critic/clipped_targets", "critic/target"], means, strict=True)),
            **step,
            **rates,
            "actor/temperature": self.temperature,
            "actor/kl_coef": self.log_kl_coef.detach().exp(),
            "critic/scale": self.scale,
        }

    def _warn_of_clipping(self, share: float) -> None:
        """Say once that targets leave the range of values, which the critic cannot learn."""
        if share > CLIPPED_SHARE and not self._warned:
            self._warned = True
            log.warning(
                f"reppo: {share:.0%} of the targets lie outside value_range [{self.bins.low:g}, {self.bins.high:g}] "
                f"(critic/clipped_targets): widen it, or set return_scaling."
            )

    # ---- targets -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def targets(self, batch: RolloutBatch, generator: torch.Generator) -> Samples:
        """Settle the unit of rewards, and return the window (H N, ...) with soft lambda-returns (section 2)."""
        spoken = self.scale  # the unit in which the critic has learned to speak
        self.scaler.update(batch.reward, batch.done)
        x, next_x = self.normalizer(batch.obs), self.normalizer(batch.final_obs)
        policy, unit = self.actor(next_x), spoken / self.scale
        u = policy.sample(policy.noise(generator))
        next_value = unit * self._in_parts(next_x, u.tanh())
        future = batch.alive.to(x.dtype)
        entropy = -policy.action_log_prob(u) * (1.0 if self.paper else future)
        reward = batch.reward / self.scale + self.discount * self.temperature * entropy
        target = lambda_return(reward, future * next_value, batch.done, self.discount, self.td_lambda)

        advantage = torch.zeros_like(target)
        if self.policy_gradient == "score_gae":
            here = self.actor(x)
            advantage = target - unit * self._in_parts(x, here.action(here.sample(here.noise(generator))))
            advantage = standardize(advantage)

        action_grad = torch.full_like(batch.sample, torch.nan)
        if batch.action_grad is not None:
            weight = segment_discounts(batch.done, self.discount) * spoken
            action_grad = batch.action_grad * (unit / weight)[..., None]
            action_grad = action_grad.masked_fill(batch.nonfinite_grad[..., None], torch.nan)
        known = torch.ones_like(future) if self.paper else future
        scalars = (column[..., None] for column in (known, target, advantage))
        columns = (x, batch.sample, batch.mean, batch.log_std, next_x, u.tanh(), action_grad, *scalars)
        return Samples(*(column.flatten(0, 1) for column in columns))

    def _in_parts(self, x: Tensor, action: Tensor) -> Tensor:
        """Return the critic's values (H, N), step by step: its layers are wider than a window is worth keeping."""
        with self._autocast():
            return torch.stack([self.critic(*pair) for pair in zip(x, action, strict=True)])

    # ---- critic --------------------------------------------------------------------------------------------------

    def fit_critic(self, part: Samples, encoder: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
        """Take one step on the error of the values, of the next features, and of dQ/du (section 3)."""
        u = part.sample.requires_grad_() if self.needs_action_grad else part.sample
        with self._autocast():
            feature = self.critic.encode(part.x, u.tanh())
            outputs = self.critic.outputs(feature)
            predicted = self.critic.predictor(feature)
            with torch.no_grad():
                following = encoder(torch.cat([part.next_x, part.next_action], -1))
        error = self.critic.loss(outputs, part.target.squeeze(-1)).mean()
        missed = (part.alive * (predicted - following).float().square()).mean()
        loss = error + self.aux_coef * missed
        if self.needs_action_grad:
            (slope,) = torch.autograd.grad(self.critic.value(outputs).sum(), u, create_graph=True)
            loss = loss + self.action_grad_coef * _relative_error(slope, part.action_grad)
        self.apply_gradients(optimizers[1], list(self.critic.parameters()), loss, self.max_grad_norm)
        return {"critic/loss": error.detach(), "critic/aux_loss": missed.detach()}

    # ---- actor ---------------------------------------------------------------------------------------------------

    def improve_actor(
        self, part: Samples, optimizers: list[torch.optim.Optimizer], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Take one step up the action value and the entropy, within the KL constraint (sections 4 and 5)."""
        policy, old = self.actor(part.x), SquashedGaussian(part.mean, part.log_std)
        u = policy.sample(policy.noise(generator))
        log_prob = policy.action_log_prob(u)
        objective = self.objective(part, policy, u, log_prob, generator)
        kl = self.kl(old, policy, generator)
        beta = self.log_kl_coef.detach().exp()
        if self.kl_control == "switch":
            objective = torch.where(kl.detach() < self.kl_target, objective, beta * kl)
        elif self.kl_control == "penalty":
            objective = objective + beta * kl
        loss, entropy, kl = objective.mean(), -log_prob.detach().mean(), kl.detach()

        # alpha rises while the entropy is below its target, beta while the mean KL is beyond its own
        multiplier_loss = self.log_temperature.exp() * (entropy - self.target_entropy)
        multiplier_loss = multiplier_loss - self.log_kl_coef.exp() * (kl.mean() - self.kl_target)
        params, multipliers = list(self.actor.parameters()), [self.log_temperature, self.log_kl_coef]
        if self.paper:
            norm = self.apply_gradients(optimizers[0], params + multipliers, loss + multiplier_loss, self.max_grad_norm)
        else:
            norm = self.apply_gradients(optimizers[0], params, loss, self.max_grad_norm)
            self.apply_gradients(optimizers[2], multipliers, multiplier_loss, math.inf)
        beyond = (kl >= self.kl_target).float().mean()
        return {"actor/entropy": entropy, "actor/grad_norm": norm, "actor/beyond_kl": beyond, "actor/loss": loss.detach()}

    def objective(
        self, part: Samples, policy: SquashedGaussian, u: Tensor, log_prob: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return what is to be minimised in every state (B,), before the KL constraint (section 4)."""
        entropy_cost = self.temperature * log_prob
        if self.policy_gradient == "pathwise":
            return entropy_cost - self._value(part.x, u)
        if self.policy_gradient == "score_gae":
            old = SquashedGaussian(part.mean, part.log_std)
            log_ratio = policy.log_prob(part.sample) - old.log_prob(part.sample)
            return entropy_cost - clipped_surrogate(log_ratio, part.advantage.squeeze(-1), SCORE_CLIP)
        # Likelihood ratio: a second sample of the policy is the baseline of the first.
        with torch.no_grad():
            other = policy.sample(policy.noise(generator))
            weights = self._value(part.x, u) - entropy_cost
            weights = weights - self._value(part.x, other) + self.temperature * policy.action_log_prob(other)
        return -weights * policy.action_log_prob(u.detach())

    def kl(self, old: SquashedGaussian, new: SquashedGaussian, generator: torch.Generator) -> Tensor:
        """Return KL(old || new) of every state (B,); the tanh changes neither it nor its estimate."""
        if self.kl_estimator == "analytic":
            return gaussian_kl(old, new)
        shape = (self.kl_samples, *old.mean.shape)
        u = old.sample(normal(shape, generator, like=old.mean))
        return (old.log_prob(u) - new.log_prob(u)).mean(0)

    def _value(self, x: Tensor, u: Tensor) -> Tensor:
        with self._autocast():
            return self.critic(x, u.tanh())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.critic_precision == "bf16")

    # ---- action-gradients of a differentiable task -----------------------------------------------------------------

    def reward_bonus(self, policy: SquashedGaussian, generator: torch.Generator) -> Tensor:
        """Return alpha times the entropy (...,), in units of reward, for the gradients that supervise dQ/du; else 0."""
        if not self.needs_action_grad:
            return super().reward_bonus(policy, generator)
        return self.scale * self.temperature * policy.entropy(policy.noise(generator))

    def window_objective(self, window: Window) -> Tensor:
        """Sum over environments the discounted soft return of every segment, at its end the mean action's soft value."""
        weight = segment_discounts(window.done, self.discount)
        ends = segment_ends(window.done) & window.alive
        x = self.normalizer(window.reached[ends])
        policy = self.actor(x)
        soft = self.critic(x, policy.mode) + self.temperature * policy.entropy(torch.zeros_like(policy.mean))
        return (weight * window.reward).sum() + (weight[ends] * self.discount * self.scale * soft).sum()


def _relative_error(slope: Tensor, action_grad: Tensor) -> Tensor:
    """Mean square distance () of gradients (B, A) from those known, per mean square of these.

    Gradients longer than ten times the median of those not 0 are shortened to that: one near a contact would own the sum.
    """
    known = action_grad.isfinite().all(-1)
    slope, action_grad = slope[known], action_grad[known]
    length = action_grad.norm(dim=-1, keepdim=True)
    if not (length > 0.0).any():
        return slope.new_zeros(())
    limit = GRADIENT_LIMIT * length[length > 0.0].median()
    action_grad = action_grad * (limit / length.clamp(min=1e-12)).clamp(max=1.0)
    return (slope - action_grad).square().mean() / action_grad.square().mean()


def _check(**options: float) -> None:
    for name, value in options.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0, not {value}.")


def _choose(name: str, value: str | None, *choices: str | None) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, not {value!r}.")
