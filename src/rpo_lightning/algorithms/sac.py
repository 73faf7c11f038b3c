"""Soft Actor-Critic (arXiv 1812.05905) with n-step returns, for what it gains without gradients of the simulation."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rpo_lightning.algorithms.base import LRSchedule, RLModule
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
        discount: gamma.
        n_step: rewards summed before the target bootstraps.
        replay_size: transitions kept, per process; they are part of every checkpoint.
        batch_size: transitions of a gradient round, per process.
        gradient_rounds: rounds of critic, actor, temperature and target updates per window.
        random_windows: windows of uniform random actions before learning begins.
        actor_lr: learning rate of the actor at the start.
        critic_lr: learning rate of the critics at the start.
        temperature_lr: learning rate of log alpha; it follows no schedule.
        lr_schedule: exponential or linear: fall of both learning rates over the budget; constant; kl: moved to keep
            KL(old || new) near 0.008.
        final_lr: learning rate at the end of the budget.
        init_temperature: alpha at the start.
        target_entropy_per_dim: the target entropy is minus this, nats per action dimension.
        target_update: tau, share of the critics that their targets take over in every round.
        max_grad_norm: gradients are clipped to this norm, actor, critics and temperature apart.
        hidden: hidden sizes of actor and critics.
        num_critics: size of the critic ensemble; the smallest value counts.
        betas: AdamW's.
        weight_decay: AdamW's, for the networks.
    """

    name = "sac"
    needs_action_grad = False

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        discount: float = 0.99,
        n_step: int = 3,
        replay_size: int = 1_000_000,
        batch_size: int = 2048,
        gradient_rounds: int = 8,
        random_windows: int = 1,
        actor_lr: float = 5e-4,
        critic_lr: float = 5e-4,
        temperature_lr: float = 5e-3,
        lr_schedule: LRSchedule = "constant",
        final_lr: float = 1e-5,
        init_temperature: float = 1.0,
        target_entropy_per_dim: float = 0.5,
        target_update: float = 0.2,
        max_grad_norm: float = 0.5,
        hidden: Sequence[int] = (400, 200, 100),
        num_critics: int = 2,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(obs_dim, action_dim, total_env_steps, discount, lr_schedule, final_lr)
        if not init_temperature > 0.0:
            raise ValueError(f"init_temperature must be above 0, not {init_temperature}.")
        self.n_step = n_step
        self.batch_size = batch_size
        self.gradient_rounds = gradient_rounds
        self.random_windows = random_windows
        self.actor_lr = actor_lr
        self.critic_lr = critic_lr
        self.temperature_lr = temperature_lr
        self.target_entropy = target_entropy_per_dim * action_dim
        self.target_update = target_update
        self.max_grad_norm = max_grad_norm
        self.betas = betas
        self.weight_decay = weight_decay
        self.normalizer = RunningNormalizer(obs_dim, limit=NORMALIZED_LIMIT)
        self.actor = Actor(obs_dim, action_dim, hidden)
        self.critic = CriticEnsemble(obs_dim + action_dim, hidden, num_critics)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(init_temperature)))
        self.replay = ReplayBuffer(replay_size)
        self.replayed = -1
        """Iteration of the newest window in the buffer."""
        self._restored: dict[str, Tensor] | None = None

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers of actor, critics and temperature; the latter does not decay."""
        networks = [
            torch.optim.AdamW(network.parameters(), lr=rate, betas=self.betas, weight_decay=self.weight_decay, fused=True)
            for network, rate in ((self.actor, self.actor_lr), (self.critic, self.critic_lr))
        ]
        return [*networks, torch.optim.AdamW([self.log_temperature], lr=self.temperature_lr, weight_decay=0.0)]

    def behaviour(self, obs: Tensor) -> Gaussian:
        """Return the policy, or uniform actions while there is nothing to learn from."""
        policy = self.policy(obs)
        return policy if self.iteration >= self.random_windows else UniformAction(policy.mean, policy.log_std)

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
        self.normalizer.update(batch.obs)
        return metrics

    def learn(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Take the gradient rounds on transitions drawn from the replay buffer."""
        optimizers = self.scheduled_optimizers(self.actor_lr, self.critic_lr)
        generator = torch.Generator(self.device).manual_seed(batch.seed)
        with torch.no_grad():
            old = self.policy(batch.obs)
        records = []
        for _ in range(self.gradient_rounds):
            drawn = self.replay.draw(self.batch_size, self.n_step, self.discount, generator)
            x = self.normalizer(drawn.obs)
            critic_loss = self.fit_critic(drawn, x, optimizers[1], generator)
            norm, entropy = self.improve_actor(x, optimizers[0], generator)
            self.tune_temperature(entropy, optimizers[2])
            self.target_critic.follow(self.critic, self.target_update)
            records.append(torch.stack([critic_loss, norm, entropy]))
        loss, norm, entropy = mean_over_ranks(torch.stack(records).mean(0))
        with torch.no_grad():
            step = self.measure_step(old, self.policy(batch.obs))
        rates = {"lr/actor": self.learning_rate(self.actor_lr), "lr/critic": self.learning_rate(self.critic_lr)}
        self.adapt_learning_rate(step["actor/kl"])
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
        x = self.normalizer(drawn.next_obs)
        policy = self.actor(x)
        u = policy.sample(policy.noise(generator))
        value = self.target_critic(torch.cat([x, u.tanh()], -1)).amin(0)
        soft = value - self.log_temperature.exp() * policy.action_log_prob(u)
        return drawn.reward + drawn.discount * soft

    def fit_critic(
        self, drawn: Transitions, x: Tensor, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> Tensor:
        """Take one step on the sum of the critics' mean squared errors."""
        target = self.target(drawn, generator)
        value = self.critic(torch.cat([x, drawn.action], -1))
        loss = (value - target).square().mean(-1).sum()
        self.apply_gradients(optimizer, list(self.critic.parameters()), loss, self.max_grad_norm)
        return loss.detach()

    def improve_actor(
        self, x: Tensor, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Take one step up the smallest action value and the entropy; return gradient norm and mean entropy [nats]."""
        policy = self.actor(x)
        u = policy.sample(policy.noise(generator))
        log_prob = policy.action_log_prob(u)
        value = self.critic(torch.cat([x, u.tanh()], -1)).amin(0)
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
