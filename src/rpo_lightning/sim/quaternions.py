"""Quaternions (xyzw) of torch tensors, last dimension 4."""

from __future__ import annotations

import torch

__all__ = ["quat_multiply", "quat_rotate"]


def quat_multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the product a b (..., 4)."""
    v, w = a[..., :3], a[..., 3:]
    vector = w * b[..., :3] + b[..., 3:] * v + torch.linalg.cross(v, b[..., :3])
    return torch.cat([vector, w * b[..., 3:] - (v * b[..., :3]).sum(-1, keepdim=True)], dim=-1)


def quat_rotate(quat: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return vectors x (..., 3) rotated by unit quaternions."""
    v, w = quat[..., :3], quat[..., 3:]
    return x + 2.0 * torch.linalg.cross(v, torch.linalg.cross(v, x) + w * x)
