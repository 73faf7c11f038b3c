"""Ant: a four-legged robot of eight hinges that is paid for running forward (dflex_tasks.md 3)."""

from __future__ import annotations

from typing import ClassVar

import torch

from rpo_lightning.envs.free_base import FreeBaseEnv

__all__ = ["Ant"]


class Ant(FreeBaseEnv):
    """Run towards +x; 37 observations, 8 torques of up to 200 N m, fails below 0.27 m."""

    name: ClassVar[str] = "ant"
    obs_dim: ClassVar[int] = 37
    action_dim: ClassVar[int] = 8
    robot: ClassVar[str] = "ant.xml"
    mass_matrix_interval: ClassVar[int] = 16
    termination_height: ClassVar[float] = 0.27
    up_weight: ClassVar[float] = 0.1

    def reward(self, obs: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return forward velocity + 0.1 uprightness + heading + height above the termination height."""
        return {
            "forward": obs[:, 5],
            "up": self.up_weight * obs[:, 27],
            "heading": obs[:, 28],
            "height": obs[:, 0] - self.termination_height,
        }
