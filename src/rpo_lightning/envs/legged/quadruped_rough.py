"""The quadruped on slopes, bumps, stairs and blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.envs.arguments import check_tensor, checked_range
from rpo_lightning.envs.legged.quadruped import Quadruped
from rpo_lightning.envs.legged.terrain import KINDS, Ground, field_of, height_fields
from rpo_lightning.envs.tables import Quantity

__all__ = ["QuadrupedRough", "SeeingQuadrupedRough"]

_LEVELS = 11
_AHEAD, _ASIDE = (-0.45, -0.3, -0.15, 0.0, 0.15, 0.3, 0.45), (-0.3, -0.15, 0.0, 0.15, 0.3)


class QuadrupedRough(Quadruped):
    """Walk as commanded on ground that is not level: what `Quadruped` does and sees, blind, with a critic that sees ground.

    Environment i is on the kind of ground i modulo the number of kinds, at its own difficulty, which can be set between
    steps and counts from its next episode on: eleven fields of each kind, 12.8 m wide, are made once, and all environments
    share them. Episodes begin within 1.5 m of the middle; most end within the field, beyond it the ground is level. Heights
    of feet and base, and what is a fall, are relative to the ground below. The critic sees besides how much higher the
    ground is than where the base would stand, at 35 points around it, turned with it [m].

    Options, besides those of `VelocityTask`: terrain (None: all kinds of `terrain.KINDS`, or names of some), difficulty
    ([0, 1]: a number, or a range over which environments are spread evenly), terrain_seed (0: of what is random in the
    ground).
    """

    name: ClassVar[str] = "quadruped_rough"
    robot: ClassVar[str] = "quadruped_rough.xml"
    privileged_dim: int = 69 + len(_AHEAD) * len(_ASIDE)
    swing: ClassVar[float] = 0.1
    action_scale: ClassVar[float] = 1.0
    # a change of control costs what it costs the quadruped, of which an action is half as much
    weights: ClassVar[Mapping[str, float]] = {**Quadruped.weights, "jerk": 4.0 * Quadruped.weights["jerk"]}
    parameter_names: ClassVar[tuple[str, ...]] = ("terrain",)

    @classmethod
    def option_defaults(cls) -> dict[str, Any]:
        """Return the options of this task and their values if not given."""
        return {**super().option_defaults(), "terrain": None, "difficulty": (0.0, 1.0), "terrain_seed": 0}

    def terrain(self) -> Tensor:
        """Return the fields of all kinds that were asked for, level by level.

        Raises:
            ValueError: for a kind that does not exist.
        """
        kinds = self.options["terrain"]
        kinds = [kinds] if isinstance(kinds, str) else list(KINDS) if kinds is None else kinds
        if not isinstance(kinds, list | tuple) or not kinds or not all(kind in KINDS for kind in kinds):
            raise ValueError(f"{self.name}: terrain must name some of {', '.join(KINDS)}, got {self.options['terrain']}")
        self.kinds: list[str] = list(kinds)
        return height_fields(kinds, _LEVELS, self.options["terrain_seed"], field_of(self.model))

    def prepare(self) -> None:
        """Compute what observation and reward need of robot and ground.

        Raises:
            ValueError: as `VelocityTask`, and for a difficulty that is not within 0 ... 1.
        """
        self._ground = Ground(self.model, self.simulator.terrain)
        given = self.options["difficulty"]
        ends = [given, given] if isinstance(given, int | float) else given
        low, high = checked_range(self.name, "difficulty", ends, 0.0, 1.0, also="a number or ")
        rows = torch.arange(self.num_envs, device=self.device) // len(self.kinds)
        self._difficulty = low + (high - low) * rows / max(1, int(rows.max()))
        ahead, aside = torch.meshgrid(torch.tensor(_AHEAD), torch.tensor(_ASIDE), indexing="ij")
        self._around = torch.stack([ahead.flatten(), aside.flatten()], 1).to(self.device)
        self._column = torch.tensor([self.simulator.parameters.columns["terrain"].start], device=self.device)
        self._first_level = torch.arange(self.num_envs, device=self.device) % len(self.kinds) * _LEVELS
        super().prepare()

    @property
    def difficulty(self) -> Tensor:
        """How difficult the ground of each environment's next episode is, (N,) within 0 ... 1; can be set."""
        return self._difficulty

    @difficulty.setter
    def difficulty(self, values: Tensor) -> None:
        check_tensor(self.name, "difficulty", values, (self.num_envs,), self.device)
        self._difficulty = values.clamp(0.0, 1.0)

    def ground_points(self) -> list[tuple[int, np.ndarray, float]]:
        """Return link, centre in its frame (3,) [m] and radius [m] of the spheres by which the robot touches the ground."""
        pairs = ((self.model.geoms[pair.first], self.model.geoms[pair.second]) for pair in self.model.pairs)
        return [
            (one.link, one.pos, float(one.size[0])) for one, two in pairs if (one.kind, two.kind) == ("sphere", "hfield")
        ]

    def over_ground(self, points: Tensor) -> Tensor:
        """Return how far points (N, P, 3) are from the ground below them (N, P) [m]."""
        return self._ground.distance(points, self.field)

    def base_height(self, q: Tensor, qd: Tensor) -> Tensor:
        """Return how high the base is over the mean of the ground about it (N, 1) [m]."""
        return q[:, 2:3] - self._ground_around(q).mean(1, keepdim=True)

    def observe_privileged(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return what the critic sees besides (N, 104), see the class."""
        return torch.cat([super().observe_privileged(q, qd, action), self._ground_seen(q)], dim=1)

    def privileged_quantities(self) -> list[Quantity]:
        """Name what only the critic sees."""
        return [*super().privileged_quantities(), *self._ground_rows()]

    def random_start(self) -> tuple[Tensor, Tensor]:
        """Draw starts as of `VelocityTask`, within 1.5 m of the middle along x and y."""
        return _moved(*super().random_start(), torch.nn.functional.pad(self.uniform(-1.5, 1.5, 2), (0, 1)))

    def placed(self, q: Tensor, qd: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Choose the ground by the difficulty, and lift starts by as much as it is under the highest foot."""
        level = (self._difficulty * (_LEVELS - 1)).round()
        field = self._first_level + level.long()
        parameters = parameters.index_copy(1, self._column, field.float()[:, None])
        lift = self._ground.height(self._points(q, qd)[0], field).amax(1)
        return *_moved(q, qd, lift[:, None] * self.base.up), parameters

    def state_dict(self) -> dict[str, Any]:
        """Return everything the future depends on."""
        return {**super().state_dict(), "difficulty": self._difficulty.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken, on this device or another."""
        super().load_state_dict(state)
        self._difficulty = state["difficulty"].to(self.device, copy=True)

    def _ground_seen(self, q: Tensor) -> Tensor:
        """Return how much higher the ground around the base is than where it would stand (N, 35) [m]."""
        return self._ground_around(q) - (q[:, 2:3] - self._standing_height)

    def _ground_rows(self) -> list[Quantity]:
        places = ((x, y) for x in _AHEAD for y in _ASIDE)
        return [Quantity(f"ground {x:g} m ahead, {y:g} m left, over where it stands", "m", "base") for x, y in places]

    def _ground_around(self, q: Tensor) -> Tensor:
        """Return heights of the ground (N, S) [m] at the points around the base, turned with it about up."""
        heading = self.base.heading(q)[:, None]
        sine, cosine = heading.sin(), heading.cos()
        x, y = self._around.unbind(1)
        points = q[:, None, :2] + torch.stack([cosine * x - sine * y, sine * x + cosine * y], -1)
        return self._ground.height(points, self.field)


class SeeingQuadrupedRough(QuadrupedRough):
    """Not blind: the actor sees the ground around it last, as from a map, with noise of up to 2 cm."""

    name: ClassVar[str] = "quadruped_rough_seeing"
    obs_dim: ClassVar[int] = Quadruped.obs_dim + len(_AHEAD) * len(_ASIDE)
    noise_widths: ClassVar[Mapping[str, float]] = {**Quadruped.noise_widths, "ground": 0.02}

    def observe_privileged(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return what the critic sees besides (N, 104): what the actor sees without noise has the ground already."""
        return Quadruped.observe_privileged(self, q, qd, action)

    def quantities(self) -> list[Quantity]:
        """Name what the actor sees."""
        return [*super().quantities(), *self._ground_rows()]

    def privileged_quantities(self) -> list[Quantity]:
        """Name what only the critic sees."""
        return Quadruped.privileged_quantities(self)

    def _measured(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        return torch.cat([super()._measured(q, qd, action), self._ground_seen(q)], dim=1)

    def _read_options(self) -> None:
        super()._read_options()
        ground = torch.full((len(self._around),), self.options["noise"] * self.noise_widths["ground"], device=self.device)
        self._noise = torch.cat([self._noise, ground])


def _moved(q: Tensor, qd: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
    """Return the state with the base moved by (N, 3) [m]; its rates are a twist about the world's origin."""
    q = torch.cat([q[:, :3] + by, q[:, 3:]], dim=1)
    linear = qd[:, 3:6] - torch.linalg.cross(qd[:, :3], by)
    return q, torch.cat([qd[:, :3], linear, qd[:, 6:]], dim=1)
