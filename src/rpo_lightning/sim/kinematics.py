"""Where the links of a robot are and how they move, by the values of its joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rpo_lightning.sim.algebra import ZERO, Vector, cross, rotation, vector
from rpo_lightning.sim.expressions import Scalar, cos, nearest, sin
from rpo_lightning.sim.model import Joint, Model
from rpo_lightning.sim.pairs.shapes import Body
from rpo_lightning.sim.quaternions import quat_product

__all__ = ["Frame", "bodies", "joint_twist", "kinematics", "reference_point", "world"]


@dataclass
class Frame:
    """Where a link is, and the twists its joint can add: columns (angular, linear)."""

    quat: list[Scalar]
    rotation: np.ndarray
    position: Vector
    columns: list[tuple[Vector, Vector]]


_UNIT = [vector(row) for row in np.eye(3)]


def kinematics(model: Model, q: Sequence[Scalar], origin: Vector) -> list[Frame]:
    """Place every link, root to leaves. Positions are relative to `origin`."""
    frames: list[Frame] = []
    for index, link in enumerate(model.links):
        values = q[model.coordinates(index)]
        axis, offset, turn = vector(link.axis), vector(link.pos), link.quat.tolist()
        if link.parent < 0:
            position, quat = offset - origin, turn
        else:
            parent = frames[link.parent]
            position, quat = parent.position + parent.rotation @ offset, quat_product(parent.quat, turn)
        if link.joint is Joint.FREE:
            position, quat = vector(values[:3]) - origin, list(values[3:])
            turned = rotation(quat)
            turns = [(e, ZERO if model.free_velocity == "world" else cross(position, e)) for e in _UNIT]
            columns = turns + [(ZERO, e) for e in _UNIT]
        elif link.joint is Joint.BALL:
            quat = quat_product(quat, values)
            turned = rotation(quat)
            columns = [(turned @ e, cross(position, turned @ e)) for e in _UNIT]
        elif link.joint is Joint.REVOLUTE:
            half = 0.5 * (values[0] - link.ref)
            quat = quat_product(quat, [*(sin(half) * axis), cos(half)])
            turned = rotation(quat)
            direction = turned @ axis
            columns = [(direction, cross(position, direction))]
        else:
            turned = rotation(quat)
            direction = turned @ axis
            position = position + direction * (values[0] - link.ref)
            columns = [(ZERO, direction)]
        frames.append(Frame(quat, turned, position, columns))
    return frames


def reference_point(model: Model, q: Sequence[Scalar]) -> Vector:
    """Return the point of a grid (every 4 m) that is nearest to the first link that has a mass, (3,) [m].

    With `model.reference_point` "world" it is the origin. The physics does not depend on it, but its digits do. A grid keeps
    it at the world origin while the robot is near, where the derivative by the entries of a quaternion of any length is then
    that of the reference simulator.
    """
    if model.reference_point == "world":
        return ZERO
    massive = next((i for i, link in enumerate(model.links) if link.mass > 0.0), 0)
    return vector([4.0 * nearest(0.25 * value) for value in kinematics(model, q, ZERO)[massive].position])


def bodies(model: Model, q: Sequence[Scalar], qd: Sequence[Scalar], origin: Vector) -> list[Body]:
    """Return where every link is and how it moves."""
    found: list[Body] = []
    for index, (link, frame) in enumerate(zip(model.links, kinematics(model, q, origin), strict=True)):
        w, v = found[link.parent][2:] if link.parent >= 0 else (ZERO, ZERO)
        wj, vj = joint_twist(model, index, frame, qd)
        found.append(Body(frame.position, frame.rotation, w + wj, v + vj))
    return found


def world(origin: Vector) -> Body:
    """Return the body that is at rest and carries what is fixed."""
    return Body(-1.0 * origin, np.eye(3).astype(object), ZERO, ZERO)


def joint_twist(model: Model, index: int, frame: Frame, qd: Sequence[Scalar]) -> tuple[Vector, Vector]:
    """Return the twist (angular, linear) that the rates of a link's joint add, about the frames' reference point."""
    wj, vj = ZERO, ZERO
    for (angular, linear), rate in zip(frame.columns, qd[model.dofs(index)], strict=True):
        wj, vj = wj + angular * rate, vj + linear * rate
    return wj, vj
