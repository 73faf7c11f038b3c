"""Statistics of windows and of the episodes that end in them."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from rpo_lightning.distributed import sum_over_ranks, world_size
from rpo_lightning.rollout import RolloutBatch

__all__ = ["EndedEpisodes", "RecentEpisodes", "window_metrics"]

RECENT = 100
"""Episodes that a mean is taken over, at least."""


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


class RecentEpisodes:
    """Means over the last windows that ended at least 100 episodes together, on all ranks."""

    def __init__(self) -> None:
        self.windows: list[list[float]] = []
        """Sums of returns, of lengths and number of episodes of each window, oldest first; part of a checkpoint."""
        self._ended = EndedEpisodes()

    def metrics(self, batch: RolloutBatch) -> dict[str, float]:
        """Take in a window and return the means; empty before the first episode has ended."""
        ended = self._ended.to(batch.reward.device)
        ended.reset()
        ended.update(batch.episode_return, batch.episode_length)
        sums = ended.compute().tolist()
        if sums[2]:
            self.windows.append(sums)
        while sum(window[2] for window in self.windows[1:]) >= RECENT:
            del self.windows[0]
        if not self.windows:
            return {}
        returns, lengths, count = (sum(column) for column in zip(*self.windows, strict=True))
        return {"train/return": returns / count, "train/episode_length": lengths / count}


def window_metrics(batch: RolloutBatch) -> dict[str, Tensor]:
    """Return what was broken in a window, and the means of the reward's named terms, over all ranks."""
    means = {f"reward/{name}": term.mean() for name, term in batch.reward_terms.items()}
    means["nan/nonfinite_grad_frac"] = batch.nonfinite_grad.float().mean()
    counts = {"nan/invalid_envs": batch.invalid.sum(), "nan/invalid_rewards": batch.invalid_reward.sum()}
    parts = [value.float() for value in counts.values()] + [value / world_size() for value in means.values()]
    return dict(zip((*counts, *means), sum_over_ranks(torch.stack(parts)), strict=True))
