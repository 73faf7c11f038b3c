"""Articulated-body dynamics, one substep at a time, in world axes.

Spatial vectors are pairs (angular, linear) about one reference point: the world origin moved along the ground by
`origin`, so that float32 does not lose its digits when a robot has run a hundred metres. The equations hold for any such
point. Everything here works on floats (then it computes, in double precision) and on `Expr` (then it is traced).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rpo_lightning.sim.expressions import Scalar, cos, maximum, minimum, nearest, recip, sin, sqrt, where_less
from rpo_lightning.sim.model import Joint, Link, Model

__all__ = [
    "Matrix",
    "Vector",
    "bias_force",
    "factorize",
    "integrate",
    "mass_matrix",
    "mass_matrix_gradient",
    "reference_point",
    "shift_velocity",
    "solve",
    "vector",
]

Vector = np.ndarray  # (3,) of dtype object: floats and Expr mixed
Matrix = dict[tuple[int, int], Scalar]  # entries (row, column), column <= row; what is missing is zero

# below this squared sliding speed [m^2/s^2] friction is viscous; keeps 1/|u_t| and its derivative finite at rest
_STILL = 1e-20


def vector(values: Sequence[Scalar] | np.ndarray) -> Vector:
    """Return three scalars as a vector of Python floats and `Expr`."""
    return np.array([v if not isinstance(v, np.floating) else float(v) for v in values], dtype=object)


_ZERO = vector([0.0, 0.0, 0.0])


def _cross(a: Vector, b: Vector) -> Vector:
    return vector([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _quat_multiply(a: Sequence[Scalar], b: Sequence[Scalar]) -> list[Scalar]:
    (ax, ay, az, aw), (bx, by, bz, bw) = a, b
    return [
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by + ay * bw + az * bx - ax * bz,
        aw * bz + az * bw + ax * by - ay * bx,
        aw * bw - ax * bx - ay * by - az * bz,
    ]


def _rotation(quat: Sequence[Scalar]) -> np.ndarray:
    """Return (2 w^2 - 1) 1 + 2 w [v] + 2 v v^T; quaternions of other than unit length are not normalised."""
    x, y, z, w = quat
    d = 2.0 * (w * w) - 1.0
    xy, xz, yz = 2.0 * (x * y), 2.0 * (x * z), 2.0 * (y * z)
    wx, wy, wz = 2.0 * (w * x), 2.0 * (w * y), 2.0 * (w * z)
    rows = [
        [d + 2.0 * (x * x), xy - wz, xz + wy],
        [xy + wz, d + 2.0 * (y * y), yz - wx],
        [xz - wy, yz + wx, d + 2.0 * (z * z)],
    ]
    return np.array(rows, dtype=object)


def _normalized(quat: Sequence[Scalar]) -> list[Scalar]:
    x, y, z, w = quat
    inverse = recip(sqrt(x * x + y * y + z * z + w * w))
    return [x * inverse, y * inverse, z * inverse, w * inverse]


@dataclass
class _Frame:
    """Where a link is, and the twists its joint can add: columns (angular, linear)."""

    quat: list[Scalar]
    rotation: np.ndarray
    position: Vector
    columns: list[tuple[Vector, Vector]]


_UNIT = [vector(row) for row in np.eye(3)]


def _kinematics(model: Model, q: Sequence[Scalar], origin: Vector) -> list[_Frame]:
    """Place every link, root to leaves. Positions are relative to `origin`."""
    frames: list[_Frame] = []
    for index, link in enumerate(model.links):
        values = q[model.coordinates(index)]
        axis, offset, turn = vector(link.axis), vector(link.pos), link.quat.tolist()
        if link.parent < 0:
            position, quat = offset - origin, turn
        else:
            parent = frames[link.parent]
            position, quat = parent.position + parent.rotation @ offset, _quat_multiply(parent.quat, turn)
        if link.joint is Joint.FREE:
            position, quat = vector(values[:3]) - origin, list(values[3:])
            rotation = _rotation(quat)
            columns = [(e, _ZERO) for e in _UNIT] + [(_ZERO, e) for e in _UNIT]
        elif link.joint is Joint.BALL:
            quat = _quat_multiply(quat, values)
            rotation = _rotation(quat)
            columns = [(rotation @ e, _cross(position, rotation @ e)) for e in _UNIT]
        elif link.joint is Joint.REVOLUTE:
            half = 0.5 * values[0]
            quat = _quat_multiply(quat, [*(sin(half) * axis), cos(half)])
            rotation = _rotation(quat)
            direction = rotation @ axis
            columns = [(direction, _cross(position, direction))]
        else:
            rotation = _rotation(quat)
            direction = rotation @ axis
            position = position + direction * values[0]
            columns = [(_ZERO, direction)]
        frames.append(_Frame(quat, rotation, position, columns))
    return frames


def reference_point(model: Model, q: Sequence[Scalar]) -> Vector:
    """Return the grid point of the ground (every 4 m) that is nearest to the first link that has a mass, (3,) [m].

    The physics does not depend on it. A grid keeps it at the world origin while the robot is near, where the derivative by
    the entries of a quaternion of any length is then that of the reference simulator.
    """
    massive = next((i for i, link in enumerate(model.links) if link.mass > 0.0), 0)
    position = _kinematics(model, q, _ZERO)[massive].position
    up = vector(model.up)
    along = position - up * (position @ up)
    return vector([4.0 * nearest(0.25 * value) for value in along])


def shift_velocity(model: Model, qd: Sequence[Scalar], offset: Vector) -> list[Scalar]:
    """Express the twists of free joints about a reference point moved by `offset`: v -> v + w x offset."""
    out = list(qd)
    for index, link in enumerate(model.links):
        if link.joint is Joint.FREE:
            start = model.qd_start[index]
            w, v = vector(qd[start : start + 3]), vector(qd[start + 3 : start + 6])
            out[start + 3 : start + 6] = v + _cross(w, offset)
    return out


def _local_twist(frame: _Frame, x: Vector, w: Vector, v: Vector) -> tuple[Vector, Vector]:
    """Return a twist as seen at the centre of mass `x`, in link axes."""
    back = frame.rotation.T
    angular = back @ w
    return angular, back @ v + _cross(angular, back @ x)


def _inertia_times(link: Link, frame: _Frame, x: Vector, w: Vector, v: Vector) -> tuple[Vector, Vector]:
    """Return the spatial inertia of a link times (w, v), about the reference point.

    Through the link's own axes, as in the reference: on unit quaternions any form will do, but the derivative by the four
    entries of a quaternion as free numbers depends on it.
    """
    angular, linear = _local_twist(frame, x, w, v)
    momentum = link.mass * linear
    spin = link.inertia.astype(object) @ angular + _cross(frame.rotation.T @ x, momentum)
    return frame.rotation @ spin, frame.rotation @ momentum


def _contact_wrench(
    model: Model, frames: list[_Frame], twists: list[tuple[Vector, Vector]]
) -> list[tuple[Vector, Vector]]:
    """Return the wrench of the ground on each link, in the reference frame."""
    up = vector(model.up)
    wrenches = [(_ZERO, _ZERO) for _ in model.links]
    for contact in model.contacts:
        frame, (w, v) = frames[contact.link], twists[contact.link]
        p = frame.position + frame.rotation @ vector(contact.point) - contact.radius * up
        height = p @ up - model.ground
        depth = where_less(height, 0.0, -height, 0.0)
        u = v + _cross(w, p)
        speed = u @ up
        slide = u - speed * up
        sliding = sqrt(maximum(slide @ slide, _STILL))
        elastic = contact.ke * depth
        normal = elastic + contact.kd * depth * maximum(-speed, 0.0)
        drag = minimum(contact.mu * elastic * recip(sliding), contact.kf)
        force = normal * up - drag * slide
        torque, total = wrenches[contact.link]
        wrenches[contact.link] = (torque + _cross(p, force), total + force)
    return wrenches


def bias_force(
    model: Model, q: Sequence[Scalar], qd: Sequence[Scalar], force: Sequence[Scalar], origin: Vector
) -> list[Scalar]:
    """Return tau (nd,): applied force, springs, dampers, limits, minus gravity, contact, Coriolis and centrifugal terms.

    The joint accelerations solve `mass_matrix() qdd = tau`. Recursive Newton-Euler with zero joint accelerations.
    """
    frames = _kinematics(model, q, origin)
    twists: list[tuple[Vector, Vector]] = []
    wrenches: list[tuple[Vector, Vector]] = []
    accelerations: list[tuple[Vector, Vector]] = []
    for index, (link, frame) in enumerate(zip(model.links, frames, strict=True)):
        w, v = twists[link.parent] if link.parent >= 0 else (_ZERO, _ZERO)
        a, b = accelerations[link.parent] if link.parent >= 0 else (_ZERO, _ZERO)
        wj, vj = _ZERO, _ZERO
        for (angular, linear), rate in zip(frame.columns, qd[model.dofs(index)], strict=True):
            wj, vj = wj + angular * rate, vj + linear * rate
        w, v = w + wj, v + vj
        if link.joint is not Joint.FREE:  # V x V_J; a free joint moves on the world, where V is V_J
            a, b = a + _cross(w, wj), b + _cross(w, vj) + _cross(v, wj)
        twists.append((w, v))
        accelerations.append((a, b))
        if link.mass == 0.0 and not link.inertia.any():
            wrenches.append((_ZERO, _ZERO))
            continue
        x = frame.position + frame.rotation @ vector(link.com)
        spin, momentum = _inertia_times(link, frame, x, w, v)
        torque, push = _inertia_times(link, frame, x, a, b)
        weight = link.mass * vector(model.gravity)
        torque = torque + _cross(w, spin) + _cross(v, momentum) - _cross(x, weight)
        wrenches.append((torque, push + _cross(w, momentum) - weight))
    for index, (torque, push) in enumerate(_contact_wrench(model, frames, twists)):
        wrenches[index] = (wrenches[index][0] - torque, wrenches[index][1] - push)

    tau = list(force)
    for index in range(len(model.links) - 1, -1, -1):
        link, frame, (torque, push) = model.links[index], frames[index], wrenches[index]
        for dof, (angular, linear) in enumerate(frame.columns, model.qd_start[index]):
            tau[dof] = tau[dof] - (angular @ torque + linear @ push)
            if link.joint is not Joint.FREE:
                tau[dof] = tau[dof] - (link.damping + link.limit_kd) * qd[dof]
        if link.joint in (Joint.REVOLUTE, Joint.PRISMATIC):
            dof, value = model.qd_start[index], q[model.q_start[index]]
            tau[dof] = tau[dof] - link.stiffness * (value - link.target) + _limit_force(link, value)
        if link.parent >= 0:
            parent = wrenches[link.parent]
            wrenches[link.parent] = (parent[0] + torque, parent[1] + push)
    return tau


def _limit_force(link: Link, value: Scalar) -> Scalar:
    total: Scalar = 0.0
    if link.limit_ke and np.isfinite(link.lower):
        total = total + where_less(value, link.lower, link.limit_ke * (link.lower - value), 0.0)
    if link.limit_ke and np.isfinite(link.upper):
        total = total + where_less(link.upper, value, link.limit_ke * (link.upper - value), 0.0)
    return total


def mass_matrix(model: Model, q: Sequence[Scalar], origin: Vector) -> Matrix:
    """Return the lower half of the joint-space mass matrix without armature: sum of J^T I J over links, in link axes.

    Only entries of a dof with itself and its ancestors exist; all others are zero.
    """
    frames = _kinematics(model, q, origin)
    entries: Matrix = {}
    for index, link in enumerate(model.links):
        columns = {}
        x = frames[index].position + frames[index].rotation @ vector(link.com)
        ancestor = index
        while ancestor >= 0:
            for dof, (w, v) in enumerate(frames[ancestor].columns, model.qd_start[ancestor]):
                columns[dof] = _local_twist(frames[index], x, w, v)
            ancestor = model.links[ancestor].parent
        for row, (w, v) in columns.items():
            spin = link.inertia.astype(object) @ w
            for column, (angular, linear) in columns.items():
                if column <= row:
                    value = angular @ spin + link.mass * (linear @ v)
                    entries[row, column] = entries.get((row, column), 0.0) + value
    return entries


def factorize(model: Model, matrix: Matrix) -> Matrix:
    """Factor `matrix + armature` = L^T D L, leaves first, which keeps the tree's sparsity (Featherstone 2008, 6.5).

    Returns the entries of L below its unit diagonal and, on the diagonal, 1 / D.
    """
    h = dict(matrix)
    for index, link in enumerate(model.links):
        for dof in range(model.qd_start[index], model.qd_start[index + 1]):
            h[dof, dof] = h[dof, dof] + (link.armature if link.joint is not Joint.FREE else 0.0)
    columns = _row_columns(h)
    for k in range(model.nd - 1, -1, -1):
        h[k, k] = recip(h[k, k])
        for i in reversed(columns[k]):
            factor = h[k, i] * h[k, k]
            for j in columns[k]:
                if j <= i:
                    h[i, j] = h[i, j] - factor * h[k, j]
            h[k, i] = factor
    return h


def _row_columns(matrix: Matrix) -> dict[int, list[int]]:
    columns: dict[int, list[int]] = {}
    for row, column in sorted(matrix):
        columns.setdefault(row, [])
        if column < row:
            columns[row].append(column)
    return columns


def solve(factors: Matrix, rhs: Sequence[Scalar]) -> list[Scalar]:
    """Return x with (L^T D L) x = rhs."""
    columns, x = _row_columns(factors), list(rhs)
    for i in range(len(x) - 1, -1, -1):
        for j in columns[i]:
            x[j] = x[j] - factors[i, j] * x[i]
    x = [factors[i, i] * value for i, value in enumerate(x)]
    for i in range(len(x)):
        for j in columns[i]:
            x[i] = x[i] - factors[i, j] * x[j]
    return x


def mass_matrix_gradient(
    entries: Sequence[tuple[int, int]], x: Sequence[Scalar], adjoint: Sequence[Scalar]
) -> list[Scalar]:
    """Return the cotangent of the mass matrix's entries, given that of the right-hand side of `M x = tau`.

    From dx = M^-1 (dtau - dM x): each lower entry stands for both halves of the symmetric matrix.
    """
    return [-(adjoint[i] * x[j] + adjoint[j] * x[i]) if i != j else -(adjoint[i] * x[i]) for i, j in entries]


def integrate(
    model: Model, q: Sequence[Scalar], qd: Sequence[Scalar], qdd: Sequence[Scalar], dt: float, origin: Vector
) -> tuple[list[Scalar], list[Scalar]]:
    """Advance by semi-implicit Euler: velocities first, then positions with the new velocities."""
    new_qd = [rate + dt * acceleration for rate, acceleration in zip(qd, qdd, strict=True)]
    new_q = list(q)
    for index, link in enumerate(model.links):
        at, rates = model.coordinates(index), new_qd[model.dofs(index)]
        if link.joint is Joint.FREE:
            w, v, p = vector(rates[:3]), vector(rates[3:]), vector(q[at][:3])
            quat = q[at][3:]
            change = _quat_multiply([*rates[:3], 0.0], quat)
            new_q[at] = [
                *(p + dt * (v + _cross(w, p - origin))),
                *_normalized([r + 0.5 * dt * c for r, c in zip(quat, change, strict=True)]),
            ]
        elif link.joint is Joint.BALL:  # the rates are in the link's own axes
            change = _quat_multiply(q[at], [*rates, 0.0])
            new_q[at] = _normalized([r + 0.5 * dt * c for r, c in zip(q[at], change, strict=True)])
        else:
            new_q[at] = [q[at][0] + dt * rates[0]]
    return new_q, new_qd
