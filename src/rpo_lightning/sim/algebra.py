"""Vectors, rotations and quaternions (xyzw) of scalars: floats, or `Expr` to be traced."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rpo_lightning.sim.expressions import Scalar, recip, sqrt

__all__ = ["ZERO", "Vector", "cross", "normalized", "rotation", "vector"]

Vector = np.ndarray  # (3,) of dtype object: floats and Expr mixed


def vector(values: Sequence[Scalar] | np.ndarray) -> Vector:
    """Return three scalars as a vector of Python floats and `Expr`."""
    return np.array([v if not isinstance(v, np.floating) else float(v) for v in values], dtype=object)


ZERO = vector([0.0, 0.0, 0.0])


def cross(a: Vector, b: Vector) -> Vector:
    """Return the vector product."""
    return vector([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def rotation(quat: Sequence[Scalar]) -> np.ndarray:
    """Return (2 w^2 - 1) 1 + 2 w [v] + 2 v v^T; quaternions of other than unit length are not normalised."""
    x, y, z, w = quat
    d = 2.0 * (w * w) - 1.0
    xy, xz, yz = 2.0 * (x * y), 2.0 * (x * z), 2.0 * (y * z)
    wx, wy, wz = 2.0 * (w * x), 2.0 * (w * y), 2.0 * (w * z)
    rows = [
        [d + 2.0 * (x * x), xy - wz, xz + wy],
        [xy + wz, d + 2.0 * (y * y), yz - wx],
        [xz - wy, yz + wx, d + 2.0 * (z * z)],
    ]
    return np.array(rows, dtype=object)


def normalized(quat: Sequence[Scalar]) -> list[Scalar]:
    """Return a quaternion of unit length."""
    x, y, z, w = quat
    inverse = recip(sqrt(x * x + y * y + z * z + w * w))
    return [x * inverse, y * inverse, z * inverse, w * inverse]
