"""`rpo-lightning describe`: what a robot file or a task's robot is to the engine, and constants that would fit it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rpo_lightning.check_env.contact import falls_for_ever
from rpo_lightning.check_env.joints import grips
from rpo_lightning.check_env.suggest import suggest
from rpo_lightning.sim import Actuator, Joint, Model, load_mjcf
from rpo_lightning.sim.mjcf import MissingConstantsError

__all__ = ["described", "main", "robot"]

_SUFFIXES = (".xml", ".mjcf", ".urdf")
_ANY: dict[str, Any] = {"contact": (1.0, 0.0, 0.0, 0.0), "limit": (1.0, 0.0)}  # for a look at a file that has none


def robot(name: str, drop: tuple[str, ...] = ()) -> tuple[Model, list[str], float, int]:
    """Return a robot with what was said while it was read, and the step [s] and substeps it is simulated with.

    Args:
        name: a file, or a task whose robot is meant.
        drop: as for `load_mjcf`, of a file.

    Raises:
        FileNotFoundError, ValueError: if it cannot be read, or is a task without a robot of this engine.
    """
    said: list[str] = []
    catcher = logging.Handler(logging.WARNING)
    catcher.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("rpo_lightning")
    log.addHandler(catcher)
    try:
        if Path(name).suffix in _SUFFIXES:
            return _file(name, drop), said, 1.0 / 60.0, 16
        from rpo_lightning import envs
        from rpo_lightning.envs.articulated import ArticulatedEnv

        cls = envs.env_class(name)
        if not issubclass(cls, ArticulatedEnv):
            raise ValueError(f"{name} has no robot of this engine; choose a file ({', '.join(_SUFFIXES)}) or another task")
        return cls.load_robot(), said, cls.dt, cls.substeps
    finally:
        log.removeHandler(catcher)


def _file(name: str, drop: tuple[str, ...]) -> Model:
    """Read a file, and if it lacks constants of contact or limits, with some that only the description sees."""
    try:
        return load_mjcf(name, drop=drop)
    except MissingConstantsError as error:
        return load_mjcf(name, drop=drop, **{law: _ANY[law] for law in error.names})


def described(model: Model, said: Iterable[str] = (), dt: float = 1.0 / 60.0, substeps: int = 16) -> str:
    """Return links, joints, motors, contact and mass of a robot, what is strange about it, and constants that fit."""
    mass = sum(link.mass for link in model.links)
    points = Counter(model.links[contact.link].name for contact in model.contacts)
    pairs = Counter(f"{model.geoms[p.first].kind}-{model.geoms[p.second].kind}" for p in model.pairs)
    counts = f"{len(model.links)} links, {mass:.4g} kg; nq {model.nq}, nd {model.nd}, {len(model.actuators)} actuators"
    sections = [
        counts + _around(model),
        _table(
            "Joints", [("", "joint", "type", "under", "range", "mass", "damping", "armature", "friction"), *_joints(model)]
        ),
        _table("Actions, in [-1, 1]", [("", "actuator", "on", "control", "force"), *_actions(model)]),
        _table("Points on the ground", [("link", "points"), *((name, str(n)) for name, n in points.items())]),
        _table("Pairs of shapes", [("kinds", "pairs"), *((name, str(n)) for name, n in pairs.items())]),
    ]
    notes = list(said) or list(_strange(model))  # the reader of a file has said the same, with the remedy
    steep = sorted(grips(model, dt / substeps), key=lambda grip: -grip.steep)[:3]
    notes += [f"{grip}; {grip.cure}, or raise substeps to {grip.substeps(substeps)}" for grip in steep if grip.steep > 2.0]
    if notes:
        sections.append("\n  ".join(["Mind", *notes]))
    lines = suggest(model, dt, substeps).lines()
    sections.append("\n  ".join([f"Constants that fit, for steps of {dt:.4g} s", *lines]))
    return "\n\n".join(section for section in sections if section)


def _around(model: Model) -> str:
    """Return what fluid surrounds the robot, nothing if it feels none."""
    if not model.fluid_shapes:
        return ""
    wind = f", wind {' '.join(f'{x:.4g}' for x in model.fluid.wind)} m/s" if model.fluid.wind.any() else ""
    return f"; in a fluid of {model.fluid.density:.4g} kg/m^3, {model.fluid.viscosity:.4g} Pa s{wind}"


def _joints(model: Model) -> Iterator[tuple[str, ...]]:
    for index, link in enumerate(model.links):
        unit = " m" if link.joint is Joint.PRISMATIC else " rad"
        ends = f"{link.lower:.3g} ... {link.upper:.3g}{unit}" if np.isfinite([link.lower, link.upper]).any() else "-"
        parent = model.links[link.parent].name if link.parent >= 0 else "world"
        numbers = (link.mass, link.damping, link.armature, link.frictionloss)
        yield str(index), link.name, link.joint.name.lower(), parent, ends, *(f"{x:.3g}" for x in numbers)


def _actions(model: Model) -> Iterator[tuple[str, ...]]:
    joints = [
        (link, " N" if link.joint is Joint.PRISMATIC else " N m") for link in model.links for _ in range(link.joint.dofs)
    ]
    for index, actuator in enumerate(model.actuators):
        (scale, unit), on = (1.0, ""), " + ".join(f"{c:.3g} {joints[dof][0].name}" for dof, c in actuator.moment)
        if alone := len(actuator.moment) == 1:
            ((dof, scale),) = actuator.moment
            on, unit = joints[dof][0].name, joints[dof][1]
        elif actuator.link >= 0:
            on = f"a point of {model.links[actuator.link].name}"
        force = _law(actuator, scale) + (_within(actuator.force_range, unit, scale) or (unit and f" [{unit[1:]}]"))
        for link, units in (joints[dof] for dof, _ in actuator.moment):
            force += _within(link.force_range, units, of=" joint" if alone else f" joint {link.name}")
        yield str(index), actuator.name, on, "{:.3g} ... {:.3g}".format(*actuator.control), force


def _law(actuator: Actuator, scale: float) -> str:
    """Return the law of an actuator; on one joint as that of the joint's own coordinate and force."""
    constant, by_length, by_velocity = actuator.bias
    terms = {
        " control": scale * actuator.gain,
        "": scale * constant,
        " position": scale**2 * by_length,
        " velocity": scale**2 * by_velocity,
        " position x control": scale**2 * actuator.gain_slope[0],
        " velocity x control": scale**2 * actuator.gain_slope[1],
    }
    return " ".join(f"{x:+.3g}{name}" for name, x in terms.items() if x).removeprefix("+") or "0"


def _within(bounds: tuple[float, float], unit: str, scale: float = 1.0, of: str = "") -> str:
    """Return between what a force is clamped, nothing if it is not."""
    low, high = sorted(scale * x for x in bounds)
    return f",{of} within {low:.3g} ... {high:.3g}{unit}" if np.isfinite([low, high]).any() else ""


def _strange(model: Model) -> Iterator[str]:
    if not model.actuators:
        yield "it has no motor: add actuators to the file, or in Python to `model.actuators`"
    if falls_for_ever(model):
        yield "nothing of it can touch anything fixed, so it falls for ever"


def _table(title: str, rows: list[tuple[str, ...]]) -> str:
    if len(rows) < 2:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n  ".join([title, *lines])


def main(arguments: list[str], description: str) -> None:
    """Print the description of a robot.

    Raises:
        FileNotFoundError, ValueError: as `robot`. SystemExit: 2 for an unknown option, told in one line.
    """
    from rpo_lightning.cli.parser import FriendlyParser

    parser = FriendlyParser(prog="rpo-lightning describe", description=description, allow_abbrev=False)
    parser.add_argument("robot", type=str, help="An MJCF or URDF file, or a task.")
    parser.add_argument("--drop", type=list[str], default=[], help='What to leave out: ["tendon", "equality"].')
    given = parser.parse_args(arguments)
    print(described(*robot(given.robot, tuple(given.drop))))
