"""A stand-in for an accelerator on a machine without one: the device type `meta`, whose tensors hold their numbers on the CPU.

To torch, and to everything that asks a tensor where it is, they are elsewhere: what mixes devices, or draws random numbers
there, fails as it would on a GPU, and what waits for the device is counted. The arithmetic is the CPU's, bit for bit.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from lightning.pytorch.accelerators import Accelerator
from torch import Tensor
from torch.optim import optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from rpo_lightning.envs import base
from rpo_lightning.sim import devices, kernels, sensors, simulator
from rpo_lightning.sim.prelude import LANES

DEVICE = torch.device("meta")
_OPS = torch.ops.aten
_BY_INDEX = (_OPS.index.Tensor, _OPS.index_put.default, _OPS.index_put_.default)
_MOVES = (_OPS.copy_.default, _OPS._to_copy.default, *_BY_INDEX)
"""What takes tensors of several devices: copies, and indices of the CPU."""
_WAITS = (_OPS._local_scalar_dense.default, _OPS.nonzero.default, _OPS.equal.default, _OPS.masked_select.default)
"""What the host has to wait for, copies to it aside."""


class Placed(Tensor):
    """A tensor on the stand-in, around one on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Placed:
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=DEVICE
        )
        made.held = held
        return made

    def __init__(self, held: Tensor) -> None:
        pass

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Placed({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carry_out(func, args, kwargs or {}, Counter())


def carry_out(func: Any, args: Any, kwargs: dict[str, Any], waits: Counter[str]) -> Any:
    """Run an operator where its tensors, or `device`, say; count the lines of this package that wait for the device."""
    tensors: list[Tensor] = []
    held_args, held_kwargs = _held(args, tensors), {name: _held(each, tensors) for name, each in kwargs.items()}
    placed, wanted = any(type(each) is Placed for each in tensors), kwargs.get("device")
    if not placed and wanted != DEVICE:
        return func(*args, **kwargs)
    if torch.Tag.nondeterministic_seeded in func.tags:
        raise RuntimeError(f"{func} draws random numbers on the accelerator")
    if placed and func not in _MOVES and any(each.dim() and type(each) is not Placed for each in tensors):
        raise RuntimeError(f"{func}: expected all tensors to be on the same device")
    leaves = func is _OPS._to_copy.default and wanted is not None and wanted != DEVICE
    leaves |= func is _OPS.copy_.default and type(args[0]) is not Placed
    if leaves or func in _WAITS or (func in _BY_INDEX and any(each.dtype == torch.bool for each in tensors[1:])):
        waits[_line()] += 1
    if wanted is not None:
        held_kwargs["device"] = torch.device("cpu")
    result = func(*held_args, **held_kwargs)
    if leaves:
        return args[0] if func is _OPS.copy_.default else result
    if isinstance(result, Tensor):
        result = Placed(result)
    elif isinstance(result, tuple | list):
        result = type(result)(Placed(each) if isinstance(each, Tensor) else each for each in result)
    return return_and_correct_aliasing(func, args, kwargs, result) if placed else result


def _held(value: Any, tensors: list[Tensor]) -> Any:
    """Return an argument with the tensors that the stand-in's hold; note all tensors."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return value.held if type(value) is Placed else value
    return type(value)(_held(each, tensors) for each in value) if type(value) in (tuple, list) else value


def _line() -> str:
    frame = sys._getframe(1)
    while frame.f_back is not None and f"{os.sep}rpo_lightning{os.sep}" not in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('rpo_lightning/')[2]}:{frame.f_lineno}"


class _Dispatch(TorchDispatchMode):
    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carry_out(func, args, kwargs or {}, self.waits)


class _Made(TorchFunctionMode):
    """What does not reach a dispatch mode: `torch.tensor` and its like, and `tolist` of another tensor than torch's own."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == DEVICE:
            kwargs.pop("device")
            return func(*args, **kwargs).to(DEVICE)
        if func is Tensor.new_tensor and isinstance(args[0], Placed):
            return torch.tensor(args[1], **{"dtype": args[0].dtype, **kwargs}).to(DEVICE)
        if func is Tensor.tolist and isinstance(args[0], Placed):
            return args[0].cpu().tolist()
        return func(*args, **kwargs)


class StandIn(Accelerator):
    """What the Trainer and Fabric are given for it."""

    def setup_device(self, device: torch.device) -> None:
        """Do nothing."""

    def teardown(self) -> None:
        """Do nothing."""

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        """Return what is asked for."""
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        """Return the one there is, so often."""
        return [DEVICE] * int(devices)

    @staticmethod
    def auto_device_count() -> int:
        """Return 1."""
        return 1

    @staticmethod
    def is_available() -> bool:
        """Return that it is."""
        return True

    @staticmethod
    def name() -> str:
        """Return what it is called."""
        return "stand_in"

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        """Return nothing."""
        return {}


@contextmanager
def accelerator() -> Iterator[Counter[str]]:
    """Let `DEVICE` be the stand-in; yields how often which line has waited for it."""
    waits: Counter[str] = Counter()
    fused, autocast = optimizer._get_fused_kernels_supported_devices, torch.autocast
    known = patch.object(optimizer, "_get_fused_kernels_supported_devices", lambda: [*fused(), DEVICE.type])
    cast = patch.object(
        torch, "autocast", lambda kind, *given, **options: autocast(kind.replace(DEVICE.type, "cpu"), *given, **options)
    )
    with known, cast, _simulated(), warnings.catch_warnings(), _Dispatch(waits), _Made():
        warnings.filterwarnings("ignore", "for .*: copying from a non-meta parameter")  # what is held is copied
        yield waits


@contextmanager
def _simulated() -> Iterator[None]:
    """Let our simulator take the stand-in for a device it can run on, with the CPU's kernels."""
    resolve, launch, load, cpu = devices.resolve_device, kernels.launch, kernels.load, torch.device("cpu")

    def resolved(device: Any) -> torch.device:
        return DEVICE if torch.device(device) == DEVICE else resolve(device)

    def launched(kernel: Any, device: torch.device, tensors: Any, *sizes: Any) -> None:
        launch(kernel, cpu, [each.held if isinstance(each, Placed) else each for each in tensors], *sizes)

    with ExitStack() as patches:
        for module in (simulator, sensors, base):
            patches.enter_context(patch.object(module, "resolve_device", resolved))
        patches.enter_context(patch.object(kernels, "launch", launched))
        patches.enter_context(patch.object(kernels, "load", lambda kernel, device, *options: load(kernel, cpu, *options)))
        patches.enter_context(patch.dict(LANES, {DEVICE.type: LANES["cpu"]}))
        yield
