"""Where rounded shapes and corners touch a height field: against the plane that is tangent to it below them."""

from __future__ import annotations

from rpo_lightning.sim.algebra import Vector, vector
from rpo_lightning.sim.expressions import Scalar, frozen, nearest, recip, sqrt, where_less
from rpo_lightning.sim.pairs.closest import absolute, clamp
from rpo_lightning.sim.pairs.shapes import Shape, Spot

__all__ = ["on_field"]


def on_field(point: Vector, radius: Scalar, field: Shape) -> list[Spot]:
    """Press a sphere into the field, whose heights are interpolated bilinearly and go on level beyond its rim."""
    rows, columns = field.grid
    local = field.axes.T @ (point - field.centre)
    spots = []
    for count, at, half in ((columns, local[0], field.size[0]), (rows, local[1], field.size[1])):
        scale = (count - 1) * 0.5 * recip(half)
        cell = clamp((at + half) * scale, 0.0, count - 1.0)
        index = clamp(frozen(nearest(cell - 0.5)), 0.0, count - 2.0)
        # beyond the rim the clamp has already cut the slope
        spots.append((index, cell - index, where_less(absolute(at), half, scale, 0.0)))
    (j, s, across), (i, t, along) = spots
    low, right = field.heights(i, j), field.heights(i, j + 1.0)
    up, both = field.heights(i + 1.0, j), field.heights(i + 1.0, j + 1.0)
    twist = both - right - up + low
    ground = low + s * (right - low) + t * (up - low) + s * t * twist
    slope_x, slope_y = across * (right - low + t * twist), along * (up - low + s * twist)
    steep = recip(sqrt(1.0 + slope_x * slope_x + slope_y * slope_y))
    normal = field.axes @ vector([-slope_x * steep, -slope_y * steep, steep])
    gap = (local[2] - ground) * steep - radius
    lowest = point - radius * normal
    return [Spot(lowest, lowest, where_less(gap, 0.0, -gap, 0.0), normal)]
