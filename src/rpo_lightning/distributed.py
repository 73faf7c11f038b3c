"""Reductions over processes that cost nothing in a single one."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = [
    "any_rank",
    "from_first_rank",
    "gather_over_ranks",
    "leave",
    "max_over_ranks",
    "mean_over_ranks",
    "rank",
    "standardize",
    "sum_over_ranks",
    "world_size",
]


def _initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return this process's index, 0 in a single process."""
    return dist.get_rank() if _initialized() else 0


def world_size() -> int:
    """Return the number of processes, 1 in a single one."""
    return dist.get_world_size() if _initialized() else 1


def leave() -> None:
    """Part from the other processes: left to the interpreter's end, gloo has been seen to abort a finished run."""
    if _initialized():
        dist.destroy_process_group()


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place."""
    if _initialized():
        dist.all_reduce(tensor)
    return tensor


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """Average a tensor over all processes, in place."""
    if _initialized():
        dist.all_reduce(tensor)
        tensor /= dist.get_world_size()
    return tensor


def max_over_ranks(tensor: Tensor) -> Tensor:
    """Take the elementwise maximum over all processes, in place."""
    if _initialized():
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor


def from_first_rank(tensor: Tensor) -> Tensor:
    """Give a tensor the values it has in process 0, in place."""
    if _initialized():
        dist.broadcast(tensor, src=0)
    return tensor


def standardize(values: Tensor) -> Tensor:
    """Shift and scale values, of any shape, to mean 0 and standard deviation 1 over all processes."""
    mean, square = mean_over_ranks(torch.stack([values.mean(), values.square().mean()]))
    return (values - mean) / ((square - mean.square()).clamp(min=0.0).sqrt() + 1e-8)


def any_rank(flag: bool, device: torch.device) -> bool:
    """Tell on every process whether any of them raised the flag."""
    if not _initialized():
        return flag
    return bool(sum_over_ranks(torch.tensor(float(flag), device=device)))


def gather_over_ranks(value: Any) -> list[Any]:
    """Return on process 0 the values of all processes, in order of rank, with their tensors on the CPU; elsewhere nothing.

    Every process must call it.
    """
    value = on_cpu(value)
    if world_size() == 1:
        return [value]
    values: list[Any] | None = [None] * world_size() if rank() == 0 else None
    dist.gather_object(value, values)
    return values or []


def on_cpu(value: Any) -> Any:
    """Return a value with the tensors in its mappings and sequences on the CPU."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: on_cpu(each) for key, each in value.items()}
    return type(value)(map(on_cpu, value)) if type(value) in (list, tuple) else value
