"""A biped that learns to walk: everything a task of your own has to say."""

import torch
from torch import Tensor

from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.envs.tables import Quantity, positions, scaled, velocities


class Walker(ArticulatedEnv):
    """Walk towards +x at 2 m/s."""

    name = "walker"  # of run folders and messages
    robot = "walker.xml"  # beside this file
    obs_dim = 17
    action_dim = 6  # one per motor of the robot, in the file's order
    episode_length = 500
    dt = 1 / 60  # seconds between actions
    substeps = 16  # more for stiffer contact
    mass_matrix_interval = 16  # substeps between rebuilds of the mass matrix; fewer for fast, light limbs

    speed = 2.0

    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Everything but the forward position: height, pitch, six joint angles, nine velocities."""
        return torch.cat([q[:, 1:], 0.1 * qd], dim=1)

    def reward(self, obs: Tensor, action: Tensor) -> dict[str, Tensor]:
        """Up to 1 for the speed, up to 1 for being upright, less a little for effort."""
        height, pitch, forward = obs[:, 0], obs[:, 1], 10.0 * obs[:, 8]
        return {
            "speed": 1.0 - ((forward - self.speed) / self.speed).square(),
            "upright": 1.0 - pitch.square() - 4.0 * height.square(),
            "effort": -0.02 * action.square().sum(1),
        }

    def quantities(self) -> list[Quantity]:
        """What `observe` returns, by name: for tables, plots and the exported policy. May be left out."""
        return [*positions(self.model)[1:], *scaled(velocities(self.model), 0.1)]

    def failed(self, obs: Tensor) -> Tensor:
        """Fallen: 0.35 m too low, or leaning by more than a radian."""
        return (obs[:, 0] < -0.35) | (obs[:, 1].abs() > 1.0)

    def random_start(self) -> tuple[Tensor, Tensor]:
        """Standing, give or take 0.05 rad or m and 0.1 rad/s or m/s."""
        q, qd = self.uniform_start(0.05, 0.1)
        return q + torch.eye(q.shape[1], device=q.device)[1] * 0.05, qd  # lifted, so that feet start above the ground
