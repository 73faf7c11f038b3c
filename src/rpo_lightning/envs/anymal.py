"""Anymal: a four-legged robot of twelve hinges that is paid for running forward (dflex_tasks.md 5)."""

from __future__ import annotations

from typing import ClassVar

import torch

from rpo_lightning.envs.free_base import FreeBaseEnv

__all__ = ["Anymal"]


class Anymal(FreeBaseEnv):
    """Run towards +x; 49 observations, 12 torques of up to 200 N m, fails below 0.25 m."""

    name: ClassVar[str] = "anymal"
    obs_dim: ClassVar[int] = 49
    action_dim: ClassVar[int] = 12
    robot: ClassVar[str] = "anymal.xml"
    mass_matrix_interval: ClassVar[int] = 16
    termination_height: ClassVar[float] = 0.25
    up_weight: ClassVar[float] = 0.1
    action_weight: ClassVar[float] = -0.005

    def reward(self, obs: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return forward velocity + 0.1 uprightness + heading + height above the termination height - 0.005 |action|^2."""
        return {
            "forward": obs[:, 5],
            "up": self.up_weight * obs[:, 35],
            "heading": obs[:, 36],
            "height": obs[:, 0] - self.termination_height,
            "effort": self.action_weight * action.square().sum(1),
        }
