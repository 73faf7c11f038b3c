"""What a differentiable simulator knows of the slope of REPPO's value (docs/reppo.md, section 7)."""

from __future__ import annotations

import torch
from torch import Tensor

from rpo_lightning.losses import shortened
from rpo_lightning.returns import segment_discounts
from rpo_lightning.rollout import RolloutBatch

__all__ = ["slope_error", "slopes"]

GRADIENT_LIMIT = 10.0
"""Times the median length: longer action-gradients are shortened to this."""


def slopes(batch: RolloutBatch, discount: float, collected: Tensor, scale: Tensor) -> Tensor:
    """Return the gradients (H, N, A) of every step's own scaled return with respect to its sample u; NaN where unknown.

    Args:
        batch: the window, whose action-gradients are those of discounted sums from a segment's start on.
        discount: gamma.
        collected: units of reward in one unit of value when the window was collected, ().
        scale: units of reward in one unit of value now, ().
    """
    if batch.action_grad is None:
        return torch.full_like(batch.sample, torch.nan)
    unit, weight = collected / scale, segment_discounts(batch.done, discount) * collected
    return (batch.action_grad * (unit / weight)[..., None]).masked_fill(batch.nonfinite_grad[..., None], torch.nan)


def slope_error(slope: Tensor, known: Tensor) -> Tensor:
    """Return the mean square distance () of slopes (B, A) from those known, per mean square of these.

    Rows that are not finite are left out. Known slopes longer than ten times the median of those not 0 are shortened to
    that: one near a contact would own the sum.
    """
    finite = known.isfinite().all(-1)
    slope, known = slope[finite], known[finite]
    if not (known != 0.0).any():
        return slope.new_zeros(())
    known, _ = shortened(known, GRADIENT_LIMIT)
    return (slope - known).square().mean() / known.square().mean()
