"""Running mean and variance of the observations."""

import torch
from torch import Tensor, nn

from rpo_lightning.distributed import sum_over_ranks

__all__ = ["RunningNormalizer"]

EPSILON = 1e-5


class RunningNormalizer(nn.Module):
    """Normalise observations by running statistics, which only `update` changes.

    Statistics are float64 and equal on all ranks; they start as one observation with mean 0 and variance 1.

    Args:
        size: observation dimension D.
        limit: normalised values are clamped to [-limit, limit]; none by default.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, size: int, limit: float | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("var", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.ones((), dtype=torch.float64))

    def forward(self, obs: Tensor) -> Tensor:
        """Return (obs - mean) / sqrt(var + 1e-5) in obs's dtype; gradient flows to obs (..., D)."""
        scale = (self.var + EPSILON).rsqrt().to(obs.dtype)
        normalized = (obs - self.mean.to(obs.dtype)) * scale
        return normalized if self.limit is None else normalized.clamp(-self.limit, self.limit)

    def inverse(self, normalized: Tensor) -> Tensor:
        """Return what `forward` without a limit would map to `normalized` (..., D)."""
        scale = (self.var + EPSILON).sqrt().to(normalized.dtype)
        return normalized * scale + self.mean.to(normalized.dtype)

    @torch.no_grad()
    def update(self, obs: Tensor) -> None:
        """Merge the observations (..., D) of all ranks into the statistics."""
        # Sums about the running mean, which is equal on all ranks, do not cancel as raw squares would.
        centred = obs.reshape(-1, obs.shape[-1]).double() - self.mean
        rows = torch.full_like(self.mean, centred.shape[0])
        rows, total, squares = sum_over_ranks(torch.stack([rows, centred.sum(0), centred.square().sum(0)]))
        shift = total / rows
        # of a single row the variance is unknown, and counts as 0
        batch_var = (squares - rows * shift.square()) / (rows - 1).clamp(min=1.0)
        count = self.count + rows[0]
        self.var.copy_((self.var * self.count + batch_var * rows + shift.square() * self.count * rows / count) / count)
        self.mean += shift * rows / count
        self.count.copy_(count)
