"""Statistics of windows and of the episodes that end in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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

    Args:
        terms: names of what rewards are made of.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self, terms: Sequence[str] = ()) -> None:
        super().__init__()
        self.terms = tuple(terms)
        self.add_state("sums", torch.zeros(3 + len(self.terms), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, episode_return: Tensor, episode_length: Tensor, terms: Mapping[str, Tensor] | None = None) -> None:
        """Add the episodes of a window; all (H, N), NaN where none ended, returns and terms also of unknown beginning."""
        known = episode_return.isfinite()
        each = [episode_return, episode_length, known, *((terms or {})[name] for name in self.terms)]
        self.sums += torch.where(known, torch.stack([part.double() for part in each]), 0.0).sum((1, 2))

    def compute(self) -> Tensor:
        """Return the sums (3 + K,): returns, lengths [steps], number of episodes, and each of the K terms."""
        return self.sums


class RecentEpisodes:
    """Means over the last windows that ended at least 100 episodes together, on all ranks."""

    def __init__(self) -> None:
        self.windows: list[list[float]] = []
        """Sums of returns, of lengths, number of episodes and sums of terms in each window, oldest first."""
        self._ended = EndedEpisodes()

    def state_dict(self) -> dict[str, Any]:
        """Return the part of a checkpoint."""
        return {"terms": list(self._ended.terms), "windows": self.windows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.windows, self._ended = [list(window) for window in state["windows"]], EndedEpisodes(state["terms"])

    def sums(self, batch: RolloutBatch) -> Tensor:
        """Return what `metrics` takes of a window, (3 + K,), on the device."""
        if tuple(batch.episode_terms) != self._ended.terms:  # the first window, or the task has changed
            self.windows, self._ended = [], EndedEpisodes([*batch.episode_terms])
        ended = self._ended.to(batch.reward.device)
        ended.reset()
        ended.update(batch.episode_return, batch.episode_length, batch.episode_terms)
        return ended.compute()

    def metrics(self, sums: Sequence[float]) -> dict[str, float]:
        """Take in the sums of a window and return the means; empty before the first episode has ended."""
        if sums[2]:
            self.windows.append(list(sums))
        while sum(window[2] for window in self.windows[1:]) >= RECENT:
            del self.windows[0]
        if not self.windows:
            return {}
        returns, lengths, count, *terms = (sum(column) for column in zip(*self.windows, strict=True))
        means = {"train/return": returns / count, "train/episode_length": lengths / count}
        return means | {f"reward/{name}": term / count for name, term in zip(self._ended.terms, terms, strict=True)}


def window_metrics(batch: RolloutBatch) -> dict[str, Tensor]:
    """Return what was broken in a window, over all ranks."""
    counts = {"nan/invalid_envs": batch.invalid.sum(), "nan/invalid_rewards": batch.invalid_reward.sum()}
    share = batch.nonfinite_grad.float().mean() / world_size()
    parts = [value.float() for value in counts.values()] + [share]
    return dict(zip((*counts, "nan/nonfinite_grad_frac"), sum_over_ranks(torch.stack(parts)), strict=True))
