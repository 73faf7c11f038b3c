"""A biped of our own that walks as commanded."""

from __future__ import annotations

from typing import ClassVar

from rpo_lightning.envs.legged.velocity_task import VelocityTask

__all__ = ["Biped"]


class Biped(VelocityTask):
    """Walk as commanded on two legs: 45 observations, 12 servos, a robot of 34 kg (`robots/biped.xml`)."""

    name: ClassVar[str] = "biped"
    robot: ClassVar[str] = "biped.xml"
    obs_dim: ClassVar[int] = 45
    action_dim: ClassVar[int] = 12
    privileged_dim: int = 59
    action_scale: ClassVar[float] = 0.5
    feet: ClassVar[tuple[str, ...]] = ("left_ankle_roll", "right_ankle_roll")
