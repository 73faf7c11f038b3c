"""Contact with the ground in two phases: where it happens, and with what force."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rpo_lightning.sim.algebra import Vector, cross, vector
from rpo_lightning.sim.expressions import Scalar, maximum, minimum, recip, sqrt, where_less
from rpo_lightning.sim.model import Contact, Model

__all__ = ["Touch", "contact_force", "contact_points"]

# below this squared sliding speed [m^2/s^2] friction is viscous; keeps 1/|u_t| and its derivative finite at rest
_STILL = 1e-20


class Touch(NamedTuple):
    """A place where a link may press on the ground.

    Attributes:
        link: the link. point: (3,) lowest point of its sphere, in the reference frame [m].
        depth: how far that is below the ground, 0 above it [m]. normal: (3,) of the ground.
        velocity: (3,) of the link's material at the point [m/s]. material: stiffness, damping, friction.
    """

    link: int
    point: Vector
    depth: Scalar
    normal: Vector
    velocity: Vector
    material: Contact


def contact_points(
    model: Model,
    positions: Sequence[Vector],
    rotations: Sequence[Vector],
    twists: Sequence[tuple[Vector, Vector]],
    origin: Vector,
) -> list[Touch]:
    """Find the points (dflex_tasks.md 1.2 f), given each link's position, rotation matrix and twist (angular, linear).

    Positions and twists are about the reference point `origin`.
    """
    up, touches = vector(model.up), []
    for contact in model.contacts:
        w, v = twists[contact.link]
        centre = positions[contact.link] + rotations[contact.link] @ vector(contact.point)
        point = centre - contact.radius * up
        height = point @ up + origin @ up - model.ground
        depth = where_less(height, 0.0, -height, 0.0)
        touches.append(Touch(contact.link, point, depth, up, v + cross(w, point), contact))
    return touches


def contact_force(touch: Touch) -> Vector:
    """Return the force of the ground on the link (3,) [N]: elastic and damped along the normal, friction across.

    Damping acts only while approaching; friction is viscous up to a bound set by the elastic part alone.
    """
    material, normal = touch.material, touch.normal
    speed = touch.velocity @ normal
    slide = touch.velocity - speed * normal
    sliding = sqrt(maximum(slide @ slide, _STILL))
    elastic = material.ke * touch.depth
    press = elastic + material.kd * touch.depth * maximum(-speed, 0.0)
    drag = minimum(material.mu * elastic * recip(sliding), material.kf)
    return press * normal - drag * slide
