"""`rpo-lightning describe`: what a task observes, what its actions do, and what its robot, or a file, is to the engine."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rpo_lightning.check_env.contact import falls_for_ever
from rpo_lightning.check_env.joints import grips
from rpo_lightning.check_env.suggest import suggest
from rpo_lightning.envs.tables import ActionRow, Quantity, action_rows, actions_of, observations_of
from rpo_lightning.sim import Joint, Model, load_mjcf
from rpo_lightning.sim.mjcf import MissingConstantsError

__all__ = ["as_markdown", "as_text", "described", "main", "overheard", "task_tables"]

_SUFFIXES = (".xml", ".mjcf", ".urdf")
_ANY: dict[str, Any] = {"contact": (1.0, 0.0, 0.0, 0.0), "limit": (1.0, 0.0)}  # for a look at a file that has none
_FORMATS = ("text", "markdown", "json")
_UNNAMED = "This task numbers its observations only; a method `quantities` names them (docs/own_robot.md)."

Table = tuple[str, list[tuple[str, ...]]]
"""A title, and rows of which the first is the head."""


@contextmanager
def overheard() -> Iterator[list[str]]:
    """Give a list of what the library logs meanwhile."""
    said: list[str] = []
    catcher = logging.Handler(logging.WARNING)
    catcher.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("rpo_lightning")
    log.addHandler(catcher)
    try:
        yield said
    finally:
        log.removeHandler(catcher)


def _file(name: Path, drop: tuple[str, ...]) -> Model:
    """Read a file, and if it lacks constants of contact or limits, with some that only the description sees."""
    try:
        return load_mjcf(name, drop=drop)
    except MissingConstantsError as error:
        return load_mjcf(name, drop=drop, **{law: _ANY[law] for law in error.names})


def task_tables(env: Any) -> list[Table]:
    """Return the tables of what a task observes, of what only its critic sees, if anything, and of its actions."""
    head = ("", "quantity", "unit", "frame")
    tables = [("Observations", [head, *_observed(observations_of(env))])]
    if env.privileged_dim and hasattr(env, "privileged_table"):
        tables.append(("What only the critic sees", [head, *_observed(env.privileged_table())]))
    return [*tables, _of_actions(actions_of(env))]


def described(
    model: Model,
    said: Iterable[str] = (),
    dt: float = 1.0 / 60.0,
    substeps: int = 16,
    actions: Iterable[ActionRow] | None = None,
) -> str:
    """Return links, joints, motors, contact and mass of a robot, what is strange about it, and constants that fit.

    Args:
        model: the robot.
        said: while it was read.
        dt: a step [s].
        substeps: of each step.
        actions: what they do; None: what the actuators say.
    """
    mass = sum(link.mass for link in model.links)
    points = Counter(model.links[contact.link].name for contact in model.contacts)
    pairs = Counter(f"{model.geoms[p.first].kind}-{model.geoms[p.second].kind}" for p in model.pairs)
    counts = f"{len(model.links)} links, {mass:.4g} kg; nq {model.nq}, nd {model.nd}, {len(model.actuators)} actuators"
    sections = [
        counts + _around(model),
        as_text(
            "Joints", [("", "joint", "type", "under", "range", "mass", "damping", "armature", "friction"), *_joints(model)]
        ),
        as_text(*_of_actions(action_rows(model) if actions is None else actions)),
        as_text("Points on the ground", [("link", "points"), *((name, str(n)) for name, n in points.items())]),
        as_text("Pairs of shapes", [("kinds", "pairs"), *((name, str(n)) for name, n in pairs.items())]),
    ]
    notes = list(dict.fromkeys(said)) or list(_strange(model))  # the reader of a file has said the same, with the remedy
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


def _observed(rows: Iterable[Quantity]) -> Iterator[tuple[str, ...]]:
    for index, row in enumerate(rows):
        yield str(index), row.name, row.unit or "-", row.frame or "-"


def _of_actions(rows: Iterable[ActionRow]) -> Table:
    return "Actions, in [-1, 1]", [("", "actuator", "on", "control", "force"), *_actions(rows)]


def _actions(rows: Iterable[ActionRow]) -> Iterator[tuple[str, ...]]:
    for index, row in enumerate(rows):
        unit = "" if row.unit[:1].isdigit() or not row.unit else f" {row.unit}"  # a motor's strength stands in its law
        yield str(index), row.name, row.joint, f"{row.low:.3g} ... {row.high:.3g}{unit}", row.law


def _strange(model: Model) -> Iterator[str]:
    if not model.actuators:
        yield "it has no motor: add actuators to the file, or in Python to `model.actuators`"
    if falls_for_ever(model):
        yield "nothing of it can touch anything fixed, so it falls for ever"


def as_text(title: str, rows: list[tuple[str, ...]]) -> str:
    """Return a table under its title in aligned columns; nothing for one of a head alone."""
    if len(rows) < 2:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n  ".join([title, *lines])


def as_markdown(title: str, rows: list[tuple[str, ...]], level: str = "##") -> str:
    """Return a table with a heading as Markdown."""
    lines = [rows[0], tuple("---" for _ in rows[0]), *rows[1:]]
    return "\n".join([f"{level} {title}", "", *(f"| {' | '.join(line)} |" for line in lines)])


def _task(env: Any, said: Iterable[str], form: str) -> str:
    """Return the description of a task in one of the formats."""
    title, tables = f"{env.name}: {env.obs_dim} observations, {env.action_dim} actions", task_tables(env)
    if form == "json":
        rows: dict[str, Sequence[Quantity | ActionRow]] = {"observations": observations_of(env), "actions": actions_of(env)}
        rows |= {"privileged": env.privileged_table()} if env.privileged_dim and hasattr(env, "privileged_table") else {}
        return json.dumps(
            {"task": env.name} | {name: [row._asdict() for row in part] for name, part in rows.items()}, indent=1
        )
    if form == "markdown":
        return "\n\n".join([f"# {title}", *(as_markdown(*table) for table in tables)])
    parts = [title, *(as_text(*table) for table in tables[:-1])]
    if observations_of(env)[0].name == "obs 0":
        parts.append(_UNNAMED)
    robot = getattr(env, "model", None)
    if isinstance(robot, Model):
        axis = "xyz"[int(np.argmax(np.abs(robot.up)))]
        parts[0] += f"; up is {axis}, a step {env.dt:.4g} s"
        return "\n\n".join([*parts, described(robot, said, env.dt, env.substeps, actions_of(env))])
    return "\n\n".join([*parts, as_text(*tables[-1])])


def main(arguments: list[str], description: str) -> None:
    """Print the description of a robot's file or of a task.

    Raises:
        FileNotFoundError, ValueError: if it cannot be read or made. SystemExit: 2 for an unknown option, told in one line.
    """
    from rpo_lightning import envs, robots
    from rpo_lightning.cli.parser import FriendlyParser

    parser = FriendlyParser(prog="rpo-lightning describe", description=description, allow_abbrev=False)
    parser.add_argument(
        "robot", type=str, help="An MJCF or URDF file, public/NAME, or a task, or a class path such as my_robot.MyRobot."
    )
    parser.add_argument("--drop", type=list[str], default=[], help='What to leave out of a file: ["tendon", "equality"].')
    parser.add_argument("--options", type=dict, default={}, help='Of the task: {"observe_parameters": true}.')
    parser.add_argument("--format", type=str, default="text", help=f"Of a task's tables: {', '.join(_FORMATS)}.")
    given = parser.parse_args(arguments)
    if given.format not in _FORMATS:
        raise ValueError(f"--format must be one of {', '.join(_FORMATS)}, not {given.format!r}")
    with overheard() as said:
        if Path(given.robot).suffix in _SUFFIXES or given.robot.startswith(robots.PUBLIC):
            if given.format != "text":
                raise ValueError("--format is for tasks; a file is described as text")
            print(described(_file(robots.find(given.robot), tuple(given.drop)), said))
            return
        env = envs.make(given.robot, num_envs=1, **given.options)
    try:
        print(_task(env, said, given.format))
    finally:
        env.close()
