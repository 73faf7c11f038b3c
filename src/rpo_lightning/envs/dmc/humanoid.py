"""Humanoid: a robot of 21 joints that stands, walks and runs in space (dm_control/suite/humanoid.py, Apache-2.0)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rpo_lightning.envs.dmc.control_task import ControlTask, Start
from rpo_lightning.envs.dmc.joints import pose_range
from rpo_lightning.envs.dmc.models import Options, Sensor
from rpo_lightning.envs.dmc.rewards import tolerance
from rpo_lightning.envs.dmc.worlds import State
from rpo_lightning.envs.tables import Quantity, positions, vector, velocities

__all__ = ["HumanoidRun", "HumanoidStand", "HumanoidWalk"]

_HEIGHT = 1.4  # of the head when it stands, in m
_LIMBS = ("left_hand", "left_foot", "right_hand", "right_foot")


class HumanoidStand(ControlTask):
    """Stand still with little control; 67 observations, 21 torques of up to 20 to 120 N m."""

    name: ClassVar[str] = "dmc/humanoid_stand"
    obs_dim: ClassVar[int] = 67
    action_dim: ClassVar[int] = 21
    file: ClassVar[str] = "humanoid"
    physics_options: ClassVar[Options] = Options(timestep=0.005, iterations=4, ls_iterations=8)
    sensors: ClassVar[dict[str, Sensor]] = {
        "velocity": ("subtreelinvel", "body", "torso"),
        "torso": ("framepos", "xbody", "torso"),
        **{f"torso_{axis}": (f"frame{axis}axis", "xbody", "torso") for axis in "xyz"},
        **{body: ("framepos", "xbody", body) for body in ("head", *_LIMBS)},
    }
    dt: ClassVar[float] = 0.025

    def observe(self, state: State) -> Tensor:
        """Return joint angles, the head's height, hands and feet and the vertical as the torso sees them, and velocities.

        Of the velocities, that of the centre of mass comes first, in the world.
        """
        axes = torch.stack([state.sensor(f"torso_{axis}") for axis in "xyz"], dim=1)
        limbs = torch.stack([state.sensor(limb) - state.sensor("torso") for limb in _LIMBS], dim=1)
        return torch.cat(
            [
                state.qpos[:, 7:],
                state.sensor("head")[:, 2:],
                (limbs @ axes.mT).flatten(1),
                axes[:, :, 2],
                state.sensor("velocity"),
                state.qvel,
            ],
            dim=1,
        )

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        return [
            *positions(self.model)[7:],
            Quantity("head height", "m", "world"),
            *(each for limb in _LIMBS for each in vector(f"{limb} from torso", "m", "torso")),
            *vector("up axis", "", "torso"),
            *vector("centre of mass velocity", "m/s"),
            *velocities(self.model),
        ]

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return a product in [0, 1] of the head's height, uprightness, smallness of control, and `motion`."""
        standing = tolerance(state.sensor("head")[:, 2], (_HEIGHT, float("inf")), _HEIGHT / 4.0)
        upright = tolerance(state.sensor("torso_z")[:, 2], (0.9, float("inf")), 1.9, "linear", 0.0)
        gentle = tolerance(action, margin=1.0, sigmoid="quadratic", value_at_margin=0.0).mean(dim=1)
        return standing * upright * (4.0 + gentle) / 5.0 * self.motion(state.sensor("velocity")[:, :2])

    def motion(self, velocity: Tensor) -> Tensor:
        """Return how right a horizontal velocity (N, 2) in m/s of the centre of mass is: here, how slow."""
        return tolerance(velocity, margin=2.0).mean(dim=1)

    def random_start(self) -> Start:
        """Draw a torso 1.5 m high, turned at random, and joints within their limits where nothing touches, at rest."""
        _, qvel, target = self.fixed_start()
        return self.untouching(self._pose), qvel, target

    def _pose(self) -> Tensor:
        qpos = self.uniform(*pose_range(self.model), self.model.nq)
        quaternion = self.uniform(0.0, 1.0, 4)  # never negative, as in dm_control: not all rotations are as likely
        qpos[:, 3:7] = quaternion / quaternion.norm(dim=1, keepdim=True)
        return qpos


class HumanoidWalk(HumanoidStand):
    """Walk in any direction at 1 m/s or more, upright and with little control; observations of `HumanoidStand`."""

    name: ClassVar[str] = "dmc/humanoid_walk"
    speed: ClassVar[float] = 1.0  # m/s that earn the full reward

    def motion(self, velocity: Tensor) -> Tensor:
        """Return a sixth, and five sixths for the speed as a share of the one asked for, within [0, 1]."""
        moving = tolerance(velocity.norm(dim=1), (self.speed, float("inf")), self.speed, "linear", 0.0)
        return (5.0 * moving + 1.0) / 6.0


class HumanoidRun(HumanoidWalk):
    """`HumanoidWalk` at 10 m/s or more."""

    name: ClassVar[str] = "dmc/humanoid_run"
    speed: ClassVar[float] = 10.0
