"""Soft Actor-Critic (arXiv 1812.05905) with n-step returns, for what it gains without gradients of the simulation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rpo_lightning.algorithms.base import ActorFactory, RLModule
from rpo_lightning.algorithms.critics import follow
from rpo_lightning.algorithms.options import Range, above, at_least, within
from rpo_lightning.distributed import gather_over_ranks, mean_over_ranks, rank
from rpo_lightning.nn import Actor, CriticEnsemble, Gaussian, RunningNormalizer, UniformAction
from rpo_lightning.rollout import ReplayBuffer, RolloutBatch, Transitions

__all__ = ["SAC"]

NORMALIZED_LIMIT = 5.0
"""Normalised observations are clamped to this."""


class SAC(RLModule):
    """Off-policy learning of action values from a replay buffer; the policy climbs them, with its entropy.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        n_step: rewards summed before the target bootstraps.
        replay_size: transitions kept, per process; they are part of every checkpoint.
        batch_size: transitions of a gradient round, per process.
        gradient_rounds: rounds of critic, actor, temperature and target updates per window.
        random_windows: windows of uniform random actions before learning begins.
        critic_lr: learning rate of the critics at the start.
        temperature_lr: learning rate of log alpha; it follows no schedule.
        init_temperature: alpha at the start.
        target_entropy_per_dim: the target entropy is minus this, nats per action dimension.
        target_update: tau, share of the critics that their targets take over in every round.
        actor: (D, A) -> network from normalised observations to a distribution; None: `Actor` with `hidden`.
        critic: (D + P + A) -> network from normalised observations and an action to the values (C, ...) of C critics, of
            which the smallest counts; None: `CriticEnsemble` with `hidden` and `num_critics`.
        hidden: hidden sizes of the networks that are not given.
        num_critics: size of the ensemble that is not given.
        options: those of RLModule.
    """

    name = "sac"
    needs_action_grad = False
    ranges: ClassVar[dict[str, Range]] = {
        "n_step": at_least(1),
        "replay_size": at_least(1),
        "batch_size": at_least(1),
        "gradient_rounds": at_least(1),
        "random_windows": at_least(0),
        "critic_lr": at_least(0.0),
        "temperature_lr": at_least(0.0),
        "init_temperature": above(0.0),
        "target_entropy_per_dim": at_least(0.0),
        "target_update": within(0.0, 1.0),
        "num_critics": at_least(1),
    }
    moved_by_training: ClassVar[dict[str, str]] = {"init_temperature": "log_temperature"}

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        n_step: int = 3,
        replay_size: int = 1_000_000,
        batch_size: int = 2048,
        gradient_rounds: int = 8,
        random_windows: int = 1,
        critic_lr: float = 5e-4,
        temperature_lr: float = 5e-3,
        init_temperature: float = 1.0,
        target_entropy_per_dim: float = 0.5,
        target_update: float = 0.2,
        actor: ActorFactory | None = None,
        critic: Callable[[int], nn.Module] | None = None,
        hidden: Sequence[int] = (400, 200, 100),
        num_critics: int = 2,
        **options: Any,
    ) -> None:
        super().__init__(obs_dim, action_dim, total_env_steps, **options)
        self.n_step = n_step
        self.batch_size = batch_size
        self.gradient_rounds = gradient_rounds
        self.random_windows = random_windows
        self.critic_lr = critic_lr
        self.temperature_lr = temperature_lr
        self.target_entropy = target_entropy_per_dim * action_dim
        self.target_update = target_update
        self.normalizer = RunningNormalizer(obs_dim, limit=NORMALIZED_LIMIT)
        self.actor = Actor(obs_dim, action_dim, hidden) if actor is None else actor(obs_dim, action_dim)
        inputs = obs_dim + self.privileged_dim + action_dim
        self.critic = CriticEnsemble(inputs, hidden, num_critics) if critic is None else critic(inputs)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(init_temperature)))
        self.replay = ReplayBuffer(replay_size)
        self.replayed = -1
        """Iteration of the newest window in the buffer."""
        self._restored: dict[str, Tensor] | None = None

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers of actor, critics and temperature; the latter does not decay."""
        temperature = self.adamw([self.log_temperature], self.temperature_lr, weight_decay=0.0)
        return [
            self.adamw(self.actor.parameters(), self.actor_lr),
            self.adamw(self.critic.parameters(), self.critic_lr),
            temperature,
        ]

    def behaviour(self, obs: Tensor, state: Tensor) -> tuple[Gaussian, Tensor]:
        """Return the policy, or uniform actions while there is nothing to learn from."""
        policy, state = super().behaviour(obs, state)
        return policy if self.iteration >= self.random_windows else UniformAction(policy.mean, policy.log_std), state

    def check_window(self, horizon: int, num_envs: int) -> None:
        """Refuse windows larger than the replay buffer."""
        if horizon * num_envs > self.replay.capacity:
            raise ValueError(
                f"replay_size is {self.replay.capacity}, fewer than the {horizon} x {num_envs} steps of a window: raise it."
            )

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Keep the window and take the gradient rounds."""
        if self._restored is not None:
            self.replay.load_state_dict(self._restored, self.device)
            self._restored = None
        # A window that was skipped is missing between the last one and this.
        self.replay.add(batch, batch.sample.tanh(), consecutive=self.iteration == self.replayed + 1)
        self.replayed = self.iteration
        metrics: dict[str, Tensor | float] = {}
        if self.iteration >= self.random_windows:
            metrics = self.learn(batch)
        self.update_normalizers(batch)
        return metrics

    def learn(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Take the gradient rounds on transitions drawn from the replay buffer."""
        optimizers = self.scheduled_optimizers(self.actor_lr, self.critic_lr)
        generator = self.generator(batch)
        with torch.no_grad():
            old = self.policy(batch.obs)
        records = []
        for _ in range(self.gradient_rounds):
            drawn = self.replay.draw(self.batch_size, self.n_step, self.discount, generator)
            critic_loss = self.fit_critic(drawn, optimizers[1], generator)
            norm, entropy = self.improve_actor(drawn, optimizers[0], generator)
            self.tune_temperature(entropy, optimizers[2])
            follow(self.target_critic, self.critic, self.target_update)
            records.append(torch.stack([critic_loss, norm, entropy]))
        loss, norm, entropy = mean_over_ranks(torch.stack(records).mean(0))
        with torch.no_grad():
            step = self.measure_step(old, self.policy(batch.obs))
        rates = {"actor/lr": self.learning_rate(self.actor_lr), "critic/lr": self.learning_rate(self.critic_lr)}
        self.rates.adapt(step["actor/kl"])
        return {
            **step,
            **rates,
            "actor/grad_norm": norm,
            "actor/entropy": entropy,
            "actor/temperature": self.log_temperature.detach().exp(),
            "critic/loss": loss,
        }

    @torch.no_grad()
    def target(self, drawn: Transitions, generator: torch.Generator) -> Tensor:
        """Return R_n + gamma^k (min Q' - alpha log pi) (B,), at an action of the policy in the state reached."""
        policy = self.actor(self.normalizer(drawn.next_obs))
        u = policy.from_noise(policy.noise(generator))
        y = self.critic_input(drawn.next_obs, drawn.next_privileged)
        value = self.target_critic(torch.cat([y, u.tanh()], -1)).amin(0)
        soft = value - self.log_temperature.exp() * policy.action_log_prob(u)
        return drawn.reward + drawn.discount * soft

    def fit_critic(self, drawn: Transitions, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> Tensor:
        """Take one step on the sum of the critics' mean squared errors."""
        target = self.target(drawn, generator)
        value = self.critic(torch.cat([self.critic_input(drawn.obs, drawn.privileged), drawn.action], -1))
        loss = (value - target).square().mean(-1).sum()
        self.apply_gradients(optimizer, list(self.critic.parameters()), loss, self.max_grad_norm)
        return loss.detach()

    def improve_actor(
        self, drawn: Transitions, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Take one step up the smallest action value and the entropy; return gradient norm and mean entropy [nats]."""
        policy = self.actor(self.normalizer(drawn.obs))
        u = policy.from_noise(policy.noise(generator))
        log_prob = policy.action_log_prob(u)
        value = self.critic(torch.cat([self.critic_input(drawn.obs, drawn.privileged), u.tanh()], -1)).amin(0)
        loss = (self.log_temperature.detach().exp() * log_prob - value).mean()
        norm = self.apply_gradients(optimizer, list(self.actor.parameters()), loss, self.max_grad_norm)
        return norm, -log_prob.detach().mean()

    def tune_temperature(self, entropy: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Raise the temperature where the mean entropy [nats] is below the target, lower it where it is above."""
        loss = self.log_temperature.exp() * (entropy + self.target_entropy)
        self.apply_gradients(optimizer, [self.log_temperature], loss, self.max_grad_norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the counters and every process's replay buffer; every process must call it."""
        super().on_save_checkpoint(checkpoint)
        state = self.replay.state_dict() if self._restored is None else self._restored
        checkpoint["rpo_lightning"] |= {"replay": gather_over_ranks(state), "replayed": self.replayed}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the counters and this process's replay buffer, which waits for the first window."""
        super().on_load_checkpoint(checkpoint)
        self.replayed = checkpoint["rpo_lightning"]["replayed"]
        buffers = checkpoint["rpo_lightning"]["replay"]
        # With another number of processes the data module refuses to go on; to evaluate, none is needed.
        self._restored = buffers[rank()] if rank() < len(buffers) else None
