"""Small differentiable environments that obey the Env protocol."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rpo_lightning.envs.protocol import Step


class PointMass:
    """A point on a line, pushed to the origin; fails beyond `limit`.

    Position q and velocity qd (N, 1); observation (q, qd, sin q); everything smooth.
    """

    name = "point_mass"
    obs_dim = 3
    action_dim = 1
    privileged_dim = 0
    differentiable = True

    def __init__(
        self,
        num_envs: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
        episode_length: int = 20,
        limit: float = 1.5,
        auto_reset: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.max_episode_steps = episode_length
        self.limit = limit
        self.auto_reset = auto_reset
        self.dtype = dtype
        self.generator = torch.Generator().manual_seed(seed)
        self.q = self.qd = torch.zeros(num_envs, 1, device=self.device, dtype=dtype)
        self.progress = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self.invalid = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self.reset()

    def _observe(self) -> Tensor:
        return torch.cat([self.q, self.qd, self.q.sin()], -1)

    @property
    def privileged(self) -> Tensor:
        """What only the critic sees: nothing."""
        return self.q.new_zeros(self.num_envs, 0)

    def close(self) -> None:
        """Hold nothing."""

    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Draw new states where mask, all by default; return observations."""
        mask = torch.ones_like(self.invalid) if mask is None else mask
        shape = (2, self.num_envs, 1)
        q, qd = (2 * torch.rand(shape, generator=self.generator, dtype=self.dtype) - 1).to(self.device)
        self.q = torch.where(mask[:, None], q, self.q)
        self.qd = torch.where(mask[:, None], qd, self.qd)
        self.progress = torch.where(mask, 0, self.progress)
        return self._observe()

    def step(self, action: Tensor) -> Step:
        """Push with force = action for 0.1 s."""
        cost = self.q.square() + 0.1 * self.qd.square() + 0.05 * action.square()
        reward = 1.0 - cost.sum(-1)
        self.qd = self.qd + 0.1 * (3.0 * action - 0.3 * self.q.sin())
        self.q = self.q + 0.1 * self.qd
        self.progress = self.progress + 1
        self.invalid = ~self.q.detach().isfinite().all(-1)
        terminated = (self.q.detach().abs() > self.limit).any(-1) | self.invalid
        truncated = ~terminated & (self.progress >= self.max_episode_steps)
        final_obs, final_privileged = self._observe(), self.privileged
        obs = self.reset(terminated | truncated) if self.auto_reset else final_obs
        return Step(obs, reward, terminated, truncated, final_obs, self.privileged, final_privileged)

    def detach(self) -> Tensor:
        """Cut the graph."""
        self.q, self.qd = self.q.detach(), self.qd.detach()
        return self._observe()

    def get_state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (q, qd, progress)."""
        return self.q, self.qd, self.progress

    def set_state(self, q: Tensor, qd: Tensor, progress: Tensor | None = None) -> Tensor:
        """Set the state, keeping the graph of the arguments."""
        self.q, self.qd = q, qd
        self.progress = torch.zeros_like(self.progress) if progress is None else progress
        return self._observe()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs."""
        return {
            "q": self.q.detach(),
            "qd": self.qd.detach(),
            "progress": self.progress,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.q, self.qd, self.progress = (state[name].to(self.device) for name in ("q", "qd", "progress"))
        self.generator.set_state(state["generator"])


class HiddenVelocity(PointMass):
    """The point whose policy sees positions only; the critic sees the velocity as well. Its reward has named terms."""

    name = "hidden_velocity"
    obs_dim = 2
    privileged_dim = 1

    def _observe(self) -> Tensor:
        return torch.cat([self.q, self.q.sin()], -1)

    @property
    def privileged(self) -> Tensor:
        """The velocity (N, 1)."""
        return self.qd

    def step(self, action: Tensor) -> Step:
        """Push, and tell what the reward is made of."""
        effort = -0.05 * action.detach().square().sum(-1)
        step = super().step(action)
        return step._replace(reward_terms={"effort": effort, "rest": step.reward.detach() - effort})


class Opaque(PointMass):
    """The point without gradients."""

    name = "opaque"
    differentiable = False

    def step(self, action: Tensor) -> Step:
        """Push, without a graph."""
        assert not action.requires_grad
        return super().step(action)


class ScriptedEnv:
    """Position x += action + drift with reward x; episodes end when told and start at 3.

    Args:
        horizon: steps scripted.
        num_envs: N.
        terminated: (step, env) pairs.
        truncated: (step, env) pairs.
        broken: what the state reached shows at a truncation, instead of x.
        poison: (step, env) whose reward has an infinite gradient.
        drift: added to x at every step.
    """

    name = "scripted"
    obs_dim = 1
    action_dim = 1
    privileged_dim = 0
    max_episode_steps = 1000

    def __init__(
        self,
        horizon: int,
        num_envs: int,
        terminated: list[tuple[int, int]] | None = None,
        truncated: list[tuple[int, int]] | None = None,
        broken: float | None = None,
        poison: tuple[int, int] | None = None,
        drift: float = 0.0,
    ) -> None:
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.differentiable = True
        self.broken = broken
        self.drift = drift
        self.terminated, self.truncated, self.poisoned = torch.zeros(3, horizon, num_envs, dtype=torch.bool)
        for script, ends in ((self.terminated, terminated), (self.truncated, truncated)):
            for end in ends or []:
                script[end] = True
        if poison is not None:
            self.poisoned[poison] = True
        self.x = torch.ones(num_envs, 1)
        self.progress = torch.zeros(num_envs, dtype=torch.int64)
        self.invalid = torch.zeros(num_envs, dtype=torch.bool)
        self.privileged = torch.zeros(num_envs, 0)
        self.t = 0

    def step(self, action: Tensor) -> Step:
        """Move."""
        terminated, truncated, poisoned = (
            self.terminated[self.t],
            self.truncated[self.t],
            self.poisoned[self.t],
        )
        self.x = self.x + action + self.drift
        self.t += 1
        reward = self.x[:, 0]
        for n in poisoned.nonzero():
            # The derivative of sqrt at 0 is infinite.
            reward = reward.index_add(0, n, (self.x[n, 0] - self.x[n, 0].detach()).sqrt())
        final_obs = self.x
        if self.broken is not None:
            final_obs = torch.where(truncated[:, None], self.broken, final_obs)
        self.x = torch.where((terminated | truncated)[:, None], 3.0, self.x)
        return Step(self.x, reward, terminated, truncated, final_obs)

    def detach(self) -> Tensor:
        """Cut the graph."""
        self.x = self.x.detach()
        return self.x

    def get_state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (x, x, progress)."""
        return self.x, self.x, self.progress
