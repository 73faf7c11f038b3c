"""Robots that move in the x-y plane: slides forward and up, a pitch hinge, then hinges that are all actuated."""

from __future__ import annotations

from typing import ClassVar

import torch

from rpo_lightning.envs.reference_task import ReferenceTask
from rpo_lightning.envs.tables import Quantity, positions, velocities

__all__ = ["PlanarEnv"]


class PlanarEnv(ReferenceTask):
    """A task whose robot has three unactuated root joints (forward, up, pitch).

    Observation: all coordinates but the forward position, then all velocities, unscaled.
    """

    start_spread: ClassVar[float]
    rate_spread: ClassVar[float]

    def observe(self, q: torch.Tensor, qd: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return the observation (N, obs_dim), see the class."""
        return torch.cat([q[:, 1:], qd], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation, see the class."""
        return [*positions(self.model)[1:], *velocities(self.model)]

    def random_start(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw starts around the start pose (dflex_tasks.md 4 and 7), pitch included."""
        return self.uniform_start(self.start_spread, self.rate_spread)
