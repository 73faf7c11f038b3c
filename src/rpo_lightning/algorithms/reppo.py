"""Relative Entropy Pathwise Policy Optimization (arXiv 2507.11019): up the gradient of a learned action value, on-policy."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rpo_lightning.algorithms.base import ActorFactory, RLModule
from rpo_lightning.algorithms.options import Range, above, at_least, within
from rpo_lightning.algorithms.reppo_samples import Samples, minibatches
from rpo_lightning.algorithms.reppo_slope import slope_error, slopes
from rpo_lightning.distributed import mean_over_ranks
from rpo_lightning.losses import gaussian_kl
from rpo_lightning.nn import (
    ActionValue,
    HLGauss,
    MinStdActor,
    Norm,
    ReturnScaler,
    RunningNormalizer,
    SquashedGaussian,
    side_by_side,
)
from rpo_lightning.returns import lambda_return, segment_discounts, segment_ends
from rpo_lightning.rollout import RolloutBatch, Window

__all__ = ["REPPO"]

log = logging.getLogger("rpo_lightning")

RETURN_LIMIT = 100.0
"""Scaled returns stay within this: those of rewards in [0, 1] at discount 0.99, for which the paper's rates were found."""
CLIPPED_SHARE = 0.01
"""More targets than this outside the range of values are worth a warning."""


class REPPO(RLModule):
    """Fit a soft action value to a window, climb it, and hold the policy to the one that acted by a KL constraint.

    No replay buffer, no target network, one critic. Sections are those of docs/reppo.md; what its paper compares it to, and
    the details of the published code, are options of `REPPOAblation`.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        td_lambda: lambda of the soft returns.
        epochs: passes over the window.
        minibatch_size: samples of a step of critic and actor, per process.
        critic_lr: learning rate of the critic at the start.
        multiplier_lr: learning rate of log alpha and log beta; it follows no schedule. The paper's 3e-4 needs some 5 M steps
            until the constraint holds.
        kl_target: epsilon, of KL(old || new) per state [nats].
        init_temperature: alpha at the start.
        init_kl_coef: beta at the start.
        target_entropy_per_dim: the target entropy is minus this, nats per action dimension.
        critic_loss: hl_gauss: classification; mse: regression.
        bins: of the classification.
        return_scaling: whether rewards are divided so that returns fit the range of values.
        value_range: lowest and highest value, in scaled units; entropy and errors take them beyond the returns.
        aux_coef: weight of the prediction of the next features.
        action_grad_coef: weight of the relative error of dQ/du against the simulator's action-gradients; above 0 the task
            must be differentiable.
        actor: (D, A) -> network from normalised observations to a distribution; None: `MinStdActor`, `hidden`, `norm` and
            `min_std`.
        hidden: hidden sizes of the actor that is not given.
        critic_width: size of every layer of the critic.
        norm: of hidden layers.
        min_std: least standard deviation of the policy, before the tanh.
        critic_precision: of the critic's passes: 32, or bf16 for speed.
        options: those of RLModule.
    """

    name = "reppo"
    capturable = True
    after_failure = 0.0
    """Weight of entropy and next features at states without a future."""
    ranges: ClassVar[dict[str, Range]] = {
        "discount": within(0.0, 1.0, high_open=True),
        "td_lambda": within(0.0, 1.0),
        "epochs": at_least(1),
        "minibatch_size": at_least(1),
        "critic_lr": at_least(0.0),
        "multiplier_lr": at_least(0.0),
        "kl_target": above(0.0),
        "init_temperature": above(0.0),
        "init_kl_coef": above(0.0),
        "bins": at_least(2),
        "aux_coef": at_least(0.0),
        "action_grad_coef": at_least(0.0),
        "critic_width": at_least(1),
        "min_std": at_least(0.0),
    }
    moved_by_training: ClassVar[dict[str, str]] = {
        "init_temperature": "log_temperature",
        "init_kl_coef": "log_kl_coef",
    }

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        td_lambda: float = 0.95,
        epochs: int = 8,
        minibatch_size: int = 2048,
        actor_lr: float = 3e-4,
        critic_lr: float = 3e-4,
        multiplier_lr: float = 3e-3,
        kl_target: float = 0.1,
        init_temperature: float = 0.01,
        init_kl_coef: float = 0.01,
        target_entropy_per_dim: float = 0.5,
        critic_loss: Literal["hl_gauss", "mse"] = "hl_gauss",
        bins: int = 151,
        return_scaling: bool = True,
        value_range: tuple[float, float] = (-150.0, 150.0),
        aux_coef: float = 1.0,
        action_grad_coef: float = 0.0,
        actor: ActorFactory | None = None,
        hidden: Sequence[int] = (512, 512),
        critic_width: int = 512,
        norm: Norm = "layer",
        min_std: float = 0.1,
        critic_precision: Literal["32", "bf16"] = "32",
        **options: Any,
    ) -> None:
        super().__init__(obs_dim, action_dim, total_env_steps, actor_lr=actor_lr, **options)
        if self.capture and action_grad_coef > 0.0:
            raise ValueError("REPPO: capture is not possible: action_grad_coef asks the device which gradients are finite.")
        self.td_lambda = td_lambda
        self.epochs = epochs
        self.minibatch_size = minibatch_size
        self.critic_lr = critic_lr
        self.multiplier_lr = multiplier_lr
        self.kl_target = kl_target
        self.target_entropy = -target_entropy_per_dim * action_dim
        self.return_scaling = return_scaling
        self.aux_coef = aux_coef
        self.action_grad_coef = action_grad_coef
        self.needs_action_grad = action_grad_coef > 0.0
        self.critic_precision = critic_precision
        self.normalizer = RunningNormalizer(obs_dim)
        self.scaler = ReturnScaler(self.discount, RETURN_LIMIT)
        self.bins = HLGauss(*value_range, bins)
        if actor is None:
            self.actor = MinStdActor(obs_dim, action_dim, hidden, norm, min_std)
        else:
            self.actor = actor(obs_dim, action_dim)
        inputs = obs_dim + self.privileged_dim
        self.critic = ActionValue(inputs, action_dim, critic_width, norm, self.bins if critic_loss == "hl_gauss" else None)
        self._warned = False
        self.log_temperature = nn.Parameter(torch.tensor(math.log(init_temperature)))
        self.log_kl_coef = nn.Parameter(torch.tensor(math.log(init_kl_coef)))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers of actor, critic and multipliers; the latter do not decay."""
        actor = self.adamw(self.actor.parameters(), self.actor_lr)
        critic = self.adamw(self.critic.parameters(), self.critic_lr)
        return [actor, critic, torch.optim.Adam(self.multipliers, self.multiplier_lr, fused=True)]

    @property
    def multipliers(self) -> list[nn.Parameter]:
        """Logarithms of alpha and beta, each ()."""
        return [self.log_temperature, self.log_kl_coef]

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
        records = []
        for part in minibatches(samples, self.minibatch_size, self.epochs, generator):
            fitted = self.fit_critic(part, encoder, optimizers)
            records.append(fitted | self.improve_actor(part, optimizers, generator))
        metrics = {name: torch.stack([record[name] for record in records]).mean() for name in records[0]}
        outside = self.bins.outside(samples.target).float().mean() * (self.critic.bins is not None)
        means = mean_over_ranks(torch.stack([*metrics.values(), outside, samples.target.mean()]))
        with torch.no_grad():
            step = self.measure_step(SquashedGaussian(batch.mean, batch.log_std), self.policy(batch.obs))
        rates = {"actor/lr": self.learning_rate(self.actor_lr), "critic/lr": self.learning_rate(self.critic_lr)}
        self.rates.adapt(step["actor/kl"])
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

    def report(self, metrics: dict[str, float]) -> None:
        """Log metrics; say once that targets leave the range of values, which the critic cannot learn."""
        super().report(metrics)
        share = metrics.get("critic/clipped_targets", 0.0)
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
        z, next_z = self.privileged(batch.privileged), self.privileged(batch.final_privileged)
        policy = self.actor(next_x)
        u = policy.from_noise(policy.noise(generator))
        next_value = spoken / self.scale * self.values(side_by_side(next_x, next_z), u.tanh())
        future = batch.alive.to(x.dtype)
        known = future.clamp(min=self.after_failure)
        entropy = -policy.action_log_prob(u) * known
        reward = batch.reward / self.scale + self.discount * self.temperature * entropy
        target = lambda_return(reward, future * next_value, batch.done, self.discount, self.td_lambda)
        slope = slopes(batch, self.discount, spoken, self.scale)
        vectors = (x, z, batch.sample, batch.mean, batch.log_std, next_x, next_z, u.tanh(), slope)
        columns = (*vectors, known[..., None], target[..., None], x[..., :0])
        return Samples(*(column.flatten(0, 1) for column in columns))

    def values(self, y: Tensor, action: Tensor) -> Tensor:
        """Return the critic's values (H, N), step by step: its layers are wider than a window is worth keeping."""
        with self._autocast():
            return torch.stack([self.critic(*pair) for pair in zip(y, action, strict=True)])

    # ---- critic --------------------------------------------------------------------------------------------------

    def fit_critic(self, part: Samples, encoder: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
        """Take one step on the error of the values, of the next features, and of dQ/du (section 3)."""
        u = part.sample.requires_grad_() if self.needs_action_grad else part.sample
        with self._autocast():
            feature = self.critic.encode(part.y, u.tanh())
            outputs = self.critic.outputs(feature)
            predicted = self.critic.predictor(feature)
            with torch.no_grad():
                following = encoder(torch.cat([part.next_y, part.next_action], -1))
        error = self.critic.loss(outputs, part.target.squeeze(-1)).mean()
        missed = (part.known * (predicted - following).float().square()).mean()
        loss = error + self.aux_coef * missed
        if self.needs_action_grad:
            (slope,) = torch.autograd.grad(self.critic.value(outputs).sum(), u, create_graph=True)
            loss = loss + self.action_grad_coef * slope_error(slope, part.slope)
        self.apply_gradients(optimizers[1], list(self.critic.parameters()), loss, self.max_grad_norm)
        return {"critic/loss": error.detach(), "critic/aux_loss": missed.detach()}

    # ---- actor ---------------------------------------------------------------------------------------------------

    def improve_actor(
        self, part: Samples, optimizers: list[torch.optim.Optimizer], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Take one step up the action value and the entropy, within the KL constraint (sections 4 and 5)."""
        policy, old = self.actor(part.x), SquashedGaussian(part.mean, part.log_std)
        objective, log_prob = self.objective(part, policy, generator)
        kl = self.kl(old, policy, generator)
        loss = self.constrain(objective, kl).mean()
        entropy, kl = -log_prob.detach().mean(), kl.detach()
        # alpha rises while the entropy is below its target, beta while the mean KL is beyond its own
        multiplier_loss = self.log_temperature.exp() * (entropy - self.target_entropy)
        multiplier_loss = multiplier_loss - self.log_kl_coef.exp() * (kl.mean() - self.kl_target)
        norm = self.descend(loss, multiplier_loss, optimizers)
        beyond = (kl >= self.kl_target).float().mean()
        return {"actor/entropy": entropy, "actor/grad_norm": norm, "actor/beyond_kl": beyond, "actor/loss": loss.detach()}

    def objective(self, part: Samples, policy: SquashedGaussian, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return J = alpha log pi - Q and log pi, both (B,), of an action drawn in every state (section 4)."""
        u = policy.from_noise(policy.noise(generator))
        log_prob = policy.action_log_prob(u)
        return -self.soft_value(part.y, u, log_prob), log_prob

    def soft_value(self, y: Tensor, u: Tensor, log_prob: Tensor) -> Tensor:
        """Return Q - alpha log pi (B,) of samples u (B, A) of this log density."""
        with self._autocast():
            return self.critic(y, u.tanh()) - self.temperature * log_prob

    def kl(self, old: SquashedGaussian, new: SquashedGaussian, generator: torch.Generator) -> Tensor:
        """Return KL(old || new) of every state (B,); the tanh does not change it."""
        return gaussian_kl(old, new)

    def constrain(self, objective: Tensor, kl: Tensor) -> Tensor:
        """Return the loss of every state (B,): one that has gone too far is only pulled back (section 5)."""
        return torch.where(kl.detach() < self.kl_target, objective, self.log_kl_coef.detach().exp() * kl)

    def descend(self, loss: Tensor, multiplier_loss: Tensor, optimizers: list[torch.optim.Optimizer]) -> Tensor:
        """Take a step of the actor and one of the multipliers; return the norm of the actor's gradient."""
        norm = self.apply_gradients(optimizers[0], list(self.actor.parameters()), loss, self.max_grad_norm)
        self.apply_gradients(optimizers[2], self.multipliers, multiplier_loss, math.inf)
        return norm

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
        ends = (segment_ends(window.done) & window.alive).nonzero(as_tuple=True)
        policy = self.actor(self.normalizer(window.reached[ends]))
        y = self.critic_input(window.reached[ends], window.reached_privileged[ends])
        soft = self.critic(y, policy.mode) + self.temperature * policy.entropy(torch.zeros_like(policy.mean))
        return (weight * window.reward).sum() + (weight[ends] * self.discount * self.scale * soft).sum()
