"""Hopper: a planar robot on one leg that stands and hops (dm_control/suite/hopper.py, Apache-2.0)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rpo_lightning.envs.dmc.control_task import ControlTask, Start
from rpo_lightning.envs.dmc.joints import pose_range
from rpo_lightning.envs.dmc.models import Options, Sensor
from rpo_lightning.envs.dmc.rewards import tolerance
from rpo_lightning.envs.dmc.worlds import State
from rpo_lightning.envs.tables import Quantity, positions, velocities

__all__ = ["HopperHop", "HopperStand"]

_HEIGHT = (0.6, 2.0)  # of the torso above the foot when it stands, in m
_HOP_SPEED = 2.0  # m/s that earn the full reward


class HopperStand(ControlTask):
    """Stand with little control; 15 observations, 4 torques of up to 10 to 40 N m."""

    name: ClassVar[str] = "dmc/hopper_stand"
    obs_dim: ClassVar[int] = 15
    action_dim: ClassVar[int] = 4
    file: ClassVar[str] = "hopper"
    physics_options: ClassVar[Options] = Options(timestep=0.005, iterations=4, ls_iterations=10)
    sensors: ClassVar[dict[str, Sensor]] = {
        "torso": ("framepos", "body", "torso"),  # a "body" is where its mass is
        "foot": ("framepos", "body", "foot"),
        "velocity": ("subtreelinvel", "body", "torso"),
        "toe": ("touch", "site", "touch_toe"),
        "heel": ("touch", "site", "touch_heel"),
    }
    dt: ClassVar[float] = 0.02

    def observe(self, state: State) -> Tensor:
        """Return positions without x, velocities, and log(1 + force in N) at toe and heel."""
        touch = torch.cat([state.sensor("toe"), state.sensor("heel")], dim=1)
        return torch.cat([state.qpos[:, 1:], state.qvel, touch.log1p()], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        touch = [Quantity(f"{part} touch, log(1 + force in N)") for part in ("toe", "heel")]
        return [*positions(self.model)[1:], *velocities(self.model), *touch]

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return 1 where it stands without control, at least 0.8 where it stands, else 0."""
        gentle = tolerance(action, margin=1.0, sigmoid="quadratic", value_at_margin=0.0).mean(dim=1)
        return self._standing(state) * (4.0 + gentle) / 5.0

    def random_start(self) -> Start:
        """Draw a torso at any pitch 1 m high and joints within their limits, at rest; it may reach into the ground."""
        _, qvel, target = self.fixed_start()
        return self.uniform(*pose_range(self.model), self.model.nq), qvel, target

    def _standing(self, state: State) -> Tensor:
        return tolerance(state.sensor("torso")[:, 2] - state.sensor("foot")[:, 2], _HEIGHT)


class HopperHop(HopperStand):
    """Hop towards +x at 2 m/s or more without falling; observations of `HopperStand`."""

    name: ClassVar[str] = "dmc/hopper_hop"

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return the centre of mass's forward speed as a share of 2 m/s, within [0, 1], where it stands; else 0."""
        forward = state.sensor("velocity")[:, 0]
        hopping = tolerance(forward, (_HOP_SPEED, float("inf")), _HOP_SPEED / 2.0, "linear", 0.5)
        return self._standing(state) * hopping
