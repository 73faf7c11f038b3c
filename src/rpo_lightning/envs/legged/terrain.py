"""Ground for legged robots: height fields of some kinds, as difficult as one likes, and how high they are under points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.sim import Geom, Model

__all__ = ["HARDEST", "KINDS", "Ground", "blocks", "flat", "height_field", "height_fields", "rough", "slopes", "stairs"]

_FADE = 1.0  # [m] within which all fields come down to their rim, beyond which the ground goes on level
_BUMP, _BLOCK, _TREAD = 0.4, 0.5, 0.4  # [m] widths
_SLOPE_PERIOD, _STAIRS_PERIOD = 5.0, 4.0  # [m] from valley to valley, along a line that crosses the ridges

HARDEST = {"rough": 0.12, "slopes": 20.0, "stairs": 0.12, "blocks": 0.14}
"""What difficulty 1 is: height of bumps [m], slope [degrees], height of risers and of blocks [m]."""


def flat(x: Tensor, y: Tensor, difficulty: float, generator: torch.Generator) -> Tensor:
    """Return level ground, whatever the difficulty; arguments of this and the others as of `height_field`, x and y [m]."""
    return torch.zeros_like(x)


def rough(x: Tensor, y: Tensor, difficulty: float, generator: torch.Generator) -> Tensor:
    """Return smooth bumps that are 0.4 m apart and up to 0.12 m high at difficulty 1."""
    rows, columns = (round(float(side.max() - side.min()) / _BUMP) + 1 for side in (y, x))
    bumps = torch.rand(1, 1, rows, columns, generator=generator)
    smooth = torch.nn.functional.interpolate(bumps, x.shape, mode="bicubic", align_corners=True)[0, 0]
    return HARDEST["rough"] * difficulty * smooth.clamp(0.0, 1.0)


def slopes(x: Tensor, y: Tensor, difficulty: float, generator: torch.Generator) -> Tensor:
    """Return ridges in squares around the middle, 5 m apart, that rise and fall at up to 20 degrees."""
    return math.tan(math.radians(HARDEST["slopes"] * difficulty)) * _ridges(x, y, _SLOPE_PERIOD, generator)


def stairs(x: Tensor, y: Tensor, difficulty: float, generator: torch.Generator) -> Tensor:
    """Return stairs in squares around the middle, five up and five down again, treads 0.4 m, risers up to 0.12 m.

    Heights between the points of a field are interpolated, so a riser is a ramp one cell wide.
    """
    return HARDEST["stairs"] * difficulty * (_ridges(x, y, _STAIRS_PERIOD, generator) / _TREAD + 1e-4).floor()


def blocks(x: Tensor, y: Tensor, difficulty: float, generator: torch.Generator) -> Tensor:
    """Return square blocks 0.5 m wide of random heights, up to 0.14 m."""
    i, j = (((side - side.min()) / _BLOCK + 1e-4).floor().long() for side in (y, x))
    return HARDEST["blocks"] * difficulty * torch.rand(int(i.max()) + 1, int(j.max()) + 1, generator=generator)[i, j]


def _ridges(x: Tensor, y: Tensor, period: float, generator: torch.Generator) -> Tensor:
    """Return a triangular wave of the distance from the middle, along the axis where it is larger; slope 1."""
    phase = 0.1 * torch.randint(round(10.0 * period), (), generator=generator)
    along = (torch.maximum(x.abs(), y.abs()) + phase) % period
    return torch.minimum(along, period - along)


KINDS: dict[str, Callable[[Tensor, Tensor, float, torch.Generator], Tensor]] = {
    "flat": flat,
    "rough": rough,
    "slopes": slopes,
    "stairs": stairs,
    "blocks": blocks,
}
"""What ground there is, by name."""


def height_field(kind: str, difficulty: float, seed: int, shape: tuple[int, int], size: Sequence[float]) -> Tensor:
    """Return heights (rows, columns) [m], 0 or more; they come down to 0 within the last metre before the rim.

    Args:
        kind: of `KINDS`.
        difficulty: from 0, which is level, to 1.
        seed: of what is random in it.
        shape: rows, along y, and columns, along x.
        size: half extents along x and y [m].

    Raises:
        ValueError: for a kind that does not exist, or a difficulty beyond 0 ... 1.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no terrain {kind!r}; choose from {', '.join(KINDS)}")
    if not 0.0 <= difficulty <= 1.0:
        raise ValueError(f"the difficulty of a terrain is within 0 ... 1, got {difficulty}")
    along = [torch.linspace(-half, half, count) for half, count in zip((size[1], size[0]), shape, strict=True)]
    y, x = torch.meshgrid(*along, indexing="ij")
    heights = KINDS[kind](x, y, difficulty, torch.Generator().manual_seed(seed))
    to_rim = torch.minimum(size[0] - x.abs(), size[1] - y.abs())
    return heights * (to_rim / _FADE).clamp(0.0, 1.0)


def height_fields(kinds: Sequence[str], levels: int, seed: int, geom: Geom) -> Tensor:
    """Return heights (kinds * levels, rows, columns) [m] for a robot's height field: each kind at difficulties 0 ... 1.

    Args:
        kinds: of `KINDS`.
        levels: how many difficulties, at least two.
        seed: of what is random.
        geom: the height field.
    """
    rows, columns = geom.heights.shape
    return torch.stack(
        [
            height_field(kind, level / (levels - 1), 1000 * seed + level, (rows, columns), geom.size[:2].tolist())
            for kind in kinds
            for level in range(levels)
        ]
    )


class Ground:
    """How high height fields are under points, in torch, batched, with gradients: what the engine presses against.

    Heights are interpolated bilinearly between the points of a field and go on level beyond its rim.

    Args:
        model: a robot with a height field that is fixed to the world and level, z up.
        fields: (F, rows, columns) heights [m].

    Raises:
        ValueError: for a robot without such a height field.
    """

    def __init__(self, model: Model, fields: Tensor) -> None:
        self._frame = frame = field_of(model)
        if (
            frame.link >= 0
            or not np.allclose(frame.quat, (0.0, 0.0, 0.0, 1.0))
            or not np.allclose(model.up, (0.0, 0.0, 1.0))
        ):
            raise ValueError(f"the height field {frame.name!r} must be fixed to the world, and level, with z up")
        self._flat, self._counts = fields.reshape(-1), fields.shape[1:]
        half = torch.tensor(frame.size[:2], dtype=torch.float32, device=fields.device)
        self._last = torch.tensor([self._counts[1] - 1, self._counts[0] - 1], device=fields.device)
        self._scale = 0.5 * self._last / half  # cells in a metre
        self._corner = torch.tensor(frame.pos[:2], dtype=torch.float32, device=fields.device) - half

    def height(self, points: Tensor, field: Tensor) -> Tensor:
        """Return the world's heights (N, P) [m] below or above points (N, P, 2 or more), in fields (N,) int64."""
        return self._interpolated(points, field)[0]

    def distance(self, points: Tensor, field: Tensor) -> Tensor:
        """Return how far points (N, P, 3) are above the plane that is tangent to the ground below them (N, P) [m].

        That of a sphere's centre, less its radius, is what it has to sink until it touches.
        """
        height, slope = self._interpolated(points, field)
        return (points[..., 2] - height) / (1.0 + slope.square().sum(-1)).sqrt()

    def _interpolated(self, points: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
        """Return heights (N, P) and their slopes along x and y (N, P, 2)."""
        free = (points[..., :2] - self._corner) * self._scale
        cell = free.clamp(torch.zeros_like(self._last), self._last)
        index = cell.detach().floor().minimum(self._last - 1.0).nan_to_num(0.0)  # a broken state has no place
        s, t = (cell - index).unbind(-1)
        j, i = index.long().unbind(-1)
        columns = self._counts[1]
        at = field[:, None] * math.prod(self._counts) + i * columns + j
        low, right, above, both = (self._flat[at + step] for step in (0, 1, columns, columns + 1))
        twist = both - right - above + low
        height = low + s * (right - low) + t * (above - low) + s * t * twist + float(self._frame.pos[2])
        slope = torch.stack([right - low + t * twist, above - low + s * twist], -1) * self._scale
        return height, slope * (free == cell)


def field_of(model: Model) -> Geom:
    """Return the height field of a robot.

    Raises:
        ValueError: if it has none.
    """
    for geom in model.geoms:
        if geom.kind == "hfield":
            return geom
    raise ValueError("the robot's file has no height field")
