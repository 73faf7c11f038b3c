"""A quadruped of our own that walks as commanded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rpo_lightning.envs.legged.velocity_task import VelocityTask

__all__ = ["Quadruped"]


class Quadruped(VelocityTask):
    """Walk as commanded on four legs: 45 observations, 12 servos, a robot of 15 kg (`robots/quadruped.xml`)."""

    name: ClassVar[str] = "quadruped"
    robot: ClassVar[str] = "quadruped.xml"
    obs_dim: ClassVar[int] = 45
    action_dim: ClassVar[int] = 12
    privileged_dim: int = 69
    action_scale: ClassVar[float] = 0.5
    feet: ClassVar[tuple[str, ...]] = ("FL_calf", "FR_calf", "RL_calf", "RR_calf")
    weights: ClassVar[Mapping[str, float]] = {**VelocityTask.weights, "slip": -0.1}
