"""What MJCF can say and the engine does not simulate: refused by name, or dropped where the caller says so.

Not here, because it means nothing for the motion: what is only seen or measured (sensors, sites, cameras, lights,
materials, skins, statistics, keyframes after the first), and how MuJoCo solves (timestep, integrator, solver, solref,
solimp, condim, friction, priority: the contact law of the engine has its own constants).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np

__all__ = [
    "REFUSED",
    "SIMULATED",
    "Refusals",
    "Refused",
    "check_model",
    "check_spec",
    "label",
    "obey_flags",
    "owned",
    "since",
]


class Refused(NamedTuple):
    """What is not simulated, and what is left of the robot if it is dropped."""

    what: str
    dropped: str


REFUSED = {
    "actuator": Refused("an actuator with activation dynamics or another law or transmission", "it exerts no force"),
    "adhesion": Refused("adhesion to the ground", "nothing sticks"),
    "align": Refused("a free joint aligned with the body's inertia", "the joint's frame is the body's"),
    "equality": Refused(
        "a constraint between joints or bodies",
        "nothing ties them; equality=(ke, kd) ties joints and bodies by stiff springs",
    ),
    "flex": Refused("a flexible body", "it is not there"),
    "forcerange": Refused("a force limit that actuators on a tendon or a site share with others", "no limit"),
    "free-joint": Refused("a spring of a free joint", "no spring"),
    "geom": Refused("a shape that is not simulated", "it touches nothing"),
    "gravcomp": Refused("gravity compensation within the limit of actuators' force", "it is beyond that limit"),
    "nonlinear": Refused("nonlinear stiffness or damping", "the linear part alone"),
    "keyframe": Refused("a velocity in the first keyframe", "the start is at rest"),
    "plugin": Refused("a plugin that acts on a body", "it does nothing"),
    "springyield": Refused("a spring that yields", "it does not yield"),
    "surfacevel": Refused("a moving surface", "it rests"),
    "tendon": Refused("a tendon that is led through space and pulls, or has an inertia", "it does nothing"),
    "user": Refused(
        "a user attribute other than ke kd kf mu (ke > 0, the others >= 0) of a geom that touches something",
        "the constants of all geoms count",
    ),
}
"""Key of `drop`, what it stands for, and what its dropping does. The bodies and joints it acted on stay."""

SIMULATED = {
    "self": "contact of links with each other",
    "fluid": "forces of the fluid around the robot",
    "pair-kind": "contact of shapes that have no function of contact",
}
"""Keys of `drop` for what the engine does simulate, and for what it leaves out with a warning, which then is not said."""

_KEYS = {**REFUSED, **SIMULATED}
_NEEDED = {
    "contact": 'contact=(ke, kd, kf, mu), <numeric name="contact" data="ke kd kf mu"/> or user="ke kd kf mu" of a geom',
    "limit": 'limit=(ke, kd) or (ke, kd, stop_kd), or <numeric name="limit" data="ke kd"/>',
}
_NAMED = 4  # of each kind; more are counted


class MissingConstantsError(ValueError):
    """A file whose contact or limits have no constants, and that lacks nothing else; `names`: "contact", "limit"."""

    def __init__(self, message: str, names: tuple[str, ...]) -> None:
        super().__init__(message)
        self.names = names


class Refusals:
    """Collects what a file asks for and the engine cannot do, unless it is among the keys in `drop`.

    Attributes: `path` of the file, `drop`.

    Raises:
        ValueError: for a key that does not exist.
    """

    def __init__(self, path: Path, drop: Sequence[str]) -> None:
        self.path, self.drop = path, [drop] if isinstance(drop, str) else list(drop)
        self._refused: dict[str, list[str]] = {}
        self._needed: dict[str, list[str]] = {}
        for key in self.drop:
            if key not in _KEYS:
                near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.0)[0]
                raise ValueError(
                    f"{path}: there is nothing called {key!r} to drop, did you mean {near!r}? Keys: {', '.join(_KEYS)}"
                )

    def __call__(self, key: str, found: Iterable[str]) -> None:
        """Refuse what `found` names, if it names anything; the reader goes on as if it were dropped."""
        if key not in self.drop and (found := list(found)):
            self._refused.setdefault(key, []).extend(found)

    def need(self, constants: str, who: str) -> None:
        """Refuse to go without "contact" or "limit" constants; `who` says what needs them."""
        self._needed.setdefault(constants, []).append(who)

    def check(self, mass: float) -> None:
        """Raise for everything at once; `mass` of all that moves [kg] gives constants to begin with.

        Raises:
            ValueError: if anything was refused or is needed.
        """
        if not self._refused and not self._needed:
            return
        lines = [f"{self.path}: it cannot be simulated as it is."]
        for key, found in self._refused.items():
            what, dropped = REFUSED[key]
            lines.append(f"{key}: {what} is not simulated ({len(found)}: {listed(found)}); dropped, {dropped}")
        for key, found in self._needed.items():
            lines.append(f"{key}: there are no constants, {_NEEDED[key]} ({len(found)}: {listed(found)})")
        paste, begin = [], ""
        if self._refused:
            paste.append(f"drop=[{', '.join(json.dumps(key) for key in (*self.drop, *self._refused))}]")
        if self._needed:
            begin = " (constants to begin with, by the robot's mass; check-env judges them)"
            mass = mass if mass > 0.0 else 1.0
            laws = {"contact": (1e3 * mass, 1e3 * mass, 10.0 * mass, 0.8), "limit": (50.0 * mass, 0.0, 0.5 * mass)}
            paste += [f"{key}=({', '.join(map(_rounded, laws[key]))})" for key in laws if key in self._needed]
        lines.append(f"Change the file, or load it with{begin}: {', '.join(paste)}")
        message = "\n  ".join(lines)
        raise ValueError(message) if self._refused else MissingConstantsError(message, tuple(self._needed))


def _rounded(x: float) -> str:
    return f"{float(f'{x:.1g}'):g}"


def listed(found: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")


def label(kind: str, name: str, index: int) -> str:
    """Return how an error names an element of the file."""
    return f"{kind} {name!r}" if name else f"{kind} number {index}"


def owned(mj: Any, kind: str, index: int) -> str:
    """Return how an error names a geom or joint and the body it is of."""
    body = int({"geom": mj.geom_bodyid, "joint": mj.jnt_bodyid}[kind][index])
    return f"{label(kind, getattr(mj, kind)(index).name, index)} of {label('body', mj.body(body).name, body)}"


def since(mj: Any, name: str, *shape: int) -> np.ndarray:
    """Return an array of the compiled model, or zeros from a MuJoCo that does not have it yet."""
    return getattr(mj, name, np.zeros(shape))


def obey_flags(mj: Any) -> None:
    """Carry out the file's disable flags on the compiled model; those of contact are `touching`'s."""
    bit = mujoco.mjtDisableBit

    def off(*bits: Any) -> bool:
        return any(mj.opt.disableflags & b for b in bits)

    if off(bit.mjDSBL_GRAVITY):
        mj.opt.gravity[:] = 0.0
    if off(bit.mjDSBL_SPRING):
        mj.jnt_stiffness[:] = mj.tendon_stiffness[:] = 0.0
    if off(bit.mjDSBL_DAMPER):
        mj.dof_damping[:] = mj.tendon_damping[:] = 0.0
    if off(bit.mjDSBL_SPRING) and off(bit.mjDSBL_DAMPER):  # without both MuJoCo leaves out all that is passive
        mj.body_gravcomp[:] = mj.opt.density = mj.opt.viscosity = 0.0
    if off(bit.mjDSBL_CLAMPCTRL):
        mj.actuator_ctrllimited[:] = 0
    if off(bit.mjDSBL_LIMIT, bit.mjDSBL_CONSTRAINT):
        mj.jnt_limited[:] = mj.tendon_limited[:] = 0
    if off(bit.mjDSBL_FRICTIONLOSS, bit.mjDSBL_CONSTRAINT):
        mj.dof_frictionloss[:] = mj.tendon_frictionloss[:] = 0.0
    if off(bit.mjDSBL_EQUALITY, bit.mjDSBL_CONSTRAINT):
        mj.eq_active0[:] = 0


def check_spec(spec: Any, refuse: Refusals) -> None:
    """Refuse what has to be settled before the file is compiled."""
    aligned = [
        joint
        for joint in spec.joints
        if joint.type == mujoco.mjtJoint.mjJNT_FREE
        and not joint.parent.bodies  # MuJoCo aligns no other
        and (joint.align == 1 or (joint.align == 2 and spec.compiler.alignfree))
    ]
    refuse("align", (f"joint {joint.name!r} of body {joint.parent.name!r}" for joint in aligned))
    for joint in aligned:
        joint.align = 0


def check_model(spec: Any, mj: Any, refuse: Refusals) -> None:
    """Refuse bodies, joints and surroundings that are not simulated; geoms, actuators and constraints have their own."""

    def joints(where: np.ndarray) -> list[str]:
        return [owned(mj, "joint", i) for i in np.flatnonzero(where).tolist()]

    def of_dofs(where: np.ndarray) -> np.ndarray:
        return np.isin(np.arange(mj.njnt), mj.dof_jntid[where])

    def bodies(where: np.ndarray | list[bool]) -> list[str]:
        return [label("body", mj.body(i).name, i) for i in np.flatnonzero(where).tolist()]

    free, sprung = mj.jnt_type == mujoco.mjtJoint.mjJNT_FREE, mj.jnt_stiffness != 0.0
    bent = np.any(since(mj, "jnt_stiffnesspoly", mj.njnt, 1) != 0.0, axis=1)
    bent |= of_dofs(np.any(since(mj, "dof_dampingpoly", mj.nv, 1) != 0.0, axis=1))
    counted = (since(mj, "jnt_actgravcomp", mj.njnt) != 0) & (mj.jnt_actfrclimited != 0) & bool(mj.body_gravcomp.any())
    refuse("flex", (label("flex", f.name, i) for i, f in enumerate(spec.flexes)))
    refuse("plugin", bodies(mj.body_plugin >= 0))
    refuse("gravcomp", joints(counted))
    refuse("free-joint", joints(free & sprung))
    refuse("nonlinear", joints(bent))
    refuse("springyield", joints(since(mj, "jnt_springyield", mj.njnt) != 0.0))
    refuse("keyframe", [label("keyframe", mj.key(0).name, 0)] if mj.nkey and np.any(mj.key_qvel[0] != 0.0) else [])
