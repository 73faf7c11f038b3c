"""Several runs of one algorithm that act and learn side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from rpo_lightning.algorithms.base import RLModule
from rpo_lightning.algorithms.napg import NAPG
from rpo_lightning.algorithms.rpo import RPO
from rpo_lightning.algorithms.sapo import SAPO
from rpo_lightning.algorithms.shac import SHAC
from rpo_lightning.algorithms.stack import Stack
from rpo_lightning.nn import Gaussian
from rpo_lightning.rollout import RolloutBatch, Window

__all__ = ["Together", "check_modules"]

KINDS = (RPO, NAPG, SHAC, SAPO)


def check_modules(modules: Sequence[RLModule]) -> None:
    """Check that modules can act and learn side by side.

    Raises:
        ValueError: for an algorithm other than RPO, NAPG, SHAC and SAPO, for several, or an actor with a hidden state.
    """
    for module in modules:
        if not isinstance(module, KINDS):
            names = ", ".join(kind.__name__ for kind in KINDS)
            raise ValueError(f"{type(module).__name__}: several runs in one process are for {names} only.")
        if type(module) is not type(modules[0]):
            raise ValueError(f"{type(modules[0]).__name__} and {type(module).__name__} cannot train in one process.")
        if module.state_size:
            network = type(module.actor).__name__
            raise ValueError(f"{network} has a hidden state: with it several runs cannot train in one process.")


class Together:
    """S modules as one agent for S N environments, those of the first module first (`rollout.Agent`).

    Each remains a module of its own, with its weights, optimizers, counters and options.

    Args:
        modules: of one algorithm: RPO, NAPG, SHAC or SAPO.
        stacked: whether their weights are laid into one tensor each, and the policies of a step and the updates of a window
            are computed for all at once; otherwise one module after the other, with the bits of its own run. The former
            is for a device on which every operator costs a launch.

    Raises:
        ValueError: see `check_modules`, and if they are stacked `Stack`.
    """

    needs_action_grad = True
    state_size = 0

    def __init__(self, modules: Sequence[RLModule], stacked: bool) -> None:
        check_modules(modules)
        self.modules = list(modules)
        self._stack = Stack(modules) if stacked else None

    # ---- acting: what a rollout asks ---------------------------------------------------------------------------------

    def check_window(self, horizon: int, num_envs: int) -> None:
        """Do nothing: each run has been checked by itself."""

    def behaviour(self, obs: Tensor, state: Tensor) -> tuple[Gaussian, Tensor]:
        """Return the distribution (S N, A) that explores at raw observations (S N, D), and the hidden state (S N, 0)."""
        if self._stack is not None:
            return self._stack.behaviour(obs), state
        rows = zip(self.modules, self._parts(obs), self._parts(state), strict=True)
        parts = [module.behaviour(*each)[0] for module, *each in rows]
        return type(parts[0])(*(torch.cat([getattr(p, name) for p in parts]) for name in ("mean", "log_std"))), state

    def next_value(self, window: Window) -> Tensor:
        """Return the values (H, S N) that critic targets bootstrap from."""
        return torch.cat([module.next_value(each) for module, each in self._windows(window)], 1)

    def reward_bonus(self, policy: Gaussian, generator: Any) -> Tensor:
        """Return the bonus (H, S N) that belongs to the reward, drawn with S generators."""
        rows = zip(self.modules, self._parts(policy.mean, 1), self._parts(policy.log_std, 1), generator, strict=True)
        return torch.cat([module.reward_bonus(type(policy)(*each), own) for module, *each, own in rows], 1)

    def window_objective(self, window: Window) -> Tensor:
        """Return the sum over runs of what their action-gradients are gradients of."""
        return torch.stack([module.window_objective(each) for module, each in self._windows(window)]).sum()

    # ---- learning ----------------------------------------------------------------------------------------------------

    def update(self, batches: Sequence[RolloutBatch], skipped: Sequence[bool]) -> list[dict[str, Tensor | float]]:
        """Let each module learn from its window, unless it is to be skipped; return the metrics of each."""
        if self._stack is not None and not any(skipped):
            return self._stack.update(batches)
        rows = zip(self.modules, batches, skipped, strict=True)
        return [{} if left_out else module.update(batch) for module, batch, left_out in rows]

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _parts(self, rows: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
        return rows.chunk(len(self.modules), dim)

    def _windows(self, window: Window) -> list[tuple[RLModule, Window]]:
        columns = {each.name: self._parts(getattr(window, each.name), 1) for each in fields(window)}
        windows = [Window(**{name: parts[i] for name, parts in columns.items()}) for i in range(len(self.modules))]
        return list(zip(self.modules, windows, strict=True))
