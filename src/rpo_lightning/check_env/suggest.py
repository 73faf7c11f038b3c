"""Constants of contact and limits that fit a robot: as stiff as is stable, and how far it then sinks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rpo_lightning.check_env.contact import Steepness, steepness
from rpo_lightning.check_env.inertia import Pose
from rpo_lightning.check_env.joints import grips
from rpo_lightning.sim import Actuator, Model

__all__ = ["Suggestion", "suggest"]

_SAFE = 0.7  # of h sqrt(n ke / m) and h n kf / m, which are unstable beyond 2
_SINK = 0.01  # of the height of its centre of mass, that a standing robot may sink
_SLIP = 0.01  # [m/s] below which friction that holds a standing robot may creep
_BOUNCE = 0.2  # [s/m] kd / ke: damping of a landing
_LIMIT_SAFE = 0.5  # of h sqrt(ke / I) of a joint's limit
_GIVE = 0.02  # [rad or m] that the strongest motor may push a joint beyond its limit
_MOST = 256  # substeps to suggest


class Suggestion(NamedTuple):
    """What to write into a robot's file or task.

    Attributes:
        contact: (ke, kd, kf, mu), None if nothing touches. limit: (ke, kd, stop_kd), None if no joint is limited.
        substeps: of a step.
        sink: how far the robot sinks where it stands in its start pose [m], NaN if it does not stand.
        allowed: how far it may.
        weakest: what keeps the stiffness of contact low. narrowest: the joint that does so for limits.
    """

    contact: tuple[float, float, float, float] | None
    limit: tuple[float, float, float] | None
    substeps: int
    sink: float
    allowed: float
    weakest: str
    narrowest: str

    def lines(self) -> list[str]:
        """Return what to paste, and why."""
        out = [f"substeps = {self.substeps}"]
        if self.contact is not None:
            sinks = f"standing it sinks {1e3 * self.sink:.2g} mm; " if math.isfinite(self.sink) else ""
            out.append(f"contact = ({', '.join(f'{x:g}' for x in self.contact)})  # {sinks}the bound: {self.weakest}")
        if self.limit is not None:
            out.append(f"limit = ({', '.join(f'{x:g}' for x in self.limit)})  # the bound: {self.narrowest}")
        return out


def suggest(model: Model, dt: float = 1.0 / 60.0, substeps: int = 16, mu: float = 0.8) -> Suggestion:
    """Return constants for a robot whose own ones are not looked at.

    Substeps are raised, up to 256, until a standing robot sinks by at most 1 % of the height of its centre of mass and
    nothing in a joint is too steep.

    Args:
        model: the robot, with any constants.
        dt: of a step [s].
        substeps: the fewest.
        mu: coefficient of friction.
    """
    while True:
        found = _for_substeps(model, dt / substeps, substeps, mu)
        steep = max((grip.steep for grip in grips(_unlimited(model), dt / substeps)), default=0.0)
        if 2 * substeps > _MOST or (steep <= 1.0 and not found.sink > 1.1 * found.allowed):
            return found
        substeps *= 2


def _for_substeps(model: Model, h: float, substeps: int, mu: float) -> Suggestion:
    weight, points, height = _standing(model)
    contact, weakest = _contact(model, h, mu, weight, points, _SINK * height)
    limit, narrowest = _limit(model, h, weight * height)
    sink = weight / (points * contact[0]) if contact is not None and points else math.nan
    return Suggestion(contact, limit, substeps, sink, _SINK * height, weakest, narrowest)


def _contact(
    model: Model, h: float, mu: float, weight: float, points: int, allowed: float
) -> tuple[tuple[float, float, float, float] | None, str]:
    unit = replace(
        model,
        contacts=[replace(point, ke=1.0, kd=0.0, kf=1.0, mu=mu) for point in model.contacts],
        pairs=[replace(pair, ke=1.0, kd=0.0, kf=1.0, mu=mu) for pair in model.pairs],
    )
    found = [x for x in steepness(unit, h) if x.ke > 0.0]
    if not found:
        return None, ""
    steepest, slid = max(found, key=lambda x: x.ke), max(found, key=lambda x: x.kf)
    ke, kf = (_SAFE / steepest.ke) ** 2, _SAFE / slid.kf
    if points and weight:
        ke, kf = min(ke, weight / (points * allowed)), min(kf, mu * weight / (points * _SLIP))
    return (_rounded(ke), _rounded(_BOUNCE * ke), _rounded(kf), mu), _who(steepest)


def _who(found: Steepness) -> str:
    return f"{found.where}, {found.mass:.2g} kg on {found.points} point{'' if found.points == 1 else 's'}"


def _standing(model: Model) -> tuple[float, int, float]:
    """Return weight [N], how many points are the lowest, within a centimetre, and the centre of mass's height over them."""
    mass = sum(link.mass for link in model.links)
    pose, weight = Pose(model, model.start), mass * float(np.linalg.norm(model.gravity))
    heights = [
        float((pose.place(contact.link, contact.point[None])[0] - contact.radius * model.up) @ model.up)
        for contact in model.contacts
    ]
    moments = [link.mass * (pose.place(index, link.com[None])[0] @ model.up) for index, link in enumerate(model.links)]
    lowest = min(heights, default=model.ground)
    return weight, sum(height < lowest + 0.01 for height in heights), max(float(sum(moments) / mass) - lowest, 0.01)


def _limit(model: Model, h: float, moment: float) -> tuple[tuple[float, float, float] | None, str]:
    """Return constants of the limits; where no motor says how strong they must be, they hold `moment` [N m or N]."""
    pose = Pose(model, model.start)
    limited = [
        (pose.effective(model.qd_start[index]), link.name)
        for index, link in enumerate(model.links)
        if np.isfinite(link.lower) or np.isfinite(link.upper)
    ]
    if not limited:
        return None, ""
    inertia, name = min(limited)
    strengths = [abs(c) * _strength(actuator) for actuator in model.actuators for _, c in actuator.moment]
    ke = min((_LIMIT_SAFE / h) ** 2 * inertia, max(strengths, default=moment) / _GIVE)
    return (_rounded(ke), 0.0, _rounded(math.sqrt(ke * inertia))), f"joint {name} meets {inertia:.2g}"


def _strength(actuator: Actuator) -> float:
    ends = [abs(x) for x in actuator.force_range if np.isfinite(x)]
    return max(ends) if ends else abs(actuator.gain) * max(map(abs, actuator.control))


def _unlimited(model: Model) -> Model:
    return replace(model, links=[replace(link, limit_ke=0.0, limit_kd=0.0, stop_kd=0.0) for link in model.links])


def _rounded(x: float) -> float:
    return float(f"{x:.2g}")
