"""Which links of a robot are its feet, and robots that touch the ground with nothing else."""

from __future__ import annotations

import numpy as np

from rpo_lightning.sim import Joint, Model
from rpo_lightning.sim.algebra import ZERO
from rpo_lightning.sim.kinematics import kinematics

__all__ = ["bend_knees", "feet_of", "ground_gap", "leg", "only_feet_touch", "pitching", "set_down"]

_SOLE = 0.005  # [m] points of a foot that are at most so much higher than its lowest belong to its sole
_STANDING = 0.05  # [m] by which one foot may be higher than another in the start pose


def feet_of(model: Model) -> tuple[str, ...]:
    """Return the names of the links that end a limb and are on the ground in the start pose, none if nothing stands."""
    bearing = {link.parent for link in model.links}
    lowest = {link: min(heights) for link, heights in _heights(model).items() if link not in bearing and link > 0}
    ground = min(lowest.values(), default=0.0)
    return tuple(model.links[link].name for link, height in sorted(lowest.items()) if height < ground + _STANDING)


def ground_gap(model: Model) -> float:
    """Return how far the start pose's lowest point is over the ground [m], below 0 inside it; 0 if nothing can touch it."""
    return min((min(heights) for heights in _heights(model).values()), default=0.0)


def set_down(model: Model) -> None:
    """Move a robot with a free base so that it touches the ground in its start pose, without being pressed into it."""
    model.start[:3] -= ground_gap(model) * model.up


def leg(model: Model, foot: str) -> list[tuple[int, float]]:
    """Return the hinges above a foot, the uppermost first: the link of each, and y of its axis in the start pose."""
    frames, found = kinematics(model, model.start.tolist(), ZERO), []
    link = [link.name for link in model.links].index(foot)
    while link > 0:
        if model.links[link].joint is Joint.REVOLUTE:
            found.append((link, float(frames[link].columns[0][0][1])))
        link = model.links[link].parent
    return found[::-1]


def pitching(model: Model, foot: str) -> list[tuple[int, float]]:
    """Return the hinges of a leg that turn about y, as hip, knee and ankle do: the link of each, and -1 if about -y."""
    return [(link, float(np.sign(across))) for link, across in leg(model, foot) if abs(across) > 0.9]


def bend_knees(model: Model, feet: tuple[str, ...], angle: float = 0.3) -> None:
    """Bend hips and ankles of the start pose by an angle, knees by twice of it, and set the robot down: soles stay level.

    A straight leg cannot become longer, so a robot that stands on such cannot push itself up.

    Args:
        model: the robot, which is changed; x is forward.
        feet: names of links.
        angle: [rad].

    Raises:
        ValueError: for a foot that is not turned by three joints as hip, knee and ankle.
    """
    for foot in feet:
        joints = pitching(model, foot)
        if len(joints) != 3:
            found = ", ".join(model.links[link].name for link, _ in joints) or "none"
            raise ValueError(f"{foot} needs three joints above it that turn about y, hip, knee and ankle; got {found}")
        for (link, sign), share in zip(joints, (-1.0, 2.0, -1.0), strict=True):
            model.start[model.q_start[link]] += sign * share * angle
    set_down(model)


def only_feet_touch(model: Model, feet: tuple[str, ...]) -> None:
    """Let soles alone touch the ground: shins, thighs and trunk pass through it, which is cheaper, and kinder to gradients.

    A sole is those points of a foot that are lowest in the start pose, within 5 mm. A fall is seen by height and tilt.

    Args:
        model: the robot, which is changed.
        feet: names of links.
    """
    found = _heights(model)
    heights, lowest = {link: iter(each) for link, each in found.items()}, {link: min(each) for link, each in found.items()}
    model.contacts = [
        contact
        for contact in model.contacts
        if next(heights[contact.link]) < lowest[contact.link] + _SOLE and model.links[contact.link].name in feet
    ]
    model.pairs = [
        pair for pair in model.pairs if "plane" not in (model.geoms[pair.first].kind, model.geoms[pair.second].kind)
    ]


def _heights(model: Model) -> dict[int, list[float]]:
    """Return how high the points of each link are over the ground in the start pose [m], in the order of `contacts`."""
    frames = kinematics(model, model.start.tolist(), ZERO)
    found: dict[int, list[float]] = {}
    for contact in model.contacts:
        frame = frames[contact.link]
        place = frame.position.astype(float) + frame.rotation.astype(float) @ contact.point
        found.setdefault(contact.link, []).append(float(place @ model.up) - model.ground - contact.radius)
    return found
