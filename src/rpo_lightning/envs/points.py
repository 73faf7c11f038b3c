"""Where points of a robot are and how they move, with gradients: its feet, say, or what an arm holds; and its base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.sim import Model, Sensors

__all__ = ["Base", "Points"]


class Base(NamedTuple):
    """How a free base moves, in its own axes, each of N robots.

    Attributes:
        turning: angular velocity (N, 3) [rad/s]. down: the unit vector of gravity (N, 3), what an inertial unit at rest
            would show. velocity: of the origin (N, 3) [m/s]. height: of the origin over the ground (N, 1) [m].
    """

    turning: Tensor
    down: Tensor
    velocity: Tensor
    height: Tensor


class Points:
    """Points fixed to links of a robot: `points(q, qd) -> (positions, velocities)`, both (N, P, 3) in world axes [m, m/s].

    One call of a kernel, however often a state is asked for.

    Args:
        model: the robot.
        where: for each point the index of its link and its place (3,) in the link's frame [m].
        device: of the tensors.
    """

    def __init__(self, model: Model, where: Sequence[tuple[int, np.ndarray]], device: torch.device | str = "cpu") -> None:
        self._sensors = Sensors(model, where, device)
        self._of: tuple[Tensor, Tensor, tuple[int, ...]] | None = None
        self._measured: tuple[Tensor, Tensor, Tensor]

    def __call__(self, q: Tensor, qd: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions and velocities (N, P, 3) of the points in the states q (N, nq), qd (N, nd)."""
        return self._sense(q, qd)[1:]

    def compile(self, gradients: bool = True) -> None:
        """Compile now what measures, and with `gradients` its adjoint."""
        self._sensors.compile(gradients)

    def base(self, q: Tensor, qd: Tensor) -> Base:
        """Return how the robot's free base moves in the states q (N, nq), qd (N, nd)."""
        return Base(*self._sense(q, qd)[0].split([3, 3, 3, 1], dim=1))

    def _sense(self, q: Tensor, qd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if q.is_inference() or qd.is_inference():  # which do not tell whether they have been written to
            return self._sensors(q, qd)
        graph = torch.is_grad_enabled(), q.requires_grad, qd.requires_grad, self._sensors.adjoints
        versions = q._version, qd._version, *graph  # a graph that was gone back through may be freed
        if self._of is None or self._of[0] is not q or self._of[1] is not qd or self._of[2] != versions:
            self._measured, self._of = self._sensors(q, qd), (q, qd, versions)
        return self._measured
