"""Experience kept for off-policy learning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rpo_lightning.rollout.batch import RolloutBatch

__all__ = ["ReplayBuffer", "Transitions"]


@dataclass
class Transitions:
    """n-step transitions; B rows."""

    obs: Tensor
    """Raw observation, (B, D)."""
    privileged: Tensor
    """What only critics see beside it, (B, P)."""
    action: Tensor
    """Action taken there, (B, A)."""
    reward: Tensor
    """Discounted sum of the rewards of up to n steps, (B,)."""
    next_obs: Tensor
    """Raw observation of the state reached after them, before any reset, (B, D)."""
    next_privileged: Tensor
    """What only critics see beside it, (B, P)."""
    discount: Tensor
    """Weight of that state's value: gamma^k after k steps, 0 after a failure, (B,)."""


class ReplayBuffer:
    """A ring of the last steps of N environments, in time order, so that n-step returns are made when they are drawn.

    Args:
        capacity: transitions kept, over all environments.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._head = 0
        self._size = 0
        self._rows: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return self._size * self._rows["reward"].shape[1] if self._rows else 0

    def add(self, batch: RolloutBatch, action: Tensor, consecutive: bool = True) -> None:
        """Append a window.

        Args:
            batch: the window.
            action: what the environment was given, (H, N, A).
            consecutive: whether it begins where the last one ended; if not, no return is summed across the gap.

        Raises:
            ValueError: the window is larger than the buffer.
        """
        fields = ("obs", "privileged", "final_obs", "final_privileged", "reward", "alive", "done")
        window = {"action": action, **{name: getattr(batch, name) for name in fields}}
        steps, num_envs = batch.reward.shape
        length = self.capacity // num_envs
        if steps > length:
            raise ValueError(
                f"The replay buffer holds {self.capacity} transitions, fewer than a window of {steps} x {num_envs}: "
                "raise replay_size."
            )
        if not self._rows:
            self._rows = {name: value.new_zeros(length, *value.shape[1:]) for name, value in window.items()}
        if not consecutive and self._size:
            self._rows["done"][self._head - 1] = True
        rows = (self._head + torch.arange(steps, device=action.device)) % length
        for name, value in window.items():
            self._rows[name][rows] = value
        self._head = (self._head + steps) % length
        self._size = min(self._size + steps, length)

    def draw(self, size: int, n_step: int, discount: float, generator: torch.Generator) -> Transitions:
        """Draw `size` transitions with replacement.

        A return ends early, with the value of the state reached, where the episode does or the newest step is: neither
        a reset nor the end of the data is ever crossed.
        """
        length, num_envs = self._rows["reward"].shape
        device = self._rows["reward"].device
        age = torch.randint(self._size, (size,), generator=generator).to(device)
        env = torch.randint(num_envs, (size,), generator=generator).to(device)
        oldest = self._head - self._size
        first = last = (oldest + age) % length
        reward = torch.zeros(size, dtype=self._rows["reward"].dtype, device=device)
        weight = torch.ones_like(reward)
        running = torch.ones(size, dtype=torch.bool, device=device)
        for k in range(n_step):
            row = (oldest + age + k) % length
            running = running & (age + k < self._size)
            last = torch.where(running, row, last)
            reward = reward + torch.where(running, weight * self._rows["reward"][row, env], 0.0)
            weight = torch.where(running, weight * discount, weight)
            running = running & ~self._rows["done"][row, env]
        return Transitions(
            obs=self._rows["obs"][first, env],
            privileged=self._rows["privileged"][first, env],
            action=self._rows["action"][first, env],
            reward=reward,
            next_obs=self._rows["final_obs"][last, env],
            next_privileged=self._rows["final_privileged"][last, env],
            discount=weight * self._rows["alive"][last, env],
        )

    def state_dict(self) -> dict[str, object]:
        """Return what has been kept, oldest first."""
        if not self._rows:
            return {}
        order = (self._head - self._size + torch.arange(self._size)) % self.capacity_per_env
        return {name: rows[order.to(rows.device)].cpu() for name, rows in self._rows.items()}

    @property
    def capacity_per_env(self) -> int:
        """Steps kept of each environment."""
        return len(self._rows["reward"])

    def load_state_dict(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Restore what `state_dict` returned; of more than the capacity the newest."""
        if not state:
            return
        steps, num_envs = state["reward"].shape
        length = self.capacity // num_envs
        self._size = min(steps, length)
        self._head = self._size % length
        self._rows = {}
        for name, value in state.items():
            self._rows[name] = value.new_zeros(length, *value.shape[1:], device=device)
            self._rows[name][: self._size] = value[steps - self._size :]
