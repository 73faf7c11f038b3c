"""Contact of spheres and boxes as Rewarped 1.3.0 finds it, its defects included (hand_reorient.md 5).

The normal between two boxes is taken at the other's centre; a sphere whose centre is inside a box is pushed deeper; a corner
is touched by each of its edges. For results that are compared with the paper's Hand Reorient, and for nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rpo_lightning.sim.algebra import Vector, vector
from rpo_lightning.sim.expressions import Scalar, frozen, maximum, minimum, recip, sqrt, where_less
from rpo_lightning.sim.pairs.closest import SLACK, absolute, clamp
from rpo_lightning.sim.pairs.shapes import Shape, Spot

__all__ = ["EDGES", "edge_apart", "edge_box", "faces_apart", "sphere_box", "sphere_sphere"]

_SEARCH = 10  # iterations of the golden section
_INVERSE = 0.5 * (math.sqrt(5.0) - 1.0)

EDGES = np.array(
    [
        [*np.roll([0.0, a, b], axis), *np.roll([1.0, 0.0, 0.0], axis)]
        for axis in range(3)
        for a in (-1.0, 1.0)
        for b in (-1.0, 1.0)
    ]
)
"""Middle and half of each edge of a box, in half extents, from the negative end to the positive."""


def _gradient(point: Vector, half: Vector) -> list[Scalar]:
    """Return the direction in which the distance from a box grows, in its axes; on ties inside the later axis."""
    over = [absolute(x) - h for x, h in zip(point, half, strict=True)]
    out = [x - clamp(x, -h, h) for x, h in zip(point, half, strict=True)]
    square = sum(e * e for e in out)
    inverse = recip(sqrt(maximum(square, 1e-20)))
    inward: list[Scalar] = [1.0, 0.0, 0.0]
    deepest = over[0]
    for i in (1, 2):
        inward = [where_less(over[i], deepest, old, float(i == j)) for j, old in enumerate(inward)]
        deepest = maximum(deepest, over[i])
    inward = [where_less(x, 0.0, -n, n) for x, n in zip(point, inward, strict=True)]
    return [where_less(1e-20, square, e * inverse, n) for e, n in zip(out, inward, strict=True)]


def _nearest_on(point: Vector, half: Vector) -> list[Scalar]:
    """Return the nearest point on the surface of a box, in its axes."""
    over = [absolute(x) - h for x, h in zip(point, half, strict=True)]
    outside = maximum(maximum(over[0], over[1]), over[2])
    nearest = []
    for i, (x, h) in enumerate(zip(point, half, strict=True)):
        onto = where_less(x, 0.0, -h, h)
        others = [over[j] for j in range(3) if j != i]
        first = where_less(maximum(*others), over[i], onto, x)  # the face that is nearest from inside
        nearest.append(where_less(0.0, outside, clamp(x, -h, h), first))
    return nearest


def _distance(point: Vector, half: Vector) -> Scalar:
    """Return what grows as the distance from a box does, without its root: squared outside, negative inside."""
    over = [absolute(x) - h for x, h in zip(point, half, strict=True)]
    out = [maximum(x, 0.0) for x in over]
    deepest = maximum(maximum(over[0], over[1]), over[2])
    return sum(e * e for e in out) + minimum(deepest, 0.0)


def sphere_box(sphere: Shape, box: Shape, part: Sequence[Scalar]) -> list[Spot]:
    """Touch the nearest point of the surface, pushing away from it: inwards, where the centre is inside."""
    local = box.axes.T @ (sphere.centre - box.centre)
    surface = box.centre + box.axes @ vector(_nearest_on(local, box.size))
    return [_ball(sphere.centre, sphere.size[0], surface, 0.0)]


def sphere_sphere(first: Shape, second: Shape, part: Sequence[Scalar]) -> list[Spot]:
    """Touch on the line between the centres."""
    return [_ball(first.centre, first.size[0], second.centre, second.size[0])]


def _ball(one: Vector, one_radius: Scalar, two: Vector, two_radius: Scalar) -> Spot:
    between = one - two
    normal = between * recip(sqrt(maximum(between @ between, 1e-20)))
    first, second = one - normal * one_radius, two + normal * two_radius
    gap = normal @ (first - second)
    return Spot(first, second, where_less(gap, 0.0, -gap, 0.0), normal)


def _normal(first: Shape, second: Shape) -> Vector:
    local = second.axes.T @ (first.centre - second.centre)
    return second.axes @ vector(_gradient(local, second.size))


def faces_apart(first: Shape, second: Shape) -> Scalar:
    """Compare the boxes along the normal, which is what all depths are measured along."""
    normal = _normal(first, second)
    return normal @ (first.centre - second.centre) - _shadow(first, normal) - _shadow(second, normal) - SLACK


def _shadow(box: Shape, normal: Vector) -> Scalar:
    return sum(box.size[i] * absolute(box.axes[:, i] @ normal) for i in range(3))


def _edge(box: Shape, part: Sequence[Scalar]) -> tuple[Vector, Vector]:
    scaled = [p * h for p, h in zip(part, [*box.size, *box.size], strict=True)]
    return box.centre + box.axes @ vector(scaled[:3]), box.axes @ vector(scaled[3:])


def edge_apart(first: Shape, second: Shape, part: Sequence[Scalar]) -> Scalar:
    """Compare along the normal the lowest of an edge of the first with the highest of the second."""
    normal = _normal(first, second)
    middle, half = _edge(first, part)
    return normal @ (middle - second.centre) - absolute(normal @ half) - _shadow(second, normal) - SLACK


def edge_box(first: Shape, second: Shape, part: Sequence[Scalar]) -> list[Spot]:
    """Touch with the point of an edge of the first box that is deepest in the second, found by golden section."""
    middle, half = _edge(first, part)
    start, step = second.axes.T @ (middle - half - second.centre), second.axes.T @ (2.0 * half)
    u = frozen(_golden(start, step, second.size))
    point = middle - half + (2.0 * u) * half
    surface = second.centre + second.axes @ vector(_nearest_on(start + u * step, second.size))
    normal = _normal(first, second)
    gap = normal @ (point - surface)
    return [Spot(point, surface, where_less(gap, 0.0, -gap, 0.0), normal)]


def _golden(start: Vector, step: Vector, half: Vector) -> Scalar:
    """Return the middle of the last bracket around the smallest distance from a box along an edge, in [0, 1]."""
    low: Scalar = 0.0
    width = 1.0
    left, right = 1.0 - _INVERSE, _INVERSE
    at_left, at_right = (_distance(start + u * step, half) for u in (left, right))
    left_end: Scalar = left
    right_end: Scalar = right
    for _ in range(_SEARCH):
        width *= _INVERSE
        lower = at_left, at_right
        low = where_less(*lower, low, left_end)
        keep, kept = where_less(*lower, left_end, right_end), where_less(*lower, at_left, at_right)
        fresh = where_less(*lower, low + (1.0 - _INVERSE) * width, low + _INVERSE * width)
        value = _distance(start + fresh * step, half)
        left_end, right_end = where_less(*lower, fresh, keep), where_less(*lower, keep, fresh)
        at_left, at_right = where_less(*lower, value, kept), where_less(*lower, kept, value)
    return where_less(at_left, at_right, 0.5 * (low + right_end), 0.5 * (left_end + low + width))
