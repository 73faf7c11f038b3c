"""The mass matrix by composite rigid bodies: what a link carries is one body with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rpo_lightning.sim.algebra import ZERO, Vector, cross, vector
from rpo_lightning.sim.expressions import Scalar
from rpo_lightning.sim.factorization import Matrix
from rpo_lightning.sim.model import Model

__all__ = ["Columns", "composite_mass_matrix"]

Columns = list[tuple[Vector, Vector]]
"""Twists (angular, linear) that a joint can add."""


def composite_mass_matrix(
    model: Model, positions: Sequence[Vector], rotations: Sequence[np.ndarray], columns: Sequence[Columns]
) -> Matrix:
    """Return the lower half of the mass matrix without armature, from leaves to root.

    First moments, inertias and wrenches are about each link's own point, in world axes: no digits are lost far from there.

    Args:
        model: the robot.
        positions: (3,) of each link [m].
        rotations: (3, 3) of each link.
        columns: of each link's joint, about the link's own point.
    """
    masses: list[Scalar] = [link.mass for link in model.links]
    moments, inertias = [], []
    for link, turned in zip(model.links, rotations, strict=True):
        c = vector(link.com)
        moments.append(turned @ (link.mass * c))
        about_point = link.inertia + link.mass * (c @ c * np.eye(3) - np.outer(c, c))
        inertias.append(turned @ about_point.astype(object) @ turned.T)
    parents = [link.parent for link in model.links]
    offsets = [at - positions[parent] if parent >= 0 else ZERO for at, parent in zip(positions, parents, strict=True)]
    entries: Matrix = {}
    for index in range(len(parents) - 1, -1, -1):
        for row, (w, v) in enumerate(columns[index], model.qd_start[index]):
            push = masses[index] * v + cross(w, moments[index])
            turn = inertias[index] @ w + cross(moments[index], v)
            ancestor = index
            while ancestor >= 0:
                for column, (angular, linear) in enumerate(columns[ancestor], model.qd_start[ancestor]):
                    if column <= row:
                        entries[row, column] = angular @ turn + linear @ push
                turn = turn + cross(offsets[ancestor], push)
                ancestor = parents[ancestor]
        parent, r, mass = parents[index], offsets[index], masses[index]
        if parent >= 0:
            inertias[parent] = inertias[parent] + inertias[index] + _inertia_of_shift(moments[index] + 0.5 * mass * r, r)
            moments[parent] = moments[parent] + moments[index] + mass * r
            masses[parent] = masses[parent] + mass
    return entries


def _inertia_of_shift(moment: Vector, r: Vector) -> np.ndarray:
    """Return 2 (moment . r) 1 - (moment r^T + r moment^T)."""
    both = np.outer(moment, r)
    return 2.0 * np.trace(both) * np.eye(3) - (both + both.T)
