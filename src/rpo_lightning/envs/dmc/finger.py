"""Finger: two links that turn a body on a hinge (dm_control/suite/finger.py, Apache-2.0)."""

from __future__ import annotations

import math
from typing import ClassVar

import mujoco
import torch
from torch import Tensor

from rpo_lightning.envs.dmc.control_task import ControlTask, Start
from rpo_lightning.envs.dmc.joints import pose_range
from rpo_lightning.envs.dmc.models import Options, Sensor
from rpo_lightning.envs.dmc.worlds import State
from rpo_lightning.envs.ghosts import Ghost
from rpo_lightning.envs.tables import Quantity, positions, vector, velocities

__all__ = ["FingerSpin", "FingerTurnEasy", "FingerTurnHard"]

_SPIN_SPEED = 15.0  # rad/s that earn the reward
_SPIN_DAMPING = 0.06  # share of the hinge's damping that is left, 0.03 N m s/rad: a stroke then spins it on for a while


class _Finger(ControlTask):
    """What the tasks share. x and z are those of the vertical plane in which everything moves, in m."""

    action_dim: ClassVar[int] = 2
    file: ClassVar[str] = "finger"
    physics_options: ClassVar[Options] = Options(timestep=0.005, iterations=2, ls_iterations=8, integrator="implicitfast")
    sensors: ClassVar[dict[str, Sensor]] = {
        "tip": ("framepos", "site", "tip"),  # of the body on the hinge
        "top": ("touch", "site", "touchtop"),
        "bottom": ("touch", "site", "touchbottom"),
    }
    dt: ClassVar[float] = 0.02

    @classmethod
    def edit(cls, spec: mujoco.MjSpec) -> None:
        """Let nothing touch the decorations, as in MuJoCo Playground: they are inside of what can be touched anyway."""
        for name in ("proximal_decoration", "spinner_decoration"):
            spec.geom(name).contype = spec.geom(name).conaffinity = 0

    def prepare(self) -> None:
        """Read the hinge's position (x, z)."""
        self._hinge = torch.from_numpy(self.model.body("spinner").pos[[0, 2]]).to(self.device, torch.float32)

    def observe(self, state: State) -> Tensor:
        """Return the finger's angles, the tip (x, z) from the hinge, velocities, and log(1 + force in N) at two sides."""
        touch = torch.cat([state.sensor("top"), state.sensor("bottom")], dim=1)
        return torch.cat([state.qpos[:, :2], self._tip(state), state.qvel, touch.log1p()], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        touch = [Quantity(f"{side} touch, log(1 + force in N)") for side in ("top", "bottom")]
        tip = vector("tip from hinge", "m", axes="xz")
        return [*positions(self.model)[:2], *tip, *velocities(self.model), *touch]

    def random_start(self) -> Start:
        """Draw a finger within its limits and a hinge at any angle that do not touch, at rest."""
        _, qvel, target = self.fixed_start()
        low, high = pose_range(self.model)
        return self.untouching(lambda: self.uniform(low, high, self.model.nq)), qvel, target

    def _tip(self, state: State) -> Tensor:
        return state.sensor("tip")[:, ::2] - self._hinge


class FingerSpin(_Finger):
    """Spin the body at 15 rad/s or more, towards negative angles; 9 observations, 2 torques of up to 30 and 15 N m."""

    name: ClassVar[str] = "dmc/finger_spin"
    obs_dim: ClassVar[int] = 9

    @classmethod
    def edit(cls, spec: mujoco.MjSpec) -> None:
        """Let the hinge turn more freely than in the other tasks."""
        super().edit(spec)
        hinge = spec.joint("hinge")
        hinge.damping = hinge.damping * _SPIN_DAMPING  # a number, or in newer versions of MuJoCo a polynomial's coefficients

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return 1 where the body spins fast enough, else 0."""
        return (state.qvel[:, 2] <= -_SPIN_SPEED).to(state.qvel.dtype)


class FingerTurnEasy(_Finger):
    """Turn the body until its tip is in a ball of 7 cm; 12 observations, torques of `FingerSpin`.

    `target` is the ball's (x, z) in m, as far from the hinge as the tip.
    """

    name: ClassVar[str] = "dmc/finger_turn_easy"
    obs_dim: ClassVar[int] = 12
    target_dim: ClassVar[int] = 2
    radius: ClassVar[float] = 0.07  # of the ball, in m

    def observe(self, state: State) -> Tensor:
        """Return the observation of `FingerSpin`, the ball (x, z) from the hinge and the tip's distance from its surface."""
        distance = self._outside(state)[:, None]
        return torch.cat([super().observe(state), state.target - self._hinge, distance], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        return [
            *super().quantities(),
            *vector("ball from hinge", "m", axes="xz"),
            Quantity("distance of tip from ball's surface", "m"),
        ]

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return 1 where the tip is in the ball, else 0."""
        return (self._outside(state) <= 0.0).to(state.qvel.dtype)

    def random_start(self) -> Start:
        """Draw a start of `FingerSpin` and a ball anywhere on the tip's circle."""
        qpos, qvel, _ = super().random_start()
        return qpos, qvel, self._on_circle(self.uniform(-math.pi, math.pi, 1))

    def fixed_start(self) -> Start:
        """Return the model's own pose, whose tip is above the hinge, and a ball below it."""
        qpos, qvel, target = super().fixed_start()
        return qpos, qvel, self._on_circle(target.new_full((self.num_envs, 1), math.pi))

    def ghosts(self) -> list[Ghost]:
        """Return the ball that the tip is to be in."""
        x, z = self.target.unbind(1)
        return [Ghost("target", "sphere", (self.radius,), torch.stack([x, torch.zeros_like(x), z], dim=1))]

    def _on_circle(self, angle: Tensor) -> Tensor:
        """Return the point (N, 2) at an angle (N, 1) from the one above the hinge."""
        distance = float(self.model.geom("cap1").size[:2].sum())
        return self._hinge.cpu().double() + distance * torch.cat([angle.sin(), angle.cos()], dim=1)

    def _outside(self, state: State) -> Tensor:
        """Return the tip's distance (N,) from the ball's surface, negative within."""
        return (state.target - self._hinge - self._tip(state)).norm(dim=1) - self.radius


class FingerTurnHard(FingerTurnEasy):
    """`FingerTurnEasy` with a ball of 3 cm."""

    name: ClassVar[str] = "dmc/finger_turn_hard"
    radius: ClassVar[float] = 0.03
