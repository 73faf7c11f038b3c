"""Where the base of a robot is and how it moves, from the simulator's coordinates: what tasks of free bodies observe."""

from __future__ import annotations

import torch
from torch import Tensor

from rpo_lightning.sim import Joint, Model, quat_multiply, quat_rotate, velocity_at

__all__ = ["BasePose"]


class BasePose:
    """The free base of a robot, seen from the world and from itself; for files with z up or y up, or any other up.

    Axes of the base are those of its file: x forward, and up along the world's where q is the file's pose without turning.

    Attributes: `up` (3,), the world's, a unit vector.

    Args:
        model: a robot whose first joint is free.
        device: of the tensors.

    Raises:
        ValueError: if the first joint is not free.
    """

    def __init__(self, model: Model, device: torch.device | str = "cpu") -> None:
        if model.links[0].joint is not Joint.FREE:
            raise ValueError(f"the robot's first joint, {model.links[0].name!r}, is not free, so it has no base that moves")
        self.up = torch.tensor(model.up, dtype=torch.float32, device=device)
        self._ground = float(model.ground)
        self._level = torch.eye(3, device=device) - torch.outer(self.up, self.up)
        forward = torch.tensor([1.0, 0.0, 0.0], device=device)
        flat = forward - (forward @ self.up) * self.up
        self._forward = flat / flat.norm().clamp(min=1e-6)
        self._left = torch.linalg.cross(self.up, self._forward)

    def position(self, q: Tensor) -> Tensor:
        """Return the base's origin (N, 3) [m]."""
        return q[:, :3]

    def height(self, q: Tensor) -> Tensor:
        """Return how high the base's origin is over the ground (N,) [m]."""
        return q[:, :3] @ self.up - self._ground

    def velocity(self, q: Tensor, qd: Tensor) -> Tensor:
        """Return the velocity of the base's origin in world axes (N, 3) [m/s]."""
        return velocity_at(qd[:, :3], qd[:, 3:6], q[:, :3])

    def angular_velocity(self, qd: Tensor) -> Tensor:
        """Return the angular velocity in world axes (N, 3) [rad/s]."""
        return qd[:, :3]

    def horizontal(self, vector: Tensor) -> Tensor:
        """Return a vector (..., 3) of world axes without its part along up."""
        return vector @ self._level

    def local(self, q: Tensor, vector: Tensor) -> Tensor:
        """Return vectors (N, ..., 3) of world axes in those of the base."""
        quat = q[:, 3:7] * q.new_tensor([-1.0, -1.0, -1.0, 1.0])
        return quat_rotate(quat.view(len(q), *(1 for _ in vector.shape[2:]), 4), vector)

    def down(self, q: Tensor) -> Tensor:
        """Return the unit vector of gravity in the base's axes (N, 3), what an inertial unit at rest would show."""
        return self.local(q, (-self.up).expand(len(q), 3))

    def heading(self, q: Tensor) -> Tensor:
        """Return the angle about up from the world's forward to the base's x axis (N,), within -pi ... pi [rad]."""
        ahead = quat_rotate(q[:, 3:7], q.new_tensor([1.0, 0.0, 0.0]).expand(len(q), 3))
        return torch.atan2(ahead @ self._left, ahead @ self._forward)

    def turned(self, q: Tensor, yaw: Tensor, tilt: Tensor) -> Tensor:
        """Return coordinates with the base turned where it stands: by `tilt` about an axis of its own, then about up.

        Args:
            q: (N, nq).
            yaw: (N,) [rad].
            tilt: (N, 3) axis times angle [rad].
        """
        half = 0.5 * tilt.norm(dim=1, keepdim=True).clamp(min=1e-12)
        tilted = torch.cat([0.5 * tilt * torch.sin(half) / half, torch.cos(half)], dim=1)
        spun = torch.cat([torch.sin(0.5 * yaw)[:, None] * self.up, torch.cos(0.5 * yaw)[:, None]], dim=1)
        quat = quat_multiply(quat_multiply(spun, q[:, 3:7]), tilted)
        return torch.cat([q[:, :3], quat, q[:, 7:]], dim=1)

    def twist(self, q: Tensor, velocity: Tensor, angular_velocity: Tensor) -> Tensor:
        """Return the first six rates (N, 6) of a base that moves so, both (N, 3) in world axes."""
        return torch.cat([angular_velocity, velocity - torch.linalg.cross(angular_velocity, q[:, :3])], dim=1)
