"""Collecting one window each of several runs at once."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from rpo_lightning.envs.together import TogetherEnv
from rpo_lightning.rollout.batch import RolloutBatch
from rpo_lightning.rollout.collector import Agent, Collector
from rpo_lightning.seeding import normal

__all__ = ["TogetherCollector"]

_ROWS_FIRST = ("policy_state", "start_state", "start_context")
"""Fields of a window without a dimension of time before that of environments."""


class TogetherCollector(Collector):
    """Run S policies for windows of H steps, in all their environments at once.

    What it begins with it takes from the runs' own collectors, and leaves with them what it ends with, so that between two
    windows each of them is as after a window of its own.

    Args:
        collectors: of the runs, S of them.

    Raises:
        ValueError: if their environments cannot step together, or their windows are of different kinds.
    """

    def __init__(self, collectors: Sequence[Collector]) -> None:
        for name in ("horizon", "noise_correlation"):
            if len(found := {getattr(each, name) for each in collectors}) > 1:
                said = " and ".join(map(str, sorted(found)))
                raise ValueError(f"Runs whose {name} is {said} cannot train in one process.")
        self._collectors = list(collectors)
        self._together = TogetherEnv([each.env for each in collectors])
        self.env, self.horizon = self._together.env, collectors[0].horizon
        self.noise_correlation = collectors[0].noise_correlation
        self.generator: Any = [each.generator for each in collectors]  # handed on to the agent as it is

    def collect_each(self, agent: Agent) -> list[RolloutBatch]:
        """Collect a window of each run; `agent` acts for all S N environments, and takes S generators where others take one.

        The time of each is that of all.
        """
        started = perf_counter()
        self._gather()
        with torch.set_grad_enabled(agent.needs_action_grad):
            fields = self._roll_out(agent)
        self._scatter()
        seconds = perf_counter() - started
        windows = []
        for index, own in enumerate(self._collectors):
            part = {name: self._part(value, int(name not in _ROWS_FIRST), index) for name, value in fields.items()}
            seed = int(torch.randint(2**31, (), generator=own.generator))
            windows.append(RolloutBatch(**part, seed=seed, rollout_time=seconds))
        return windows

    def _noise(self, obs: Tensor) -> Tensor:
        shape = self.horizon, self._collectors[0].env.num_envs, self.env.action_dim
        return torch.cat([normal(shape, generator, like=obs) for generator in self.generator], dim=1)

    def _gather(self) -> None:
        self._together.gather()
        own = self._collectors
        states = [each._policy_state for each in own if each._policy_state is not None]
        self._policy_state = torch.cat(states) if states else None
        self._last_noise = torch.cat([each._last_noise for each in own])
        self._length = torch.cat([each._length for each in own])
        self._sums = {name: torch.cat([each._sums[name] for each in own]) for name in own[0]._sums}

    def _scatter(self) -> None:
        self._together.scatter()
        for index, each in enumerate(self._collectors):
            each.windows += 1
            each._policy_state = self._part(self._policy_state, 0, index)
            each._last_noise = self._part(self._last_noise, 0, index)
            each._length = self._part(self._length, 0, index)
            each._sums = self._part(self._sums, 0, index)

    def _part(self, value: Any, dim: int, index: int) -> Any:
        """Return the rows of one run, of a tensor or of those in a tuple or a mapping."""
        if isinstance(value, dict):
            return {name: self._part(each, dim, index) for name, each in value.items()}
        if isinstance(value, tuple):
            return tuple(self._part(each, dim, index) for each in value)
        return None if value is None else value.chunk(len(self._collectors), dim)[index]
