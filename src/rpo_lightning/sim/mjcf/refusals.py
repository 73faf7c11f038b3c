"""What MJCF can say and the engine does not simulate: refused by name, or dropped where the caller says so.

Not here, because it means nothing for the motion: what is only seen or measured (sensors, sites, cameras, lights,
materials, skins, statistics, keyframes after the first), and how MuJoCo solves (timestep, integrator, solver, solref,
solimp, condim, friction, priority: the contact law of the engine has its own constants).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

__all__ = ["REFUSED", "SIMULATED", "Refusals", "check_model", "check_spec", "label", "obey_flags", "since"]

REFUSED = {
    "actuator": "an actuator other than a plain motor on a hinge or slide (force = gear * ctrl, at once)",
    "adhesion": "adhesion to the ground",
    "align": "a free joint aligned with the body's inertia",
    "ball-limit": "a limit of a ball joint",
    "ball-spring": "a spring of a ball joint",
    "ctrlrange": "a control range that is not symmetric",
    "equality": "an equality constraint",
    "flex": "a flexible body",
    "fluid": "a fluid around the robot",
    "forcerange": "a force limit within reach of the controls",
    "free-joint": "stiffness, damping or armature of a free joint",
    "frictionloss": "friction loss in a joint",
    "geom": "contact of anything but spheres, capsules, boxes, cylinders, planes, one height field and small meshes",
    "gravcomp": "gravity compensation",
    "margin": "a margin or gap of a contact or limit",
    "mocap": "a mocap body",
    "nonlinear": "nonlinear stiffness or damping",
    "pair-kind": "contact between shapes of two such kinds",
    "keyframe": "a velocity in the first keyframe",
    "plugin": "a plugin that acts on a body",
    "springyield": "a spring that yields",
    "surfacevel": "a moving surface",
    "tendon": "a tendon",
    "user": "a user attribute other than ke kd kf mu (ke > 0, the others >= 0) of a geom that touches something",
}
"""Key of `drop`, and what it stands for. What is dropped is left out; the bodies and joints it acted on stay."""

SIMULATED = {"self": "contact of links with each other"}
"""Keys of `drop` for what the engine does simulate."""

_KEYS = {**REFUSED, **SIMULATED}


class Refusals:
    """Raises for what a file asks for and the engine cannot do, unless it is among the keys in `drop`.

    Raises:
        ValueError: for a key that does not exist.
    """

    def __init__(self, path: Path, drop: Sequence[str]) -> None:
        self.path, self.drop = path, [drop] if isinstance(drop, str) else list(drop)
        for key in self.drop:
            if key not in _KEYS:
                near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.0)[0]
                raise ValueError(
                    f"{path}: there is nothing called {key!r} to drop, did you mean {near!r}? Keys: {', '.join(_KEYS)}"
                )

    def __call__(self, key: str, found: Iterable[str]) -> None:
        """Raise for what `found` names, if it names anything."""
        found = list(found)
        if found and key not in self.drop:
            names = ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
            raise ValueError(
                f"{self.path}: {REFUSED[key]} is not simulated (found in {names}); "
                f'remove it from the file, or drop it knowingly with drop=["{key}"]'
            )


def label(kind: str, name: str, index: int) -> str:
    """Return how an error names an element of the file."""
    return f"{kind} {name!r}" if name else f"{kind} number {index}"


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
        mj.jnt_stiffness[:] = 0.0
    if off(bit.mjDSBL_DAMPER):
        mj.dof_damping[:] = 0.0
    if off(bit.mjDSBL_CLAMPCTRL):
        mj.actuator_ctrllimited[:] = 0
    if off(bit.mjDSBL_LIMIT, bit.mjDSBL_CONSTRAINT):
        mj.jnt_limited[:] = 0
    if off(bit.mjDSBL_FRICTIONLOSS, bit.mjDSBL_CONSTRAINT):
        mj.dof_frictionloss[:] = 0.0


def check_spec(spec: Any, refuse: Refusals) -> None:
    """Refuse what has to be settled before the file is compiled."""
    aligned = [
        joint
        for joint in spec.joints
        if joint.type == mujoco.mjtJoint.mjJNT_FREE
        and not joint.parent.bodies  # MuJoCo aligns no other
        and (joint.align == 1 or (joint.align == 2 and spec.compiler.alignfree))
    ]
    refuse("align", (f"joint {joint.name!r}" for joint in aligned))
    for joint in aligned:
        joint.align = 0


def check_model(spec: Any, mj: Any, refuse: Refusals) -> None:
    """Refuse bodies, joints, constraints and surroundings that are not simulated; geoms and actuators have their own."""
    kind = mujoco.mjtJoint

    def joints(where: np.ndarray) -> list[str]:
        return [label("joint", mj.joint(i).name, i) for i in np.flatnonzero(where).tolist()]

    def of_dofs(where: np.ndarray) -> np.ndarray:
        return np.isin(np.arange(mj.njnt), mj.dof_jntid[where])

    def bodies(where: np.ndarray) -> list[str]:
        return [label("body", mj.body(i).name, i) for i in np.flatnonzero(where).tolist()]

    ball, free = mj.jnt_type == kind.mjJNT_BALL, mj.jnt_type == kind.mjJNT_FREE
    limited, sprung = mj.jnt_limited != 0, mj.jnt_stiffness != 0.0
    lossy = (mj.dof_damping != 0.0) | (mj.dof_armature != 0.0)
    bent = np.any(since(mj, "jnt_stiffnesspoly", mj.njnt, 1) != 0.0, axis=1)
    bent |= of_dofs(np.any(since(mj, "dof_dampingpoly", mj.nv, 1) != 0.0, axis=1))
    refuse("equality", (label("equality", e.name, i) for i, e in enumerate(spec.equalities)))
    refuse("tendon", (label("tendon", t.name, i) for i, t in enumerate(spec.tendons)))
    refuse("flex", (label("flex", f.name, i) for i, f in enumerate(spec.flexes)))
    refuse("mocap", bodies(mj.body_mocapid >= 0))
    refuse("plugin", bodies(mj.body_plugin >= 0))
    refuse("gravcomp", bodies(mj.body_gravcomp != 0.0))
    refuse("fluid", (f"option {name}" for name in ("density", "viscosity") if getattr(mj.opt, name) != 0.0))
    refuse("frictionloss", joints(of_dofs(mj.dof_frictionloss != 0.0)))
    refuse("ball-limit", joints(ball & limited))
    refuse("ball-spring", joints(ball & sprung))
    refuse("free-joint", joints(free & (sprung | of_dofs(lossy))))
    refuse("nonlinear", joints(bent))
    refuse("springyield", joints(since(mj, "jnt_springyield", mj.njnt) != 0.0))
    refuse("margin", joints(limited & (mj.jnt_margin != 0.0)))
    refuse("keyframe", [label("keyframe", mj.key(0).name, 0)] if mj.nkey and np.any(mj.key_qvel[0] != 0.0) else [])
