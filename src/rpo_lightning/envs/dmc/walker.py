"""Walker: a planar robot on two legs that stands, walks and runs (dm_control/suite/walker.py, Apache-2.0)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rpo_lightning.envs.dmc.control_task import ControlTask, Start
from rpo_lightning.envs.dmc.joints import pose_range
from rpo_lightning.envs.dmc.models import Options, Sensor
from rpo_lightning.envs.dmc.rewards import tolerance
from rpo_lightning.envs.dmc.worlds import State
from rpo_lightning.envs.tables import Quantity, angle, velocities

__all__ = ["WalkerRun", "WalkerStand", "WalkerWalk"]

_HEIGHT = 1.2  # of a standing torso, in m


class WalkerStand(ControlTask):
    """Stand upright; 24 observations, 6 torques of up to 20 to 100 N m."""

    name: ClassVar[str] = "dmc/walker_stand"
    obs_dim: ClassVar[int] = 24
    action_dim: ClassVar[int] = 6
    file: ClassVar[str] = "walker"
    physics_options: ClassVar[Options] = Options(timestep=0.0025, iterations=2, ls_iterations=5)
    dt: ClassVar[float] = 0.025

    def prepare(self) -> None:
        """Read how high the torso is where its joint's position, the first, is 0."""
        self._origin = float(self.model.body("torso").pos[2])

    def observe(self, state: State) -> Tensor:
        """Return cosine and sine of every body's pitch, the torso's height and velocities."""
        torso, legs = state.qpos[:, 2:3], state.qpos[:, 3:].unflatten(1, (2, 3))
        pitch = torch.cat([torso, torso - legs.cumsum(dim=2).flatten(1)], dim=1)  # legs turn the other way
        orientations = torch.stack([pitch.cos(), pitch.sin()], dim=2).flatten(1)
        return torch.cat([orientations, self._height(state)[:, None], state.qvel], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        bodies = (self.model.body(index).name for index in range(1, self.model.nbody))
        pitches = [each for body in bodies for each in angle(f"{body} pitch", "cosine", "sine", frame="world")]
        return [*pitches, Quantity("torso height", "m", "world"), *velocities(self.model)]

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return a mean in [0, 1] of the torso's height, three times, and its uprightness."""
        standing = tolerance(self._height(state), (_HEIGHT, float("inf")), _HEIGHT / 2.0)
        upright = (1.0 + state.qpos[:, 2].cos()) / 2.0
        return (3.0 * standing + upright) / 4.0

    def random_start(self) -> Start:
        """Draw a torso at any pitch and joints within their limits, at rest; it may reach into the ground."""
        _, qvel, target = self.fixed_start()
        return self.uniform(*pose_range(self.model), self.model.nq), qvel, target

    def _height(self, state: State) -> Tensor:
        return self._origin + state.qpos[:, 0]


class WalkerWalk(WalkerStand):
    """Walk towards +x at 1 m/s or more, upright; observations of `WalkerStand`."""

    name: ClassVar[str] = "dmc/walker_walk"
    sensors: ClassVar[dict[str, Sensor]] = {"velocity": ("subtreelinvel", "body", "torso")}
    speed: ClassVar[float] = 1.0  # m/s that earn the full reward

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return the reward for standing, of which five sixths need forward speed of the centre of mass."""
        forward = state.sensor("velocity")[:, 0]
        moving = tolerance(forward, (self.speed, float("inf")), self.speed / 2.0, "linear", 0.5)
        return super().reward(state, action) * (5.0 * moving + 1.0) / 6.0


class WalkerRun(WalkerWalk):
    """`WalkerWalk` at 8 m/s or more."""

    name: ClassVar[str] = "dmc/walker_run"
    speed: ClassVar[float] = 8.0
