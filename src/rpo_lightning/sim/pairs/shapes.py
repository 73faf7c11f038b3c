"""Bodies and the shapes on them, as the functions of contact see them: floats, or `Expr` to be traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rpo_lightning.sim.algebra import Vector, rotation, vector
from rpo_lightning.sim.contact import Material
from rpo_lightning.sim.expressions import Scalar
from rpo_lightning.sim.model import Geom, Model, Pair

__all__ = ["BODY", "CONSTANTS", "Body", "Shape", "Spot", "constants", "placed", "reach", "split"]

BODY = 18
"""Scalars that describe a body: position, rotation by rows, angular and linear velocity."""

_GEOM = 16  # position, rotation by rows, size, bounding radius
CONSTANTS = 2 * _GEOM + 4
"""Constants of a pair: those of its two geoms, then ke, kd, kf, mu."""


class Body(NamedTuple):
    """A link or the world: position (3,), rotation (3, 3), twist (3,), (3,), about the reference point."""

    position: Vector
    rotation: np.ndarray
    angular: Vector
    linear: Vector

    @classmethod
    def unflatten(cls, values: Sequence[Scalar]) -> Body:
        """Return the body that `flat` gave as `BODY` scalars."""
        turn = np.array(values[3:12], dtype=object).reshape(3, 3)
        return cls(vector(values[:3]), turn, vector(values[12:15]), vector(values[15:]))

    def flat(self) -> list[Scalar]:
        """Return its `BODY` scalars."""
        return [*self.position, *self.rotation.ravel(), *self.angular, *self.linear]


@dataclass
class Shape:
    """A geom where it is: centre (3,), axes as columns (3, 3), size (3,), radius of a sphere around it, its heights.

    `heights(row, column)` is a height field's, at whole numbers.
    """

    centre: Vector
    axes: np.ndarray
    size: Vector
    radius: Scalar
    heights: Callable[[Scalar, Scalar], Scalar]
    grid: tuple[int, int]


class Spot(NamedTuple):
    """Where two shapes may touch.

    Attributes:
        first, second: (3,) where the force acts on the one and on the other.
        depth: how far they are past each other, 0 where they do not touch [m]. normal: (3,) from the second to the first.
        weight: share of the pair's stiffness, damping and friction that acts here.
    """

    first: Vector
    second: Vector
    depth: Scalar
    normal: Vector
    weight: Scalar = 1.0


def reach(geom: Geom) -> float:
    """Return the radius of the smallest sphere around a geom's centre that holds it [m]; planes and fields have none."""
    if geom.kind == "sphere":
        return float(geom.size[0])
    if geom.kind == "ellipsoid":
        return float(np.max(geom.size))
    if geom.kind == "capsule":
        return float(geom.size[0] + geom.size[1])
    if geom.kind == "box":
        return float(np.linalg.norm(geom.size))
    return float(np.hypot(*geom.size[:2])) if geom.kind == "cylinder" else 0.0


def constants(model: Model, pair: Pair) -> np.ndarray:
    """Return the `CONSTANTS` of a pair."""
    parts: list[np.ndarray] = []
    for geom in (model.geoms[pair.first], model.geoms[pair.second]):
        turn = rotation(geom.quat.tolist()).astype(float)
        parts += [geom.pos, np.where(np.abs(turn) < 1e-12, 0.0, turn).ravel(), geom.size, np.array([reach(geom)])]
    return np.concatenate([*parts, [pair.ke, pair.kd, pair.kf, pair.mu]]).astype(float)


def placed(body: Body, row: Sequence[Scalar], heights: Callable[[Scalar, Scalar], Scalar], grid: tuple[int, int]) -> Shape:
    """Return a geom, given the `_GEOM` constants of it that a pair has, on its body."""
    local = np.array(row[3:12], dtype=object).reshape(3, 3)
    centre = body.position + body.rotation @ vector(row[:3])
    return Shape(centre, body.rotation @ local, vector(row[12:15]), row[15], heights, grid)


def split(row: Sequence[Scalar]) -> tuple[Sequence[Scalar], Sequence[Scalar], Material]:
    """Return a pair's constants as those of its first geom, its second geom, and its material."""
    return row[:_GEOM], row[_GEOM : 2 * _GEOM], Material(*row[2 * _GEOM :])
