"""Acrobot: two free arms, one motor between them, swung up to a target (dm_control/suite/acrobot.py, Apache-2.0)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from rpo_lightning.envs.dmc.control_task import ControlTask, Start
from rpo_lightning.envs.dmc.joints import pose_range
from rpo_lightning.envs.dmc.models import Options
from rpo_lightning.envs.dmc.rewards import tolerance
from rpo_lightning.envs.dmc.worlds import State
from rpo_lightning.envs.tables import Quantity, angle, velocities

__all__ = ["AcrobotSwingup", "AcrobotSwingupSparse"]


class AcrobotSwingup(ControlTask):
    """Bring the tip of two arms of 1 m near the point 2 m above the shoulder; 6 observations, one torque of up to 2 N m."""

    name: ClassVar[str] = "dmc/acrobot_swingup"
    obs_dim: ClassVar[int] = 6
    action_dim: ClassVar[int] = 1
    file: ClassVar[str] = "acrobot"
    physics_options: ClassVar[Options] = Options(timestep=0.01, iterations=2, ls_iterations=4)
    dt: ClassVar[float] = 0.01
    margin: ClassVar[float] = 1.0  # metres beyond the target at which the reward is 0.1

    def prepare(self) -> None:
        """Read the arms' lengths, the target's position above the shoulder and its radius."""
        model = self.model
        self._upper = float(model.body("lower_arm").pos[2])
        self._lower = float(model.site("tip").pos[2])
        self._height = float(model.site("target").pos[2] - model.body("upper_arm").pos[2])
        self._radius = float(model.site("target").size[0])

    def observe(self, state: State) -> Tensor:
        """Return the sines and cosines of both arms' angles from upright, and the velocities of shoulder and elbow."""
        angles = state.qpos.cumsum(dim=1)  # the elbow's is relative to the upper arm
        return torch.cat([angles.sin(), angles.cos(), state.qvel], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        arms = ("upper_arm from upright", "lower_arm from upright")
        angles = [each for function in ("sine", "cosine") for arm in arms for each in angle(arm, function, frame="world")]
        return [*angles, *velocities(self.model)]

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return 1 where the tip is within the target, less the further it is away."""
        upper, lower = state.qpos.cumsum(dim=1).unbind(1)
        x = self._upper * upper.sin() + self._lower * lower.sin()
        z = self._upper * upper.cos() + self._lower * lower.cos() - self._height
        return tolerance(torch.hypot(x, z), (0.0, self._radius), self.margin)

    def random_start(self) -> Start:
        """Draw both joints at any angle, at rest."""
        _, qvel, target = self.fixed_start()
        return self.uniform(*pose_range(self.model), 2), qvel, target

    def fixed_start(self) -> Start:
        """Return both arms hanging, at rest."""
        qpos, qvel, target = super().fixed_start()
        return qpos + qpos.new_tensor([math.pi, 0.0]), qvel, target


class AcrobotSwingupSparse(AcrobotSwingup):
    """`AcrobotSwingup`, paid only for a tip within the target."""

    name: ClassVar[str] = "dmc/acrobot_swingup_sparse"
    margin: ClassVar[float] = 0.0
