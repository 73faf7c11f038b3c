"""Humanoid: a robot of 21 hinges that is paid for running forward upright (dflex_tasks.md 6)."""

from __future__ import annotations

from typing import ClassVar

import torch

from rpo_lightning.envs.free_base import FreeBaseEnv

__all__ = ["Humanoid"]


class Humanoid(FreeBaseEnv):
    """Run towards +x; 76 observations, 21 torques of 35 to 210 N m, fails below 0.74 m."""

    name: ClassVar[str] = "humanoid"
    obs_dim: ClassVar[int] = 76
    action_dim: ClassVar[int] = 21
    robot: ClassVar[str] = "humanoid.xml"
    substeps: ClassVar[int] = 48
    mass_matrix_interval: ClassVar[int] = 48
    destination: ClassVar[tuple[float, float, float]] = (200.0, 0.0, 0.0)
    termination_height: ClassVar[float] = 0.74
    height_tolerance: ClassVar[float] = 0.1
    height_weight: ClassVar[float] = 10.0
    up_weight: ClassVar[float] = 0.1
    action_weight: ClassVar[float] = -0.002

    def reward(self, obs: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return forward velocity + 0.1 uprightness + heading + height - 0.002 |action|^2."""
        height = (obs[:, 0] - (self.termination_height + self.height_tolerance)).clamp(-1.0, 0.1)
        standing = torch.where(height < 0.0, -200.0 * height * height, self.height_weight * height)
        return {
            "forward": obs[:, 5],
            "up": self.up_weight * obs[:, 53],
            "heading": obs[:, 54],
            "height": standing,
            "effort": self.action_weight * action.square().sum(1),
        }
