"""Motors that are driven as robots drive theirs: by a controller that pulls to an angle."""

from __future__ import annotations

from rpo_lightning.sim import Actuator, Model

__all__ = ["motors_to_servos", "strength"]


def motors_to_servos(model: Model, error: float = 0.6, lead: float = 0.025) -> None:
    """Put a servo in the place of each motor on a joint: kp * (control - angle) - kv * rate, within what the motor can give.

    Controls are then angles, over the range of the joint; without one, half a turn each way. Of a robot whose controller is
    known write its kp and kv into the file instead, as <position>.

    Args:
        model: the robot, which is changed.
        error: at which a servo gives all that its motor can [rad or m]; kp is that strength by this error.
        lead: kv by kp [s].

    Raises:
        ValueError: for an actuator that is no motor on one joint.
    """
    model.actuators = [_servo(model, actuator, error, lead) for actuator in model.actuators]


def strength(model: Model, motor: Actuator) -> tuple[float, float]:
    """Return the least and the most that a motor on one joint gives [N m or N], by its control, its clamp and the joint's.

    Raises:
        ValueError: for an actuator that is no motor on one joint.
    """
    if len(motor.moment) != 1 or any(motor.bias) or any(motor.gain_slope):
        raise ValueError(f"actuator {motor.name!r} is no motor on one joint, so it cannot be made a servo")
    ((dof, gear),) = motor.moment
    asked = sorted(gear * motor.gain * control for control in motor.control)
    clamped = sorted(gear * x for x in motor.force_range)
    bounds = [asked, clamped, model.links[model.qd_start.index(dof)].force_range]
    return max(low for low, _ in bounds), min(high for _, high in bounds)


def _servo(model: Model, motor: Actuator, error: float, lead: float) -> Actuator:
    weakest, strongest = strength(model, motor)
    ((dof, _),) = motor.moment
    link = model.links[model.qd_start.index(dof)]
    kp = max(-weakest, strongest) / error
    ends = max(link.lower, -3.1416), min(link.upper, 3.1416)
    return Actuator(motor.name, [(dof, 1.0)], kp, (0.0, -kp, -lead * kp), ends, (weakest, strongest))
