"""Cheetah: a planar robot of six hinges that is paid for running forward (dflex_tasks.md 7)."""

from __future__ import annotations

from typing import ClassVar

import torch

from rpo_lightning.envs.planar import PlanarEnv

__all__ = ["Cheetah"]


class Cheetah(PlanarEnv):
    """Run towards +x; 17 observations, 6 torques of up to 200 N m, never fails."""

    name: ClassVar[str] = "cheetah"
    obs_dim: ClassVar[int] = 17
    action_dim: ClassVar[int] = 6
    robot: ClassVar[str] = "cheetah.xml"
    mass_matrix_interval: ClassVar[int] = 16
    start_spread: ClassVar[float] = 0.1
    rate_spread: ClassVar[float] = 0.25
    action_weight: ClassVar[float] = -0.1

    def reward(self, obs: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return forward velocity - 0.1 |action|^2."""
        return {"forward": obs[:, 8], "effort": self.action_weight * action.square().sum(1)}
