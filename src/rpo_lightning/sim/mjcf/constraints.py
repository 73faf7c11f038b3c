"""What of a robot file acts between joints or bodies: tendons, and equality constraints as stiff springs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np

from rpo_lightning.sim.linkage import Coupling, Tendon, Tie
from rpo_lightning.sim.mjcf.actuators import tendon_moment
from rpo_lightning.sim.mjcf.frames import Place
from rpo_lightning.sim.mjcf.refusals import Refusals, label, since
from rpo_lightning.sim.quaternions import quat_product

__all__ = ["EQUALITY", "read_equalities", "read_tendons"]

EQUALITY = ("ke", "kd")


def read_tendons(mj: Any, limit: tuple[float, ...] | None, refuse: Refusals) -> list[Tendon]:
    """Return every fixed tendon that has a spring, damper, limits or friction loss.

    Args:
        mj: the file as compiled.
        limit: (ke, kd, stop_kd) of the limits; beyond them both dampings act along a tendon.
        refuse: what to do with those led through space, and with what is not linear.
    """
    found = []
    for t in range(mj.ntendon):
        name = label("tendon", mj.tendon(t).name, t)
        bent = [np.any(since(mj, f"tendon_{what}poly", mj.ntendon, 1)[t] != 0.0) for what in ("stiffness", "damping")]
        heavy = since(mj, "tendon_armature", mj.ntendon)[t] != 0.0
        acts = mj.tendon_stiffness[t] or mj.tendon_damping[t] or mj.tendon_frictionloss[t] or mj.tendon_limited[t]
        moment = tendon_moment(mj, t)
        if heavy or (moment is None and (acts or any(bent))):
            refuse("tendon", [f"{name} ({'led through space' if moment is None else 'with armature'})"])
        if moment is None:
            continue
        refuse("nonlinear", [name] if any(bent) else [])
        refuse("springyield", [name] if since(mj, "tendon_springyield", mj.ntendon)[t] != 0.0 else [])
        if not acts:
            continue
        low, high = mj.tendon_lengthspring[t].tolist()
        tendon = Tendon(mj.tendon(t).name or f"tendon {t}", moment, float(mj.tendon_stiffness[t]), (low, high))
        tendon.damping, tendon.frictionloss = float(mj.tendon_damping[t]), float(mj.tendon_frictionloss[t])
        if mj.tendon_limited[t]:
            if limit is None:
                refuse.need("limit", name)
            tendon.limit_ke, *dampings = limit or (0.0, 0.0)
            tendon.stop_kd = sum(dampings)
            tendon.lower, tendon.upper = (mj.tendon_range[t] + mj.tendon_margin[t] * np.array([1.0, -1.0])).tolist()
        found.append(tendon)
    return found


def read_equalities(
    mj: Any,
    places: Mapping[int, Place],
    joints: Sequence[int],
    law: tuple[float, ...] | None,
    refuse: Refusals,
) -> tuple[list[Coupling], list[Tie]]:
    """Return the active equality constraints of joints, and those that connect or weld bodies.

    Args:
        mj: the file as compiled.
        places: where each body is.
        joints: the link of each joint.
        law: (ke, kd) of the springs, for lengths and angles alike; None: none were asked for.
        refuse: what to do with all others.
    """
    kinds, couplings, ties = mujoco.mjtEq, list[Coupling](), list[Tie]()
    for e in np.flatnonzero(mj.eq_active0).tolist():
        kind, name = kinds(mj.eq_type[e]), label("equality", mj.equality(e).name, e)
        if law is None or kind not in (kinds.mjEQ_JOINT, kinds.mjEQ_CONNECT, kinds.mjEQ_WELD):
            refuse("equality", [f"{name} ({kind.name[5:].lower()})"])
            continue
        name = mj.equality(e).name or f"equality {e}"
        first, second, data, (ke, kd) = int(mj.eq_obj1id[e]), int(mj.eq_obj2id[e]), mj.eq_data[e], law
        if kind == kinds.mjEQ_JOINT:
            one, two = (float(mj.qpos0[mj.jnt_qposadr[j]]) if j >= 0 else 0.0 for j in (first, second))
            constant, *others = data[:5].tolist()
            coefficients = (constant + one, *others) if second >= 0 else (constant + one, 0.0, 0.0, 0.0, 0.0)
            couplings.append(
                Coupling(name, joints[first], joints[second] if second >= 0 else -1, coefficients, two, ke, kd)  # type: ignore[arg-type]
            )
            continue
        stiff = (ke * data[10], kd * data[10]) if kind == kinds.mjEQ_WELD else (0.0, 0.0)
        if mj.eq_objtype[e] == mujoco.mjtObj.mjOBJ_SITE:
            here, there = (places[mj.site_bodyid[s]].at(mj.site_pos[s], mj.site_quat[s]) for s in (first, second))
        else:
            turn = data[6:10] if kind == kinds.mjEQ_WELD else np.array([1.0, 0.0, 0.0, 0.0])
            anchors = (data[3:6], data[:3]) if kind == kinds.mjEQ_WELD else (data[:3], data[3:6])
            here, there = places[first].at(anchors[0], turn), places[second].at(anchors[1], np.array([1.0, 0.0, 0.0, 0.0]))
        # the second link's axes, seen from the first's, when the two frames are one
        x, y, z, w = there.quat.tolist()
        quat = np.array(quat_product(here.quat.tolist(), [-x, -y, -z, w]))
        if here.link != there.link:
            ties.append(Tie(name, here.link, there.link, here.pos, there.pos, ke, kd, quat, *stiff))
    return couplings, ties
