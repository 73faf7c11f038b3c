"""Sub-environments whose every observation, reward and end is known in advance, and vector environments of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from torch import Tensor

LENGTHS = (3, 5, 2)
LOW, HIGH = (-2.0, 0.0), (6.0, 0.5)


class Counter(gymnasium.Env):
    """Observation (episode, step, action), reward 100 episode + step; from 1, ends after `length` steps.

    Args:
        length: steps of an episode.
        fails: whether it terminates or is truncated then.
        broken: at this step of the second episode the observation is `bad`.
        bad: what it is.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
    action_space = gymnasium.spaces.Box(np.float32(LOW), np.float32(HIGH))

    def __init__(self, length: int, fails: bool = True, broken: int | None = None, bad: float = np.nan) -> None:
        self.length, self.fails, self.broken, self.bad = length, fails, broken, bad
        self.episode = self.t = 0
        self.starts: list[int | None] = []

    def _observe(self, action: Any) -> np.ndarray:
        obs = np.array([self.episode, self.t, *action])
        return np.full(4, self.bad) if self.episode == 2 and self.t == self.broken else obs

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.starts.append(seed)
        self.episode, self.t = self.episode + 1, 0
        return self._observe([0.0, 0.0]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.t < self.length, "stepped beyond the end"
        self.t += 1
        over = self.t == self.length
        return self._observe(action), 100.0 * self.episode + self.t, over and self.fails, over and not self.fails, {}


def makers(lengths: tuple[int, ...] = LENGTHS, **options: Any) -> list[Any]:
    """Return one function per sub-environment; every second one is truncated instead of terminated."""
    return [partial(Counter, length, fails=i % 2 == 0, **options) for i, length in enumerate(lengths)]


class Batched(VectorEnv):
    """Counters of tensors that reset in the same step and report the state reached of all, under the older name."""

    def __init__(self, lengths: tuple[int, ...] = LENGTHS, mode: Any = AutoresetMode.SAME_STEP) -> None:
        self.counters = [make() for make in makers(lengths)]
        self.num_envs = len(lengths)
        self.max_episode_steps = 50
        self.metadata = {"autoreset_mode": mode}
        self.single_observation_space, self.single_action_space = Counter.observation_space, Counter.action_space
        self.obs = torch.zeros(self.num_envs, 4)
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Tensor, dict]:
        chosen = range(self.num_envs) if options is None else options["env_idx"].tolist()
        self.obs = self.obs.clone()
        for i in chosen:
            self.obs[i] = torch.tensor(self.counters[i].reset(seed=seed)[0])
        return self.obs, {}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict]:
        self.actions.append(actions)
        rows = [counter.step(action.numpy()) for counter, action in zip(self.counters, actions, strict=True)]
        obs, reward, terminated, truncated = (torch.tensor(np.stack(column)) for column in list(zip(*rows, strict=True))[:4])
        self.obs, done, info = obs.float(), terminated | truncated, {}
        if done.any():
            info = {"final_observation": self.obs, "_final_observation": done}
            self.reset(options={"env_idx": done.nonzero()[:, 0]})
        return self.obs, reward.float(), terminated, truncated, info


def vector_env(kind: str, lengths: tuple[int, ...] = LENGTHS, **options: Any) -> VectorEnv:
    """Return counters as "sync_next", "async_same", ... or "tensors"."""
    if kind == "tensors":
        return Batched(lengths)
    modes = {"same": AutoresetMode.SAME_STEP, "next": AutoresetMode.NEXT_STEP, "disabled": AutoresetMode.DISABLED}
    vectorizer, mode = kind.split("_")
    cls = {"sync": SyncVectorEnv, "async": AsyncVectorEnv}[vectorizer]
    return cls(makers(lengths, **options), autoreset_mode=modes[mode])


def truth(steps: int, action: Tensor, lengths: tuple[int, ...] = LENGTHS) -> list[dict[str, Tensor]]:
    """Return for every step what a correct adapter reports when `action` (N, 2) is given all the time."""
    low, high = torch.tensor(LOW), torch.tensor(HIGH)
    applied = (low + high) / 2 + (high - low) / 2 * action.clamp(-1, 1)
    length = torch.tensor(lengths)
    fails = torch.arange(len(lengths)) % 2 == 0
    nothing = torch.zeros(len(lengths), 4)
    reported = []
    for k in range(steps):
        episode, t = k // length + 1, k % length + 1
        over = t == length
        reached = torch.cat([torch.stack([episode, t], 1).float(), applied], 1)
        fresh = nothing + torch.stack([episode + 1, 0 * t, 0 * t, 0 * t], 1)
        reported.append(
            {
                "obs": torch.where(over[:, None], fresh, reached),
                "reward": 100.0 * episode + t,
                "terminated": over & fails,
                "truncated": over & ~fails,
                "final_obs": reached,
                "progress": torch.where(over, 0, t),
                "invalid": torch.zeros_like(over),
            }
        )
    return reported
