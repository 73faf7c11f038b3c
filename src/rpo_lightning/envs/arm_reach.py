"""An arm of seven hinges whose tool is to be where a target is, drawn anew every few seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.envs.arguments import checked_number
from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.envs.base import Reward
from rpo_lightning.envs.ghosts import Ghost
from rpo_lightning.envs.legged import terms
from rpo_lightning.envs.points import Points
from rpo_lightning.envs.tables import Quantity, action_rows, last_actions, positions, vector, velocities
from rpo_lightning.transfers import sent

__all__ = ["ArmReach"]

_TRIES = 16


class ArmReach(ArticulatedEnv):
    """Bring the tool to the target: 27 observations, 7 servos, an arm of 17 kg (`robots/arm.xml`); it cannot fail.

    Observed are joint angles less those of the start pose [rad], joint rates [rad/s], the way from tool to target and the
    target [m, in world axes], the last action. Actions are offsets of the servos from the start pose, 1.5 rad for 1.

    A target is where the tool is at random joint angles within `spread` of the start pose, so that it can be reached, and
    `clear` of the ground and of the base's axis.

    Args:
        num_envs, device, seed: see `BaseEnv`.
        options: those of `ArticulatedEnv` (here observe_action is True), and target_seconds (1: how long a target stays).
    """

    name: ClassVar[str] = "arm_reach"
    obs_dim: ClassVar[int] = 27
    action_dim: ClassVar[int] = 7
    target_dim: ClassVar[int] = 3
    robot: ClassVar[str] = "arm.xml"
    dt: ClassVar[float] = 0.02
    substeps: ClassVar[int] = 4
    episode_length: ClassVar[int] = 500
    action_scale: ClassVar[float] = 1.5
    tool: ClassVar[tuple[str, tuple[float, float, float]]] = ("hand", (0.0, 0.0, 0.2))
    """The link that carries the tool, and the place of its tip in it [m]: the file's site."""
    spread: ClassVar[tuple[float, ...]] = (1.3, 0.7, 0.7, 0.7, 0.7, 0.7, 0.0)
    """By how much joint angles of targets differ from the start pose's [rad]."""
    clear: ClassVar[tuple[float, float]] = (0.05, 0.25)
    """How far targets are from the ground and from the base's axis at least [m]."""
    weights: ClassVar[Mapping[str, float]] = {"distance": -2.0, "rates": -0.005, "jerk": -0.05, "pose": -0.01}
    """Of the terms of the reward, see `reward`."""

    @classmethod
    def option_defaults(cls) -> dict[str, Any]:
        """Return the options of this task and their values if not given."""
        return {**super().option_defaults(), "observe_action": True, "target_seconds": 1.0}

    def prepare(self) -> None:
        """Find the tool, and turn options into numbers.

        Raises:
            ValueError: for a value that an option cannot have.
        """
        link, place = self.tool
        carries = [link.name for link in self.model.links].index(link)
        self._points = Points(self.model, [(carries, np.array(place))], self.device)
        self._drawing = Points(self.model, [(carries, np.array(place))])  # targets are drawn on the CPU
        self._home = torch.tensor(self.model.start, dtype=torch.float32)
        self._spread = torch.tensor(self.spread)
        seconds = checked_number(self.name, "target_seconds", self.options["target_seconds"], self.dt)
        self._target_steps = round(seconds / self.dt)

    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return the observation (N, 27), see the class."""
        return torch.cat([q - self.start_q, qd, self.target - self.tool_position(q), self.target, action], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        return [
            *(row._replace(name=f"{row.name} less that of the start pose") for row in positions(self.model)),
            *velocities(self.model),
            *vector("target from tool", "m"),
            *vector("target", "m"),
            *last_actions(action_rows(self.model)),
        ]

    def tool_position(self, q: Tensor) -> Tensor:
        """Return where the tool's tip is (N, 3) [m]."""
        return self._points(q, torch.zeros_like(q))[0][:, 0]

    def reward(self, obs: Tensor, action: Tensor) -> Reward:
        """Return the terms of `weights`, each times its weight.

        They are the distance [m], rounded off below 1 cm, and squares: of joint rates, of changes of action, and of angles
        less those of the start pose. Without a bonus for each step, values stay small, and critics learn them sooner.
        """
        angles, rates, way, _, last = obs.split([7, 7, 3, 3, 7], dim=1)
        paid = {
            "distance": 1.0 - terms.tracking(way, 0.01),
            "rates": terms.squared(rates),
            "jerk": terms.jerk(action, last),
            "pose": terms.squared(angles),
        }
        return {name: weight * paid[name] for name, weight in self.weights.items()}

    def random_target(self) -> Tensor:
        """Draw places of the tool (N, 3), the first of several that is clear; if none is, that of the start pose."""
        turns = 2.0 * torch.rand(_TRIES * self.num_envs, 7, generator=self.generator) - 1.0
        q = self._home + self._spread * turns
        tries = self._drawing(q, torch.zeros_like(q))[0].view(_TRIES, self.num_envs, 3)
        ground, axis = self.clear
        good = (tries[..., 2] > ground) & (tries[..., :2].norm(dim=-1) > axis)
        home = self._drawing(self._home[None], torch.zeros(1, 7))[0].view(1, 1, 3).expand(1, self.num_envs, 3)
        tries, good = torch.cat([tries, home]), torch.cat([good, torch.ones_like(good[:1])])
        first = good.int().argmax(0)
        return sent(tries[first, torch.arange(self.num_envs)], self.device)

    def target_done(self, obs: Tensor) -> Tensor:
        """Return where a target's time is over."""
        return (self.progress + 1) % self._target_steps == 0

    def random_start(self) -> tuple[Tensor, Tensor]:
        """Draw starts: joint angles within 0.3 rad of the start pose, rates within 0.1 rad/s."""
        return self.uniform_start(0.3, 0.1)

    def ghosts(self) -> list[Ghost]:
        """Return a ball where the target is."""
        return [Ghost("target", "sphere", (0.02,), self.target)]
