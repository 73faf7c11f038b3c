"""Reacher: a planar arm of two links whose finger goes to a target (dm_control/suite/reacher.py, Apache-2.0)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from rpo_lightning.envs.dmc.control_task import ControlTask, Start
from rpo_lightning.envs.dmc.joints import pose_range
from rpo_lightning.envs.dmc.models import Options, Sensor
from rpo_lightning.envs.dmc.rewards import tolerance
from rpo_lightning.envs.dmc.worlds import State
from rpo_lightning.envs.ghosts import Ghost
from rpo_lightning.envs.tables import Quantity, positions, vector, velocities

__all__ = ["ReacherEasy", "ReacherHard"]

_NEAREST, _FARTHEST = 0.05, 0.2  # a target's distance from the shoulder in m


class ReacherEasy(ControlTask):
    """Bring the finger to a ball of 5 cm radius; 6 observations, 2 torques of up to 0.05 N m.

    `target` (N, 2) is the ball's x and y in m; it stays where it is for an episode.
    """

    name: ClassVar[str] = "dmc/reacher_easy"
    obs_dim: ClassVar[int] = 6
    action_dim: ClassVar[int] = 2
    target_dim: ClassVar[int] = 2
    file: ClassVar[str] = "reacher"
    physics_options: ClassVar[Options] = Options(timestep=0.005, iterations=1, ls_iterations=6)
    sensors: ClassVar[dict[str, Sensor]] = {"finger": ("framepos", "geom", "finger")}
    dt: ClassVar[float] = 0.02
    radius: ClassVar[float] = 0.05  # of the target, in m

    def prepare(self) -> None:
        """Read the distance between the centres of finger and target at which they touch."""
        self._reach = self.radius + float(self.model.geom("finger").size[0])

    def observe(self, state: State) -> Tensor:
        """Return joint angles, the vector from finger to target, and joint velocities."""
        return torch.cat([state.qpos, self._to_target(state), state.qvel], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        return [*positions(self.model), *vector("finger to target", "m", axes="xy"), *velocities(self.model)]

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return 1 where the finger touches the target, else 0."""
        return tolerance(self._to_target(state).norm(dim=1), (0.0, self._reach))

    def random_start(self) -> Start:
        """Draw an arm in any pose at rest, and a target 0.05 to 0.2 m from the shoulder."""
        _, qvel, _ = self.fixed_start()
        angle, distance = self.uniform(-math.pi, math.pi, 1), self.uniform(_NEAREST, _FARTHEST, 1)
        target = distance * torch.cat([angle.cos(), angle.sin()], dim=1)
        return self.uniform(*pose_range(self.model), 2), qvel, target

    def fixed_start(self) -> Start:
        """Return the straight arm along x at rest, and a target on y in the middle of its distances."""
        qpos, qvel, target = super().fixed_start()
        return qpos, qvel, target + target.new_tensor([0.0, (_NEAREST + _FARTHEST) / 2.0])

    def ghosts(self) -> list[Ghost]:
        """Return the ball that is to be touched."""
        height = self.target.new_full((self.num_envs, 1), float(self.model.geom("target").pos[2]))
        return [Ghost("target", "sphere", (self.radius,), torch.cat([self.target, height], dim=1))]

    def _to_target(self, state: State) -> Tensor:
        return state.target - state.sensor("finger")[:, :2]


class ReacherHard(ReacherEasy):
    """`ReacherEasy` with a ball of 1.5 cm radius."""

    name: ClassVar[str] = "dmc/reacher_hard"
    radius: ClassVar[float] = 0.015
