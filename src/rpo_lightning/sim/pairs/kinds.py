"""Which kinds of geoms touch, and the function of contact of each such pair of kinds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rpo_lightning.sim.algebra import Vector
from rpo_lightning.sim.expressions import Scalar
from rpo_lightning.sim.pairs import closest, height_field, rewarped
from rpo_lightning.sim.pairs.box_box import box_box
from rpo_lightning.sim.pairs.shapes import Shape, Spot

__all__ = ["DETECTIONS", "KINDS", "Kind", "ordered"]

_ENDS = np.array([[1.0], [-1.0]])
_CORNERS = np.array([[x, y, z] for x in (1.0, -1.0) for y in (1.0, -1.0) for z in (1.0, -1.0)])
_THIRDS = [(math.cos(turn), math.sin(turn)) for turn in (0.0, 2.0 * math.pi / 3.0, -2.0 * math.pi / 3.0)]
_RIMS = np.array([[cap, *third] for cap in (1.0, -1.0) for third in _THIRDS])


@dataclass(frozen=True)
class Kind:
    """How two kinds of geoms touch.

    Attributes:
        touch: from two shapes and a part, the spots where they may touch.
        parts: (P, k) what it is evaluated for, one row after the other.
        apart: bounds, the cheapest first: positive where the shapes certainly do not touch.
        part_apart: likewise for one part; None: not worth a look.
        both_ways: the first touches the second and the second the first.
    """

    touch: Callable[[Shape, Shape, Sequence[Scalar]], list[Spot]]
    parts: np.ndarray = field(default_factory=lambda: np.zeros((1, 0)))
    apart: tuple[Callable[[Shape, Shape], Scalar], ...] = (closest.apart,)
    part_apart: Callable[[Shape, Shape, Sequence[Scalar]], Scalar] | None = None
    both_ways: bool = False


Part = Sequence[Scalar]


def _pressed(
    surface: Callable[[Vector, Scalar, Shape], list[Spot]], ball: Callable[[Shape, Part], tuple[Vector, Scalar]]
) -> Callable[[Shape, Shape, Part], list[Spot]]:
    """Touch a surface with a sphere that stands for a part of the first shape."""
    return lambda first, second, part: surface(*ball(first, part), second)


_EXACT = {
    ("sphere", "sphere"): Kind(closest.sphere_sphere),
    ("sphere", "capsule"): Kind(closest.sphere_capsule),
    ("sphere", "box"): Kind(closest.sphere_box),
    ("sphere", "cylinder"): Kind(closest.sphere_cylinder),
    ("sphere", "plane"): Kind(_pressed(closest.on_plane, closest.middle), apart=(closest.plane_apart,)),
    ("sphere", "hfield"): Kind(_pressed(height_field.on_field, closest.middle), apart=()),
    ("capsule", "capsule"): Kind(closest.capsule_capsule),
    ("capsule", "box"): Kind(closest.capsule_box),
    ("capsule", "cylinder"): Kind(closest.capsule_cylinder),
    ("capsule", "plane"): Kind(_pressed(closest.on_plane, closest.end), _ENDS, (closest.plane_apart,)),
    ("capsule", "hfield"): Kind(_pressed(height_field.on_field, closest.end), _ENDS, ()),
    ("box", "box"): Kind(box_box),
    ("box", "plane"): Kind(_pressed(closest.on_plane, closest.corner), _CORNERS, (closest.plane_apart,)),
    ("box", "hfield"): Kind(_pressed(height_field.on_field, closest.corner), _CORNERS, ()),
    ("cylinder", "plane"): Kind(closest.cylinder_plane, _RIMS, (closest.plane_apart,)),
    ("ellipsoid", "plane"): Kind(closest.ellipsoid_plane, apart=(closest.plane_apart,)),
}

KINDS: dict[str, dict[tuple[str, str], Kind]] = {
    "exact": _EXACT,
    "rewarped": {
        ("sphere", "sphere"): Kind(rewarped.sphere_sphere),
        ("sphere", "box"): Kind(rewarped.sphere_box),
        ("box", "box"): Kind(
            rewarped.edge_box,
            rewarped.EDGES,
            (closest.apart, rewarped.faces_apart),
            rewarped.edge_apart,
            both_ways=True,
        ),
    },
}
"""By `Model.detection`, then by the kinds of the first and the second geom of a pair."""

DETECTIONS = tuple(KINDS)


def ordered(first: str, second: str, detection: str = "exact") -> bool | None:
    """Tell whether a pair of kinds has to be swapped to be simulated; None: it is not simulated."""
    if (first, second) in KINDS[detection]:
        return False
    return True if (second, first) in KINDS[detection] else None
