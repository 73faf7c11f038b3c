"""What makes the host wait for a device, found while everything runs on the CPU."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

_LOOKS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero")
_NO_LAUNCH = {"view", "_unsafe_view", "slice", "select", "unsqueeze", "squeeze", "expand", "t", "transpose", "permute"}
_NO_LAUNCH |= {"unbind", "split", "split_with_sizes", "detach", "alias", "as_strided", "_reshape_alias", "lift_fresh"}
_NO_LAUNCH |= {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "diagonal"}


class Operators(TorchDispatchMode):
    """Counts operators: `waits`, whose result the host needs, and `launches`, all that are no view and no bare memory.

    What comes of a random generator is the host's own, until it is sent: to look at that is no wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        self.hosts_own = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        given = [each for each in args if isinstance(each, Tensor)]
        own = kwargs.get("generator") is not None or bool(given and all(each in self.hosts_own for each in given))
        by_mask = name.startswith("index") and any(i is not None and i.dtype == torch.bool for i in _indices(args))
        if (by_mask or name in _LOOKS) and not own:
            self.waits[name] += 1
        if name not in _NO_LAUNCH:
            self.launches[name] += 1
        result = func(*args, **kwargs)
        if own and isinstance(result, Tensor):
            self.hosts_own[result] = True
        return result


class Transfers(TorchFunctionMode):
    """Counts this package's calls that bring tensors to another device and wait until they are there, or back: `found`.

    A number that is told later, `.to("cpu", non_blocking=True)`, belongs to the host, as `operators` are told.
    """

    def __init__(self, operators: Operators) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._operators = operators

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        result = func(*args, **kwargs)
        if "rpo_lightning" not in sys._getframe(1).f_code.co_filename:
            return result
        if name in ("cpu", "cuda", "numpy", "tolist"):
            self.found[name] += args[0] not in self._operators.hosts_own
        elif name == "to" and any(isinstance(each, torch.device | str) for each in (*args, *kwargs.values())):
            if not kwargs.get("non_blocking"):
                self.found["to"] += 1
            elif "cpu" in args:
                result = result.clone()
                self._operators.hosts_own[result] = True
        return result


def _indices(args: Any) -> Any:
    return args[1] if len(args) > 1 and isinstance(args[1], (list, tuple)) else ()
