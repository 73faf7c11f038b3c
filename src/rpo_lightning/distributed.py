"""Reductions over processes that cost nothing in a single one."""

import pickle
from functools import cache
from io import BytesIO
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rpo_lightning.files import on_cpu

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
        _host_group.cache_clear()


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

    Every process must call it. They send one after the other, tensors as they lie in memory: beside what is returned nothing
    large is kept anywhere, and no GPU's memory is used.
    """
    value = on_cpu(value)
    if world_size() == 1:
        return [value]
    group = _host_group()
    if rank() > 0:
        packer = _Packer(file := BytesIO())
        packer.dump(value)
        dist.send_object_list([file.getvalue()], dst=0, group=group)
        for tensor in packer.tensors:
            dist.send(tensor.contiguous(), dst=0, group=group)
        return []
    values = [value]
    for source in range(1, world_size()):
        dist.recv_object_list(received := [b""], src=source, group=group)
        unpacker = _Unpacker(BytesIO(received[0]))
        values.append(unpacker.load())
        for tensor in unpacker.tensors:
            dist.recv(tensor, src=source, group=group)
    return values


class _Packer(pickle.Pickler):
    """Pickles all but the numbers of tensors, which it lists."""

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file)
        self.tensors: list[Tensor] = []

    def persistent_id(self, each: Any) -> Any:
        if not isinstance(each, Tensor):
            return None
        self.tensors.append(each)
        return each.shape, each.dtype


class _Unpacker(pickle.Unpickler):
    """Makes room for the tensors, which it lists in the same order."""

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file)
        self.tensors: list[Tensor] = []

    def persistent_load(self, kind: Any) -> Tensor:
        shape, dtype = kind
        self.tensors.append(torch.empty(shape, dtype=dtype))
        return self.tensors[-1]


@cache
def _host_group() -> Any:
    """Return the group by which objects travel, made by all processes at once; None: the one there is."""
    return None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")  # NCCL sends through GPUs' memory
