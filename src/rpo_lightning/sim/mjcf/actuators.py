"""The actuators of a robot file: what their forces depend on, and which controls actions stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import mujoco
import numpy as np

from rpo_lightning.sim.linkage import Actuator
from rpo_lightning.sim.mjcf.frames import Place, matrix
from rpo_lightning.sim.mjcf.refusals import Refusals, label, since

__all__ = ["read_actuator", "read_actuators", "tendon_moment", "why_not_simulated"]

_SCALAR = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
_UNLIMITED = (-np.inf, np.inf)


def read_actuators(mj: Any, places: Mapping[int, Place], refuse: Refusals) -> list[Actuator]:
    """Return every actuator that is simulated, in the file's order.

    Actions -1 and 1 are the ends of the control range; without a range they are that many units of control.

    Args:
        mj: the file as compiled.
        places: where each body is.
        refuse: what to do with the others.
    """
    found, clamped = [], []
    for a in range(len(mj.actuator_trnid)):
        name = label("actuator", mj.actuator(a).name, a)
        if reason := why_not_simulated(mj, a):
            refuse("actuator", [f"{name} ({reason})"])
            continue
        limits = _force_range(mj, a)
        if limits is None or _clamped_elsewhere(mj, a):
            clamped.append(name)
            limits = _UNLIMITED
        actuator = read_actuator(mj, a)
        actuator.force_range = limits
        _place(mj, a, places, actuator)
        found.append(actuator)
    refuse("forcerange", clamped)
    return found


def read_actuator(mj: Any, a: int) -> Actuator:
    """Return the law of one actuator and the joints that it acts on, as the file has them; nothing of a site's place."""
    affine = mj.actuator_biastype[a] == mujoco.mjtBias.mjBIAS_AFFINE
    gained = mj.actuator_gaintype[a] == mujoco.mjtGain.mjGAIN_AFFINE
    gain, bias = mj.actuator_gainprm[a, :3].tolist(), mj.actuator_biasprm[a, :3].tolist()
    return Actuator(
        mj.actuator(a).name or f"actuator {a}",
        _moment(mj, a),
        gain=gain[0],
        gain_slope=(gain[1], gain[2]) if gained else (0.0, 0.0),
        bias=(bias[0], bias[1], bias[2]) if affine else (0.0, 0.0, 0.0),
        control=_pair(mj.actuator_ctrlrange[a]) if mj.actuator_ctrllimited[a] else (-1.0, 1.0),
        force_range=_pair(mj.actuator_forcerange[a]) if mj.actuator_forcelimited[a] else _UNLIMITED,
    )


def tendon_moment(mj: Any, tendon: int) -> list[tuple[int, float]] | None:
    """Return (dof, coefficient) of a fixed tendon; None of one that is led through space."""
    wraps = range(mj.tendon_adr[tendon], mj.tendon_adr[tendon] + mj.tendon_num[tendon])
    if any(mj.wrap_type[w] != mujoco.mjtWrap.mjWRAP_JOINT for w in wraps):
        return None
    return [(int(mj.jnt_dofadr[mj.wrap_objid[w]]), float(mj.wrap_prm[w])) for w in wraps]


def why_not_simulated(mj: Any, a: int) -> str:
    """Return why an actuator is not simulated; nothing if it is."""
    transmission, gear = mujoco.mjtTrn(mj.actuator_trntype[a]), mj.actuator_gear[a]
    target = mj.actuator_trnid[a, 0]
    if mj.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_ACTUATION:
        return "the file disables actuation"
    if (mj.opt.disableactuator >> min(max(mj.actuator_group[a], 0), 30)) & 1:
        return "the file disables its group"
    if mj.actuator_plugin[a] >= 0:
        return "of a plugin"
    for what, kind, value, known in (
        ("activation dynamics", mujoco.mjtDyn, mj.actuator_dyntype[a], ("none",)),
        ("gain", mujoco.mjtGain, mj.actuator_gaintype[a], ("fixed", "affine")),
        ("bias", mujoco.mjtBias, mj.actuator_biastype[a], ("none", "affine")),
    ):
        if (word := kind(value).name.split("_")[1].lower()) not in known:
            return f"{what} {word}"
    for what in ("delay", "armature", "damping", "dampingpoly"):
        if np.any(since(mj, f"actuator_{what}", a + 1)[a] != 0.0):
            return f"its own {what}"
    by_length, by_velocity = _slopes(mj, a)
    if transmission in (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT):
        kind = mujoco.mjtJoint(mj.jnt_type[target])
        if kind in _SCALAR:
            return ""
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            return "on a free joint"
        if transmission == mujoco.mjtTrn.mjTRN_JOINTINPARENT:
            return "on a ball joint in its parent's frame"
        return "a servo to an angle of a ball joint" if by_length else ""
    if transmission == mujoco.mjtTrn.mjTRN_TENDON:
        return "on a tendon that is led through space" if tendon_moment(mj, target) is None else ""
    if transmission == mujoco.mjtTrn.mjTRN_SITE:
        if mj.actuator_trnid[a, 1] >= 0:
            return "on a site that is seen from another"
        return "a damper on a site" if by_velocity and gear.any() else ""
    return f"on a {transmission.name[6:].lower()}"


def _slopes(mj: Any, a: int) -> tuple[bool, bool]:
    """Return whether an actuator's force depends on its length, and on its velocity."""
    terms = np.zeros(2, bool)
    if mj.actuator_gaintype[a] == mujoco.mjtGain.mjGAIN_AFFINE:
        terms |= mj.actuator_gainprm[a, 1:3] != 0.0
    if mj.actuator_biastype[a] == mujoco.mjtBias.mjBIAS_AFFINE:
        terms |= mj.actuator_biasprm[a, 1:3] != 0.0
    return bool(terms[0]), bool(terms[1])


def _moment(mj: Any, a: int) -> list[tuple[int, float]]:
    """Return (dof, coefficient) of each degree of freedom that an actuator acts on; none at a site or beyond."""
    transmission, gear = mujoco.mjtTrn(mj.actuator_trntype[a]), mj.actuator_gear[a].tolist()
    target = mj.actuator_trnid[a, 0]
    if transmission == mujoco.mjtTrn.mjTRN_TENDON:
        return [(dof, gear[0] * coefficient) for dof, coefficient in tendon_moment(mj, target) or []]
    if transmission not in (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT):
        return []
    dof = int(mj.jnt_dofadr[target])
    count = 3 if mj.jnt_type[target] == mujoco.mjtJoint.mjJNT_BALL else 1
    return [(dof + i, gear[i]) for i in range(count) if gear[i] != 0.0 or count == 1]


def _place(mj: Any, a: int, places: Mapping[int, Place], actuator: Actuator) -> None:
    """Say where an actuator at a site pushes."""
    if mj.actuator_trntype[a] == mujoco.mjtTrn.mjTRN_SITE:
        gear, site = mj.actuator_gear[a].tolist(), mj.actuator_trnid[a, 0]
        place = places[mj.site_bodyid[site]].at(mj.site_pos[site], mj.site_quat[site])
        actuator.link, actuator.point = place.link, place.pos
        actuator.push, actuator.turn = matrix(place.quat) @ gear[:3], matrix(place.quat) @ gear[3:]


def _force_range(mj: Any, a: int) -> tuple[float, float] | None:
    """Return what an actuator's force is clamped to, its tendon's limit included; None if others share that limit."""
    low, high = _pair(mj.actuator_forcerange[a]) if mj.actuator_forcelimited[a] else _UNLIMITED
    tendon = mj.actuator_trnid[a, 0]
    if mj.actuator_trntype[a] == mujoco.mjtTrn.mjTRN_TENDON and since(mj, "tendon_actfrclimited", mj.ntendon)[tendon]:
        on_tendons = mj.actuator_trntype == mujoco.mjtTrn.mjTRN_TENDON
        if np.sum(on_tendons & (mj.actuator_trnid[:, 0] == tendon)) > 1:
            return None
        least, most = _pair(mj.tendon_actfrcrange[tendon])
        low, high = min(max(low, least), most), max(min(high, most), least)
    return low, high


def _clamped_elsewhere(mj: Any, a: int) -> bool:
    """Tell whether a joint that a site hangs on clamps what the actuator at the site sends through it."""
    if mj.actuator_trntype[a] != mujoco.mjtTrn.mjTRN_SITE:
        return False
    return any(mj.jnt_actfrclimited[j] for j in _joints_above(mj, mj.site_bodyid[mj.actuator_trnid[a, 0]]))


def _joints_above(mj: Any, body: int) -> Iterator[int]:
    while body > 0:
        yield from range(mj.body_jntadr[body], mj.body_jntadr[body] + mj.body_jntnum[body])
        body = int(mj.body_parentid[body])


def _pair(values: np.ndarray) -> tuple[float, float]:
    low, high = values.tolist()
    return low, high
