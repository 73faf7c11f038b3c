"""Values as categorical distributions: regression by classification (arXiv 2403.03950)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["HLGauss"]

SIGMA_PER_BIN = 0.75


class HLGauss(nn.Module):
    """Bins over [low, high]; a scalar becomes the share of a Gaussian, 0.75 bins wide, that falls into each.

    The outermost bins reach half a bin beyond the range, and the shares are divided by what lies inside.

    Args:
        low: centre of the first bin.
        high: centre of the last bin.
        bins: number of bins.

    Raises:
        ValueError: the range is empty, or there are fewer than two bins.
    """

    centres: Tensor
    edges: Tensor

    def __init__(self, low: float, high: float, bins: int) -> None:
        super().__init__()
        if not low < high or bins < 2:
            raise ValueError(f"values need a range and at least two bins, not [{low}, {high}] with {bins} bins.")
        self.low, self.high, self.bins = low, high, bins
        width = (high - low) / (bins - 1)
        self.sigma = SIGMA_PER_BIN * width
        self.register_buffer("centres", torch.linspace(low, high, bins), persistent=False)
        edges = torch.linspace(low - 0.5 * width, high + 0.5 * width, bins + 1)
        self.register_buffer("edges", edges, persistent=False)

    def encode(self, value: Tensor) -> Tensor:
        """Return the shares (..., bins), of sum 1, of values (...,) clipped to the range."""
        value = value.clamp(self.low, self.high)[..., None]
        below = torch.erf((self.edges - value) / (math.sqrt(2.0) * self.sigma))
        return below.diff(dim=-1) / (below[..., -1:] - below[..., :1])

    def decode(self, logits: Tensor) -> Tensor:
        """Return the expected value (...,) of the bins under logits (..., bins)."""
        return logits.softmax(-1) @ self.centres

    def loss(self, logits: Tensor, value: Tensor) -> Tensor:
        """Return the cross-entropy (...,) between logits (..., bins) and encoded values (...,)."""
        return -(self.encode(value) * logits.log_softmax(-1)).sum(-1)

    def outside(self, value: Tensor) -> Tensor:
        """Mark values (...,) that encoding would clip."""
        return (value < self.low) | (value > self.high)
