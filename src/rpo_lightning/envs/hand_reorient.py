"""Hand Reorient: an Allegro hand that turns a cube to one orientation after the other (hand_reorient.md).

The reference's physics has defects. `physics: paper` has them, because published returns do; `physics: right` has not.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.envs.ghosts import Ghost
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
from rpo_lightning.sim import Model, quat_multiply, velocity_at

__all__ = ["HandReorient"]

_DEFECTS = {
    "paper": {
        "mixed_inertias": True,
        "double_tips": True,
        "missing_pair": True,
        "detection": "rewarped",
        "cut_together": True,
    },
    "right": {
        "mixed_inertias": False,
        "double_tips": False,
        "missing_pair": False,
        "detection": "exact",
        "cut_together": False,
    },
}
_TIP_MASS, _TIP_INERTIA = 0.0168, 9.68e-7  # [kg], about its centre [kg m^2]
_MISSING = {"cube", "link_0"}  # geoms that touch in the file and not in the reference


class HandReorient(ArticulatedEnv):
    """Turn the cube in the hand until it lies as the goal; then there is another goal.

    72 observations: scaled joint angles and rates, the cube's pose and velocities, the goal's pose, the turn between them,
    the action. 16 torques of up to 2 N m. Fails when the cube is 0.24 m from where it should be. The target is the
    goal's quaternion (xyzw).

    Args:
        num_envs, device, seed: see `BaseEnv`.
        options: those of `ArticulatedEnv` (here reward_from is "next" and observe_action True), and physics ("paper" or
            "right"), of which each part can be chosen by itself (None: as physics says): mixed_inertias (the mass matrix
            takes for each joint the inertia of the body of that number), double_tips (the mass of the fingertips counts
            twice), missing_pair (the cube passes through the first link of one finger), detection ("rewarped" or "exact",
            see `Model`), cut_together (where one environment begins anew, no gradient of any goes back beyond that step).
    """

    name: ClassVar[str] = "hand_reorient"
    obs_dim: ClassVar[int] = 72
    action_dim: ClassVar[int] = 16
    target_dim: ClassVar[int] = 4
    episode_length: ClassVar[int] = 600
    robot: ClassVar[str] = "hand_reorient.xml"
    dt: ClassVar[float] = 1.0 / 120.0
    substeps: ClassVar[int] = 64
    mass_matrix_interval: ClassVar[int | None] = 64
    goal_position: ClassVar[tuple[float, float, float]] = (0.0, -0.1, 0.56)
    rate_scale: ClassVar[float] = 0.2
    tolerance: ClassVar[float] = 0.1  # [rad]
    fall_distance: ClassVar[float] = 0.24  # [m]

    @classmethod
    def option_defaults(cls) -> dict[str, Any]:
        """Return the options of this task and their values if not given."""
        own = {"reward_from": "next", "observe_action": True, "physics": "paper"}
        return {**super().option_defaults(), **own, **dict.fromkeys(_DEFECTS["paper"])}

    def edit(self, model: Model) -> None:
        """Give the hand the physics that the options ask for.

        Raises:
            ValueError: for a value that an option cannot have.
        """
        chosen = self._chosen_physics()
        model.law, model.detection = "rate", chosen["detection"]
        self._cut_together = chosen["cut_together"]
        if self.options["physics"] == "right":
            model.free_velocity, model.damping = "body", "implicit"
            self.mass_matrix_interval = None  # type: ignore[misc]  # of this object: the class keeps the reference's
        if chosen["double_tips"]:
            _count_tips_twice(model)
        if chosen["mixed_inertias"]:
            # joints are numbered finger by finger from the thumb, bodies as their names are
            carried = {_number(link.name): index for index, link in enumerate(model.links[:16])}
            model.mass_links = [carried[joint] for joint in range(16)] + [16]
        if chosen["missing_pair"]:
            names = [geom.name for geom in model.geoms]
            model.pairs = [pair for pair in model.pairs if {names[pair.first], names[pair.second]} != _MISSING]

    def prepare(self) -> None:
        """Compute the limits of the joints and the goal's position."""
        limits = [(link.lower, link.upper) for link in self.model.links[:16]]
        self._lower, self._upper = torch.tensor(limits, dtype=torch.float32, device=self.device).unbind(1)
        self.rows_are_apart = not self._cut_together
        self._place = torch.tensor(self.goal_position, device=self.device).expand(self.num_envs, 3)

    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return the observation (N, 72), see the class."""
        angles, position, quat = q.split([16, 3, 4], dim=1)
        rates, w, v = qd.split([16, 3, 3], dim=1)
        scaled = (2.0 * angles - self._upper - self._lower) / (self._upper - self._lower)
        velocity = velocity_at(w, v, position)
        turn = quat_multiply(quat, _conjugate(self.target))
        parts = [
            scaled, self.rate_scale * rates, position, quat, velocity, self.rate_scale * w,
            self._place, self.target, turn, action,
        ]  # fmt: skip
        return torch.cat(parts, dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        joints = zip(positions(self.model)[:16], (0.5 * (self._upper - self._lower)).tolist(), strict=True)
        return [
            *(Quantity(f"{joint.name} from the middle", f"{half:.4g} {joint.unit}") for joint, half in joints),
            *scaled(velocities(self.model)[:16], self.rate_scale),
            *vector("cube position", "m"), *quaternion("cube orientation"), *vector("cube velocity", "m/s"),
            *scaled(vector("cube angular velocity", "rad/s"), self.rate_scale),
            *vector("goal position", "m"), *quaternion("goal orientation"), *quaternion("turn from goal to cube"),
            *last_actions(action_rows(self.model)),
        ]  # fmt: skip

    def reward(self, obs: Tensor, action: Tensor) -> dict[str, Tensor]:
        """Return closeness in place and turn, an action penalty, and 125 where the goal is reached (smoothly so)."""
        angle = _angle(obs[:, 52:56])
        near = torch.sigmoid((angle - self.tolerance) / 0.001)  # 0 within the tolerance
        return {
            "place": -10.0 * _distance(obs),
            "turn": 1.0 / (angle + 0.1),
            "effort": -0.0002 * action.square().sum(1),
            # the reference's 250 never comes to more than half, as its sigmoid ends at 0
            "success": 250.0 * torch.sigmoid(-((1.0 - near) - 1.0).abs() / 0.001),
        }

    def failed(self, obs: Tensor) -> Tensor:
        """Return where the cube has left the hand."""
        return _distance(obs) >= self.fall_distance

    def target_done(self, obs: Tensor) -> Tensor:
        """Return where the cube lies as the goal."""
        return _angle(obs[:, 52:56]) <= self.tolerance

    def random_target(self) -> Tensor:
        """Draw an orientation: a turn about y, then one about x."""
        return self._random_turn()

    def random_start(self) -> tuple[Tensor, Tensor]:
        """Draw the cube above the palm in any orientation, and joints up to a fifth of the way to their limits, at rest."""
        position = self.start_q[:, 16:19] + 0.01 * self.uniform(-1.0, 1.0, 3)
        quat = self._random_turn()
        angles = 0.2 * (self._lower + (self._upper - self._lower) * self.uniform(0.0, 1.0, 16))
        return torch.cat([angles, position, quat], dim=1), self.start_q.new_zeros(self.num_envs, self.model.nd)

    def ghosts(self) -> list[Ghost]:
        """Return a cube that lies as the goal, above the hand."""
        above = self._place + self._place.new_tensor([0.0, 0.0, 0.16])
        return [Ghost("goal", "box", (0.0325, 0.0325, 0.0325), above, self.target)]

    def _restart(self, mask: Tensor) -> None:
        super()._restart(mask)
        if self._cut_together and torch.is_grad_enabled():
            begun = mask.any()
            if self._looks and not begun:
                return
            for name in ("q", "qd", "_slots", "_obs"):
                value = getattr(self, name)
                setattr(self, name, torch.where(begun, value.detach(), value))
            self._history.past = torch.where(begun, self._history.past.detach(), self._history.past)

    def _random_turn(self) -> Tensor:
        half = self.uniform(-0.5 * math.pi, 0.5 * math.pi, 2)
        zero = torch.zeros_like(half[:, 0])
        x, y = half.unbind(1)
        about_x = torch.stack([x.sin(), zero, zero, x.cos()], dim=1)
        return quat_multiply(about_x, torch.stack([zero, y.sin(), zero, y.cos()], dim=1))

    def _chosen_physics(self) -> dict[str, Any]:
        if (physics := self.options["physics"]) not in _DEFECTS:
            raise ValueError(f"{self.name}: physics must be 'paper' or 'right', got {physics!r}")
        chosen = {name: self.options[name] for name in _DEFECTS[physics]}
        for name, value in chosen.items():
            values = [parts[name] for parts in _DEFECTS.values()]
            if value is not None and (value not in values or type(value) is not type(values[0])):
                raise ValueError(f"{self.name}: {name} must be {values[0]!r}, {values[1]!r} or None, got {value!r}")
        return {name: _DEFECTS[physics][name] if value is None else value for name, value in chosen.items()}


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])


def _conjugate(quat: Tensor) -> Tensor:
    return torch.cat([-quat[:, :3], quat[:, 3:]], dim=1)


def _angle(turn: Tensor) -> Tensor:
    """Return the angle (N,) of a turn (N, 4) [rad], a little below pi at most."""
    return 2.0 * torch.asin(turn[:, :3].norm(dim=1).clamp(max=0.999))


def _distance(obs: Tensor) -> Tensor:
    """Return how far the cube is from its place (N,) [m]."""
    return (obs[:, 32:35] - obs[:, 45:48]).norm(dim=1)


def _count_tips_twice(model: Model) -> None:
    """Add the fingertips' mass once more, and leave the inertias as they are about the joint, as the reference does."""
    across = np.diag([1.0, 1.0, 0.0])
    for finger, along in ((15, 0.0423), (11, 0.0267), (7, 0.0267), (3, 0.0267)):
        link = next(link for link in model.links if link.name == f"joint_{finger}")
        about_joint = link.inertia + link.mass * link.com[2] ** 2 * across
        link.inertia = about_joint + _TIP_INERTIA * np.eye(3) + _TIP_MASS * along**2 * across
        link.mass += _TIP_MASS
        link.com = np.array([0.0, 0.0, 2.0 * _TIP_MASS * along / link.mass])
