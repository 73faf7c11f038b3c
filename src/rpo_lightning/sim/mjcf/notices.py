"""What is said of a robot that loads, and yet would do little: it falls for ever, or nothing drives it or what holds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import mujoco
import numpy as np

from rpo_lightning.sim.mjcf.refusals import Refusals, label, listed, owned
from rpo_lightning.sim.mjcf.touching import Touching
from rpo_lightning.sim.model import Joint, Model

__all__ = ["notices"]


def notices(mj: Any, model: Model, touches: Sequence[Touching], refuse: Refusals) -> Iterator[str]:
    """Yield a line for each way in which a robot may be useless, with its remedy.

    Args:
        mj: the file as compiled.
        model: the robot as it was read.
        touches: what MuJoCo lets touch.
        refuse: what was dropped.
    """
    yield from _falling(mj, model, touches, refuse)
    if still := [label("body", mj.body(b).name, b) for b in _unmoved(mj, touches)]:
        yield (
            f"nothing moves a mocap body here: {listed(still)} stays where the file puts it, and holds what is tied to it "
            "there; with joints and actuators in the place of mocap it can be moved"
        )
    count = len(mj.actuator_trnid)
    if not model.actuators and count:
        yield f"no motor is left: with drop={refuse.drop} none of its {count} actuators acts"
    elif not model.actuators:
        yield "it has no actuator, so that actions do nothing; add an <actuator> with a <motor> or <position> for each joint"
    if weak := [name for name, most in _weak(model) if most > 1.0]:
        most = max(strength for name, strength in _weak(model))
        yield (
            f"a unit of action is 1 N m for {listed(weak)}, though their joints take up to {most:g}: "
            "say ctrlrange or gear where the actuator is defined"
        )
    free = np.any([link.joint is Joint.FREE for link in model.links])
    if refuse.path.suffix == ".urdf" and not free:
        root = next(mj.body(b).name for b in range(1, mj.nbody) if mj.body_parentid[b] == 0) or "world"
        yield (
            f"its root {root!r} is welded to the world, as MuJoCo reads a URDF; if it can move, add "
            f'<link name="world"/><joint name="base" type="floating"><parent link="world"/><child link="{root}"/></joint>'
        )


def _falling(mj: Any, model: Model, touches: Sequence[Touching], refuse: Refusals) -> Iterator[str]:
    fixed = [bool(mj.body_weldid[mj.geom_bodyid[g]] == 0) for g in range(mj.ngeom)]
    if model.contacts or any(min(model.geoms[p.first].link, model.geoms[p.second].link) < 0 for p in model.pairs):
        return
    lost = [geom for two in touches for geom in two[:2] if fixed[two.first] or fixed[two.second]]
    free = [link.name for link in model.links if link.joint is Joint.FREE]
    if lost and refuse.drop:
        names = [owned(mj, "geom", geom) for geom in dict.fromkeys(lost) if not fixed[geom]]
        yield (
            f"with drop={refuse.drop} nothing is left that the robot could stand on or bump into; "
            f"in MuJoCo {listed(names)} would touch its surroundings"
        )
    elif free and model.gravity.any() and any(fixed):
        yield f"{listed(free)} falls for ever: no geom of it may touch anything fixed; mind contype and conaffinity"
    elif free and model.gravity.any():
        yield (
            f'{listed(free)} falls for ever: there is no ground; add <geom type="plane" size="0 0 1"/> to the worldbody, '
            "or load the scene that includes this file"
        )


def _unmoved(mj: Any, touches: Sequence[Touching]) -> list[int]:
    """Return the mocap bodies that touch something or are tied to something, or carry what is; they have no joints."""
    ends = [mj.eq_obj1id, mj.eq_obj2id]
    of_bodies = (mj.eq_objtype == mujoco.mjtObj.mjOBJ_BODY) & (mj.eq_active0 != 0)
    acting = {int(mj.geom_bodyid[geom]) for two in touches for geom in two[:2]}
    acting |= {int(body) for end in ends for body in end[of_bodies]}
    above = set[int]()
    for body in acting:
        while body > 0:
            above.add(body)
            body = int(mj.body_parentid[body])
    return [body for body in sorted(above) if mj.body_mocapid[body] >= 0]


def _weak(model: Model) -> Iterator[tuple[str, float]]:
    """Yield motors of one newton metre for each unit of action, and what their joints can take."""
    for actuator in model.actuators:
        plain = actuator.control == (-1.0, 1.0) and abs(actuator.gain) == 1.0 and not any(actuator.bias)
        if plain and len(actuator.moment) == 1 and abs(actuator.moment[0][1]) == 1.0:
            link = next(i for i in range(len(model.links)) if actuator.moment[0][0] < model.qd_start[i + 1])
            most = min(max(map(abs, r)) for r in (model.links[link].force_range, actuator.force_range))
            if np.isfinite(most):
                yield actuator.name, most
