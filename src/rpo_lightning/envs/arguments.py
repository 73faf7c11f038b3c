"""What environments refuse of what they are given, each in a sentence that names the task."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "check_history",
    "check_names",
    "check_returned",
    "check_tensor",
    "checked_mask",
    "checked_number",
    "checked_options",
    "checked_progress",
    "checked_range",
    "spread_limits",
]


def check_names(task: str, options: Iterable[str], known: Collection[str]) -> None:
    """Check that a task has the options.

    Raises:
        TypeError: for one that it has not, with the nearest that it has.
    """
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean {near[0]!r}? Options" if near else ". Options of this task"
            raise TypeError(f"{task}: unknown option {name!r}{hint}: {', '.join(known)}")


def checked_options(task: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a task has, with those given put in.

    Raises:
        TypeError: for one that it has not. ValueError: for a bad value.
    """
    check_names(task, options, defaults)
    for name in options:
        if isinstance(defaults[name], bool) and not isinstance(options[name], bool):
            raise ValueError(f"{task}: {name} must be true or false, got {options[name]!r}")
    merged = {**defaults, **options}
    if merged.get("reward_from", "next") not in ("previous", "next"):
        raise ValueError(f"{task}: reward_from must be 'previous' or 'next', got {merged['reward_from']!r}")
    check_history(task, merged.get("history", 1))
    if (length := merged.get("episode_length")) is not None and (not isinstance(length, int) or length < 1):
        raise ValueError(f"{task}: episode_length must be at least 1, got {length}")
    return merged


def check_history(task: str, length: Any) -> None:
    """Check how many of the last observations are seen.

    Raises:
        ValueError: if it is no whole number of at least 1.
    """
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        raise ValueError(f"{task}: history must be a whole number of observations, 1 or more, got {length!r}")


def checked_number(task: str, name: str, given: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """Return an option that is a number within low ... high.

    Raises:
        ValueError: if it is none.
    """
    if not _is_number(given) or not low <= given <= high:
        raise ValueError(f"{task}: {name} must be a number{_within(low, high)}, got {given!r}")
    return float(given)


def checked_range(
    task: str, name: str, given: Any, low: float = -math.inf, high: float = math.inf, also: str = ""
) -> tuple[float, float]:
    """Return an option that is two numbers, the lower one first, within low ... high.

    Args:
        task: a name for messages.
        name: of the option.
        given: its value.
        low: which none may be below.
        high: which none may be above.
        also: what else it may be, for messages.

    Raises:
        ValueError: if it is none.
    """
    pair = given if isinstance(given, list | tuple) and len(given) == 2 else ()
    if not pair or not all(map(_is_number, pair)) or not low <= pair[0] <= pair[1] <= high:
        raise ValueError(f"{task}: {name} must be {also}two numbers low, high{_within(low, high)}, got {given!r}")
    return float(pair[0]), float(pair[1])


def _is_number(given: Any) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)


def _within(low: float, high: float) -> str:
    if math.isfinite(high):
        return f" within {low:g} ... {high:g}"
    return f", {low:g} or more" if math.isfinite(low) else ""


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


def check_returned(task: str, method: str, value: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Check what a method of the user's task returns.

    Raises:
        ValueError: if it is no tensor of that shape and type.
    """
    kind = str(dtype).removeprefix("torch.")
    if not isinstance(value, Tensor):
        raise ValueError(f"{task}: {method} must return a {kind} tensor of shape {shape}, got {type(value).__name__}")
    if tuple(value.shape) != shape:
        raise ValueError(f"{task}: {method} must return shape {shape}, got {tuple(value.shape)}")
    if value.dtype != dtype:
        raise ValueError(f"{task}: {method} must return {kind}, got {str(value.dtype).removeprefix('torch.')}")


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


def spread_limits(task: str, shortest: int, longest: int, num_envs: int) -> Tensor:
    """Return the steps (N,) int64 after which the episodes of each environment end.

    Args:
        task: named in messages.
        shortest: of the last environment.
        longest: of the first one, which a single environment is; they fall by one factor from each to the next.
        num_envs: N.

    Raises:
        ValueError: if the shortest is no whole number within 1 ... longest.
    """
    if not isinstance(shortest, int) or isinstance(shortest, bool) or not 1 <= shortest <= longest:
        raise ValueError(
            f"{task}: shortest_episode must be a whole number from 1 to the {longest} steps of an episode, got {shortest!r}"
        )
    share = torch.linspace(0.0, 1.0, num_envs, dtype=torch.float64)
    return (longest * (shortest / longest) ** share).round().long()


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
