"""What an environment is: all that training, evaluation and check-env ask of one stands here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["STATE_LIMIT", "Env", "Step", "lacking"]

STATE_LIMIT = 1e6  # a state, observation, action or reward beyond this, or not finite, is broken
_OF_THE_CLASS = ("name", "obs_dim", "action_dim")  # known before anything is built


class Step(NamedTuple):
    """What one step returns; N environments.

    Attributes:
        obs: (N, obs_dim) after resets. reward: (N,). terminated, truncated: (N,) bool; both can be true.
        final_obs: (N, obs_dim) of the state reached, before any reset.
        privileged: (N, P) what only the critic sees, after resets. final_privileged: (N, P) of the state reached.
        reward_terms: what the reward is made of, by name, each (N,), without a graph: parts that are added, or factors.
    """

    obs: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    final_obs: Tensor
    privileged: Tensor | None = None
    final_privileged: Tensor | None = None
    reward_terms: Mapping[str, Tensor] | None = None


class Env(Protocol):
    """N environments that step together; `rpo_lightning.envs.base.BaseEnv` does most of this for a task.

    Constructed as `cls(num_envs=, device=, seed=, **options)`, already reset. An environment that breaks (`STATE_LIMIT`)
    ends alone: `invalid` and terminated, with reward 0, observation 0 and gradient 0.

    Attributes:
        name: of the task. num_envs: N. obs_dim, action_dim, privileged_dim: widths; privileged_dim P may be 0.
        max_episode_steps: time limit. device: of all tensors.
        differentiable: whether gradients flow from actions to rewards and observations.
        progress: (N,) int64 steps of the present episodes; can be set, to let time limits fall apart.
        invalid: (N,) bool: broken in the last step. To evaluations that is an end like others if `may_break` is true.
        privileged: (N, P) what only the critic sees of the present state.
    """

    name: str
    num_envs: int
    obs_dim: int
    action_dim: int
    privileged_dim: int
    max_episode_steps: int
    device: torch.device
    differentiable: bool
    invalid: Tensor

    @property
    def progress(self) -> Tensor:
        """Steps of the present episodes, (N,) int64."""
        ...

    @progress.setter
    def progress(self, steps: Tensor) -> None: ...

    @property
    def privileged(self) -> Tensor:
        """What only the critic sees of the present state, (N, P); carries the graph as observations do."""
        ...

    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Start the environments in `mask` (N,) bool anew, all if None; return the observation (N, obs_dim)."""
        ...

    def step(self, action: Tensor) -> Step:
        """Apply `action` (N, action_dim), clipped to [-1, 1]; episodes that end begin anew."""
        ...

    def detach(self) -> Tensor:
        """Cut the graph at the present state; return its observation (N, obs_dim)."""
        ...

    def get_state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (q, qd, progress), each (N, ...)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything the future depends on, the random generator included."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken, on whatever device."""
        ...

    def close(self) -> None:
        """Give back threads, processes and memory; once is enough, more does no harm."""
        ...


def lacking(env: Any) -> list[str]:
    """Return what an environment, or a class of them, has not of `Env`."""
    if isinstance(env, type):
        return [name for name in _OF_THE_CLASS if not hasattr(env, name)]
    members = dict.fromkeys((*Env.__annotations__, *vars(Env)))
    return [name for name in members if not name.startswith("_") and not hasattr(env, name)]
