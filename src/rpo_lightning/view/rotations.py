"""Quaternions wxyz and matrices of NumPy arrays, as drawing needs them."""

from __future__ import annotations

import numpy as np

__all__ = ["between", "matrices", "product", "turned"]


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the product (..., 4) of quaternions (..., 4)."""
    w, x, y, z = np.moveaxis(np.asarray(left), -1, 0)
    a, b, c, d = np.moveaxis(np.asarray(right), -1, 0)
    parts = (
        w * a - x * b - y * c - z * d,
        w * b + x * a + y * d - z * c,
        w * c - x * d + y * a + z * b,
        w * d + x * c - y * b + z * a,
    )
    return np.stack(np.broadcast_arrays(*parts), axis=-1)


def matrices(quat: np.ndarray) -> np.ndarray:
    """Return rotation matrices (..., 3, 3) of quaternions (..., 4)."""
    quat = np.asarray(quat)
    basis = np.concatenate([np.zeros((3, 1)), np.eye(3)], axis=1)
    conjugate = quat * np.array([1.0, -1.0, -1.0, -1.0])
    columns = [product(product(quat, axis), conjugate)[..., 1:] for axis in basis]
    return np.stack(columns, axis=-1)


def turned(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return vectors (..., 3) turned by quaternions (..., 4)."""
    return (matrices(quat) @ np.asarray(vector)[..., None])[..., 0]


def between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the shortest turn (4,) from one unit vector to another."""
    quat = np.array([1.0 + start @ end, *np.cross(start, end)])
    if quat[0] < 1e-9:  # opposite: half a turn about any axis across
        across = np.eye(3)[np.abs(start).argmin()]
        axis = np.cross(start, across)
        return np.array([0.0, *(axis / np.linalg.norm(axis))])
    return quat / np.linalg.norm(quat)
