"""A pusher that brings a ball to a goal: a task in which two bodies touch."""

import torch
from torch import Tensor

from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.envs.ghosts import Ghost


class Push(ArticulatedEnv):
    """Push the ball to a goal on the floor, another one in every episode, and keep it there."""

    name = "push"
    robot = "push.xml"  # beside this file
    obs_dim = 12
    action_dim = 2
    target_dim = 2  # where the ball is to be [m]
    episode_length = 120
    dt = 1 / 30
    substeps = 16
    mass_matrix_interval = 16

    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """From ball to goal and from pusher to ball, where both are, how fast both are; without the height and the roll."""
        pusher, ball = q[:, 0:2], q[:, 2:4]
        return torch.cat([self.target - ball, ball - pusher, pusher, ball, 0.5 * qd[:, 0:4]], dim=1)

    def reward(self, obs: Tensor, action: Tensor) -> dict[str, Tensor]:
        """Up to 1 for a ball at its goal; a slope towards the point behind the ball for a pusher that is not there."""
        to_goal = length(obs[:, 0:2])
        behind = obs[:, 2:4] - 0.15 * obs[:, 0:2] / to_goal[:, None]
        return {
            "goal": 1.0 - to_goal,
            "reach": -0.5 * length(behind),
            "effort": -0.01 * action.square().sum(1),
        }

    def random_start(self) -> tuple[Tensor, Tensor]:
        """The ball 0.2 to 0.3 m before the pusher, up to 0.05 m to the side."""
        q = self.start_q.clone()
        q[:, 2:4] = torch.cat([self.uniform(0.2, 0.3, 1), self.uniform(-0.05, 0.05, 1)], dim=1)
        return q, self.qd.new_zeros(self.qd.shape)

    def random_target(self) -> Tensor:
        """0.6 to 1 m before the pusher's start, up to 0.3 m to the side."""
        return torch.cat([self.uniform(0.6, 1.0, 1), self.uniform(-0.3, 0.3, 1)], dim=1)

    def ghosts(self) -> list[Ghost]:
        """The ball where it is to be, for pictures."""
        height = torch.full_like(self.target[:, :1], 0.1)
        return [Ghost("goal", "sphere", (0.1,), torch.cat([self.target, height], dim=1))]


def length(vector: Tensor) -> Tensor:
    """Return the length of (N, 2), with a slope everywhere."""
    return (vector.square().sum(1) + 1e-4).sqrt()
