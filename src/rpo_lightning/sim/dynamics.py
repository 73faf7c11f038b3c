"""Articulated-body dynamics, one substep at a time, in world axes.

Spatial vectors are pairs (angular, linear) about one reference point, `origin`, which follows the
robot, so that float32 does not lose its digits when it has run or fallen a hundred metres. The equations hold for any such
point. Everything here works on floats (then it computes, in double precision) and on `Expr` (then it is traced).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rpo_lightning.sim.actuation import actuator_wrench, generalized_forces
from rpo_lightning.sim.algebra import ZERO, Vector, cross, normalized, rotation, vector
from rpo_lightning.sim.composite import Columns, composite_mass_matrix
from rpo_lightning.sim.contact import contact_force, contact_points
from rpo_lightning.sim.expressions import Scalar
from rpo_lightning.sim.factorization import Matrix
from rpo_lightning.sim.fluid import fluid_wrench
from rpo_lightning.sim.kinematics import Frame, joint_twist, kinematics, world
from rpo_lightning.sim.model import Joint, Link, Model
from rpo_lightning.sim.pairs.shapes import Body
from rpo_lightning.sim.quaternions import quat_product
from rpo_lightning.sim.springs import joint_force, linked_forces, tie_wrench
from rpo_lightning.sim.world_origin import world_mass_matrix

__all__ = [
    "bias_force",
    "inner_rates",
    "integrate",
    "mass_matrix",
    "outer_acceleration",
    "outer_rates",
]


_STILL: list[Scalar] = [0.0, 0.0, 0.0, 1.0]


def inner_rates(model: Model, q: Sequence[Scalar], qd: Sequence[Scalar], origin: Vector) -> list[Scalar]:
    """Return the rates that the equations are solved for, given those of the state, which has twists about the world origin.

    A free joint's linear velocity is that of its own frame, or with `model.free_velocity` "world" of the link's point at
    `origin`. Kept for some substeps, a mass matrix about a point that the body leaves behind makes it spin: the reference
    has that defect.
    """
    return _shifted(model, q, qd, origin, 1.0)


def outer_rates(model: Model, q: Sequence[Scalar], qd: Sequence[Scalar], origin: Vector) -> list[Scalar]:
    """Return the rates of a state; the inverse of `inner_rates`."""
    return _shifted(model, q, qd, origin, -1.0)


def outer_acceleration(
    model: Model, q: Sequence[Scalar], qd: Sequence[Scalar], qdd: Sequence[Scalar], origin: Vector
) -> list[Scalar]:
    """Return the time derivative of `outer_rates`, given inner rates and theirs."""
    out = _shifted(model, q, qdd, origin, -1.0)
    for index, link in enumerate(model.links):
        if link.joint is Joint.FREE and model.free_velocity == "body":
            start = model.qd_start[index]
            w, v = vector(qd[start : start + 3]), vector(qd[start + 3 : start + 6])
            out[start + 3 : start + 6] = vector(out[start + 3 : start + 6]) - cross(w, v)
    return out


def _shifted(model: Model, q: Sequence[Scalar], qd: Sequence[Scalar], origin: Vector, direction: float) -> list[Scalar]:
    out = list(qd)
    for index, link in enumerate(model.links):
        if link.joint is Joint.FREE:
            start = model.qd_start[index]
            w, v = vector(qd[start : start + 3]), vector(qd[start + 3 : start + 6])
            place = origin if model.free_velocity == "world" else vector(q[model.coordinates(index)][:3])
            out[start + 3 : start + 6] = v + cross(w, direction * place)
    return out


def _local_twist(frame: Frame, x: Vector, w: Vector, v: Vector) -> tuple[Vector, Vector]:
    """Return a twist as seen at the centre of mass `x`, in link axes."""
    back = frame.rotation.T
    angular = back @ w
    return angular, back @ v + cross(angular, back @ x)


def _inertia_times(link: Link, frame: Frame, x: Vector, w: Vector, v: Vector) -> tuple[Vector, Vector]:
    """Return the spatial inertia of a link times (w, v), about the reference point.

    Through the link's own axes, as in the reference: on unit quaternions any form will do, but the derivative by the four
    entries of a quaternion as free numbers depends on it.
    """
    angular, linear = _local_twist(frame, x, w, v)
    momentum = link.mass * linear
    spin = link.inertia.astype(object) @ angular + cross(frame.rotation.T @ x, momentum)
    return frame.rotation @ spin, frame.rotation @ momentum


def bias_force(
    model: Model,
    q: Sequence[Scalar],
    qd: Sequence[Scalar],
    force: Sequence[Scalar],
    origin: Vector,
    touched: Mapping[int, tuple[Vector, Vector]] = MappingProxyType({}),
    control: Sequence[Scalar] = (),
) -> list[Scalar]:
    """Return tau (nd,): applied force, actuators, springs, weight, contact, fluid, minus Coriolis and centrifugal terms.

    The joint accelerations solve `mass_matrix() qdd = tau`. Recursive Newton-Euler with zero joint accelerations. Contact
    with the ground is found here; that of `Model.pairs` is given: `touched` has (torque, force) on links, about `origin`.
    `control` has an entry for each actuator, or none.
    """
    frames = kinematics(model, q, origin)
    twists: list[tuple[Vector, Vector]] = []
    wrenches: list[tuple[Vector, Vector]] = []
    accelerations: list[tuple[Vector, Vector]] = []
    for index, (link, frame) in enumerate(zip(model.links, frames, strict=True)):
        w, v = twists[link.parent] if link.parent >= 0 else (ZERO, ZERO)
        a, b = accelerations[link.parent] if link.parent >= 0 else (ZERO, ZERO)
        wj, vj = joint_twist(model, index, frame, qd)
        w, v = w + wj, v + vj
        if link.joint is not Joint.FREE:  # V x V_J; a free joint moves on the world, where V is V_J
            a, b = a + cross(w, wj), b + cross(w, vj) + cross(v, wj)
        elif model.free_velocity == "body":  # the point that the rates are those of moves
            b = cross(vector(qd[model.dofs(index)][3:]), wj)
        twists.append((w, v))
        accelerations.append((a, b))
        if link.mass == 0.0 and not link.inertia.any():
            wrenches.append((ZERO, ZERO))
            continue
        x = frame.position + frame.rotation @ vector(link.com)
        if model.as_reference:
            spin, momentum = _inertia_times(link, frame, x, w, v)
            torque, push = _inertia_times(link, frame, x, a, b)
            weight = link.mass * vector(model.gravity)
            torque = torque + cross(w, spin) + cross(v, momentum) - cross(x, weight)
            wrenches.append((torque, push + cross(w, momentum) - weight))
        else:  # half the work: Newton's law for the centre of mass, Euler's in the link's axes
            push = link.mass * (b + cross(a, x) + cross(w, v + cross(w, x)) - vector(model.gravity))
            back, inertia = frame.rotation.T, link.inertia.astype(object)
            spin = back @ w
            torque = frame.rotation @ (inertia @ (back @ a) + cross(spin, inertia @ spin))
            wrenches.append((torque + cross(x, push), push))
        if link.lifted:
            x, push = frame.position + frame.rotation @ vector(link.lift_com), -link.lifted * vector(model.gravity)
            _press(wrenches, index, cross(x, push), push)
    positions, rotations = [f.position for f in frames], [f.rotation for f in frames]
    for touch in contact_points(model, positions, rotations, twists, origin):
        pressed = contact_force(touch.depth, touch.normal, touch.velocity, touch.material, model.law, model.friction)
        _press(wrenches, touch.link, cross(touch.point, pressed), pressed)
    for index, (turn, force_on) in touched.items():
        _press(wrenches, index, turn, force_on)

    for shape in model.fluid_shapes:
        frame, (w, v) = frames[shape.link], twists[shape.link]
        x = frame.position + frame.rotation @ vector(shape.pos)
        torque, push = fluid_wrench(model.fluid, shape, frame.rotation @ rotation(shape.quat.tolist()), w, v + cross(w, x))
        _press(wrenches, shape.link, torque + cross(x, push), push)
    for actuator, value in zip(model.actuators, control, strict=False):
        if actuator.link >= 0:
            frame = frames[actuator.link]
            _press(wrenches, actuator.link, *actuator_wrench(actuator, value, frame.position, frame.rotation))
    found = [Body(f.position, f.rotation, *twist) for f, twist in zip(frames, twists, strict=True)]
    for tie in model.ties:
        (one, quat_one), (two, quat_two) = (
            (found[link], frames[link].quat) if link >= 0 else (world(origin), _STILL) for link in (tie.first, tie.second)
        )
        turn_one, turn_two, push_one = tie_wrench(tie, one, two, quat_one, quat_two)
        _press(wrenches, tie.first, turn_one, push_one)
        _press(wrenches, tie.second, turn_two, -1.0 * push_one)

    tau = _inner_forces(model, q, force, origin)
    for index in range(len(model.links) - 1, -1, -1):
        link, frame, (torque, push) = model.links[index], frames[index], wrenches[index]
        for dof, (angular, linear) in enumerate(frame.columns, model.qd_start[index]):
            tau[dof] = tau[dof] - (angular @ torque + linear @ push)
        joint_force(model, index, q, qd, tau)
        if link.parent >= 0:
            parent = wrenches[link.parent]
            wrenches[link.parent] = (parent[0] + torque, parent[1] + push)
    linked_forces(model, q, qd, tau)
    if control:
        tau = [one + two for one, two in zip(tau, generalized_forces(model, q, qd, control), strict=True)]
    return tau


def _press(wrenches: list[tuple[Vector, Vector]], link: int, turn: Vector, push: Vector) -> None:
    """Take what acts on a link off the wrench it needs."""
    if link >= 0:
        torque, force = wrenches[link]
        wrenches[link] = (torque - turn, force - push)


def _inner_forces(model: Model, q: Sequence[Scalar], force: Sequence[Scalar], origin: Vector) -> list[Scalar]:
    """Return the force that does the work on inner rates that `force` does on those of the state."""
    out = list(force)
    for index, link in enumerate(model.links):
        if link.joint is Joint.FREE:
            start = model.qd_start[index]
            place = origin if model.free_velocity == "world" else vector(q[model.coordinates(index)][:3])
            turn, push = vector(force[start : start + 3]), vector(force[start + 3 : start + 6])
            out[start : start + 3] = turn - cross(place, push)
    return out


def mass_matrix(model: Model, q: Sequence[Scalar], origin: Vector) -> Matrix:
    """Return the lower half of the joint-space mass matrix without armature, by composite bodies where nothing forbids it.

    Only entries of a dof with itself and its ancestors exist; all others are zero. About the world's origin all do.
    """
    frames = kinematics(model, q, origin)
    if model.reference_point == "world":
        return world_mass_matrix(model, frames)
    if model.as_reference or model.mass_links != list(range(len(model.links))):
        return _summed_mass_matrix(model, frames)
    columns = [_own_columns(frame) for frame in frames]
    return composite_mass_matrix(model, [f.position for f in frames], [f.rotation for f in frames], columns)


def _own_columns(frame: Frame) -> Columns:
    """Return the columns of a joint about the link's own point, where a free joint's rates are of it too."""
    return [(w, v if w is ZERO else ZERO) for w, v in frame.columns]


def _summed_mass_matrix(model: Model, frames: list[Frame]) -> Matrix:
    """Return the mass matrix as the sum of J^T I J over links, in link axes.

    Several times the work, for the reference's physics alone: the derivative by the entries of a quaternion of other than
    unit length is then the reference's.
    """
    entries: Matrix = {}
    for index, massive in enumerate(model.mass_links):
        columns, link, frame = {}, model.links[massive], frames[massive]
        x = frame.position + frame.rotation @ vector(link.com)
        ancestor = index
        while ancestor >= 0:
            for dof, (w, v) in enumerate(frames[ancestor].columns, model.qd_start[ancestor]):
                columns[dof] = _local_twist(frame, x, w, v)
            ancestor = model.links[ancestor].parent
        for row, (w, v) in columns.items():
            spin = link.inertia.astype(object) @ w
            for column, (angular, linear) in columns.items():
                if column <= row:
                    value = angular @ spin + link.mass * (linear @ v)
                    entries[row, column] = entries.get((row, column), 0.0) + value
    return entries


def integrate(
    model: Model, q: Sequence[Scalar], qd: Sequence[Scalar], qdd: Sequence[Scalar], dt: Scalar, origin: Vector
) -> tuple[list[Scalar], list[Scalar]]:
    """Advance by semi-implicit Euler: velocities first, then positions with the new velocities."""
    new_qd = [rate + dt * acceleration for rate, acceleration in zip(qd, qdd, strict=True)]
    new_q = list(q)
    for index, link in enumerate(model.links):
        at, rates = model.coordinates(index), new_qd[model.dofs(index)]
        if link.joint is Joint.FREE:
            w, v, p = vector(rates[:3]), vector(rates[3:]), vector(q[at][:3])
            quat = q[at][3:]
            change = quat_product([*rates[:3], 0.0], quat)
            speed = v + cross(w, p - origin) if model.free_velocity == "world" else v
            new_q[at] = [
                *(p + dt * speed),
                *normalized([r + 0.5 * dt * c for r, c in zip(quat, change, strict=True)]),
            ]
        elif link.joint is Joint.BALL:  # the rates are in the link's own axes
            change = quat_product(q[at], [*rates, 0.0])
            new_q[at] = normalized([r + 0.5 * dt * c for r, c in zip(q[at], change, strict=True)])
        else:
            new_q[at] = [q[at][0] + dt * rates[0]]
    return new_q, new_qd
