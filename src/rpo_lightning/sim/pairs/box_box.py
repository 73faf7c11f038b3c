"""Where two boxes touch: along the axis on which they overlap least, at the corners of the patch they share there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rpo_lightning.sim.algebra import Vector, cross, vector
from rpo_lightning.sim.expressions import Scalar, maximum, minimum, recip, sqrt, where_less
from rpo_lightning.sim.pairs.closest import absolute
from rpo_lightning.sim.pairs.shapes import Shape, Spot

__all__ = ["box_box"]

_EDGE = 0.95  # an axis across two edges must overlap less than the best face by this factor
_PARALLEL = 1e-3  # squared sine below which two edges have no axis across them
_RIM = 1.00001  # a face is this much larger when edges are cut to it, so that boxes laid flush on each other are within
_FULL = 0.1  # an edge within the other face by this share of itself counts in full


class _Face(NamedTuple):
    """A face of a box: its middle, outward normal, two sides from the middle to the rim, (3,) each."""

    middle: Vector
    normal: Vector
    sides: tuple[Vector, Vector]


class _Axis(NamedTuple):
    """A direction from the second box to the first, how far they overlap along it, and its edges' numbers or faces'."""

    overlap: Scalar
    normal: Vector
    first: list[Scalar]  # one for the number of the first box's face or edge, else zero
    second: list[Scalar]


def _select(less: tuple[Scalar, Scalar], then: Sequence[Scalar], otherwise: Sequence[Scalar]) -> list[Scalar]:
    return [where_less(*less, a, b) for a, b in zip(then, otherwise, strict=True)]


def _better(best: _Axis, other: _Axis) -> _Axis:
    less = other.overlap, best.overlap
    return _Axis(
        where_less(*less, other.overlap, best.overlap),
        vector(_select(less, [*other.normal], [*best.normal])),
        _select(less, other.first, best.first),
        _select(less, other.second, best.second),
    )


def _one_hot(index: int | None) -> list[Scalar]:
    return [1.0 if index == i else 0.0 for i in range(3)]


def _faces(first: Shape, second: Shape, cosines: np.ndarray, between: Vector) -> _Axis:
    """Return the face's axis along which the boxes overlap least (separating axes, Gottschalk 1996)."""
    best: _Axis | None = None
    for own, other, turn, is_first in ((second, first, cosines.T, False), (first, second, cosines, True)):
        for i in range(3):
            axis = own.axes[:, i]
            along = axis @ between
            shadow: Scalar = sum(other.size[j] * absolute(turn[i, j]) for j in range(3))
            towards = vector([where_less(along, 0.0, -x, x) for x in axis])
            hot = _one_hot(i), _one_hot(None)
            found = _Axis(own.size[i] + shadow - absolute(along), towards, *(hot if is_first else hot[::-1]))
            best = found if best is None else _better(best, found)
    assert best is not None
    return best


def _edges(first: Shape, second: Shape, cosines: np.ndarray, between: Vector) -> _Axis:
    """Return the axis across two edges along which the boxes overlap least."""
    best: _Axis | None = None
    for i in range(3):
        for j in range(3):
            square = 1.0 - cosines[i, j] * cosines[i, j]
            scale = recip(sqrt(maximum(square, _PARALLEL)))
            axis: Vector = scale * cross(first.axes[:, i], second.axes[:, j])
            along = axis @ between
            shadow: Scalar = sum(first.size[k] * absolute(first.axes[:, k] @ axis) for k in range(3) if k != i)
            shadow = shadow + sum(second.size[k] * absolute(second.axes[:, k] @ axis) for k in range(3) if k != j)
            overlap = where_less(_PARALLEL, square, shadow - absolute(along), 1e6)
            towards = vector([where_less(along, 0.0, -x, x) for x in axis])
            found = _Axis(overlap, towards, _one_hot(i), _one_hot(j))
            best = found if best is None else _better(best, found)
    assert best is not None
    return best


def _face_towards(box: Shape, direction: Vector) -> _Face:
    """Return the face whose outward normal is nearest to a direction."""
    slants = [box.axes[:, i] @ direction for i in range(3)]
    best, hot = absolute(slants[0]), _one_hot(0)
    for i in (1, 2):
        size = absolute(slants[i])
        hot = _select((best, size), _one_hot(i), hot)
        best = maximum(size, best)
    columns = [box.axes[:, i] for i in range(3)]

    def chosen(values: Sequence[Scalar]) -> Scalar:
        return sum(h * v for h, v in zip(hot, values, strict=True))

    def column(turn: int) -> Vector:
        order = [columns[(i + turn) % 3] for i in range(3)]
        return vector([chosen([c[k] for c in order]) for k in range(3)])

    def half(turn: int) -> Scalar:
        return chosen([box.size[(i + turn) % 3] for i in range(3)])

    slant = chosen(slants)
    normal = vector([where_less(slant, 0.0, -x, x) for x in column(0)])
    return _Face(box.centre + normal * half(0), normal, (column(1) * half(1), column(2) * half(2)))


def _cut(start: Sequence[Scalar], step: Sequence[Scalar]) -> tuple[Scalar, Scalar, Scalar]:
    """Cut start + t step, t in [0, 1], to the square |x|, |y| <= 1; return both ends' t and their weight.

    After Liang and Barsky (1984).
    """
    low: Scalar = 0.0
    high: Scalar = 1.0
    for at, move in zip(start, step, strict=True):
        size = absolute(move)
        safe = where_less(size, 1e-9, where_less(move, 0.0, -1e-9, 1e-9), move)
        inverse = recip(safe)
        one, two = (-_RIM - at) * inverse, (_RIM - at) * inverse
        low, high = maximum(minimum(one, two), low), minimum(maximum(one, two), high)
    return low, high, minimum(maximum((high - low) * (1.0 / _FULL), 0.0), 1.0)


def _coordinates(face: _Face, point: Vector, direction: Vector, normal: Vector) -> tuple[list[Scalar], list[Scalar]]:
    """Return a point and a direction in units of a face's sides, as seen along `normal`."""
    one, two = face.sides
    area = normal @ cross(one, two)
    safe = where_less(absolute(area), 1e-12, 1e-12, area)
    rows = [cross(two, normal) * recip(safe), cross(normal, one) * recip(safe)]
    return [row @ (point - face.middle) for row in rows], [row @ direction for row in rows]


def _patch(pressing: _Face, pressed: _Face, normal: Vector, sign: Scalar, gate: Scalar) -> list[Spot]:
    """Return the ends of all edges of one face within the other: each corner of the shared patch is the end of two.

    Args:
        pressing: the face that presses in.
        pressed: the one whose normal is the axis.
        normal: (3,) that axis, outwards from the pressed face.
        sign: 1 where the first box is the one that presses, else -1.
        gate: 0 where something else holds the boxes apart.
    """
    towards = normal * sign  # from the second box to the first
    spots = []
    slant = pressing.normal @ normal
    plane = pressing.normal * recip(where_less(slant, -1e-3, slant, -1e-3))
    for own, other in ((pressing, pressed), (pressed, pressing)):
        for i, j in ((0, 1), (1, 0)):
            for side in (1.0, -1.0):
                start: Vector = own.middle + side * own.sides[i] - own.sides[j]
                step: Vector = 2.0 * own.sides[j]
                low, high, weight = _cut(*_coordinates(other, start, step, normal))
                for t in (low, high):
                    point: Vector = start + t * step
                    depth: Scalar
                    if own is pressing:
                        depth = normal @ (pressed.middle - point)
                        middle = point + normal * (0.5 * depth)
                    else:  # down to the plane of the face that presses in
                        depth = plane @ (point - pressing.middle)
                        middle = point - normal * (0.5 * depth)
                    spots.append(Spot(middle, middle, maximum(depth, 0.0), towards, 0.5 * weight * gate))
    return spots


def box_box(first: Shape, second: Shape, part: Sequence[Scalar]) -> list[Spot]:
    """Touch face on face, at the corners of what the two faces share, or edge on edge, at one point.

    Of each edge of one face the part within the other presses with half the pair's stiffness at both its ends; a corner
    of a box that lies on a larger one is the end of two edges, and counts as much as on the ground. What slides over a rim
    passes into the points where edges cross it, without a jump.
    """
    between = first.centre - second.centre
    cosines: np.ndarray = first.axes.T @ second.axes
    face, edge = _faces(first, second, cosines, between), _edges(first, second, cosines, between)
    overlap = minimum(face.overlap, edge.overlap)
    on_edge = where_less(edge.overlap, _EDGE * face.overlap, 1.0, 0.0)
    touching = where_less(0.0, overlap, 1.0, 0.0)
    of_first = sum(face.first)  # 1 where the axis is a face of the first box: then the second presses in
    reference = face.normal * (1.0 - 2.0 * of_first)
    mine, yours = _face_towards(first, -1.0 * face.normal), _face_towards(second, face.normal)

    def picked(one: Vector, two: Vector) -> Vector:
        return vector(_select((0.5, of_first), [*two], [*one]))

    pressing = _Face(
        picked(mine.middle, yours.middle),
        picked(mine.normal, yours.normal),
        (picked(mine.sides[0], yours.sides[0]), picked(mine.sides[1], yours.sides[1])),
    )
    pressed = _Face(
        picked(yours.middle, mine.middle),
        picked(yours.normal, mine.normal),
        (picked(yours.sides[0], mine.sides[0]), picked(yours.sides[1], mine.sides[1])),
    )
    spots = _patch(pressing, pressed, reference, 1.0 - 2.0 * of_first, touching * (1.0 - on_edge))
    return [*spots, _crossing(first, second, edge, touching * on_edge)]


def _crossing(first: Shape, second: Shape, edge: _Axis, gate: Scalar) -> Spot:
    """Return the spot in the middle between the nearest points of two crossing edges."""
    ends = []
    for box, hot, sign in ((first, edge.first, -1.0), (second, edge.second, 1.0)):
        middle, direction = box.centre, vector([0.0, 0.0, 0.0])
        for k in range(3):
            axis = box.axes[:, k]
            slant = sign * (axis @ edge.normal)
            reach = where_less(slant, 0.0, -1.0, 1.0) * box.size[k] * (1.0 - hot[k])
            middle, direction = middle + axis * reach, direction + axis * hot[k]
        ends.append((middle, direction))
    (one, along_one), (two, along_two) = ends
    cosine, apart = along_one @ along_two, one - two
    sideways = recip(maximum(1.0 - cosine * cosine, _PARALLEL))
    s = (cosine * (along_two @ apart) - along_one @ apart) * sideways
    t = (along_two @ apart - cosine * (along_one @ apart)) * sideways
    middle = 0.5 * (one + along_one * s + two + along_two * t)
    return Spot(middle, middle, maximum(edge.overlap, 0.0), edge.normal, gate)
