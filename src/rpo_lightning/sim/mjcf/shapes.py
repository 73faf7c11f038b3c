"""The shapes of a robot file that can touch others, as the engine's geoms and as points."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import mujoco
import numpy as np

from rpo_lightning.sim.mjcf.frames import Place, matrix
from rpo_lightning.sim.model import Geom

_DIRECTIONS = 2000
_ROUND = np.array([1.0, 0.0, 0.0])

__all__ = ["hull", "kind", "place", "points", "shapes", "thinned"]


def kind(mj: Any, geom: int) -> str:
    """Return what a geom is: "sphere", "mesh" and so on."""
    return mujoco.mjtGeom(mj.geom_type[geom]).name[7:].lower()


def place(mj: Any, places: Mapping[int, Place], geom: int) -> Place:
    """Return the frame of a geom on its link."""
    return places[mj.geom_bodyid[geom]].at(mj.geom_pos[geom], mj.geom_quat[geom])


def points(mj: Any, places: Mapping[int, Place], geom: int) -> list[tuple[np.ndarray, float]]:
    """Return (centre on the link, radius) of the spheres that stand for a geom on the ground: ends of a capsule, corners."""
    at, size = place(mj, places, geom), mj.geom_size[geom]
    axes, radius = matrix(at.quat), float(size[0])
    if kind(mj, geom) == "sphere":
        offsets = [np.zeros(3)]
    elif kind(mj, geom) == "capsule":
        offsets = [end * size[1] * axes[:, 2] for end in (1.0, -1.0)]
    else:
        radius, offsets = 0.0, [axes @ (size * corner) for corner in product((1.0, -1.0), repeat=3)]
    centres = [at.pos + offset for offset in offsets]
    return [(np.where(np.abs(centre) < 1e-12, 0.0, centre), radius) for centre in centres]


def hull(mj: Any, mesh: int) -> np.ndarray:
    """Return the vertices (V, 3) of a mesh's convex hull in its geom's frame; all of a mesh without a hull."""
    start, graph = mj.mesh_vertadr[mesh], mj.mesh_graphadr[mesh]
    vertices = mj.mesh_vert[start : start + mj.mesh_vertnum[mesh]].astype(float)
    if graph < 0:
        return np.unique(vertices, axis=0)
    count = mj.mesh_graph[graph]
    # of the graph: two counts, an address for each vertex, then the vertices' numbers in the mesh
    return vertices[mj.mesh_graph[graph + 2 + count : graph + 2 + 2 * count]]


def thinned(vertices: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """Return at most `count` vertices (V, 3) that reach almost as far in all directions, and how far they fall short [m]."""
    if len(vertices) <= count:
        return vertices, 0.0
    turns = np.arange(_DIRECTIONS)
    heights, angles = 1.0 - (2.0 * turns + 1.0) / _DIRECTIONS, turns * np.pi * (3.0 - np.sqrt(5.0))
    around = np.sqrt(1.0 - heights**2)
    reach = vertices @ np.stack([around * np.cos(angles), around * np.sin(angles), heights])
    most, furthest, kept = reach.max(axis=0), reach.argmax(axis=0), [int(reach[:, 0].argmax())]
    gap = most - reach[kept[0]]
    while len(kept) < count and gap.max() > 0.0:
        kept.append(int(furthest[gap.argmax()]))
        gap = np.minimum(gap, most - reach[kept[-1]])
    return vertices[kept], float(gap.max())


def shapes(mj: Any, places: Mapping[int, Place], geom: int, margin: float, vertices: Mapping[int, np.ndarray]) -> list[Geom]:
    """Return what stands for a geom in pairs: itself, or a sphere of radius 0 at each of its mesh's `vertices` (V, 3).

    A surface is moved outwards by `margin` [m]: exactly, but for the edges of boxes and cylinders, and ellipsoids.
    """
    name, what, at = mj.geom(geom).name or f"geom {geom}", kind(mj, geom), place(mj, places, geom)
    if what == "mesh":
        centres = at.pos + vertices[int(mj.geom_dataid[geom])] @ matrix(at.quat).T
        return [
            Geom(f"{name} vertex {i}", "sphere", at.link, centre, size=margin * _ROUND) for i, centre in enumerate(centres)
        ]
    size, heights = mj.geom_size[geom].copy(), np.zeros((0, 0))
    if what == "plane":
        return [Geom(name, what, at.link, at.pos + margin * matrix(at.quat)[:, 2], at.quat)]
    if what == "hfield":
        field = mj.geom_dataid[geom]
        size, shape = np.array([*mj.hfield_size[field][:2], 0.0]), (mj.hfield_nrow[field], mj.hfield_ncol[field])
        start, steep = mj.hfield_adr[field], mj.hfield_size[field][2]
        heights = margin + steep * mj.hfield_data[start : start + shape[0] * shape[1]].reshape(shape).astype(float)
    else:
        size += margin * {"sphere": _ROUND, "capsule": _ROUND, "cylinder": np.array([1.0, 1.0, 0.0])}.get(what, np.ones(3))
    return [Geom(name, what, at.link, at.pos, at.quat, size, heights)]
