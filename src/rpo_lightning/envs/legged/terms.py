"""What walking is paid for: terms of a reward, each of N robots, all with a slope wherever it matters.

Their kinds are those that legged robots are trained with by policy gradients (Rudin et al. 2021, arXiv 2109.11978, Table 2),
but smooth: contact is a sigmoid of a foot's height, tracking has the same slope at any error, where an exponential has
none far away, and lifted feet are paid for by the height of those that move (as in Ji et al. 2022, arXiv 2202.05481), or by
a clock that tells each foot how high to be (Siekmann et al. 2021, arXiv 2011.01387; Margolis and Agrawal 2022, arXiv
2212.03238), not by times in the air, which have no gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "contact",
    "effort",
    "gait",
    "jerk",
    "lift",
    "limits",
    "lowest",
    "power",
    "slip",
    "smoothness",
    "spacing",
    "squared",
    "stance",
    "tracking",
]


def tracking(error: Tensor, width: float) -> Tensor:
    """Return 1 (N,) less the norm of an error (N, k), which is rounded off below `width`, in the error's unit."""
    return 1.0 + width - (error.square().sum(1) + width**2).sqrt()


def squared(values: Tensor) -> Tensor:
    """Return the sum of squares (N,) of values (N, k): of a tilt, a vertical velocity, offsets of joints, ..."""
    return values.square().sum(1)


def effort(torque: Tensor) -> Tensor:
    """Return the sum of squared torques (N,) of torques (N, A) [N m]."""
    return torque.square().sum(1)


def power(torque: Tensor, rate: Tensor, width: float = 1.0) -> Tensor:
    """Return the sum of mechanical powers without their signs (N,) [W], each rounded off below `width` [W].

    What is braked counts as what is driven: motors give little back. It is what Fu et al. 2021 (arXiv 2111.01674) found
    gaits to follow from.

    Args:
        torque: of the joints (N, A) [N m].
        rate: (N, A) [rad/s].
        width: [W].
    """
    return (((torque * rate).square() + width**2).sqrt() - width).sum(1)


def limits(angle: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the sum of squares (N,) [rad^2] of how far joints are beyond soft limits; 0 within.

    Args:
        angle: of the joints (N, A) [rad].
        low: (A,) [rad]; minus infinity where there is none.
        high: (A,) [rad].
    """
    return ((low - angle).relu().square() + (angle - high).relu().square()).sum(1)


def jerk(action: Tensor, last: Tensor) -> Tensor:
    """Return the squared change of action (N,) from one step to the next, both (N, A)."""
    return (action - last).square().sum(1)


def smoothness(action: Tensor, last: Tensor, before: Tensor) -> Tensor:
    """Return the squared change of the change of action (N,), of the last three actions (N, A): 0 of a steady change."""
    return (action - 2.0 * last + before).square().sum(1)


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


def spacing(left: Tensor, least: float) -> Tensor:
    """Return by how much feet of a pair are too near each other sideways, (N,): squares of shares of `least`, added.

    0 where they are far enough apart, 1 where one is straight before the other, more where legs are crossed.

    Args:
        left: how far feet are to the left of the base, in its own axes (N, F) [m], in pairs of a left and a right one.
        least: distance of two feet sideways [m].
    """
    gap = left[:, 0::2] - left[:, 1::2]
    return (1.0 - gap / least).relu().square().sum(1)


def stance(phase: Tensor, duty: float = 0.5, width: float = 0.2) -> Tensor:
    """Return how much feet should stand, 0 to 1, at phases (N, F) of a gait; the middle of a stance is at phase 0.

    Args:
        phase: in cycles; whole numbers make no difference.
        duty: share of a cycle in which a foot stands.
        width: of the change from stance to swing, in cosines of the phase.
    """
    return torch.sigmoid(((2.0 * math.pi * phase).cos() - math.cos(math.pi * duty)) / width)


def gait(height: Tensor, standing: Tensor, goal: float) -> Tensor:
    """Return by how much feet miss the heights of a gait, (N,): squares of (height - goal (1 - standing)) / goal, added.

    Unlike a count of contacts it has a slope for feet at any height.

    Args:
        height: of the soles over the ground (N, F) [m].
        standing: how much they should stand (N, F), of `stance`.
        goal: height of a foot in swing [m].
    """
    return (height / goal - (1.0 - standing)).square().sum(1)
