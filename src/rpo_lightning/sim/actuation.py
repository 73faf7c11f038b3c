"""Forces of actuators: affine in control, length and velocity, clamped, and clamped again by the joint they act on.

Source: MuJoCo's documentation, "Computation", actuation model without activation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rpo_lightning.sim.algebra import Vector, cross, vector
from rpo_lightning.sim.expressions import Scalar, maximum, minimum, where_less
from rpo_lightning.sim.factorization import Matrix
from rpo_lightning.sim.linkage import Actuator, outer
from rpo_lightning.sim.model import Model

__all__ = ["actuator_wrench", "clamp", "generalized_forces", "servo_damping"]


def generalized_forces(model: Model, q: Sequence[Scalar], qd: Sequence[Scalar], control: Sequence[Scalar]) -> list[Scalar]:
    """Return the actuators' force (nd,) on joints [N m or N]; those that act on links are `actuator_wrench`'s."""
    ranges = _joint_ranges(model)
    return [clamp(x, *ranges[dof]) for dof, x in enumerate(_sum_on_joints(model, q, qd, control))]


def actuator_wrench(actuator: Actuator, control: Scalar, position: Vector, rotation: np.ndarray) -> tuple[Vector, Vector]:
    """Return torque and force (3,) of an actuator on its link [N m, N], about the origin of `position`.

    Args:
        actuator: one with a link.
        control: its control.
        position: (3,) of the link's frame [m].
        rotation: (3, 3) of it.
    """
    force = clamp(actuator.gain * control + actuator.bias[0], *actuator.force_range)
    push = (rotation @ vector(actuator.push)) * force
    return (rotation @ vector(actuator.turn)) * force + cross(position + rotation @ vector(actuator.point), push), push


def servo_damping(model: Model, q: Sequence[Scalar], qd: Sequence[Scalar], control: Sequence[Scalar]) -> Matrix:
    """Return the damping that servos add to the joints they act on while neither they nor the joints are at a limit.

    Of those whose joints are on one chain: for others a mass matrix has no entries.
    """
    damping: Matrix = {}
    for actuator, value in zip(model.actuators, control, strict=True):
        by_velocity = actuator.bias[2] + actuator.gain_slope[1] * value
        if not _nothing(by_velocity) and model.on_a_chain(actuator.moment):
            force = _unclamped(model, actuator, q, qd, value)
            for row, column, product in outer(actuator.moment):
                braking = _within(force, actuator.force_range, -1.0 * by_velocity * product)
                damping[row, column] = damping.get((row, column), 0.0) + braking
    total, ranges = _sum_on_joints(model, q, qd, control), _joint_ranges(model)
    for row, column in damping:
        for dof in {row, column}:
            damping[row, column] = _within(total[dof], ranges[dof], damping[row, column])
    return damping


def clamp(x: Scalar, low: float, high: float) -> Scalar:
    """Return x, not below `low` and not above `high`."""
    x = x if high == np.inf else minimum(x, high)
    return x if low == -np.inf else maximum(x, low)


def _sum_on_joints(model: Model, q: Sequence[Scalar], qd: Sequence[Scalar], control: Sequence[Scalar]) -> list[Scalar]:
    """Return the actuators' force (nd,) on joints before the joints clamp it."""
    total: list[Scalar] = [0.0] * model.nd
    for actuator, value in zip(model.actuators, control, strict=True):
        if actuator.link < 0:
            force = clamp(_unclamped(model, actuator, q, qd, value), *actuator.force_range)
            for dof, coefficient in actuator.moment:
                total[dof] = total[dof] + coefficient * force
    return total


def _joint_ranges(model: Model) -> list[tuple[float, float]]:
    return [link.force_range for link in model.links for _ in range(link.joint.dofs)]


def _unclamped(model: Model, actuator: Actuator, q: Sequence[Scalar], qd: Sequence[Scalar], control: Scalar) -> Scalar:
    gain_by_length, gain_by_velocity = actuator.gain_slope
    by_length = actuator.bias[1] + gain_by_length * control
    by_velocity = actuator.bias[2] + gain_by_velocity * control
    total = actuator.gain * control + actuator.bias[0]
    for dof, coefficient in actuator.moment:
        if not _nothing(by_length):
            total = total + by_length * (coefficient * q[model.coordinate(dof)])
        if not _nothing(by_velocity):
            total = total + by_velocity * (coefficient * qd[dof])
    return total


def _nothing(x: Scalar) -> bool:
    return isinstance(x, float) and x == 0.0


def _within(x: Scalar, bounds: tuple[float, float], value: Scalar) -> Scalar:
    low, high = bounds
    if _nothing(value):
        return value
    value = value if low == -np.inf else where_less(low, x, value, 0.0)
    return value if high == np.inf else where_less(x, high, value, 0.0)
