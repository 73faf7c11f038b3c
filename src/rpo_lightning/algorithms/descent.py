"""One step down a loss: differentiate, average over ranks, clip, and refuse what is not finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rpo_lightning.distributed import mean_over_ranks, world_size

__all__ = ["descend", "take_step"]


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
