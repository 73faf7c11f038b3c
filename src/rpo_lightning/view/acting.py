"""Who acts in an environment that is looked at: `act(obs) -> action`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["ACTIONS", "Act", "acting", "acts", "forget"]

Act = Callable[[Tensor], Tensor]
"""Observations (N, D) -> actions (N, A) in [-1, 1], called once a step."""

ACTIONS = ("policy", "random", "zero")


def acts(policy: Any, env: Any, deterministic: bool = True, seed: int = 0) -> Act:
    """Return what acts for a policy in any of its forms.

    Args:
        policy: None or "zero", "random"; an algorithm's module, anything with `act(obs, deterministic)`, or a function.
        env: N environments.
        deterministic: act with the policy's mode instead of a sample.
        seed: of samples and of random actions.

    Raises:
        ValueError: for another word. TypeError: for what is no policy.
    """
    if policy is None or isinstance(policy, str):
        return acting(policy or "zero", env, None, deterministic, seed)
    if hasattr(policy, "player"):
        return acting("policy", env, policy, deterministic, seed)
    if hasattr(policy, "act"):
        return _Acting(policy, deterministic)
    if not callable(policy):
        raise TypeError(f"a policy acts on observations: {type(policy).__name__} cannot be called and has no method act")
    return policy


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


def acting(kind: str, env: Any, module: Any = None, deterministic: bool = True, seed: int = 0) -> Act:
    """Return what acts.

    Args:
        kind: one of `ACTIONS`.
        env: N environments.
        module: whose policy acts: anything with `player(num_envs, deterministic, generator)`.
        deterministic: act with the policy's mode instead of a sample.
        seed: of samples and of random actions.

    Raises:
        ValueError: for another kind, or a policy without a module.
    """
    generator = torch.Generator().manual_seed(seed)
    if kind == "zero":
        return lambda obs: obs.new_zeros(env.num_envs, env.action_dim)
    if kind == "random":
        shape = env.num_envs, env.action_dim
        return lambda obs: (2.0 * torch.rand(shape, generator=generator) - 1.0).to(obs)
    if kind != "policy":
        raise ValueError(f"actions must be {', '.join(ACTIONS[:-1])} or {ACTIONS[-1]}, not {kind!r}")
    if module is None:
        raise ValueError("actions of a policy need one: name a checkpoint or a policy.pt")
    return module.player(env.num_envs, deterministic, generator)
