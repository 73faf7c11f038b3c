"""Whether what acts in joints is too steep for the inertia it meets: damping, springs, limits, servos, dry friction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rpo_lightning.check_env.inertia import Pose
from rpo_lightning.check_env.report import Section, Verdict
from rpo_lightning.check_env.subject import Subject
from rpo_lightning.sim import Model
from rpo_lightning.sim.linkage import Moment

__all__ = ["Grip", "check_joints", "grips"]

_LIMIT = 2.0  # of h sqrt(k / I) and of h c / I, where semi-implicit Euler becomes unstable


class Grip(NamedTuple):
    """How steep one force in one joint is, for substeps of length h.

    Attributes:
        joint, what: whose, and which force. stiffness, damping: k and c [N m/rad, N m s/rad or N/m, N s/m].
        inertia: I that it meets through all other joints [kg m^2 or kg].
        steep: h sqrt(k / I) of a stiffness, h c / I of a damping; unstable beyond 2.
        cure: what to do about it besides more substeps.
    """

    joint: str
    what: str
    stiffness: float
    damping: float
    inertia: float
    steep: float
    cure: str

    def substeps(self, now: int) -> int:
        """Return how many substeps in the place of `now` make it stable."""
        return math.ceil(now * self.steep / _LIMIT * (1.0 + 1e-6))

    def __str__(self) -> str:
        value = f"{self.stiffness:g}" if self.stiffness else f"{self.damping:g}"
        formula = "h sqrt(k / I)" if self.stiffness else "h c / I"
        return (
            f"{self.what} {value} of joint {self.joint} is too steep: it meets {self.inertia:.2g}, "
            f"{formula} = {self.steep:.2g}, above {_LIMIT:g}"
        )


def grips(model: Model, h: float, interval: int = 1) -> list[Grip]:
    """Return every force in a joint that depends on its coordinate or rate and acts explicitly, in the start pose.

    Args:
        model: the robot.
        h: length of a substep [s].
        interval: substeps that a mass matrix serves, and with it the implicit damping of dry friction.
    """
    pose = Pose(model, model.start)
    return [*_of_joints(model, pose, h, interval), *_of_tendons(model, pose, h, interval), *_of_servos(model, pose, h)]


def check_joints(subject: Subject, section: Section) -> None:
    """Name what is too steep."""
    env = subject.make()
    found = [
        grip for grip in grips(env.model, env.dt / env.substeps, env.simulator.mass_matrix_interval) if grip.steep > _LIMIT
    ]
    section.result = found
    for grip in sorted(found, key=lambda grip: -grip.steep)[:4]:
        text = f"{grip}; {grip.cure}, or raise substeps to {grip.substeps(env.substeps)}"
        section.verdicts.append(Verdict("warning", text))
    if len(found) > 4:
        section.verdicts.append(Verdict("warning", f"and {len(found) - 4} more of this kind"))
    if not found:
        section.verdicts.append(Verdict("ok", "nothing in a joint is too steep for the inertia it meets"))


def _of_joints(model: Model, pose: Pose, h: float, interval: int) -> Iterator[Grip]:
    explicit = model.damping == "explicit"
    for index, link in enumerate(model.links):
        for dof in range(model.qd_start[index], model.qd_start[index + 1]):
            inertia = pose.effective(dof)
            if explicit:
                drag = link.damping + link.limit_kd
                yield _damped(link.name, "damping", drag, inertia, h, 'let it act implicitly (<text name="damping">)')
            if link.frictionloss and (explicit or interval > 1):
                yield _rubbed(model, link.name, link.frictionloss, inertia, h, explicit)
            if link.stiffness:
                yield _sprung(link.name, "spring", link.stiffness, inertia, h)
            if link.limit_ke and (np.isfinite(link.lower) or np.isfinite(link.upper)):
                yield _sprung(link.name, "limit ke", link.limit_ke, inertia, h)
                yield _damped(link.name, "limit stop_kd", link.stop_kd, inertia, h, "lower it")


def _of_tendons(model: Model, pose: Pose, h: float, interval: int) -> Iterator[Grip]:
    for tendon in model.tendons:
        inertia, explicit = _along(model, pose, tendon.moment), _is_explicit(model, tendon.moment)
        if tendon.stiffness:
            yield _sprung(tendon.name, "spring", tendon.stiffness, inertia, h)
        if tendon.limit_ke and (np.isfinite(tendon.lower) or np.isfinite(tendon.upper)):
            yield _sprung(tendon.name, "limit ke", tendon.limit_ke, inertia, h)
            yield _damped(tendon.name, "limit stop_kd", tendon.stop_kd, inertia, h, "lower it")
        if explicit and tendon.damping:
            yield _damped(tendon.name, "damping", tendon.damping, inertia, h, "lower it")
        if tendon.frictionloss and (explicit or interval > 1):
            yield _rubbed(model, tendon.name, tendon.frictionloss, inertia, h, explicit)


def _of_servos(model: Model, pose: Pose, h: float) -> Iterator[Grip]:
    for actuator in model.actuators:
        _, by_length, by_velocity = actuator.bias
        if not any(coefficient for _, coefficient in actuator.moment):
            continue
        inertia = _along(model, pose, actuator.moment)
        if by_length < 0.0:
            yield _sprung(actuator.name, "servo kp", -by_length, inertia, h)
        if by_velocity < 0.0 and _is_explicit(model, actuator.moment):
            yield _damped(actuator.name, "servo kv", -by_velocity, inertia, h, "lower it")


def _along(model: Model, pose: Pose, moment: Moment) -> float:
    """Return the inertia that a force along a length meets while all joints give way."""
    row = np.zeros((1, model.nd))
    for dof, coefficient in moment:
        row[0, dof] += coefficient
    response = pose.response(row)
    return 1.0 / response if response else math.inf


def _is_explicit(model: Model, moment: Moment) -> bool:
    """Tell whether damping along a length is explicit: implicitly it needs joints on one chain."""
    return model.damping == "explicit" or not model.on_a_chain(moment)


def _rubbed(model: Model, name: str, loss: float, inertia: float, h: float, explicit: bool) -> Grip:
    wide = f"widen the start of its friction loss to {1.05 * loss * h / (_LIMIT * inertia):.2g}"
    cure = wide if explicit else f"rebuild the mass matrix in each substep (mass_matrix_interval), {wide}"
    return _damped(name, "friction loss", loss / model.friction_width, inertia, h, cure)


def _sprung(joint: str, what: str, k: float, inertia: float, h: float) -> Grip:
    return Grip(joint, what, k, 0.0, inertia, h * math.sqrt(k / inertia), "lower it")


def _damped(joint: str, what: str, c: float, inertia: float, h: float, cure: str) -> Grip:
    return Grip(joint, what, 0.0, c, inertia, h * c / inertia, cure)
