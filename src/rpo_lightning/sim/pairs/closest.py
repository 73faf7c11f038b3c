"""Where curved shapes touch: spheres, capsules, and anything against a plane.

Each function takes the two shapes and one row of its kind's parts, and returns the spots where they may touch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rpo_lightning.sim.algebra import Vector, cross, vector
from rpo_lightning.sim.expressions import Scalar, frozen, maximum, minimum, recip, sqrt, where_less
from rpo_lightning.sim.pairs.shapes import Shape, Spot

__all__ = [
    "SLACK",
    "absolute",
    "apart",
    "capsule_box",
    "capsule_capsule",
    "capsule_cylinder",
    "clamp",
    "corner",
    "cylinder_plane",
    "ellipsoid_plane",
    "end",
    "middle",
    "on_plane",
    "plane_apart",
    "rounded",
    "sphere_box",
    "sphere_capsule",
    "sphere_cylinder",
    "sphere_sphere",
]

SLACK = 1e-5  # [m] on top of a bound, so that rounding cannot leave out what touches
_TINY = 1e-6  # [m]; nearer than this, centres have no direction from one to the other


def absolute(x: Scalar) -> Scalar:
    """Return |x|."""
    return where_less(x, 0.0, -x, x)


def clamp(x: Scalar, low: Scalar, high: Scalar) -> Scalar:
    """Return x within [low, high]."""
    return minimum(maximum(x, low), high)


# ---- bounds: positive where two shapes certainly do not touch ----------------------------------------------------------


def apart(first: Shape, second: Shape) -> Scalar:
    """Compare the distance of the centres with the spheres around the shapes."""
    between, both = first.centre - second.centre, first.radius + second.radius + SLACK
    return between @ between - both * both


def plane_apart(first: Shape, plane: Shape) -> Scalar:
    """Compare the height of a shape's centre over the plane with the sphere around it."""
    return plane.axes[:, 2] @ (first.centre - plane.centre) - (first.radius + SLACK)


# ---- planes ------------------------------------------------------------------------------------------------------------


def on_plane(point: Vector, radius: Scalar, plane: Shape) -> list[Spot]:
    """Press the lowest point of a sphere into a plane, where the ground's contact acts too."""
    normal = plane.axes[:, 2]
    lowest = point - radius * normal
    height = normal @ (lowest - plane.centre)
    return [Spot(lowest, lowest, where_less(height, 0.0, -height, 0.0), normal)]


def middle(sphere: Shape, part: Sequence[Scalar]) -> tuple[Vector, Scalar]:
    """Return centre and radius of a sphere."""
    return sphere.centre, sphere.size[0]


def end(capsule: Shape, part: Sequence[Scalar]) -> tuple[Vector, Scalar]:
    """Return centre and radius of the sphere at the end `part`, -1 or 1, of a capsule."""
    return capsule.centre + capsule.axes[:, 2] * (part[0] * capsule.size[1]), capsule.size[0]


def corner(box: Shape, part: Sequence[Scalar]) -> tuple[Vector, Scalar]:
    """Return the corner `part`, three signs, of a box, and radius 0."""
    return box.centre + box.axes @ vector([sign * half for sign, half in zip(part, box.size, strict=True)]), 0.0


def cylinder_plane(cylinder: Shape, plane: Shape, part: Sequence[Scalar]) -> list[Spot]:
    """Touch with three points of the rim of the cap `part[0]`, -1 or 1: the lowest one, and those a third of a turn on.

    A wheel rolls on the lowest point of each rim; a cylinder that stands has all three below it. `part[1:]` are cosine
    and sine of the turn from the lowest point. Where a cylinder stands upright the first direction is that of its own x.
    """
    axis, normal = cylinder.axes[:, 2], plane.axes[:, 2]
    down = (axis @ normal) * axis - normal
    slope: Vector = down + 1e-4 * cylinder.axes[:, 0]
    across: Vector = recip(sqrt(slope @ slope)) * slope
    beside = cross(axis, across)
    radius, half = cylinder.size[0], cylinder.size[1]
    point = cylinder.centre + axis * (part[0] * half) + across * (part[1] * radius) + beside * (part[2] * radius)
    return on_plane(point, 0.0, plane)


def ellipsoid_plane(ellipsoid: Shape, plane: Shape, part: Sequence[Scalar]) -> list[Spot]:
    """Touch at the point of an ellipsoid that is furthest down."""
    normal, squares = plane.axes[:, 2], vector([half * half for half in ellipsoid.size])
    direction = ellipsoid.axes.T @ normal
    reach = sqrt(direction @ (squares * direction))
    return on_plane(ellipsoid.centre - ellipsoid.axes @ (squares * direction * recip(reach)), 0.0, plane)


# ---- round against round -----------------------------------------------------------------------------------------------


def rounded(one: Vector, one_radius: Scalar, two: Vector, two_radius: Scalar) -> list[Spot]:
    """Touch as two spheres do; where the centres coincide, upwards along z."""
    between = one - two
    near = between @ between
    between = vector([where_less(near, _TINY * _TINY, _TINY if i == 2 else 0.0, x) for i, x in enumerate(between)])
    distance = sqrt(maximum(near, _TINY * _TINY))
    normal: Vector = recip(distance) * between
    gap = distance - (one_radius + two_radius)
    middle = two + (two_radius + 0.5 * gap) * normal
    return [Spot(middle, middle, where_less(gap, 0.0, -gap, 0.0), normal)]


def sphere_sphere(first: Shape, second: Shape, part: Sequence[Scalar]) -> list[Spot]:
    """Touch on the line between the centres."""
    return rounded(first.centre, first.size[0], second.centre, second.size[0])


def sphere_capsule(sphere: Shape, capsule: Shape, part: Sequence[Scalar]) -> list[Spot]:
    """Touch at the point of the capsule's axis that is nearest to the sphere."""
    axis = capsule.axes[:, 2]
    along = clamp(axis @ (sphere.centre - capsule.centre), -capsule.size[1], capsule.size[1])
    return rounded(sphere.centre, sphere.size[0], capsule.centre + axis * along, capsule.size[0])


def capsule_capsule(first: Shape, second: Shape, part: Sequence[Scalar]) -> list[Spot]:
    """Touch where the axes are nearest; of parallel ones, in the middle of what they share (Ericson 2005, 5.1.9)."""
    one, two, between = first.axes[:, 2], second.axes[:, 2], first.centre - second.centre
    cosine, here, there = one @ two, one @ between, two @ between
    half, reach = first.size[1], second.size[1]
    # of parallel axes the shared part, as seen on the first
    spread = reach * absolute(cosine)
    shared = 0.5 * (maximum(-half, -here - spread) + minimum(half, spread - here))
    parallel = 1e-4
    best = (cosine * there - here + parallel * shared) * recip(1.0 - cosine * cosine + parallel)
    along = clamp(there + cosine * clamp(best, -half, half), -reach, reach)
    back = clamp(cosine * along - here, -half, half)
    # alternating once more is exact where an end decides, and would wander along parallel axes
    sideways = 1.0 - cosine * cosine
    on_first = where_less(sideways, parallel, clamp(best, -half, half), back)
    return rounded(first.centre + one * on_first, first.size[0], second.centre + two * along, second.size[0])


# ---- round against a box or a cylinder ---------------------------------------------------------------------------------


def _signed_distance(point: Sequence[Scalar], half: Sequence[Scalar]) -> tuple[Scalar, list[Scalar]]:
    """Return distance from a box (below 0 inside, to its nearest face) and the direction out of it, in its own axes."""
    excess = [x - clamp(x, -h, h) for x, h in zip(point, half, strict=True)]
    square: Scalar = sum(e * e for e in excess)
    length = sqrt(maximum(square, _TINY * _TINY))
    outward = [e * recip(length) for e in excess]
    faces = [absolute(x) - h for x, h in zip(point, half, strict=True)]
    inward: list[Scalar] = [1.0, *(0.0 for _ in faces[1:])]
    deepest = faces[0]
    for i, face in enumerate(faces[1:], 1):
        inward = [where_less(deepest, face, float(i == j), old) for j, old in enumerate(inward)]
        deepest = where_less(deepest, face, face, deepest)
    inward = [where_less(x, 0.0, -n, n) for x, n in zip(point, inward, strict=True)]
    inside = _TINY * _TINY
    distance = where_less(inside, square, length, minimum(deepest, 0.0))
    return distance, [where_less(inside, square, o, i) for o, i in zip(outward, inward, strict=True)]


def _against(point: Vector, radius: Scalar, distance: Scalar, normal: Vector, weight: Scalar) -> Spot:
    """Touch with a sphere around `point` a surface at signed `distance` from it."""
    gap = distance - radius
    middle = point - normal * (0.5 * (radius + distance))
    return Spot(middle, middle, where_less(gap, 0.0, -gap, 0.0), normal, weight)


def _ball_in_box(point: Vector, radius: Scalar, weight: Scalar, box: Shape) -> Spot:
    distance, direction = _signed_distance([*(box.axes.T @ (point - box.centre))], [*box.size])
    return _against(point, radius, distance, box.axes @ vector(direction), weight)


def sphere_box(sphere: Shape, box: Shape, part: Sequence[Scalar]) -> list[Spot]:
    """Touch the nearest point of the box; a centre inside is pushed out of the nearest face."""
    return [_ball_in_box(sphere.centre, sphere.size[0], 1.0, box)]


def capsule_box(capsule: Shape, box: Shape, part: Sequence[Scalar]) -> list[Spot]:
    """Touch with the spheres at both ends, as on the ground, and with the point between that is nearest to the box.

    The point between counts less the nearer it is to an end, so that nothing jumps when an end takes over.
    """
    step = capsule.axes[:, 2] * capsule.size[1]
    slope = _slope_to_box(box.axes.T @ (capsule.centre - box.centre), box.axes.T @ step, [*box.size])
    return _along(capsule, step, _nearest_fraction(slope, 4, 3), box, _ball_in_box)


def capsule_cylinder(capsule: Shape, cylinder: Shape, part: Sequence[Scalar]) -> list[Spot]:
    """Touch as a box is touched: with the spheres at both ends, and the point between that is nearest to the cylinder."""
    step = capsule.axes[:, 2] * capsule.size[1]
    middle, along = cylinder.axes.T @ (capsule.centre - cylinder.centre), cylinder.axes.T @ step
    between = _nearest_fraction(_slope_to_cylinder(middle, along, cylinder.size[0], cylinder.size[1]), 5, 5)
    return _along(capsule, step, between, cylinder, _ball_in_cylinder)


def _along(
    capsule: Shape, step: Vector, between: Scalar, other: Shape, press: Callable[[Vector, Scalar, Scalar, Shape], Spot]
) -> list[Spot]:
    ends = [press(capsule.centre + sign * step, capsule.size[0], 1.0, other) for sign in (-1.0, 1.0)]
    return [*ends, press(capsule.centre + between * step, capsule.size[0], 1.0 - between * between, other)]


_Slope = Callable[[Scalar], tuple[Scalar, Scalar]]
_SLACK = 1e-3  # in favour of the middle, of the squared length


def _slope_to_box(middle: Vector, step: Vector, half: Sequence[Scalar]) -> _Slope:
    """Return the derivative, halved, of the squared distance of middle + u step from a box, and the derivative's."""
    slack = _SLACK * (step @ step)

    def slope(u: Scalar) -> tuple[Scalar, Scalar]:
        value, curvature = slack * u, slack
        for x, s, h in zip(middle, step, half, strict=True):
            at = x + u * s
            excess = at - clamp(at, -h, h)
            value = value + s * excess
            curvature = curvature + where_less(h * h, at * at, s * s, 0.0)
        return value, curvature

    return slope


def _slope_to_cylinder(middle: Vector, step: Vector, radius: Scalar, half: Scalar) -> _Slope:
    """Return the same for a cylinder along z."""
    slack = 0.1 * _SLACK * (step @ step)  # the side is curved: more would tilt the normal

    def slope(u: Scalar) -> tuple[Scalar, Scalar]:
        at = middle + u * step
        inverse = recip(sqrt(maximum(at[0] * at[0] + at[1] * at[1], _TINY * _TINY)))
        away = (at[0] * step[0] + at[1] * step[1]) * inverse  # the distance from the axis grows so fast
        excess = maximum((at[0] * at[0] + at[1] * at[1]) * inverse - radius, 0.0)
        curvature = away * away + excess * inverse * (step[0] * step[0] + step[1] * step[1] - away * away)
        above = at[2] - clamp(at[2], -half, half)
        value = slack * u + away * excess + step[2] * above
        curvature = where_less(0.0, excess, curvature, 0.0) + where_less(half * half, at[2] * at[2], step[2] * step[2], 0.0)
        return value, slack + curvature

    return slope


def _nearest_fraction(slope: _Slope, halvings: int, steps: int) -> Scalar:
    """Return u in [-1, 1] for which a point of a segment is nearest to a shape; of many, the one nearest to the middle.

    The squared distance has a growing derivative, for a box a piecewise linear one. Bisection finds its zero but for
    1 / 2^halvings; Newton steps then meet it. Only the last is differentiated, which is exact as well.
    """
    u: Scalar = 0.0
    width = 0.5
    for _ in range(halvings):
        value, _curvature = slope(u)
        u = u + where_less(value, 0.0, width, -width)
        width *= 0.5
    for left in range(steps - 1, -1, -1):
        u = frozen(u)
        value, curvature = slope(u)
        u = u - value * recip(curvature)
        u = frozen(clamp(u, -1.0, 1.0)) if left else clamp(u, -1.0, 1.0)
    return u


def sphere_cylinder(sphere: Shape, cylinder: Shape, part: Sequence[Scalar]) -> list[Spot]:
    """Touch the nearest point of a solid cylinder: its side, a cap or a rim."""
    return [_ball_in_cylinder(sphere.centre, sphere.size[0], 1.0, cylinder)]


def _ball_in_cylinder(point: Vector, radius: Scalar, weight: Scalar, cylinder: Shape) -> Spot:
    axis, between = cylinder.axes[:, 2], point - cylinder.centre
    along = axis @ between
    across = between - along * axis
    near = across @ across
    # on the axis itself the side has no direction: x of the cylinder
    across = vector(
        [where_less(near, _TINY * _TINY, _TINY * x, a) for x, a in zip(cylinder.axes[:, 0], across, strict=True)]
    )
    distance_out = sqrt(maximum(near, _TINY * _TINY))
    radial: Vector = recip(distance_out) * across
    distance, (out, up) = _signed_distance([distance_out, along], [cylinder.size[0], cylinder.size[1]])
    return _against(point, radius, distance, out * radial + up * axis, weight)
