"""A biped of our own that walks as commanded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rpo_lightning.envs.legged.velocity_task import VelocityTask

__all__ = ["Biped"]


class Biped(VelocityTask):
    """Walk as commanded on two legs, by a clock: 47 observations, 12 servos, a robot of 34 kg (`robots/biped.xml`).

    Commands are 0.4 to 0.8 m/s forward and up to 0.3 rad/s to either side.
    """

    name: ClassVar[str] = "biped"
    robot: ClassVar[str] = "biped.xml"
    obs_dim: ClassVar[int] = 47
    action_dim: ClassVar[int] = 12
    privileged_dim: int = 61
    action_scale: ClassVar[float] = 0.5
    feet: ClassVar[tuple[str, ...]] = ("left_ankle_roll", "right_ankle_roll")
    lowest: ClassVar[float] = 0.7
    phases: ClassVar[tuple[float, ...]] = (0.25, 0.75)  # an episode begins between two swings
    stride: ClassVar[float] = 1.25
    duty: ClassVar[float] = 0.55
    weights: ClassVar[Mapping[str, float]] = {
        "velocity": 1.0,
        "turning": 0.5,
        "upright": -3.0,
        "bounce": -0.5,
        "roll": -0.05,
        "height": -20.0,
        "effort": -1e-5,
        "jerk": -0.05,
        "slip": -1.0,
        "pose": -0.1,
        "gait": -1.0,
        "spacing": -0.5,
        "straight": -1.0,
    }

    @classmethod
    def option_defaults(cls) -> dict[str, Any]:
        """Return the options of this task and their values if not given."""
        commands = ((0.4, 0.8), (0.0, 0.0), (-0.3, 0.3))
        return {**super().option_defaults(), "commands": commands, "standing": 0.0, "push": 0.0, "noise": 0.5}
