"""Which links of a robot are its feet, and robots that touch the ground with nothing else."""

from __future__ import annotations

from rpo_lightning.sim import Model
from rpo_lightning.sim.algebra import ZERO
from rpo_lightning.sim.kinematics import kinematics

__all__ = ["feet_of", "ground_gap", "only_feet_touch", "set_down"]

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
