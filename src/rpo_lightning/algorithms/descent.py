"""Steps down a loss: differentiate, average over ranks, clip, refuse what is not finite, and take back what went too far."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rpo_lightning.distributed import mean_over_ranks, world_size

__all__ = ["descend", "step_back", "take_step"]

HALVINGS = 6
"""Of the way that is taken back in part: what is left of it is exact to 1/64."""


def descend(optimizer: Any, params: Sequence[nn.Parameter], loss: Tensor, max_norm: float) -> tuple[Tensor, Tensor]:
    """Take one step, unless the gradient is not finite: then nothing changes.

    A fused optimizer refuses on its own device; nobody waits for it. Any other is asked for on the host.

    Args:
        optimizer: of `params`; may be wrapped by Lightning or Fabric.
        params: what the loss is differentiated by.
        loss: ().
        max_norm: the gradient is clipped to this norm.

    Returns:
        The norm () before clipping, and whether the step was refused, () bool.
    """
    grads = torch.autograd.grad(loss, params)
    if world_size() > 1:
        flat = mean_over_ranks(torch.cat([grad.reshape(-1) for grad in grads]))
        pieces = flat.split([grad.numel() for grad in grads])
        grads = tuple(piece.view_as(grad) for piece, grad in zip(pieces, grads, strict=True))
    return take_step(optimizer, params, grads, max_norm)


def take_step(
    optimizer: Any, params: Sequence[nn.Parameter], grads: Sequence[Tensor], max_norm: float
) -> tuple[Tensor, Tensor]:
    """Clip gradients and take a step with them, see `descend`."""
    norm = nn.utils.get_total_norm(grads)
    refused = ~norm.isfinite()
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    nn.utils.clip_grads_with_norm_(params, max_norm, norm)
    if all(group.get("fused") for group in optimizer.param_groups):
        # torch's name for what a fused step leaves everything as it is for, its counter of steps included
        inner = getattr(optimizer, "optimizer", optimizer)
        inner.found_inf = refused.float()
        optimizer.step()
        del inner.found_inf
    elif not refused:
        optimizer.step()
    return norm, refused


@torch.no_grad()
def step_back(
    params: Sequence[Tensor], before: Sequence[Tensor], divergence: Callable[[], Tensor], limit: float | Tensor
) -> Tensor:
    """Go back, on the straight line to what parameters were before, until they have diverged by no more than a limit.

    The share is found by halving, always with as many evaluations, so that nobody waits for one.

    Args:
        params: to be moved in place.
        before: what they were.
        divergence: () of where they are from where they were; the same on all ranks.
        limit: of it; infinity leaves everything as it is.

    Returns:
        The share () of the way that is left: 1 where nothing is taken back.
    """
    share = params[0].new_ones(())
    if not isinstance(limit, Tensor) and math.isinf(limit):
        return share
    after = [param.detach().clone() for param in params]

    def go(share: Tensor) -> None:
        for param, start, end in zip(params, before, after, strict=True):
            param.copy_(torch.lerp(start, end, share))

    near, far = torch.zeros_like(share), share
    fits = (divergence() <= limit) | (limit == math.inf)
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        go(middle)
        closer = divergence() <= limit
        near, far = torch.where(closer, middle, near), torch.where(closer, far, middle)
    share = torch.where(fits, 1.0, near)
    go(share)
    return share
