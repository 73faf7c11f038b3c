"""Motors that are driven as robots drive theirs: by a controller that pulls to an angle."""

from __future__ import annotations

from rpo_lightning.sim import Actuator, Model

__all__ = ["motors_to_servos"]


def motors_to_servos(model: Model, kp: float, kv: float) -> None:
    """Put a servo in the place of each motor on a joint: kp * (control - angle) - kv * rate, within what the motor can give.

    Controls are then angles, over the range of the joint; without one, half a turn each way.

    Args:
        model: the robot, which is changed.
        kp: [N m/rad or N/m]. kv: [N m s/rad or N s/m].

    Raises:
        ValueError: for an actuator that is no motor on one joint.
    """
    model.actuators = [_servo(model, actuator, kp, kv) for actuator in model.actuators]


def _servo(model: Model, motor: Actuator, kp: float, kv: float) -> Actuator:
    if len(motor.moment) != 1 or any(motor.bias) or any(motor.gain_slope):
        raise ValueError(f"actuator {motor.name!r} is no motor on one joint, so it cannot be made a servo")
    ((dof, gear),) = motor.moment
    link = model.links[model.qd_start.index(dof)]
    strength = sorted(gear * motor.gain * control for control in motor.control)
    clamped = sorted(gear * force for force in motor.force_range)
    ends = max(link.lower, -3.1416), min(link.upper, 3.1416)
    limits = max(strength[0], clamped[0]), min(strength[1], clamped[1])
    return Actuator(motor.name, [(dof, 1.0)], kp, (0.0, -kp, -kv), ends, limits)

