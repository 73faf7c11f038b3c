"""The environments under test, made in the forms the checks need, and what the checks do with them."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rpo_lightning.envs.articulated import ArticulatedEnv

__all__ = ["Subject", "gradient", "load", "random_actions", "visited_state"]

_ACTION_BOUND = 0.85  # leaves room for finite differences of up to 0.1 before actions are clipped at 1
_WARM_UP = 16  # steps from the start to the states that are looked at: most robots have landed by then


@dataclass
class Subject:
    """A class of environments with its options.

    Args:
        cls: called as `cls(num_envs=, device=, seed=, **options)`.
        num_envs: number of environments N, at least 2.
        device: "cpu" or "cuda[:k]".
        seed: of starts, actions and directions.
        options: of the class.
    """

    cls: type
    num_envs: int
    device: str | torch.device
    seed: int
    options: dict[str, Any]

    @property
    def articulated(self) -> bool:
        """Whether this library's simulator is inside: joints have names and the number of substeps can be changed."""
        return issubclass(self.cls, ArticulatedEnv)

    def make(self, seed: int | None = None, **overrides: Any) -> Any:
        """Return environments with the subject's options, and its seed if None is given."""
        options = {**self.options, **overrides}
        return self.cls(num_envs=self.num_envs, device=self.device, seed=self.seed if seed is None else seed, **options)

    def make_endless(self) -> Any:
        """Return environments that do not reset themselves, if the class has that option."""
        knows = self.articulated or "auto_reset" in inspect.signature(self.cls).parameters
        return self.make(auto_reset=False) if knows else self.make()


def random_actions(env: Any, steps: int, seed: int) -> Tensor:
    """Return uniform actions (T, N, A) within 0.85; the same numbers on every device."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(steps, env.num_envs, env.action_dim, generator=generator)
    return ((2.0 * draws - 1.0) * _ACTION_BOUND).to(env.device)


def load(env: Any, state: dict[str, Any]) -> None:
    """Give an environment a copy of a state, without a graph."""
    env.load_state_dict(copy.deepcopy(state))
    env.detach()


@torch.no_grad()
def visited_state(subject: Subject) -> dict[str, Any]:
    """Return the state that some random actions lead to."""
    env = subject.make()
    for action in random_actions(env, _WARM_UP, subject.seed):
        env.step(action)
    return copy.deepcopy(env.state_dict())


def gradient(total: Tensor, inputs: Tensor) -> Tensor:
    """Return d total / d inputs, zero where they are not connected; the graph stays."""
    if not total.requires_grad:
        return torch.zeros_like(inputs)
    (grad,) = torch.autograd.grad(total, inputs, retain_graph=True, allow_unused=True)
    return torch.zeros_like(inputs) if grad is None else grad
