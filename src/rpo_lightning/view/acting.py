"""Who acts in an environment that is looked at: `act(obs) -> action`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["ACTIONS", "Act", "acting"]

Act = Callable[[Tensor], Tensor]
"""Observations (N, D) -> actions (N, A) in [-1, 1], called once a step."""

ACTIONS = ("policy", "random", "zero")


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
