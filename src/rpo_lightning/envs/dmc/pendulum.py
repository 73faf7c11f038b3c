"""Pendulum: a mass on a rod, too heavy to be lifted in one go (dm_control/suite/pendulum.py, Apache-2.0)."""

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
from rpo_lightning.envs.tables import Quantity, angle, positions, velocities

__all__ = ["PendulumSwingup"]

_UPRIGHT = math.cos(math.radians(8.0))  # least cosine of an angle that is paid


class PendulumSwingup(ControlTask):
    """Swing a pole up and hold it there; 3 observations, one torque of up to 1 N m, a fifth of what gravity asks for."""

    name: ClassVar[str] = "dmc/pendulum_swingup"
    obs_dim: ClassVar[int] = 3
    action_dim: ClassVar[int] = 1
    file: ClassVar[str] = "pendulum"
    physics_options: ClassVar[Options] = Options(timestep=0.01, iterations=4, ls_iterations=8)
    dt: ClassVar[float] = 0.02

    def observe(self, state: State) -> Tensor:
        """Return the pole's cosine and sine (1, 0 upright), and its angular velocity."""
        return torch.cat([state.qpos.cos(), state.qpos.sin(), state.qvel], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        (pole,) = positions(self.model)
        return [*angle(pole.name, "cosine", "sine"), *velocities(self.model)]

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return 1 where the pole is within 8 degrees of upright, else 0."""
        return tolerance(state.qpos[:, 0].cos(), (_UPRIGHT, 1.0))

    def random_start(self) -> Start:
        """Draw a pole at any angle, at rest."""
        _, qvel, target = self.fixed_start()
        return self.uniform(*pose_range(self.model), 1), qvel, target

    def fixed_start(self) -> Start:
        """Return the hanging pole at rest."""
        qpos, qvel, target = super().fixed_start()
        return qpos + math.pi, qvel, target
