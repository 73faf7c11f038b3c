"""Which entry of an observation is what, and what actions stand for: rows made from the robot's file.

A task names what it observes in `quantities`, piece by piece as `observe` puts it together:

    torch.cat([q[:, 1:], 0.1 * qd], dim=1)
    [*positions(self.model)[1:], *scaled(velocities(self.model), 0.1)]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import mujoco
import numpy as np

from rpo_lightning.sim import Actuator, Joint, Model, Parameters
from rpo_lightning.sim.mjcf.actuators import read_actuator, why_not_simulated
from rpo_lightning.sim.parameters import KINDS

__all__ = [
    "ActionRow",
    "Quantity",
    "action_rows",
    "actions_of",
    "angle",
    "last_actions",
    "named",
    "numbered",
    "numbered_actions",
    "observations_of",
    "parameter_rows",
    "positions",
    "quaternion",
    "scaled",
    "vector",
    "velocities",
]


class Quantity(NamedTuple):
    """What one entry of an observation is.

    Attributes:
        name: such as "hip_1 velocity".
        unit: what an entry of 1 stands for: "rad/s", "10 rad/s" of a rate that is multiplied by 0.1; "" for a pure number.
        frame: whose axes or zero it is told in: "world", "base"; "" where there is no choice, as for a joint.
    """

    name: str
    unit: str = ""
    frame: str = ""


class ActionRow(NamedTuple):
    """What one entry of an action stands for.

    Attributes:
        name: of the actuator. joint: what it acts on.
        control: what is asked of it: "torque", "force", "position", "velocity", or "control" for anything else.
        unit: what a control of 1 stands for: "rad", or "200 N m" of a motor with that gear; "" for a pure number.
        low, high: the controls that actions -1 and 1 stand for; in between, controls are linear in actions, but for offsets
            that are cut off at the control range.
        law: the force that follows, on the joint if there is one alone.
    """

    name: str
    joint: str
    control: str
    unit: str
    low: float
    high: float
    law: str


class _Jointed(NamedTuple):
    """A joint as the tables need it; `force` is what the sum of the actuators' forces on it is clamped to."""

    name: str
    kind: Joint
    force: tuple[float, float]


# ---- observations ----------------------------------------------------------------------------------------------------


def numbered(name: str, count: int) -> list[Quantity]:
    """Return `count` rows that say no more than their number: "obs 0", ..."""
    return [Quantity(f"{name} {index}") for index in range(count)]


def vector(name: str, unit: str = "", frame: str = "world", axes: str = "xyz") -> list[Quantity]:
    """Return a row for each axis of a vector."""
    return [Quantity(f"{name} {axis}", unit, frame) for axis in axes]


def quaternion(name: str, frame: str = "world", order: str = "xyzw") -> list[Quantity]:
    """Return the four rows of a quaternion."""
    return vector(name, "", frame, order)


def angle(name: str, *functions: str, frame: str = "") -> list[Quantity]:
    """Return a row for each function of an angle: "sine", "cosine"."""
    return [Quantity(f"{name} {function}", "", frame) for function in functions]


def scaled(rows: Iterable[Quantity], factor: float) -> list[Quantity]:
    """Return rows of quantities that are multiplied by `factor`, which changes what an entry of 1 stands for."""
    return [row._replace(unit=f"{1.0 / factor:.4g} {row.unit}".rstrip()) for row in rows] if factor != 1.0 else [*rows]


def positions(model: Model | mujoco.MjModel) -> list[Quantity]:
    """Return a row for each coordinate of a robot, (nq,) in order: of this engine's `q`, or of MuJoCo's `qpos`."""
    order, rows = "xyzw" if isinstance(model, Model) else "wxyz", []
    for name, kind, _ in _joints(model):
        if kind is Joint.FREE:
            rows += [*vector(f"{name} position", "m"), *quaternion(f"{name} orientation", order=order)]
        elif kind is Joint.BALL:
            rows += quaternion(f"{name} orientation", "parent", order)
        else:
            rows.append(Quantity(f"{name} position", _of_length(kind)))
    return rows


def velocities(model: Model | mujoco.MjModel) -> list[Quantity]:
    """Return a row for each rate of a robot in order: of this engine's `qd` (nd,), or of MuJoCo's `qvel` (nv,).

    The first three rates of a free joint here are an angular velocity, the other three the velocity of the point of the
    body that is passing the world's origin; MuJoCo's are the velocity of the body's origin, and an angular one in its axes.
    """
    ours, rows = isinstance(model, Model), list[Quantity]()
    for name, kind, _ in _joints(model):
        if kind is Joint.FREE and ours:
            rows += [*vector(f"{name} angular velocity", "rad/s"), *vector(f"{name} velocity at the origin", "m/s")]
        elif kind is Joint.FREE:
            rows += [*vector(f"{name} velocity", "m/s"), *vector(f"{name} angular velocity", "rad/s", "base")]
        elif kind is Joint.BALL:
            rows += vector(f"{name} angular velocity", "rad/s", "link")
        else:
            rows.append(Quantity(f"{name} velocity", f"{_of_length(kind)}/s"))
    return rows


def parameter_rows(model: Model, parameters: Parameters, units: Sequence[float]) -> list[Quantity]:
    """Return a row for each parameter (k,) of a robot, as critics see them: how far from its own, in `units` (k,)."""
    slides, rows = {link.name for link in model.links if link.joint is Joint.PRISMATIC}, list[Quantity]()
    for name, columns in parameters.columns.items():
        kind, _, who = name.partition(":")
        spelt = re.search(r"\[(.*?)( for .*)?\]", KINDS[kind])
        choices = spelt[1].split(" or ") if spelt and (who or kind == "gravity") else [""]
        axes = [f" {axis}" for axis in "xyz"] if columns.stop - columns.start == 3 else [""]
        rows += [
            Quantity(f"{name}{axis} deviation", f"{unit:.4g} {choices[-1 if who in slides else 0]}".rstrip())
            for axis, unit in zip(axes, units[columns], strict=True)
        ]
    return rows


def last_actions(rows: Sequence[ActionRow]) -> list[Quantity]:
    """Return a row for each action of the step before; called by the joints, where each has one actuator."""
    names = [row.joint for row in rows]
    if len(set(names)) < len(names) or any(" " in name for name in names):
        names = [row.name for row in rows]
    return [Quantity(f"{name} last action") for name in names]


def named(task: type, naming: str, method: str, rows: Sequence[Quantity], width: int) -> list[Quantity]:
    """Return the rows that a task's `naming` gives to what its `method` returns; numbered ones if it names nothing.

    What a class has named does not hold for a subclass with a `method` of its own and no new names.

    Raises:
        ValueError: for another number of rows than `width`.
    """
    order = {name: at for at, cls in reversed([*enumerate(task.__mro__)]) for name in vars(cls)}
    if not rows or order[naming] > order.get(method, len(order)):
        return numbered("privileged" if "privileged" in naming else "obs", width)
    if len(rows) != width or not all(isinstance(row, Quantity) for row in rows):
        what = f"{len(rows)} rows" if len(rows) != width else "something else"
        each = f"one Quantity for each of the {width} entries of {method}"
        raise ValueError(f"{getattr(task, 'name', task.__name__)}: {naming} must return {each}, but returns {what}")
    return [*rows]


# ---- actions ---------------------------------------------------------------------------------------------------------


def numbered_actions(count: int) -> list[ActionRow]:
    """Return `count` rows that say no more than their number."""
    return [ActionRow(f"action {index}", "", "control", "", -1.0, 1.0, "") for index in range(count)]


def action_rows(
    model: Model | mujoco.MjModel, low: Sequence[float] | None = None, high: Sequence[float] | None = None
) -> list[ActionRow]:
    """Return a row for each actuator of a robot, in order.

    Args:
        model: of this engine or of MuJoCo.
        low: the controls that actions of -1 stand for; None: the lower ends of the control ranges.
        high: those of actions of 1.
    """
    joints = _joints(model)
    dofs = [joint for joint in joints for _ in range(joint.kind.dofs)]
    if isinstance(model, Model):
        actuators, on, unknown = model.actuators, [f"a point of {model.links[a.link].name}" for a in model.actuators], {}
    else:
        actuators = [read_actuator(model, index) for index in range(model.nu)]
        on = [_target(model, index) for index in range(model.nu)]
        unknown = {index: reason for index in range(model.nu) if (reason := why_not_simulated(model, index))}
    rows = []
    for index, actuator in enumerate(actuators):
        control, unit, law = _driven(actuator, dofs)
        if index in unknown:
            control, unit, law = "control", "", unknown[index]
        row = ActionRow(actuator.name, _acted_on(actuator, dofs) or on[index], control, unit, *actuator.control, law)
        rows.append(row if low is None or high is None else row._replace(low=float(low[index]), high=float(high[index])))
    return rows


def _acted_on(actuator: Actuator, dofs: Sequence[_Jointed]) -> str:
    names = [dofs[dof].name for dof, _ in actuator.moment]
    if len(names) < 2:
        return "".join(names)
    return " + ".join(f"{c:.3g} {name}" for name, (_, c) in zip(names, actuator.moment, strict=True))


def _driven(actuator: Actuator, dofs: Sequence[_Jointed]) -> tuple[str, str, str]:
    """Return what the control of an actuator is, in which unit, and its law."""
    moved = [dofs[dof] for dof, _ in actuator.moment]
    alone = len(moved) == 1
    scale = actuator.moment[0][1] if alone else 1.0
    force, length = _units(actuator, moved)
    joint_force = force if alone else ""
    law = _law(actuator, scale)
    law += _within(actuator.force_range, f" {joint_force}".rstrip(), scale) or (joint_force and f" [{joint_force}]")
    for joint in moved:
        law += _within(joint.force, f" {_of_force(joint.kind)}", of=" joint" if alone else f" joint {joint.name}")
    _, by_length, by_velocity = actuator.bias
    if any(actuator.gain_slope) or not actuator.gain:
        return "control", "", law
    if by_length:
        servo = abs(by_length + actuator.gain) <= 1e-6 * abs(by_length)
        return ("position", _times(1.0 / scale, length), law) if servo and length else ("control", "", law)
    if by_velocity:
        servo = abs(by_velocity + actuator.gain) <= 1e-6 * abs(by_velocity)
        return ("velocity", _times(1.0 / scale, f"{length}/s"), law) if servo and length else ("control", "", law)
    kind = {"N m": "torque", "N": "force"}.get(force, "control")
    return kind, _times(scale * actuator.gain, force) if force else "", law


def _units(actuator: Actuator, moved: Sequence[_Jointed]) -> tuple[str, str]:
    """Return the units of an actuator's force and length; nothing where it moves joints of several kinds."""
    if actuator.link >= 0:
        pushes, turns = bool(np.any(actuator.push)), bool(np.any(actuator.turn))
        return ("N" if pushes and not turns else "N m" if turns and not pushes else ""), ""
    kinds = {_of_force(joint.kind) for joint in moved}
    return (kinds.pop(), _of_length(moved[0].kind)) if len(kinds) == 1 else ("", "")


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


def _times(factor: float, unit: str) -> str:
    return unit if abs(factor - 1.0) < 1e-9 else f"{factor:.4g} {unit}"


def _of_length(kind: Joint) -> str:
    return "m" if kind is Joint.PRISMATIC else "rad"


def _of_force(kind: Joint) -> str:
    return "N" if kind is Joint.PRISMATIC else "N m"


# ---- robots ----------------------------------------------------------------------------------------------------------

_FREE_FORCE = (-np.inf, np.inf)
_KINDS = {"FREE": Joint.FREE, "BALL": Joint.BALL, "HINGE": Joint.REVOLUTE, "SLIDE": Joint.PRISMATIC}


def _joints(model: Model | mujoco.MjModel) -> list[_Jointed]:
    if isinstance(model, Model):
        return [_Jointed(link.name, link.joint, link.force_range) for link in model.links]
    found = []
    for index in range(model.njnt):
        name = model.joint(index).name or f"joint {index}"
        low, high = model.jnt_actfrcrange[index].tolist() if model.jnt_actfrclimited[index] else _FREE_FORCE
        kind = mujoco.mjtJoint(model.jnt_type[index]).name.removeprefix("mjJNT_")
        found.append(_Jointed(name, _KINDS[kind], (low, high)))
    return found


def _target(model: mujoco.MjModel, index: int) -> str:
    """Return what an actuator of MuJoCo's acts on where that is no joint: "site foot"."""
    kind = mujoco.mjtTrn(model.actuator_trntype[index]).name.removeprefix("mjTRN_").lower()
    holders = {"site": model.site, "slidercrank": model.site, "body": model.body, "tendon": model.tendon}
    name = holders[kind](int(model.actuator_trnid[index, 0])).name if kind in holders else ""
    return f"{kind} {name}".rstrip()


# ---- of any environment ----------------------------------------------------------------------------------------------


def observations_of(env: Any) -> list[Quantity]:
    """Return the observation table of an environment, numbered rows of one that has none."""
    return env.observation_table() if hasattr(env, "observation_table") else numbered("obs", env.obs_dim)


def actions_of(env: Any) -> list[ActionRow]:
    """Return the action table of an environment, numbered rows of one that has none."""
    return env.action_table() if hasattr(env, "action_table") else numbered_actions(env.action_dim)
