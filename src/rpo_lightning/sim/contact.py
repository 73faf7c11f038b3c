"""The force of contact, and where links meet the ground; `pairs` finds where shapes meet each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rpo_lightning.sim.algebra import Vector, cross, vector
from rpo_lightning.sim.expressions import Scalar, maximum, minimum, recip, sqrt, where_less
from rpo_lightning.sim.model import Model

__all__ = ["FRICTIONS", "LAWS", "Material", "Touch", "contact_force", "contact_points"]

LAWS = ("depth", "rate")
"""Damping grows with the depth, and friction is bound by the spring alone; or neither, as in Warp's own simulator."""

FRICTIONS = ("bound", "smooth")
"""Viscous up to its bound; or rising to it smoothly, without a kink where the gradient of steep friction chatters."""

# below this squared sliding speed [m^2/s^2] friction is viscous; keeps 1/|u_t| and its derivative finite at rest
_STILL = 1e-20


class Material(NamedTuple):
    """Constants of a contact, as of `model.Contact`."""

    ke: Scalar
    kd: Scalar
    kf: Scalar
    mu: Scalar


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
    material: Material


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
        material = Material(contact.ke, contact.kd, contact.kf, contact.mu)
        touches.append(Touch(contact.link, point, depth, up, v + cross(w, point), material))
    return touches


def contact_force(
    depth: Scalar, normal: Vector, velocity: Vector, material: Material, law: str = "depth", friction: str = "bound"
) -> Vector:
    """Return the force on what presses in (3,) [N]: elastic and damped along the normal, friction across.

    Damping acts only while approaching. Friction is viscous up to a bound: the elastic part's under the law "depth"
    (dflex_tasks.md 1.2 f), that of the whole normal force under "rate" (hand_reorient.md 5).

    Args:
        depth: how far the surfaces are past each other, 0 where they do not touch [m].
        normal: (3,) unit vector out of what is pressed on.
        velocity: (3,) of what presses in relative to it [m/s].
        material: the constants.
        law: of `LAWS`.
        friction: of `FRICTIONS`.
    """
    speed = velocity @ normal
    slide = velocity - speed * normal
    sliding = sqrt(maximum(slide @ slide, _STILL))
    elastic = material.ke * depth
    if law == "depth":
        press = elastic + material.kd * depth * maximum(-speed, 0.0)
        bound = material.mu * elastic
    else:
        press = where_less(0.0, depth, elastic + material.kd * maximum(-speed, 0.0), 0.0)
        bound = material.mu * press
    if friction == "bound":
        drag = minimum(bound * recip(sliding), material.kf)
    else:  # bound * u / sqrt(u^2 + u0^2) with u0 = bound / kf: kf * u at rest, `bound` far beyond u0
        viscous = material.kf * sliding
        drag = material.kf * bound * recip(sqrt(maximum(viscous * viscous + bound * bound, _STILL)))
    return press * normal - drag * slide
