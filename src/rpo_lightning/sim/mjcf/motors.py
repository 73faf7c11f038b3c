"""The motors of a robot file: which there are, and how strong one unit of action makes them."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from rpo_lightning.sim.mjcf.refusals import Refusals, label, since
from rpo_lightning.sim.model import Actuator

__all__ = ["motors"]


def motors(mj: Any, refuse: Refusals) -> list[Actuator]:
    """Return every motor, in the file's order.

    One unit of action is the end of the control range -c ... c; without a range it is one unit of control.

    Raises:
        ValueError: for what `Refusals` names, and for two motors on one joint.
    """
    names = [label("actuator", mj.actuator(a).name, a) for a in range(len(mj.actuator_trnid))]
    plain = _plain(mj)
    refuse("actuator", (name for name, ok in zip(names, plain, strict=True) if not ok))
    kept = np.flatnonzero(plain)
    ranges = mj.actuator_ctrlrange
    limited = mj.actuator_ctrllimited != 0
    lopsided = limited & (ranges[:, 0] != -ranges[:, 1])
    refuse("ctrlrange", (names[a] for a in kept if lopsided[a]))
    control = mj.actuator_gainprm[:, 0] * np.where(limited & ~lopsided, ranges[:, 1], 1.0)
    force = mj.actuator_gear[:, 0] * control
    _check_force_limits(mj, kept, names, control, force, refuse)
    dofs = mj.jnt_dofadr[mj.actuator_trnid[kept, 0]]
    for index, dof in enumerate(dofs):
        if dof in dofs[:index]:
            raise ValueError(f"{refuse.path}: {names[kept[index]]} is the second on its joint; keep one motor per joint")
    found = []
    for dof, a in zip(dofs.tolist(), kept.tolist(), strict=True):
        reach = float(ranges[a, 1]) if limited[a] and not lopsided[a] else 1.0
        gear, gain = float(mj.actuator_gear[a, 0]), float(mj.actuator_gainprm[a, 0])
        found.append(Actuator(mj.actuator(a).name or f"actuator {a}", [(dof, gear)], gain, control=(-reach, reach)))
    return found


def _plain(mj: Any) -> np.ndarray:
    """Return which actuators exert gear * gain * ctrl on a hinge or slide, and nothing else."""
    count = len(mj.actuator_trnid)
    joints = np.where(mj.actuator_trnid[:, 0] < mj.njnt, mj.actuator_trnid[:, 0], 0)  # other targets have other counts
    plain = (
        np.isin(mj.actuator_trntype, (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT))
        & (mj.actuator_dyntype == mujoco.mjtDyn.mjDYN_NONE)
        & (mj.actuator_gaintype == mujoco.mjtGain.mjGAIN_FIXED)
        & (mj.actuator_biastype == mujoco.mjtBias.mjBIAS_NONE)
        & (mj.actuator_plugin < 0)
        & np.isin(mj.jnt_type[joints], (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE))
        & ~np.any(since(mj, "actuator_dampingpoly", count, 1) != 0.0, axis=1)
        & ((mj.opt.disableactuator >> mj.actuator_group.clip(0, 30)) & 1 == 0)
    )
    for what in ("delay", "armature", "damping"):
        plain &= since(mj, f"actuator_{what}", count) == 0
    return plain & (not mj.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_ACTUATION)


def _check_force_limits(
    mj: Any, kept: np.ndarray, names: list[str], control: np.ndarray, force: np.ndarray, refuse: Refusals
) -> None:
    """Refuse limits that forces between minus and plus one unit of action can reach."""

    def within(reach: np.ndarray, ranges: np.ndarray) -> np.ndarray:
        return np.abs(reach) <= np.minimum(-ranges[..., 0], ranges[..., 1]) * (1.0 + 1e-9)

    capped = (mj.actuator_forcelimited != 0) & ~within(control, mj.actuator_forcerange)
    refuse("forcerange", (names[a] for a in kept if capped[a]))
    total = np.zeros(mj.njnt)
    total[mj.actuator_trnid[kept, 0]] = force[kept]
    capped = (mj.jnt_actfrclimited != 0) & ~within(total, mj.jnt_actfrcrange)
    refuse("forcerange", (label("joint", mj.joint(j).name, j) for j in np.flatnonzero(capped).tolist()))
