"""Robots with a free base that run towards +x: their observation and their random starts."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from rpo_lightning.envs.reference_task import ReferenceTask
from rpo_lightning.envs.tables import (
    Quantity,
    action_rows,
    last_actions,
    positions,
    quaternion,
    scaled,
    vector,
    velocities,
)
from rpo_lightning.sim import Joint, quat_multiply, velocity_at

__all__ = ["FreeBaseEnv"]


class FreeBaseEnv(ReferenceTask):
    """A task whose robot has a free joint first, then hinges that are all actuated.

    Observation: height, base quaternion (xyzw), velocity of the base's origin, angular velocity (all in world axes), joint
    positions, scaled joint rates, y of the base's up axis, heading towards the destination, action slots.
    Base axes are taken relative to the start orientation, so that a robot standing as it starts points up and forward.
    """

    joint_rate_scale: ClassVar[float] = 0.1
    destination: ClassVar[tuple[float, float, float]] = (10000.0, 0.0, 0.0)
    termination_height: ClassVar[float]

    def prepare(self) -> None:
        """Compute what turns a base quaternion and position into up, heading and direction."""
        if self.model.links[0].joint is not Joint.FREE:
            raise ValueError(f"{self.name}: the robot {self.robot} has no free joint as its first")
        start = torch.tensor(self.model.start)
        self._pointer = _pointer(start[3:7]).to(self.device, torch.float32)
        self._unit = torch.tensor([-1.0, -1.0, 0.0], device=self.device)
        self._goal = (torch.tensor(self.destination, dtype=torch.float64) + start[:3]).to(self.device, torch.float32)

    def observe(self, q: torch.Tensor, qd: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return the observation (N, obs_dim), see the class."""
        position, quat, w = q[:, :3], q[:, 3:7], qd[:, :3]
        velocity = velocity_at(w, qd[:, 3:6], position)
        products = (quat[:, :, None] * quat[:, None, :]).flatten(1)
        up, ahead = torch.addmm(self._unit, products, self._pointer).split([1, 2], dim=1)
        away = self._goal[::2] - position[:, ::2]
        heading = (ahead * away).sum(1, keepdim=True) / away.norm(dim=1, keepdim=True).clamp(min=1e-9)
        parts = [
            position[:, 1:2], quat, velocity, w, q[:, 7:], self.joint_rate_scale * qd[:, 6:],
            up, heading, action,
        ]  # fmt: skip
        return torch.cat(parts, dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation, see the class."""
        return [
            Quantity("base height", "m", "world"), *quaternion("base orientation"), *vector("base velocity", "m/s"),
            *vector("base angular velocity", "rad/s"), *positions(self.model)[7:],
            *scaled(velocities(self.model)[6:], self.joint_rate_scale),
            Quantity("base up axis y", "", "world"), Quantity("heading to destination", "", "world"),
            *last_actions(action_rows(self.model)),
        ]  # fmt: skip

    def failed(self, obs: torch.Tensor) -> torch.Tensor:
        """Return which robots have fallen below `termination_height`."""
        return obs[:, 0] < self.termination_height

    def random_start(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw starts around the start pose (dflex_tasks.md 2): positions, tilt, joints and rates uniform."""
        joints, q0 = self.model.nq - 7, self.start_q
        position = q0[:, :3] + self.uniform(-0.1, 0.1, 3)
        angle = self.uniform(-math.pi / 24.0, math.pi / 24.0, 1)
        axis = torch.nn.functional.normalize(self.uniform(-0.5, 0.5, 3), dim=1)
        tilt = torch.cat([axis * torch.sin(0.5 * angle), torch.cos(0.5 * angle)], dim=1)
        quat = quat_multiply(q0[:, 3:7], tilt)
        q = torch.cat([position, quat, q0[:, 7:] + self.uniform(-0.2, 0.2, joints)], dim=1)
        return q, self.uniform(-0.25, 0.25, self.model.nd)


def _pointer(start: torch.Tensor) -> torch.Tensor:
    """Return (16, 3): what the products r_i r_j of a base quaternion say of up and heading.

    With t = r conj(start), the y of R(t) (0, 1, 0) and the x and z of R(t) (1, 0, 0) are t^T K t - (1, 1, 0), and t is
    linear in r; so all three are weighted sums of the 16 products, which is much cheaper than rotating vectors.
    """
    conjugate = start * torch.tensor([-1.0, -1.0, -1.0, 1.0], dtype=start.dtype)
    turn = quat_multiply(torch.eye(4, dtype=start.dtype), conjugate.expand(4, 4)).T  # t = turn @ r
    forms = torch.zeros(3, 4, 4, dtype=start.dtype)
    forms[0, 3, 3] = forms[0, 1, 1] = 2.0  # 2 w^2 + 2 y^2
    forms[1, 3, 3] = forms[1, 0, 0] = 2.0  # 2 w^2 + 2 x^2
    forms[2, 0, 2] = forms[2, 2, 0] = 1.0  # 2 x z
    forms[2, 3, 1] = forms[2, 1, 3] = -1.0  # -2 w y
    return (turn.T @ forms @ turn).flatten(1).T.contiguous()
