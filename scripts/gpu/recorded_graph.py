"""What a CUDA graph does, on a CPU: operators are remembered without effect, and carried out again in the same memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "allclose", "bincount", "histc", "repeat_interleave"}
WAITS |= {"_unique2", "unique_dim", "unique_consecutive"}
"""Operators whose result the host needs, which CUDA refuses to capture."""


class RecordedGraph:
    """Stands for `CudaGraph` where there is no CUDA."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def capture(self, call: Callable[[], Any]) -> Any:
        """Return what a function returns, and undo what it did to tensors that were there before.

        Raises:
            RuntimeError: if it looks at a tensor's value, or makes a tensor of numbers of the host.
        """
        recorder = _Recorder(self.steps)
        with recorder, _Calls():
            result = call()
        recorder.undo()
        return result

    @torch.no_grad()
    def replay(self) -> None:
        """Carry out every operator again, and put what is new into the memory of the first time."""
        for func, args, kwargs, first in self.steps:
            for old, new in zip(first, _made(func, func(*args, **kwargs)), strict=True):
                old.copy_(new)


class _Recorder(TorchDispatchMode):
    def __init__(self, steps: list[tuple[Any, Any, Any, list[Tensor]]]) -> None:
        super().__init__()
        self._steps = steps
        self._own: dict[int, Tensor] = {}
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        if name in WAITS or (name.startswith("index") and _by_mask(args)):
            raise RuntimeError(f"{name}: the host would wait for the device during a capture")
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise RuntimeError(f"{name}: random numbers drawn during a capture would be the same in every replay")
        if name == "lift_fresh" and args[0].dim() > 0:  # a single number becomes an argument of what is launched
            raise RuntimeError("a tensor is made of the host's numbers during a capture")
        for each in pytree.tree_leaves((args, kwargs)):
            if isinstance(each, Tensor) and _place(each) not in self._own | self._before:
                whole = each.detach().as_strided((each.untyped_storage().nbytes() // each.element_size(),), (1,), 0)
                self._before[_place(each)] = whole, whole.clone()
        result = func(*args, **kwargs)
        made = _made(func, result)
        self._own |= {_place(each): each for each in made}
        self._steps.append((func, args, kwargs, made))
        return result

    def undo(self) -> None:
        """Give tensors from before the capture their values back."""
        for now, before in self._before.values():
            now.copy_(before)


class _Calls(TorchFunctionMode):
    """Refuses what a dispatcher does not see: tensors made of numbers for a device, and numbers of a tensor."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        made = func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None
        if made or func is Tensor.new_tensor or (name in ("cpu", "numpy", "tolist") and isinstance(args[0], Tensor)):
            raise RuntimeError(f"{name}: numbers would be copied between the host and the device during a capture")
        return func(*args, **kwargs)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _made(func: Any, result: Any) -> list[Tensor]:
    """Return the tensors among an operator's results that are no views of its arguments."""
    if any(each.alias_info is not None for each in func._schema.returns):
        return []
    return [each.detach() for each in pytree.tree_leaves(result) if isinstance(each, Tensor)]


def _by_mask(args: Any) -> bool:
    given = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(each is not None and each.dtype in (torch.bool, torch.uint8) for each in given)
