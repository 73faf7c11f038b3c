"""Quaternions (xyzw): their product, and torch tensors of them with last dimension 4."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

__all__ = ["quat_multiply", "quat_product", "quat_rotate"]


def quat_product(a: Iterable[Any], b: Iterable[Any]) -> list[Any]:
    """Return the four entries of the product a b, from the entries of each: floats, `Expr` or tensors."""
    (ax, ay, az, aw), (bx, by, bz, bw) = a, b
    return [
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by + ay * bw + az * bx - ax * bz,
        aw * bz + az * bw + ax * by - ay * bx,
        aw * bw - ax * bx - ay * by - az * bz,
    ]


def quat_multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the product a b (..., 4)."""
    return torch.stack(quat_product(a.unbind(-1), b.unbind(-1)), dim=-1)


def quat_rotate(quat: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return vectors x (..., 3) rotated by unit quaternions."""
    v, w = quat[..., :3], quat[..., 3:]
    return x + 2.0 * torch.linalg.cross(v, torch.linalg.cross(v, x) + w * x)
