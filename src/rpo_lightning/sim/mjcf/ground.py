"""The one plane of a robot file that is the ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rpo_lightning.sim.mjcf.frames import Place, matrix
from rpo_lightning.sim.mjcf.shapes import kind, place
from rpo_lightning.sim.mjcf.touching import Touching

__all__ = ["find_ground", "level"]


def find_ground(mj: Any, places: Mapping[int, Place], touches: Sequence[Touching]) -> int | None:
    """Return the number of the most level plane that a link can touch; if there is none, of any that could be touched."""
    touched = {g for two in touches for g in two[:2]}
    planes = [g for g in range(mj.ngeom) if kind(mj, g) == "plane"]
    solid = [g for g in planes if g in touched] or [g for g in planes if mj.geom_contype[g] or mj.geom_conaffinity[g]]
    return max(solid, key=lambda g: float(-_normal(mj, places, g) @ mj.opt.gravity), default=None)


def level(mj: Any, places: Mapping[int, Place], ground: int | None) -> tuple[np.ndarray, float]:
    """Return the ground's normal and its height along it [m]; without a ground, up is against gravity."""
    if ground is None:
        strength = np.linalg.norm(mj.opt.gravity)
        return (-mj.opt.gravity / strength if strength else np.array([0.0, 1.0, 0.0])), 0.0
    up = _normal(mj, places, ground)
    up = np.where(np.abs(up) < 1e-12, 0.0, up)
    return up, float(up @ place(mj, places, ground).pos)


def _normal(mj: Any, places: Mapping[int, Place], plane: int) -> np.ndarray:
    return matrix(place(mj, places, plane).quat)[:, 2]
