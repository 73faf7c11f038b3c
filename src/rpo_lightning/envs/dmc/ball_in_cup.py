"""Ball in cup: a cup that catches the ball on its string (dm_control/suite/ball_in_cup.py, Apache-2.0)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rpo_lightning.envs.dmc.control_task import ControlTask, Start
from rpo_lightning.envs.dmc.models import Options
from rpo_lightning.envs.dmc.worlds import State
from rpo_lightning.envs.tables import Quantity, positions, velocities

__all__ = ["BallInCupCatch"]


class BallInCupCatch(ControlTask):
    """Move a cup in its vertical plane until the ball is in it; 8 observations, 2 forces of up to 5 N."""

    name: ClassVar[str] = "dmc/ball_in_cup_catch"
    obs_dim: ClassVar[int] = 8
    action_dim: ClassVar[int] = 2
    file: ClassVar[str] = "ball_in_cup"
    physics_options: ClassVar[Options] = Options(timestep=0.002, iterations=1, ls_iterations=4)
    dt: ClassVar[float] = 0.02

    def prepare(self) -> None:
        """Read where the middle of the cup is from the ball, both at zero, and how far off a caught ball may be (x, z)."""
        model = self.model
        target = model.site("target")
        above = model.body("cup").pos + target.pos - model.body("ball").pos
        self._above = torch.from_numpy(above[[0, 2]]).to(self.device, torch.float32)
        self._slack = torch.from_numpy(target.size[[0, 2]] - model.geom("ball").size[0]).to(self.device, torch.float32)

    def observe(self, state: State) -> Tensor:
        """Return positions (x, z of the cup and of the ball) and velocities."""
        return torch.cat([state.qpos, state.qvel], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        return [*positions(self.model), *velocities(self.model)]

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return 1 where the whole ball is in the cup, else 0."""
        cup, ball = state.qpos.split(2, dim=1)
        offset = cup - ball + self._above
        return (offset.abs() < self._slack).all(dim=1).to(offset.dtype)

    def random_start(self) -> Start:
        """Draw a ball anywhere around the cup but not touching it, and the cup in the middle, all at rest."""
        _, qvel, target = self.fixed_start()
        return self.untouching(self._pose), qvel, target

    def _pose(self) -> Tensor:
        ball = torch.cat([self.uniform(-0.2, 0.2, 1), self.uniform(0.2, 0.5, 1)], dim=1)
        return torch.cat([torch.zeros_like(ball), ball], dim=1)
