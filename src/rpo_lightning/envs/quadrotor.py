"""A quadrotor that hovers and follows figures of eight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from rpo_lightning.envs.arguments import checked_number, checked_range
from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.envs.base import Reached, Reward
from rpo_lightning.envs.base_pose import BasePose
from rpo_lightning.envs.ghosts import Ghost
from rpo_lightning.envs.legged import terms
from rpo_lightning.envs.tables import Quantity, action_rows, last_actions, vector

__all__ = ["Quadrotor", "figure"]


def figure(target: Tensor, ahead: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return position and velocity (N, 3) of a reference on a figure of eight, z up [m, m/s].

    Args:
        target: (N, 9), see `Quadrotor`.
        ahead: how long after now [s].
    """
    centre, size, direction, rate, phase = target.split([3, 3, 1, 1, 1], dim=1)
    angle = phase + rate * ahead
    along, across, above = size.split(1, dim=1)
    place = along * angle.sin(), across * (2.0 * angle).sin(), above * angle.cos()
    moving = along * angle.cos(), 2.0 * across * (2.0 * angle).cos(), -above * angle.sin()
    cos, sin = direction.cos(), direction.sin()
    turned = [torch.cat([cos * x - sin * y, sin * x + cos * y, z], dim=1) for x, y, z in (place, moving)]
    return centre + turned[0], rate * turned[1]


class Quadrotor(ArticulatedEnv):
    """Follow a reference by the thrust of four rotors: 25 observations, a robot of 0.8 kg (`robots/quadrotor.xml`).

    The reference moves on a figure of eight, of which each episode has another; some stand still. Observed, in the base's
    axes: where the reference is now and will be in 0.2 and 0.4 s [m], how much faster it moves than the base [m/s], the
    world's up and forward (unit vectors), angular velocity [rad/s]; and the last action. Actions -1 and 1 are no thrust and
    4 N. Fails 2 m from the reference, or upside down. The nose should point forward.

    The target is the figure: its centre (3) and half widths (3) [m], along, across and in height; its direction about up
    [rad], the rate at which the reference goes round [rad/s], and where on the figure it is now [rad].

    Args:
        num_envs, device, seed: see `BaseEnv`.
        options: those of `ArticulatedEnv` (here observe_action is True), and figure_length ((1, 2.5), from end to end; half
            as wide), figure_height ((0, 0.5)) [m], figure_seconds ((5, 10): once round), hovering (0.1: share of references
            that stand still).
    """

    name: ClassVar[str] = "quadrotor"
    obs_dim: ClassVar[int] = 25
    action_dim: ClassVar[int] = 4
    target_dim: ClassVar[int] = 9
    robot: ClassVar[str] = "quadrotor.xml"
    dt: ClassVar[float] = 0.02
    substeps: ClassVar[int] = 4
    episode_length: ClassVar[int] = 500
    ahead: ClassVar[tuple[float, float]] = (0.2, 0.4)
    too_far: ClassVar[float] = 2.0
    weights: ClassVar[Mapping[str, float]] = {
        "alive": 0.5,
        "near": 1.0,
        "speed": 0.1,
        "heading": -0.2,
        "spin": -0.005,
        "jerk": -0.02,
    }
    """Of the terms of the reward, see `reward`."""

    @classmethod
    def option_defaults(cls) -> dict[str, Any]:
        """Return the options of this task and their values if not given."""
        return {
            **super().option_defaults(),
            "observe_action": True,
            "figure_length": (1.0, 2.5),
            "figure_height": (0.0, 0.5),
            "figure_seconds": (5.0, 10.0),
            "hovering": 0.1,
        }

    def prepare(self) -> None:
        """Compute what observations need of the robot.

        Raises:
            ValueError: for a value that an option cannot have.
        """
        for name in ("figure_length", "figure_height"):
            checked_range(self.name, name, self.options[name], 0.0)
        checked_range(self.name, "figure_seconds", self.options["figure_seconds"], self.dt)
        checked_number(self.name, "hovering", self.options["hovering"], 0.0, 1.0)
        self.base = BasePose(self.model, self.device)
        self._world = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], device=self.device)

    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return the observation (N, 25), see the class."""
        position, velocity = figure(self.target)
        later = [figure(self.target, ahead)[0] for ahead in self.ahead]
        here = self.base.position(q)
        ways = [position - here, *(place - here for place in later), velocity - self.base.velocity(q, qd)]
        turning = self.base.angular_velocity(qd)
        seen = torch.stack([*ways, *self._world[:, None].expand(2, len(q), 3), turning], dim=1)
        return torch.cat([self.base.local(q, seen).flatten(1), action], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        return [
            *vector("reference from base", "m", "base"),
            *(row for ahead in self.ahead for row in vector(f"reference in {ahead:g} s from base", "m", "base")),
            *vector("reference velocity less that of base", "m/s", "base"),
            *vector("world up", "", "base"),
            *vector("world forward", "", "base"),
            *vector("angular velocity", "rad/s", "base"),
            *last_actions(action_rows(self.model)),
        ]

    def reward(self, obs: Tensor, action: Tensor) -> Reward:
        """Return the terms of `weights`, each times its weight.

        They are 1; 1 less the distance [m]; 1 less the difference of velocities [m/s]; 1 less the cosine between nose and
        forward direction; and squares, of the rate of turning and of the change of action.
        """
        way, _, slip, _, forward, turning, last = obs.split([3, 6, 3, 3, 3, 3, 4], dim=1)
        paid = {
            "alive": torch.ones_like(obs[:, 0]),
            "near": terms.tracking(way, 0.02),
            "speed": terms.tracking(slip, 0.1),
            "heading": 1.0 - forward[:, 0],
            "spin": terms.squared(turning),
            "jerk": terms.jerk(action, last),
        }
        return {name: weight * paid[name] for name, weight in self.weights.items()}

    def failed(self, obs: Tensor) -> Tensor:
        """Return which have lost the reference, or are upside down."""
        return (obs[:, :3].norm(dim=1) > self.too_far) | (obs[:, 14] < 0.0)

    def random_target(self) -> Tensor:
        """Draw figures (N, 9) on which the reference begins at the start pose's place."""
        pairs = [self.options[f"figure_{what}"] for what in ("length", "height", "seconds")]
        length, height, seconds = (self.uniform(low, high, 1) for low, high in pairs)
        size = torch.cat([length / 2.0, length / 4.0, height / 2.0], dim=1)
        still = self.uniform(0.0, 1.0, 1) < self.options["hovering"]
        direction, phase = self.uniform(-math.pi, math.pi, 2).split(1, dim=1)
        centre = self.start_q[:, :3]
        rest = size.masked_fill(still, 0.0), direction, 2.0 * math.pi / seconds, phase
        off = figure(torch.cat([torch.zeros_like(centre), *rest], dim=1))[0]
        return torch.cat([centre - off, *rest], dim=1)

    def random_start(self) -> tuple[Tensor, Tensor]:
        """Draw starts near the start pose that move.

        By up to 0.5 m, 1 m/s and 1 rad/s along and about each axis, turned by up to 90 degrees and tilted by up to 0.5 rad
        about each axis.
        """
        q = torch.cat([self.start_q[:, :3] + self.uniform(-0.5, 0.5, 3), self.start_q[:, 3:]], dim=1)
        q = self.base.turned(q, self.uniform(-0.5 * math.pi, 0.5 * math.pi, 1)[:, 0], self.uniform(-0.5, 0.5, 3))
        return q, self.base.twist(q, self.uniform(-1.0, 1.0, 3), self.uniform(-1.0, 1.0, 3))

    def ghosts(self) -> list[Ghost]:
        """Return a ball where the reference is."""
        return [Ghost("reference", "sphere", (0.03,), figure(self.target)[0])]

    def _advance(self, action: Tensor) -> Reached:
        rate, phase = self.target[:, 7:8], self.target[:, 8:]
        self.target = torch.cat([self.target[:, :8], phase + self.dt * rate], dim=1)
        return super()._advance(action)
