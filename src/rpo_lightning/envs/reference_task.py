"""Tasks that reproduce a reference simulator, whose defects their published returns depend on."""

from __future__ import annotations

from typing import Any

from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.sim import Model

__all__ = ["ReferenceTask"]


class ReferenceTask(ArticulatedEnv):
    """A task of the paper, with the physics of its simulator or with the right one.

    That simulator keeps the mass matrix, which it takes about the world's origin, for a whole step: bodies that move turn
    though nothing turns them, and policies live on it. It also takes joint damping explicitly.

    Args:
        num_envs, device, seed: see `BaseEnv`.
        options: those of `ArticulatedEnv`, and physics ("paper" or "right").
    """

    @classmethod
    def option_defaults(cls) -> dict[str, Any]:
        """Return the options of this task and their values if not given."""
        return {**super().option_defaults(), "physics": "paper"}

    def edit(self, model: Model) -> None:
        """Give the robot the physics that was asked for.

        Raises:
            ValueError: for another than "paper" and "right".
        """
        physics = self.options["physics"]
        if physics not in ("paper", "right"):
            raise ValueError(f"{self.name}: physics must be 'paper' or 'right', got {physics!r}")
        if physics == "right":
            model.free_velocity, model.damping = "body", "implicit"
            self.mass_matrix_interval = None  # type: ignore[misc]  # of this object: the class keeps the reference's
