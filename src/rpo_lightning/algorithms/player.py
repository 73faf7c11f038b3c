"""A policy at play: for evaluation and recordings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Player"]


class Player:
    """Act in N episodes that begin together, with whatever memory the policy has: `play(obs) -> action`, once a step.

    Args:
        module: the algorithm.
        num_envs: N.
        deterministic: act with the mode instead of a sample.
        generator: of the samples.
    """

    def __init__(
        self, module: Any, num_envs: int, deterministic: bool = False, generator: torch.Generator | None = None
    ) -> None:
        self.module, self.deterministic, self.generator = module, deterministic, generator
        self._state = torch.zeros(num_envs, module.state_size, device=module.device)

    @torch.no_grad()
    def __call__(self, obs: Tensor) -> Tensor:
        """Return actions (N, A) in [-1, 1] at raw observations (N, D)."""
        policy, self._state = self.module.remembering_policy(obs, self._state)
        return policy.mode if self.deterministic else policy.action(policy.from_noise(policy.noise(self.generator)))

    def forget(self, ended: Tensor) -> None:
        """Forget what was remembered of episodes that have ended, (N,) bool: others begin in their place."""
        self._state = self._state.masked_fill(ended[:, None], 0.0)
