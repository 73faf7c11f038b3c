"""Tasks that reproduce a reference simulator, whose defects their published returns depend on."""

from __future__ import annotations

from typing import Any

from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.sim import Model
from rpo_lightning.sim.model import REFERENCE_POINTS

__all__ = ["ReferenceTask"]

CHOICES = {"physics": ("paper", "right"), "reference_point": REFERENCE_POINTS}


class ReferenceTask(ArticulatedEnv):
    """A task of the paper, with the physics of its simulator or with the right one.

    That simulator keeps the mass matrix, which it takes about the world's origin, for a whole step: bodies that move turn
    though nothing turns them, and policies live on it. It also takes joint damping explicitly. And its spatial vectors are
    about the world's origin, so that in float32 it breaks down some 100 m (Humanoid) or 200 m (Anymal) from there.

    Args:
        num_envs, device, seed: see `BaseEnv`.
        options: those of `ArticulatedEnv`, physics ("paper" or "right"), and reference_point ("robot": digits survive
            distance, or "world": they do not, as in that simulator, and an episode ends where a state is not finite).
    """

    @classmethod
    def option_defaults(cls) -> dict[str, Any]:
        """Return the options of this task and their values if not given."""
        return {**super().option_defaults(), "physics": "paper", "reference_point": "robot"}

    @property
    def may_break(self) -> bool:
        """Whether the simulator breaks down by itself, so that evaluations count what was paid until then."""
        return self.options["reference_point"] == "world"

    def edit(self, model: Model) -> None:
        """Give the robot the physics that was asked for.

        Raises:
            ValueError: for another value than those of the class's description.
        """
        for name, choices in CHOICES.items():
            if (value := self.options[name]) not in choices:
                raise ValueError(f"{self.name}: {name} must be {' or '.join(map(repr, choices))}, got {value!r}")
        model.reference_point = self.options["reference_point"]
        if self.options["physics"] == "right":
            model.free_velocity, model.damping = "body", "implicit"
            self.mass_matrix_interval = None  # type: ignore[misc]  # of this object: the class keeps the reference's
