"""Spatial vectors about the world's origin, as the reference has them: right near it, without digits far from there.

A moment of inertia m r^2 about a point 100 m away leaves float32 nothing of what a foot has about its ankle. The matrix is
then no longer positive, and a state no longer finite. At which distance that happens depends on the order of operations;
this is the reference's: whole inertias about the origin, then Cholesky's factor from the root on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rpo_lightning.sim.algebra import Vector, vector
from rpo_lightning.sim.expressions import Scalar, recip, sqrt
from rpo_lightning.sim.model import Model

if TYPE_CHECKING:
    from rpo_lightning.sim.factorization import Matrix
    from rpo_lightning.sim.kinematics import Frame

__all__ = ["cholesky", "cholesky_solve", "world_mass_matrix"]


def world_mass_matrix(model: Model, frames: Sequence[Frame]) -> Matrix:
    """Return the lower half of the mass matrix without armature, all entries, as the sum of J^T I J over links.

    Args:
        model: the robot.
        frames: of its links, about the world's origin.
    """
    entries: Matrix = {(row, column): 0.0 for row in range(model.nd) for column in range(row + 1)}
    for index, massive in enumerate(model.mass_links):
        link, frame = model.links[massive], frames[massive]
        if link.mass == 0.0 and not link.inertia.any():
            continue
        shift = _skew(frame.position + frame.rotation @ vector(link.com))
        about_origin = frame.rotation @ link.inertia.astype(object) @ frame.rotation.T + link.mass * (shift @ shift.T)
        columns: dict[int, tuple[Vector, Vector]] = {}
        ancestor = index
        while ancestor >= 0:
            columns.update(enumerate(frames[ancestor].columns, model.qd_start[ancestor]))
            ancestor = model.links[ancestor].parent
        for column, (w, v) in columns.items():
            turn = about_origin @ w + link.mass * (shift @ v)
            push = link.mass * (shift.T @ w) + link.mass * v
            for row, (angular, linear) in columns.items():
                if column <= row:
                    entries[row, column] = entries[row, column] + (angular @ turn + linear @ push)
    return entries


def cholesky(matrix: Matrix) -> Matrix:
    """Factor a matrix = L L^T from the first row on; return L with the reciprocals of its diagonal on the diagonal."""
    factors: Matrix = {}
    size = 1 + max(row for row, _ in matrix)
    for column in range(size):
        for row in range(column, size):
            value = matrix[row, column]
            for k in range(column):
                value = value - factors[row, k] * factors[column, k]
            factors[row, column] = recip(sqrt(value)) if row == column else value * factors[column, column]
    return factors


def cholesky_solve(factors: Matrix, rhs: Sequence[Scalar]) -> list[Scalar]:
    """Return x with (L L^T) x = rhs."""
    x = list(rhs)
    for i in range(len(x)):
        for k in range(i):
            x[i] = x[i] - factors[i, k] * x[k]
        x[i] = x[i] * factors[i, i]
    for i in range(len(x) - 1, -1, -1):
        for k in range(i + 1, len(x)):
            x[i] = x[i] - factors[k, i] * x[k]
        x[i] = x[i] * factors[i, i]
    return x


def _skew(x: Vector) -> np.ndarray:
    """Return what makes of v the vector product x v, (3, 3)."""
    return np.array([[0.0, -x[2], x[1]], [x[2], 0.0, -x[0]], [-x[1], x[0], 0.0]], dtype=object)
