"""Cheetah: a planar two-legged runner (dm_control/suite/cheetah.py, Apache-2.0)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rpo_lightning.envs.dmc.control_task import ControlTask, Start
from rpo_lightning.envs.dmc.models import Options, Sensor
from rpo_lightning.envs.dmc.rewards import tolerance
from rpo_lightning.envs.dmc.worlds import State
from rpo_lightning.envs.tables import Quantity, positions, velocities

__all__ = ["CheetahRun"]

_RUN_SPEED = 10.0  # m/s that earn the full reward


class CheetahRun(ControlTask):
    """Run towards +x; 17 observations, 6 torques of up to 30 to 120 N m."""

    name: ClassVar[str] = "dmc/cheetah_run"
    obs_dim: ClassVar[int] = 17
    action_dim: ClassVar[int] = 6
    file: ClassVar[str] = "cheetah"
    physics_options: ClassVar[Options] = Options(timestep=0.01, iterations=4, ls_iterations=8)
    sensors: ClassVar[dict[str, Sensor]] = {"velocity": ("subtreelinvel", "body", "torso")}
    dt: ClassVar[float] = 0.01
    settling: ClassVar[int] = 200

    def observe(self, state: State) -> Tensor:
        """Return positions without x, and velocities."""
        return torch.cat([state.qpos[:, 1:], state.qvel], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        return [*positions(self.model)[1:], *velocities(self.model)]

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return the centre of mass's forward speed as a share of 10 m/s, within [0, 1]."""
        speed = state.sensor("velocity")[:, 0]
        return tolerance(speed, (_RUN_SPEED, float("inf")), _RUN_SPEED, "linear", 0.0)

    def random_start(self) -> Start:
        """Draw the joints within their limits; the robot then falls to the ground and comes to rest."""
        qpos, qvel, target = self.fixed_start()
        low, high = torch.from_numpy(self.model.jnt_range[3:].copy()).unbind(1)
        qpos[:, 3:] = self.uniform(low, high, len(low))
        return qpos, qvel, target
