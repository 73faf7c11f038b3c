"""The last observations side by side, for actors that cannot tell from one alone: a robot's own lag, what it stands on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rpo_lightning.envs.tables import Quantity

__all__ = ["History", "aged"]


class History:
    """The last k observations of N environments: `of(obs)` is (N, k D), the newest first.

    Where an episode began fewer than k steps ago its first observation stands for those before it. Graphs are kept.

    Attributes: `past` (N, (k - 1) D), the observations before the present one.

    Args:
        length: k, at least 1.
        obs: (N, D) of starts.
    """

    def __init__(self, length: int, obs: Tensor) -> None:
        self._length, self.past = length, obs.repeat(1, length - 1)

    def of(self, obs: Tensor) -> Tensor:
        """Return the present observation (N, D) with those before it, (N, k D); for k = 1 itself."""
        return torch.cat([obs, self.past], dim=1) if self._length > 1 else obs

    def add(self, obs: Tensor) -> None:
        """Let an observation (N, D) be the one before the present one."""
        if self._length > 1:
            self.past = torch.cat([obs, self.past], dim=1)[:, : self.past.shape[1]]

    def begin(self, obs: Tensor, mask: Tensor | None = None) -> None:
        """Let episodes begin with `obs` (N, D) where `mask` (N,) bool says so, everywhere if None."""
        if self._length > 1:
            first = obs.repeat(1, self._length - 1)
            self.past = first if mask is None else torch.where(mask[:, None], first, self.past)

    def blank(self, mask: Tensor) -> None:
        """Put zeros, without a gradient, where `mask` (N,) bool."""
        if self._length > 1:
            self.past = self.past.masked_fill(mask[:, None], 0.0)

    def detach(self) -> None:
        """Cut the graph."""
        self.past = self.past.detach()


def aged(rows: Sequence[Quantity], length: int) -> list[Quantity]:
    """Return the rows of the last `length` observations, newest first; older ones say how many steps ago they were."""
    steps = ["", ", 1 step ago", *(f", {age} steps ago" for age in range(2, length))][:length]
    return [row._replace(name=f"{row.name}{ago}") for ago in steps for row in rows]
