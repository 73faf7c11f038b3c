"""The fluid around a robot, and what it feels of each body: a box, or ellipsoids where the file asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rpo_lightning.sim.fluid import Fluid, FluidBox, FluidEllipsoid
from rpo_lightning.sim.mjcf.frames import Place
from rpo_lightning.sim.mjcf.refusals import Refusals
from rpo_lightning.sim.mjcf.shapes import kind, place

__all__ = ["read_fluid"]

_LEAST = 1e-15  # [kg] MuJoCo's: what weighs less feels no fluid


def read_fluid(mj: Any, places: Mapping[int, Place], refuse: Refusals) -> tuple[Fluid, list[FluidBox | FluidEllipsoid]]:
    """Return the fluid and what it feels; nothing if there is none, or if it is dropped.

    Boxes are of the compiled inertias, as MuJoCo has them, also where the robot's own are taken literally.

    Args:
        mj: the file as compiled.
        places: where each body is.
        refuse: what was dropped.
    """
    fluid = Fluid(float(mj.opt.density), float(mj.opt.viscosity), np.array(mj.opt.wind))
    if "fluid" in refuse.drop or not (fluid.density or fluid.viscosity):
        return Fluid(), []
    moving = [b for b in range(1, mj.nbody) if places[b].link >= 0 and mj.body_mass[b] >= _LEAST]
    return fluid, [shape for body in moving for shape in _felt(mj, places, body)]


def _felt(mj: Any, places: Mapping[int, Place], body: int) -> Iterator[FluidBox | FluidEllipsoid]:
    geoms = range(mj.body_geomadr[body], mj.body_geomadr[body] + mj.body_geomnum[body])
    ellipsoids = [g for g in geoms if mj.geom_fluid[g, 0] > 0.0]
    for geom in ellipsoids:
        at, coefficients = place(mj, places, geom), mj.geom_fluid[geom]
        volume, moment = coefficients[6:9].copy(), coefficients[9:12].copy()
        yield FluidEllipsoid(
            at.link, at.pos, at.quat, _semiaxes(mj, geom), tuple(coefficients[1:6].tolist()), volume, moment
        )
    if not ellipsoids:
        at = places[body].at(mj.body_ipos[body], mj.body_iquat[body])
        inertia = mj.body_inertia[body]
        sides = np.sqrt(6.0 * np.maximum(_LEAST, inertia.sum() - 2.0 * inertia) / mj.body_mass[body])
        yield FluidBox(at.link, at.pos, at.quat, sides)


def _semiaxes(mj: Any, geom: int) -> np.ndarray:
    radius, half, _ = size = mj.geom_size[geom]
    match kind(mj, geom):
        case "sphere":
            return np.full(3, radius)
        case "capsule":
            return np.array([radius, radius, half + radius])
        case "cylinder":
            return np.array([radius, radius, half])
    return size.copy()
