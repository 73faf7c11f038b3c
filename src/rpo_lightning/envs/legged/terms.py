"""What walking is paid for: terms of a reward, each of N robots, all with a slope wherever it matters.

Their kinds are those that legged robots are trained with by policy gradients (Rudin et al. 2021, arXiv 2109.11978, Table 2),
but smooth: contact is a sigmoid of a foot's height, tracking has the same slope at any error, where an exponential has
none far away, and lifted feet are paid for by the height of those that move (as in Ji et al. 2022, arXiv 2202.05481), not by
times in the air, which have no gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["contact", "effort", "jerk", "lift", "lowest", "slip", "squared", "tracking"]


def tracking(error: Tensor, width: float) -> Tensor:
    """Return 1 (N,) less the norm of an error (N, k), which is rounded off below `width`, in the error's unit."""
    return 1.0 + width - (error.square().sum(1) + width**2).sqrt()


def squared(values: Tensor) -> Tensor:
    """Return the sum of squares (N,) of values (N, k): of a tilt, a vertical velocity, offsets of joints, ..."""
    return values.square().sum(1)


def effort(torque: Tensor) -> Tensor:
    """Return the sum of squared torques (N,) of torques (N, A) [N m]."""
    return torque.square().sum(1)


def jerk(action: Tensor, last: Tensor) -> Tensor:
    """Return the squared change of action (N,) from one step to the next, both (N, A)."""
    return (action - last).square().sum(1)


def contact(height: Tensor, width: float = 0.003) -> Tensor:
    """Return how much feet touch, 0 to 1, of the heights (N, F) of their soles over the ground [m]; a half at `width`."""
    return torch.sigmoid(1.0 - height / width)


def lowest(heights: Tensor, width: float) -> Tensor:
    """Return the least (..., F) of heights (..., F, P), rounded off over `width`; that of equal ones is theirs [m]."""
    if heights.shape[-1] == 1:
        return heights[..., 0]
    return -width * ((-heights / width).logsumexp(-1) - math.log(heights.shape[-1]))


def slip(touching: Tensor, velocity: Tensor) -> Tensor:
    """Return squared sliding speeds (N,) [m^2/s^2] of feet that touch (N, F), of their horizontal velocities (N, F, 2)."""
    return (touching * velocity.square().sum(-1)).sum(1)


def lift(height: Tensor, velocity: Tensor, goal: float) -> Tensor:
    """Return by how much moving feet miss a height, (N,): ((height - goal) / goal)^2 times their speed [m/s].

    Args:
        height: of the soles over the ground (N, F) [m].
        velocity: horizontal (N, F, 2) [m/s].
        goal: [m].
    """
    speed = (velocity.square().sum(-1) + 1e-4).sqrt()
    return (((height - goal) / goal).square() * speed).sum(1)
