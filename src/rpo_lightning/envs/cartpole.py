"""Cartpole: a cart that is to swing a pole up and hold it there (dflex_tasks.md 8)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from rpo_lightning.envs.reference_task import ReferenceTask
from rpo_lightning.envs.tables import Quantity, angle, positions, velocities

__all__ = ["Cartpole"]


class Cartpole(ReferenceTask):
    """Swing the pole up; 5 observations, a force of up to 1000 N on the cart, never fails."""

    name: ClassVar[str] = "cartpole"
    obs_dim: ClassVar[int] = 5
    action_dim: ClassVar[int] = 1
    robot: ClassVar[str] = "cartpole.xml"
    episode_length: ClassVar[int] = 240
    substeps: ClassVar[int] = 4
    mass_matrix_interval: ClassVar[int] = 4

    def observe(self, q: torch.Tensor, qd: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return (N, 5): cart position and velocity, sine and cosine of the pole's angle (0 is up), its rate."""
        return torch.stack([q[:, 0], qd[:, 0], q[:, 1].sin(), q[:, 1].cos(), qd[:, 1]], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        (cart, pole), (cart_rate, pole_rate) = positions(self.model), velocities(self.model)
        return [cart, cart_rate, *angle(pole.name, "sine", "cosine"), pole_rate]

    def reward(self, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return the negative weighted squares of angle, its rate, cart position and velocity."""
        angle = torch.atan2(obs[:, 2], obs[:, 3])
        pole = angle.square() + 0.1 * obs[:, 4].square()
        return -(pole + 0.05 * obs[:, 0].square() + 0.1 * obs[:, 1].square())

    def random_start(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw coordinates within pi / 2 of the start, velocities within 0.25."""
        return self.uniform_start(0.5 * math.pi, 0.25)
