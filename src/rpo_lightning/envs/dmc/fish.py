"""Fish: a swimmer with a tail and two fins in a dense medium (dm_control/suite/fish.py, Apache-2.0)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rpo_lightning.envs.dmc.control_task import ControlTask, Start
from rpo_lightning.envs.dmc.models import Options, Sensor
from rpo_lightning.envs.dmc.rewards import tolerance
from rpo_lightning.envs.dmc.worlds import State
from rpo_lightning.envs.ghosts import Ghost
from rpo_lightning.envs.tables import Quantity, positions, vector, velocities

__all__ = ["FishSwim"]

_FREE = 7  # coordinates of the torso's free joint, before those of the joints
_BEND = 0.2  # rad that a joint is bent at the start, at most


class FishSwim(ControlTask):
    """Bring the mouth to a ball of 4 cm and keep upright; 24 observations, 5 positions that springs pull joints to.

    `target` is the ball's (x, y, z) in m. The fish is dm_control's; in MuJoCo Playground a sphere of 3 cm replaces the box
    that holds most of its mass, which makes it more than three times as heavy.
    """

    name: ClassVar[str] = "dmc/fish_swim"
    obs_dim: ClassVar[int] = 24
    action_dim: ClassVar[int] = 5
    target_dim: ClassVar[int] = 3
    file: ClassVar[str] = "fish"
    physics_options: ClassVar[Options] = Options(
        timestep=0.002, iterations=2, ls_iterations=6, disable=("contact", "eulerdamp")
    )
    sensors: ClassVar[dict[str, Sensor]] = {
        "up": ("framezaxis", "xbody", "torso"),
        "mouth": ("framepos", "geom", "mouth"),
        "mouth_x": ("framexaxis", "geom", "mouth"),
        "mouth_y": ("frameyaxis", "geom", "mouth"),
        "mouth_z": ("framezaxis", "geom", "mouth"),
    }
    dt: ClassVar[float] = 0.04

    def prepare(self) -> None:
        """Read the distance between the centres of mouth and ball at which they touch."""
        self._reach = float(self.model.geom("mouth").size[0] + self.model.geom("target").size[0])

    def observe(self, state: State) -> Tensor:
        """Return joint angles, uprightness (1: upright), the vector from mouth to ball in the mouth's frame, velocities."""
        offset = self._to_target(state)
        local = [(offset * state.sensor(f"mouth_{axis}")).sum(dim=1, keepdim=True) for axis in "xyz"]
        return torch.cat([state.qpos[:, _FREE:], state.sensor("up")[:, 2:], *local, state.qvel], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        return [
            *positions(self.model)[_FREE:],
            Quantity("torso up axis z", "", "world"),
            *vector("mouth to ball", "m", "mouth"),
            *velocities(self.model),
        ]

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return seven eighths for a mouth that touches the ball, less the further it is away, and one for being upright."""
        near = tolerance(self._to_target(state).norm(dim=1), (0.0, self._reach), 2.0 * self._reach)
        upright = (state.sensor("up")[:, 2] + 1.0) / 2.0
        return (7.0 * near + upright) / 8.0

    def random_start(self) -> Start:
        """Draw a fish in the middle, at rest, turned in any direction and bent a little, and a ball around it."""
        qpos, qvel, _ = self.fixed_start()
        attitude = self.normal(4)
        qpos[:, 3:_FREE] = attitude / attitude.norm(dim=1, keepdim=True)
        qpos[:, _FREE:] = self.uniform(-_BEND, _BEND, self.model.nq - _FREE)
        low, high = qpos.new_tensor([-0.4, -0.4, 0.1]), qpos.new_tensor([0.4, 0.4, 0.3])
        return qpos, qvel, self.uniform(low, high, 3)

    def fixed_start(self) -> Start:
        """Return the straight fish, upright and at rest, and the ball where the model has it: 0.4 m ahead."""
        qpos, qvel, target = super().fixed_start()
        return qpos, qvel, target + torch.from_numpy(self.model.geom("target").pos.copy())

    def ghosts(self) -> list[Ghost]:
        """Return the ball that is to be touched."""
        return [Ghost("target", "sphere", (float(self.model.geom("target").size[0]),), self.target)]

    def _to_target(self, state: State) -> Tensor:
        return state.target - state.sensor("mouth")
