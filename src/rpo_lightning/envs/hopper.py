"""Hopper: a planar robot of three hinges that is paid for hopping forward upright (dflex_tasks.md 4)."""

from __future__ import annotations

from typing import ClassVar

import torch

from rpo_lightning.envs.planar import PlanarEnv

__all__ = ["Hopper"]


class Hopper(PlanarEnv):
    """Hop towards +x; 11 observations, 3 torques of up to 200 N m, fails 0.45 m below its upright height."""

    name: ClassVar[str] = "hopper"
    obs_dim: ClassVar[int] = 11
    action_dim: ClassVar[int] = 3
    robot: ClassVar[str] = "hopper.xml"
    mass_matrix_interval: ClassVar[int] = 4
    start_spread: ClassVar[float] = 0.05
    rate_spread: ClassVar[float] = 0.05
    termination_height: ClassVar[float] = -0.45
    height_tolerance: ClassVar[float] = 0.15
    upright_angle: ClassVar[float] = 0.524
    action_weight: ClassVar[float] = -0.1

    def reward(self, obs: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return forward velocity + height + uprightness - 0.1 |action|^2."""
        height = (obs[:, 0] - (self.termination_height + self.height_tolerance)).clamp(-1.0, 0.3)
        standing = torch.where(height < 0.0, -200.0 * height * height, height)
        return {
            "forward": obs[:, 5],
            "height": standing,
            "up": 1.0 - (obs[:, 1] / self.upright_angle).square(),
            "effort": self.action_weight * action.square().sum(1),
        }

    def failed(self, obs: torch.Tensor) -> torch.Tensor:
        """Return which robots have fallen."""
        return obs[:, 0] < self.termination_height
