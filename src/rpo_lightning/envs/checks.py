"""What environments refuse of what they are given, each in a sentence that names the task."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["check_tensor", "checked_mask", "checked_progress"]


def check_tensor(task: str, name: str, tensor: Any, shape: tuple[int, ...], device: torch.device) -> None:
    """Check what the user hands in.

    Raises:
        ValueError: if it is no float32 tensor of that shape and device.
    """
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{task}: {name} must be a torch tensor, got {type(tensor).__name__}")
    if tuple(tensor.shape) != shape or tensor.dtype != torch.float32 or tensor.device != device:
        raise ValueError(
            f"{task}: {name} must be a float32 tensor of shape {shape} on {device}, "
            f"got {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
        )


def checked_mask(mask: Tensor | None, num_envs: int, device: torch.device) -> Tensor:
    """Return the environments to reset, (N,) bool: all if None.

    Raises:
        ValueError: for another shape or type.
    """
    if mask is None:
        return torch.ones(num_envs, dtype=torch.bool, device=device)
    if tuple(mask.shape) != (num_envs,) or mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool of shape {(num_envs,)}, got {mask.dtype} {tuple(mask.shape)}")
    return mask


def checked_progress(task: str, progress: Tensor | None, num_envs: int, device: torch.device) -> Tensor:
    """Return the steps of the present episodes, (N,) int64 on the device: 0 if None.

    Raises:
        ValueError: for another shape, or floats.
    """
    if progress is None:
        return torch.zeros(num_envs, dtype=torch.int64, device=device)
    if tuple(progress.shape) != (num_envs,) or progress.is_floating_point():
        raise ValueError(
            f"{task}: progress must be an integer tensor of shape {(num_envs,)}, "
            f"got {progress.dtype} {tuple(progress.shape)}"
        )
    return progress.to(device, torch.int64)
