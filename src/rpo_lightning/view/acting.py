"""Who acts in an environment that is looked at: `act(obs) -> action`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["ACTIONS", "Act", "acting", "forget"]

Act = Callable[[Tensor], Tensor]
"""Observations (N, D) -> actions (N, A) in [-1, 1], called once a step."""

ACTIONS = ("policy", "random", "zero")


def acting(who: Any, env: Any, deterministic: bool = True, seed: int = 0) -> Act:
    """Return what acts.

    Args:
        who: None or "zero", "random"; an algorithm's module, anything else with `player(num_envs, deterministic, generator)`
            or with `act(obs, deterministic)`, or a function.
        env: N environments.
        deterministic: act with the policy's mode instead of a sample.
        seed: of samples and of random actions.

    Raises:
        ValueError: for another word. TypeError: for what is no policy.
    """
    generator = torch.Generator().manual_seed(seed)
    if who is None or who == "zero":
        return lambda obs: obs.new_zeros(env.num_envs, env.action_dim)
    if who == "random":
        shape = env.num_envs, env.action_dim
        return lambda obs: (2.0 * torch.rand(shape, generator=generator) - 1.0).to(obs)
    if who == "policy":
        raise ValueError("actions of a policy need one: name a checkpoint or a policy.pt")
    if isinstance(who, str):
        raise ValueError(f"actions must be {', '.join(ACTIONS[:-1])} or {ACTIONS[-1]}, not {who!r}")
    if hasattr(who, "player"):
        return who.player(env.num_envs, deterministic, generator)
    if hasattr(who, "act"):
        return _Acting(who, deterministic)
    if not callable(who):
        raise TypeError(f"a policy acts on observations: {type(who).__name__} cannot be called and has no method act")
    return who


class _Acting:
    """A policy that may remember, from the beginning of its episodes on."""

    def __init__(self, policy: Any, deterministic: bool) -> None:
        self._policy, self._deterministic = policy, deterministic
        self._reset = getattr(policy, "reset", lambda mask=None: None)
        self._reset()

    def __call__(self, obs: Tensor) -> Tensor:
        return self._policy.act(obs, deterministic=self._deterministic)

    def forget(self, ended: Tensor) -> None:
        self._reset(ended)


def forget(act: Act, ended: Tensor) -> None:
    """Let what acts forget the episodes that have ended (N,) bool, if it remembers any."""
    if (method := getattr(act, "forget", None)) is not None:
        method(ended)
