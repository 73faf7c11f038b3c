"""The unit of rewards that puts every task's returns in the same range."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rpo_lightning.distributed import max_over_ranks

__all__ = ["ReturnScaler"]

GROWTH = 10.0
"""The unit grows by no more than this in a window, once it is known."""


class ReturnScaler(nn.Module):
    """Divide rewards so that discounted returns stay within +-limit, learned from the largest one seen.

    A window of H steps sees only part of an endless return: the largest |sum of gamma^k r_{t+k}| from any of its steps on,
    divided by 1 - gamma^H, stands for the whole. It only grows, so the unit settles. Returns that are not finite are left
    out, and after the first window a single reward out of all proportion makes the unit ten times what it was, not more.

    Args:
        discount: gamma.
        limit: to which the largest return is mapped.
    """

    largest: Tensor

    def __init__(self, discount: float, limit: float) -> None:
        super().__init__()
        self.discount = discount
        self.limit = limit
        self.register_buffer("largest", torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        """Rewards per unit (), 1 before the first reward that is not 0."""
        return torch.where(self.largest > 0.0, self.largest / self.limit, 1.0)

    @torch.no_grad()
    def update(self, reward: Tensor, done: Tensor) -> None:
        """Take in the rewards (H, N) of a window, in which episodes ended at `done` (H, N)."""
        total = peak = torch.zeros_like(reward[0])
        for reward_t, done_t in zip(reward.flip(0), done.flip(0), strict=True):
            total = reward_t + self.discount * torch.where(done_t, 0.0, total)
            peak = torch.maximum(peak, total.abs())
        peak = peak / (1.0 - self.discount ** len(reward))
        seen = max_over_ranks(torch.where(peak.isfinite(), peak, 0.0).max())
        ceiling = torch.where(self.largest > 0.0, GROWTH * self.largest, seen)
        self.largest.copy_(torch.maximum(self.largest, torch.minimum(seen, ceiling)))
