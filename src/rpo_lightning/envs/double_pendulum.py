"""Double pendulum: two arms on one hinge, driven at the elbow, to be held upright (dflex_tasks.md 9)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from rpo_lightning.envs.reference_task import ReferenceTask
from rpo_lightning.envs.tables import Quantity, angle, positions, velocities

__all__ = ["DoublePendulum"]


class DoublePendulum(ReferenceTask):
    """Hold both arms up; 6 observations, a torque of up to 1000 N m at the elbow, never fails."""

    name: ClassVar[str] = "double_pendulum"
    obs_dim: ClassVar[int] = 6
    action_dim: ClassVar[int] = 1
    robot: ClassVar[str] = "double_pendulum.xml"
    episode_length: ClassVar[int] = 240
    substeps: ClassVar[int] = 4
    mass_matrix_interval: ClassVar[int] = 1

    def observe(self, q: torch.Tensor, qd: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return (N, 6): cosine and sine of the upper and of the lower angle (0 is up), both rates."""
        cos, sin = q.cos(), q.sin()
        return torch.cat([torch.stack([cos, sin], dim=2).flatten(1), qd], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        angles = [part for each in positions(self.model) for part in angle(each.name, "cosine", "sine")]
        return [*angles, *velocities(self.model)]

    def reward(self, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return the negative weighted squares of both angles and rates."""
        angles = torch.atan2(obs[:, 1:4:2], obs[:, 0:4:2])
        return -(angles.square() + 0.1 * obs[:, 4:].square()).sum(1)

    def random_start(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw coordinates within pi / 2 of the start, velocities within 0.25."""
        return self.uniform_start(0.5 * math.pi, 0.25)
