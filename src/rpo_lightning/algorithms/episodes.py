"""Statistics of the episodes that end while training."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["EndedEpisodes"]


class EndedEpisodes(Metric):
    """Sums over the episodes that ended since the last reset, on all ranks.

    Float64, so that sums of a million episodes keep their digits.
    """

    full_state_update = False
    returns: Tensor
    lengths: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("returns", "lengths", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, episode_return: Tensor, episode_length: Tensor) -> None:
        """Add the episodes of a window; both (H, N), NaN where none ended, the return also if its beginning is unknown."""
        known = episode_return.isfinite()
        self.returns += episode_return[known].sum()
        self.lengths += episode_length[known].sum()
        self.count += known.sum()

    def compute(self) -> Tensor:
        """Return the sums (3,): returns, lengths [steps], number of episodes."""
        return torch.stack([self.returns, self.lengths, self.count])
