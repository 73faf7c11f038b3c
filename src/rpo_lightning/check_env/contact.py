"""What touches what, and whether a constant of contact is too steep for the mass it meets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rpo_lightning.check_env.inertia import Pose
from rpo_lightning.check_env.report import Section, Verdict
from rpo_lightning.check_env.subject import Subject
from rpo_lightning.sim import Contact, Geom, Joint, Model, Pair
from rpo_lightning.sim.mjcf.frames import matrix

__all__ = ["Steepness", "check_contact", "falls_for_ever", "steepness"]

_LIMIT = 2.0  # of each number of `Steepness` where semi-implicit Euler becomes unstable
_TOGETHER = 0.01  # [m] points of a link that differ less in height touch at the same time
_LANDING = 1.0  # [m/s] damping grows with depth: it is judged at that of a landing with this speed
_NAMED = 6  # pairs; more are counted
_POINTS = {"sphere": 1, "capsule": 2, "box": 4, "cylinder": 3, "ellipsoid": 1}  # on something flat


class Steepness(NamedTuple):
    """How steep the constants of one contact are, for substeps of length h; beyond 2 each is unstable.

    Attributes:
        where: what touches what. points: how many at once, n.
        ke, kd, kf: h sqrt(n ke / m); the root of (h sqrt(n ke / m))^2 + 2 h gamma, damping included; h n kf / m.
        mass, slid: m along the normal and along the surface [kg]; infinite where nothing gives way.
        material: the constants.
    """

    where: str
    points: int
    ke: float
    kd: float
    kf: float
    mass: float
    slid: float
    material: Contact | Pair

    def sentence(self, constant: str) -> str:
        """Return what is said of a constant that is too steep."""
        mass, formula = {
            "ke": (self.mass, "h sqrt(n ke / m)"),
            "kd": (self.mass, "h sqrt(n ke / m) with damping"),
            "kf": (self.slid, "h n kf / m"),
        }[constant]
        count = f"{self.points} points together meet" if self.points > 1 else "one point meets"
        place = f"{constant} {getattr(self.material, constant):g} is too steep where {self.where}"
        return f"{place}: {count} {mass:.2g} kg, {formula} = {getattr(self, constant):.2g}, above {_LIMIT:g}"

    def cure(self, constant: str) -> tuple[float, float]:
        """Return below what the constant is not too steep, or by how many times more substeps."""
        value, steep = getattr(self.material, constant), getattr(self, constant) / _LIMIT
        if constant == "kd":  # its square has a part of ke and one of kd, which is in proportion to h
            return value * (_LIMIT**2 - self.ke**2) / (self.kd**2 - self.ke**2), steep**2
        return value / (steep**2 if constant == "ke" else steep), steep


def steepness(model: Model, h: float) -> list[Steepness]:
    """Return how steep all contact is in the start pose.

    On the ground each point is taken with those of its link that are as high as it, in the world's inertia that they meet
    through all joints, J M^-1 J^T. Shapes of a pair are pushed in the middle of their sides, each where it gives way most.

    Args:
        model: the robot.
        h: length of a substep [s].
    """
    pose = Pose(model, model.start)
    return [*_on_the_ground(model, pose, h), *_in_pairs(model, pose, h)]


def check_contact(subject: Subject, pairs: bool, section: Section) -> None:
    """Say what touches what, and name constants that are too steep; `pairs`: name every pair."""
    env = subject.make()
    model: Model = env.model
    section.verdicts.append(Verdict("ok", _summary(model, pairs)))
    if falls_for_ever(model):
        text = "nothing of the robot can touch anything fixed, so it falls for ever: give its file a ground plane and feet"
        section.verdicts.append(Verdict("warning", text))
    found: list[Steepness] = steepness(model, env.dt / env.substeps)
    section.result = found
    steep = False
    for constant in ("ke", "kd", "kf"):
        # damping is to blame only where stiffness alone is not
        over = [x for x in found if getattr(x, constant) > _LIMIT and not (constant == "kd" and x.ke > _LIMIT)]
        if over:
            worst, steep = max(over, key=lambda x: getattr(x, constant)), True
            more = f" (and in {len(over) - 1} more)" if len(over) > 1 else ""
            bound, times = worst.cure(constant)
            advice = f"lower it below {bound:.2g}, or raise substeps to {math.ceil(env.substeps * times)}"
            section.verdicts.append(Verdict("warning", f"{worst.sentence(constant)}{more}; {advice}"))
    if found and not steep:
        ke, kf = max(x.ke for x in found), max(x.kf for x in found)
        text = (
            f"no constant is too steep for the mass it meets: h sqrt(n ke / m) <= {ke:.2g}, h n kf / m <= {kf:.2g}, both < 2"
        )
        section.verdicts.append(Verdict("ok", text))


def falls_for_ever(model: Model) -> bool:
    """Return whether a free robot has weight and nothing fixed to touch: no ground, no pair with such a shape."""
    free = any(link.joint is Joint.FREE for link in model.links)
    fixed = any(min(model.geoms[pair.first].link, model.geoms[pair.second].link) < 0 for pair in model.pairs)
    return free and bool(model.gravity.any()) and not (model.contacts or fixed)


def _summary(model: Model, every: bool) -> str:
    count = len(model.contacts)
    ground = f"{count or 'no'} point{'' if count == 1 else 's'} of links on the ground"
    if not model.pairs:
        return f"{ground}, no pairs of shapes"
    ends = [(model.geoms[pair.first], model.geoms[pair.second]) for pair in model.pairs]
    kinds = Counter(f"{first.kind}-{second.kind}" for first, second in ends)
    text = f"{ground}, pairs of shapes: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}"
    if every or len(ends) <= _NAMED:
        text += f" ({', '.join(f'{first.name} with {second.name}' for first, second in ends)})"
    return text


def _judged(where: str, points: int, pushed: float, slid: float, material: Contact | Pair, law: str, h: float) -> Steepness:
    """Judge constants; `pushed` and `slid` are n / m along the normal and the surface."""
    omega = np.sqrt(material.ke * pushed)
    damping = material.kd * pushed if law == "rate" else material.kd / material.ke * omega * _LANDING
    damped = np.sqrt((h * omega) ** 2 + 2.0 * h * damping)
    mass, slid_mass = (points / value if value else np.inf for value in (pushed, slid))
    return Steepness(where, points, h * omega, damped, h * material.kf * slid, mass, slid_mass, material)


def _on_the_ground(model: Model, pose: Pose, h: float) -> Iterator[Steepness]:
    across = np.linalg.svd(model.up[None])[2][1:]
    for link in sorted({contact.link for contact in model.contacts}):
        contacts = [contact for contact in model.contacts if contact.link == link]
        lowest = (
            pose.place(link, np.array([c.point for c in contacts])) - np.array([[c.radius] for c in contacts]) * model.up
        )
        jacobians = [pose.jacobian(link, point) for point in lowest]
        heights = lowest @ model.up
        for contact, height in zip(contacts, heights, strict=True):
            same = [i for i in np.flatnonzero(np.abs(heights - height) < _TOGETHER) if _alike(contacts[i], contact)]
            pushed = pose.response(np.concatenate([model.up[None] @ jacobians[i] for i in same]))
            slid = pose.response(np.concatenate([across @ jacobians[i] for i in same]))
            where = f"{model.links[link].name} touches the ground"
            yield _judged(where, len(same), pushed, slid, contact, model.law, h)


def _alike(one: Contact, other: Contact) -> bool:
    return (one.ke, one.kd, one.kf) == (other.ke, other.kd, other.kf)


def _in_pairs(model: Model, pose: Pose, h: float) -> Iterator[Steepness]:
    gives = [_gives_way(pose, geom) for geom in model.geoms]
    for pair in model.pairs:
        first, second = model.geoms[pair.first], model.geoms[pair.second]
        points = _POINTS[first.kind] if second.kind in ("box", "plane", "hfield") else 1
        if model.detection == "rewarped" and first.kind == second.kind == "box":
            points = 8  # edges of one on the other, four each way
        pushed, slid = points * (gives[pair.first] + gives[pair.second])
        yield _judged(f"{first.name} touches {second.name}", points, pushed, slid, pair, model.law, h)


def _gives_way(pose: Pose, geom: Geom) -> np.ndarray:
    """Return (2,): 1 / m along the normal and the surface, in the middle of the side of a shape where it is largest."""
    if geom.link < 0:
        return np.zeros(2)
    radius, half = geom.size[:2]
    extents = {
        "sphere": np.full(3, radius),
        "capsule": np.array([radius, radius, half + radius]),
        "cylinder": np.array([radius, radius, half]),
    }.get(geom.kind, geom.size)
    sides = np.concatenate([np.eye(3), -np.eye(3)])
    local = geom.pos + (sides * extents) @ matrix(geom.quat).T
    normals = pose.place(geom.link, geom.pos + sides @ matrix(geom.quat).T) - pose.place(geom.link, geom.pos[None])
    found = []
    for point, normal in zip(pose.place(geom.link, local), normals, strict=True):
        jacobian, across = pose.jacobian(geom.link, point), np.linalg.svd(normal[None])[2][1:]
        found.append([pose.response(normal[None] @ jacobian), pose.response(across @ jacobian)])
    return np.max(found, axis=0)
