"""What a robot is, as far as a task for it must know: its kind, what of the file has to be mended, which constants fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rpo_lightning.check_env.suggest import Suggestion, suggest
from rpo_lightning.envs.legged.feet import bend_knees, feet_of, ground_gap, only_feet_touch, pitching, set_down
from rpo_lightning.envs.servos import motors_to_servos, strength
from rpo_lightning.sim import Joint, Model, load_mjcf
from rpo_lightning.sim.algebra import ZERO
from rpo_lightning.sim.kinematics import kinematics
from rpo_lightning.sim.mjcf import MissingConstantsError

__all__ = ["DT", "KINDS", "Survey", "survey"]

KINDS = ("velocity", "reach", "plain")
DT = 0.02
"""A step [s]: 50 commands a second, as robots are driven."""
_SUBSTEPS = 16
_ANY = {"contact": (1.0, 0.0, 0.0, 0.0), "limit": (1.0, 0.0)}  # for a look at a file that has none
_OFF = 0.015  # [m] by which the start pose may be off the ground: as deep as some keyframes let feet sink
_ERROR = 0.6  # [rad] at which servos give all that their motors can: as stiff as those of robots
_MANY = 32  # pairs of a robot's own shapes, beyond which they are left out: each is compiled, and computed in every substep


@dataclass
class Survey:
    """What is written into a task.

    Attributes:
        path: the robot's file. kind: of `KINDS`. drop: of `load_mjcf`.
        model: the robot as the task will have it. feet: names of links, of a robot that walks.
        missing: which constants the file lacks, "contact" or "limit". suggestion: constants that fit.
        gap: from the start pose's lowest point to the ground [m], where the task moves it there; else 0.
        pruned: how many points besides the soles the file lets touch the ground, where the task takes them away; else 0.
        servos: the error at which servos give all that the motors in whose place the task puts them can [rad]; 0: they stay.
        biped: whether it walks on two legs that have hips, knees and ankles. bent: whether the task bends them.
        said: by the loader of the robot as the task reads it.
        forward: the link that slides forward, of a robot in a plane; -1 if there is none.
    """

    path: Path
    kind: str
    drop: tuple[str, ...]
    model: Model
    missing: tuple[str, ...]
    feet: tuple[str, ...] = ()
    gap: float = 0.0
    pruned: int = 0
    servos: float = 0.0
    biped: bool = False
    bent: bool = False
    forward: int = -1
    said: list[str] = field(default_factory=list)
    suggestion: Suggestion = field(init=False)

    @property
    def free(self) -> bool:
        """Whether the first joint is free."""
        return self.model.links[0].joint is Joint.FREE

    @property
    def stands(self) -> bool:
        """Whether it has something to stand on."""
        return bool(self.model.contacts or any(self.model.geoms[pair.first].link < 0 for pair in self.model.pairs))

    @property
    def mass(self) -> float:
        """Of all links [kg]."""
        return sum(link.mass for link in self.model.links)

    @property
    def height(self) -> float:
        """How high the base is over the ground in the start pose [m]."""
        return float(self.model.start[:3] @ self.model.up) - self.model.ground

    def place(self, name: str) -> np.ndarray:
        """Return where a link is in the start pose, (3,) [m]."""
        index = [link.name for link in self.model.links].index(name)
        return kinematics(self.model, self.model.start.tolist(), ZERO)[index].position.astype(float)


def survey(path: Path, kind: str | None, drop: Sequence[str]) -> Survey:
    """Look at a robot.

    Args:
        path: its file.
        kind: of `KINDS`; None: what it is made for.
        drop: of `load_mjcf`.

    Raises:
        ValueError: for a robot that cannot be loaded, with what to give, or that is not of this kind.
    """
    model, missing = _loaded(path, drop)
    if not model.actuators:
        raise ValueError(f"{path}: it has no actuator, so there is nothing to learn; add an <actuator> for each joint")
    why = _why_not_walking(model)
    kind = kind or ("velocity" if not why and _servos(model) else "plain")
    if kind == "velocity":
        if why:
            raise ValueError(f"{path}: it cannot walk as commanded: {why}; --kind plain writes a task that it can have")
        return _walking(path, tuple(drop), missing)
    if kind == "reach" and (model.links[0].joint is Joint.FREE or any(link.joint is Joint.BALL for link in model.links)):
        raise ValueError(
            f"{path}: an arm that reaches has a fixed base and no ball joints; --kind plain writes a task for it"
        )
    surroundings = suggest(model, DT, _SUBSTEPS).contact  # which the loader asks for, touched or not
    if kind == "reach":
        model.contacts, model.pairs = [], []  # it moves through the air
    elif model.links[0].joint is Joint.FREE and _touching_itself(model) > _MANY and "self" not in drop:
        drop = (*drop, "self")
        model, missing = _loaded(path, drop)
    found = Survey(path, kind, tuple(drop), model, missing)
    found.forward = -1 if found.free else _slides_forward(model)
    if found.free and found.stands and (gap := ground_gap(model)) < -_OFF:
        found.gap = gap
        set_down(model)
    found.suggestion = suggest(model, DT, _SUBSTEPS)
    if found.suggestion.contact is None:
        found.suggestion = found.suggestion._replace(contact=surroundings)
    return found


def _loaded(path: Path, drop: Sequence[str]) -> tuple[Model, tuple[str, ...]]:
    """Return the robot, and which constants it lacks."""
    try:
        return load_mjcf(path, drop=drop), ()
    except MissingConstantsError as error:
        constants: dict[str, Any] = {name: _ANY[name] for name in error.names}
        return load_mjcf(path, drop=drop, **constants), error.names
    except ValueError as error:
        if "drop=[" not in str(error):
            raise
        keys = str(error).rpartition("drop=[")[2].partition("]")[0]
        raise ValueError(f"{error}\n  new-task takes it as --drop '[{keys}]'") from error


def _walking(path: Path, drop: tuple[str, ...], missing: tuple[str, ...]) -> Survey:
    """Return a robot that walks: legs do not touch each other, and of all points soles alone touch the ground."""
    if "self" not in drop and _touching_itself(_loaded(path, drop)[0]):
        drop = (*drop, "self")
    model, missing = _loaded(path, drop)
    found = Survey(path, "velocity", drop, model, missing, feet_of(model))
    found.biped = len(found.feet) == 2 and all(len(pitching(model, foot)) == 3 for foot in found.feet)
    if found.biped:
        found.feet = tuple(sorted(found.feet, key=lambda foot: -found.place(foot)[1]))  # the left one first
        found.bent = any(_straight(found, foot) for foot in found.feet)
    if found.bent:
        bend_knees(model, found.feet)
    elif abs(gap := ground_gap(model)) > _OFF:
        found.gap = gap
        set_down(model)
    soles = [contact for contact in model.contacts if model.links[contact.link].name in found.feet]
    on_planes = any("plane" in (model.geoms[pair.first].kind, model.geoms[pair.second].kind) for pair in model.pairs)
    if len(soles) != len(found.feet) or on_planes:
        before = len(model.contacts) + len(model.pairs)
        only_feet_touch(model, found.feet)
        found.pruned = before - len(model.contacts) - len(model.pairs)
    if not _servos(model):
        found.servos = _error(found)
        motors_to_servos(model, found.servos)
    found.suggestion = suggest(model, DT, _SUBSTEPS)
    return found


def _straight(found: Survey, foot: str) -> bool:
    """Return whether a leg is as long as it can be, to 2 %, in the start pose."""
    joints = (found.model.links[link].name for link, _ in pitching(found.model, foot))
    hip, knee, ankle = (found.place(joint)[[0, 2]] for joint in joints)
    return bool(np.linalg.norm(hip - ankle) > 0.98 * (np.linalg.norm(hip - knee) + np.linalg.norm(knee - ankle)))


def _error(found: Survey) -> float:
    """Return at which error servos should give all [rad]: of a biped, so that those of its ankles can hold it upright."""
    if not found.biped:
        return _ERROR
    ankles = [found.model.qd_start[pitching(found.model, foot)[-1][0]] for foot in found.feet]
    motors = [motor for motor in found.model.actuators if motor.moment[0][0] in ankles]
    toppling = 9.81 * found.mass * found.height  # [N m/rad]
    return round(min(_ERROR, sum(strength(found.model, motor)[1] for motor in motors) / (1.5 * toppling)), 2)


def _why_not_walking(model: Model) -> str:
    """Return what a robot lacks for walking as commanded, nothing if it can."""
    if model.links[0].joint is not Joint.FREE:
        return "its base does not move freely"
    if model.up[2] < 0.999:
        return "gravity does not point along -z"
    if odd := [link.name for link in model.links[1:] if link.joint is not Joint.REVOLUTE]:
        return f"{json.dumps(odd[0])} is no hinge"
    driven = sorted(dof for actuator in model.actuators for dof, _ in actuator.moment)
    if driven != list(range(6, model.nd)) or any(len(actuator.moment) != 1 for actuator in model.actuators):
        return "not every hinge has one actuator of its own"
    feet = feet_of(model)
    return "" if len(feet) > 1 else "fewer than two links that end a limb touch the ground in its start pose"


def _servos(model: Model) -> bool:
    return all(actuator.bias[1] < 0.0 for actuator in model.actuators)


def _touching_itself(model: Model) -> int:
    return sum(min(model.geoms[pair.first].link, model.geoms[pair.second].link) >= 0 for pair in model.pairs)


def _slides_forward(model: Model) -> int:
    """Return the first link if it slides along the ground undriven and without limits, as robots in a plane do; else -1."""
    link, driven = model.links[0], {dof for actuator in model.actuators for dof, _ in actuator.moment}
    if link.joint is not Joint.PRISMATIC or 0 in driven or np.isfinite([link.lower, link.upper]).any():
        return -1
    ((_, along),) = kinematics(model, model.start.tolist(), ZERO)[0].columns
    return 0 if abs(along.astype(float) @ model.up) < 0.1 else -1
