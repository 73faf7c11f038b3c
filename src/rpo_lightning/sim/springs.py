"""Forces in and between joints that no actuator makes: springs, dampers, limits, dry friction, couplings, ties."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rpo_lightning.sim.actuation import servo_damping
from rpo_lightning.sim.algebra import Vector, cross, vector
from rpo_lightning.sim.expressions import Scalar, angle, maximum, recip, sqrt, where_less
from rpo_lightning.sim.factorization import Matrix
from rpo_lightning.sim.linkage import Tendon, Tie, outer
from rpo_lightning.sim.model import Joint, Link, Model
from rpo_lightning.sim.pairs.shapes import Body
from rpo_lightning.sim.quaternions import quat_product

__all__ = ["implicit_damping", "joint_force", "linked_forces", "tie_wrench"]

_TINY = 1e-20  # keeps square roots and their derivatives finite


def joint_force(model: Model, index: int, q: Sequence[Scalar], qd: Sequence[Scalar], tau: list[Scalar]) -> None:
    """Add to tau what a link's joint does to itself."""
    link, rates = model.links[index], model.dofs(index)
    for dof in range(rates.start, rates.stop):
        tau[dof] = tau[dof] - (link.damping + link.limit_kd) * qd[dof]
        tau[dof] = tau[dof] - _dry_friction(model, link.frictionloss, qd[dof])
    if link.joint in (Joint.REVOLUTE, Joint.PRISMATIC):
        dof, value = rates.start, q[model.q_start[index]]
        tau[dof] = tau[dof] - link.stiffness * (value - link.target)
        tau[dof] = tau[dof] + _stop(value, qd[dof], link.lower, link.upper, link.limit_ke, link.stop_kd)
    elif link.joint is Joint.BALL and (link.stiffness != 0.0 or np.isfinite(link.upper)):
        force = _ball_force(link, q[model.coordinates(index)], qd[rates])
        tau[rates] = [one + two for one, two in zip(tau[rates], force, strict=True)]


def linked_forces(model: Model, q: Sequence[Scalar], qd: Sequence[Scalar], tau: list[Scalar]) -> None:
    """Add to tau what tendons and couplings do to the joints they connect."""
    for tendon in model.tendons:
        length: Scalar = 0.0
        for dof, coefficient in tendon.moment:
            length = length + coefficient * q[model.coordinate(dof)]
        speed = _tendon_speed(tendon, qd)
        low, high = tendon.rest
        slack = where_less(length, low, low - length, where_less(high, length, high - length, 0.0))
        force = tendon.stiffness * slack - tendon.damping * speed - _dry_friction(model, tendon.frictionloss, speed)
        force = force + _stop(length, speed, tendon.lower, tendon.upper, tendon.limit_ke, tendon.stop_kd)
        for dof, coefficient in tendon.moment:
            tau[dof] = tau[dof] + coefficient * force
    for coupling in model.couplings:
        first = model.qd_start[coupling.first]
        x: Scalar = 0.0
        rate: Scalar = 0.0
        if coupling.second >= 0:
            x, rate = q[model.q_start[coupling.second]] - coupling.ref, qd[model.qd_start[coupling.second]]
        value: Scalar = 0.0
        slope: Scalar = 0.0
        for c in reversed(coupling.coefficients):  # Horner's scheme, and its derivative's
            value, slope = value * x + c, slope * x + value
        error, speed = q[model.q_start[coupling.first]] - value, qd[first] - slope * rate
        force = -1.0 * (coupling.ke * error + coupling.kd * speed)
        tau[first] = tau[first] + force
        if coupling.second >= 0:
            second = model.qd_start[coupling.second]
            tau[second] = tau[second] - slope * force


def tie_wrench(
    tie: Tie, first: Body, second: Body, first_quat: Sequence[Scalar], second_quat: Sequence[Scalar]
) -> tuple[Vector, Vector, Vector]:
    """Return torque on the first body, torque on the second, and force on the first (3,); that on the second is minus it.

    Torques are about the bodies' common reference point [N m, N].
    """
    one = first.position + first.rotation @ vector(tie.first_point)
    two = second.position + second.rotation @ vector(tie.second_point)
    gap = one - two
    closing = first.linear + cross(first.angular, one) - second.linear - cross(second.angular, two)
    push = -1.0 * (tie.ke * gap + tie.kd * closing)
    turn_one, turn_two = cross(one, push), -1.0 * cross(two, push)
    if tie.turn_ke or tie.turn_kd:
        wanted = quat_product(first_quat, tie.quat.tolist())
        x, y, z, w = quat_product(second_quat, [-1.0 * wanted[0], -1.0 * wanted[1], -1.0 * wanted[2], wanted[3]])
        error = vector([where_less(w, 0.0, -2.0 * part, 2.0 * part) for part in (x, y, z)])
        turn = tie.turn_ke * error + tie.turn_kd * (second.angular - first.angular)
        turn_one, turn_two = turn_one + turn, turn_two - turn
    return turn_one, turn_two, push


def implicit_damping(model: Model, q: Sequence[Scalar], qd: Sequence[Scalar], control: Sequence[Scalar]) -> Matrix:
    """Return what, times a step, joins the mass matrix so that damping acts at the step's end.

    It is that of joints, and of servos and tendons whose joints are on one chain, dry friction included. Couplings, ties
    and what is damped beyond limits only stay explicit.
    """
    damping: Matrix = servo_damping(model, q, qd, control) if control else {}
    for index, link in enumerate(model.links):
        for dof in range(model.qd_start[index], model.qd_start[index + 1]):
            own = damping.get((dof, dof), 0.0) + link.damping + link.limit_kd
            damping[dof, dof] = own + _dry_damping(model, link.frictionloss, qd[dof])
    for tendon in model.tendons:
        if model.on_a_chain(tendon.moment):
            along = tendon.damping + _dry_damping(model, tendon.frictionloss, _tendon_speed(tendon, qd))
            for row, column, product in outer(tendon.moment):
                damping[row, column] = damping.get((row, column), 0.0) + product * along
    return damping


def _tendon_speed(tendon: Tendon, qd: Sequence[Scalar]) -> Scalar:
    speed: Scalar = 0.0
    for dof, coefficient in tendon.moment:
        speed = speed + coefficient * qd[dof]
    return speed


def _dry_friction(model: Model, loss: Scalar, rate: Scalar) -> Scalar:
    """Return loss * v / sqrt(v^2 + w^2): viscous below the width w, nearly `loss` beyond."""
    return rate * _dry_damping(model, loss, rate)


def _dry_damping(model: Model, loss: Scalar, rate: Scalar) -> Scalar:
    if isinstance(loss, float) and loss == 0.0:
        return 0.0
    return loss * recip(sqrt(rate * rate + model.friction_width**2))


def _stop(value: Scalar, rate: Scalar, lower: float, upper: float, ke: float, kd: float) -> Scalar:
    total: Scalar = 0.0
    brake = kd * rate
    if ke and np.isfinite(lower):
        total = total + where_less(value, lower, ke * (lower - value) - brake, 0.0)
    if ke and np.isfinite(upper):
        total = total + where_less(upper, value, ke * (upper - value) - brake, 0.0)
    return total


def _ball_force(link: Link, quat: Sequence[Scalar], rates: Sequence[Scalar]) -> list[Scalar]:
    """Return the spring and the limit of a ball joint, in the link's own axes; both along the axis of its rotation."""
    w = quat[3]
    axis = [where_less(w, 0.0, -1.0 * part, part) for part in quat[:3]]
    size = sqrt(maximum(axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2], _TINY))
    turned = 2.0 * angle(size, maximum(w, -1.0 * w))
    axis = [part * recip(size) for part in axis]
    force = -1.0 * (link.stiffness * turned)
    if np.isfinite(link.upper) and link.limit_ke:
        speed = axis[0] * rates[0] + axis[1] * rates[1] + axis[2] * rates[2]
        force = force + _stop(turned, speed, -np.inf, link.upper, link.limit_ke, link.stop_kd)
    return [force * part for part in axis]
