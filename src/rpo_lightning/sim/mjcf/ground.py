"""The ground of a robot file and what touches it: points, and the constants of their contact law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import mujoco
import numpy as np

from rpo_lightning.sim.mjcf.frames import Place, matrix
from rpo_lightning.sim.mjcf.refusals import Refusals, label, since
from rpo_lightning.sim.model import Contact

__all__ = ["CONTACT", "constants", "read_ground"]

CONTACT = ("ke", "kd", "kf", "mu")


def constants(values: Sequence[float] | np.ndarray, fields: tuple[str, ...], where: str) -> tuple[float, ...]:
    """Return the constants of a law as floats.

    Raises:
        ValueError: for another count than that of `fields`, a stiffness that is not positive or anything negative.
    """
    numbers = tuple(map(float, values))
    if not _valid(numbers, fields):
        raise ValueError(
            f"{where} needs {len(fields)} numbers ({' '.join(fields)}), {fields[0]} > 0 and the others >= 0; "
            f"got {' '.join(f'{x:g}' for x in numbers) or 'none'}"
        )
    return numbers


def _valid(numbers: Sequence[float] | np.ndarray, fields: tuple[str, ...]) -> bool:
    return len(numbers) == len(fields) and numbers[0] > 0.0 and all(0.0 <= x < np.inf for x in numbers)


def read_ground(
    spec: Any, mj: Any, places: Mapping[int, Place], contact: tuple[float, ...] | None, refuse: Refusals
) -> tuple[np.ndarray, float, list[Contact]]:
    """Return the ground's normal, its height along it, and the points that touch it.

    The ground is the plane that the robot can touch; of several, the most level. Without one, up is against gravity and
    nothing touches. Links do not touch each other.

    Args:
        spec: the file as parsed.
        mj: the file as compiled.
        places: where each body is.
        contact: constants of geoms that have none of their own.
        refuse: what to do with all that is not simulated.
    """
    plane, geoms = _plane_and_geoms(mj, places, refuse)
    strength = np.linalg.norm(mj.opt.gravity)
    if plane is None:
        return (-mj.opt.gravity / strength if strength else np.array([0.0, 1.0, 0.0])), 0.0, []
    place = places[mj.geom_bodyid[plane]].at(mj.geom_pos[plane], mj.geom_quat[plane])
    up = matrix(place.quat)[:, 2]
    up = np.where(np.abs(up) < 1e-12, 0.0, up)
    parsed = {g.id: g for g in spec.geoms}
    _check_surfaces(mj, [plane, *geoms] if geoms else [], refuse)
    users = [g for g in geoms if len(parsed[g].userdata) and not _valid(parsed[g].userdata, CONTACT)]
    refuse("user", (_label(mj, g) for g in ([plane] if geoms and len(parsed[plane].userdata) else []) + users))
    contacts = []
    for geom in geoms:
        own = parsed[geom].userdata if "user" not in refuse.drop else []
        law = tuple(map(float, own)) if len(own) else contact
        for link, point, radius in _points(mj, places, geom, refuse):
            if law is None:
                raise ValueError(
                    f"{refuse.path}: {_label(mj, geom)} touches the ground, so contact needs constants: "
                    '<custom><numeric name="contact" data="ke kd kf mu"/></custom>, the geom\'s user="ke kd kf mu", or '
                    "contact=(ke, kd, kf, mu)"
                )
            contacts.append(Contact(link, point, radius, *law))
    return up, float(up @ place.pos), contacts


def _label(mj: Any, geom: int) -> str:
    return label("geom", mj.geom(geom).name, geom)


def _meet(mj: Any, moving: int, fixed: int) -> bool:
    """Return whether MuJoCo lets two geoms collide: their bits, and no <exclude> between their bodies."""
    first, second = sorted((int(mj.geom_bodyid[moving]), int(mj.geom_bodyid[fixed])))
    bits = (mj.geom_contype[moving] & mj.geom_conaffinity[fixed]) | (mj.geom_contype[fixed] & mj.geom_conaffinity[moving])
    return bool(bits) and (first << 16) + second not in mj.exclude_signature


def _plane_and_geoms(mj: Any, places: Mapping[int, Place], refuse: Refusals) -> tuple[int | None, list[int]]:
    """Return the ground plane and the moving geoms that can touch it."""
    moving = [g for g in range(mj.ngeom) if places[mj.geom_bodyid[g]].link >= 0]
    fixed = [g for g in range(mj.ngeom) if places[mj.geom_bodyid[g]].link < 0]
    partners = {g: [m for m in moving if _meet(mj, m, g)] for g in fixed}
    planes = [
        g
        for g in partners
        if mj.geom_type[g] == mujoco.mjtGeom.mjGEOM_PLANE and (mj.geom_contype[g] or mj.geom_conaffinity[g])
    ]

    def level(plane: int) -> float:
        normal = matrix(places[mj.geom_bodyid[plane]].at(mj.geom_pos[plane], mj.geom_quat[plane]).quat)[:, 2]
        return float(-normal @ mj.opt.gravity)

    ground = max([g for g in planes if partners[g]] or planes, key=level, default=None)
    refuse("obstacle", (_label(mj, g) for g in partners if partners[g] and g != ground))
    return ground, [] if ground is None else partners[ground]


def _check_surfaces(mj: Any, geoms: list[int], refuse: Refusals) -> None:
    """Refuse contact at a distance, sticky geoms and conveyor belts."""
    at_distance = [_label(mj, g) for g in geoms if mj.geom_margin[g] != 0.0 or mj.geom_gap[g] != 0.0]
    if geoms and mj.opt.enableflags & mujoco.mjtEnableBit.mjENBL_OVERRIDE and mj.opt.o_margin != 0.0:
        at_distance.append("option o_margin")
    refuse("margin", at_distance)
    refuse("adhesion", (_label(mj, g) for g in geoms if since(mj, "geom_adhesion", mj.ngeom)[g] != 0.0))
    refuse("surfacevel", (_label(mj, g) for g in geoms if np.any(since(mj, "geom_surfacevel", mj.ngeom)[g] != 0.0)))


def _points(mj: Any, places: Mapping[int, Place], geom: int, refuse: Refusals) -> list[tuple[int, np.ndarray, float]]:
    """Return (link, centre, radius) of the spheres that stand for a geom: a capsule's ends, a box's corners."""
    place = places[mj.geom_bodyid[geom]].at(mj.geom_pos[geom], mj.geom_quat[geom])
    axes, size = matrix(place.quat), mj.geom_size[geom]
    radius = float(size[0])
    if mj.geom_type[geom] == mujoco.mjtGeom.mjGEOM_SPHERE:
        offsets = [np.zeros(3)]
    elif mj.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE:
        offsets = [end * size[1] * axes[:, 2] for end in (1.0, -1.0)]
    elif mj.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX:
        radius, offsets = 0.0, [axes @ (size * corner) for corner in product((1.0, -1.0), repeat=3)]
    else:
        refuse("geom", [f"{_label(mj, geom)}, {mujoco.mjtGeom(mj.geom_type[geom]).name[7:].lower()}"])
        return []
    points = [place.pos + offset for offset in offsets]
    return [(place.link, np.where(np.abs(p) < 1e-12, 0.0, p), radius) for p in points]
