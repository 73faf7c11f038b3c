"""What cannot be done inside `torch.vmap` is done outside, for all entries at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Generators", "entry", "outside"]


class _Outside(torch.autograd.Function):
    @staticmethod
    def forward(call: Any, *arguments: Any) -> Any:
        raise RuntimeError("outside() is for use inside torch.vmap, with at least one tensor that has an entry for each.")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(*(output if isinstance(output, tuple) else (output,)))

    @staticmethod
    def vmap(info: Any, in_dims: Any, call: Any, *arguments: Any) -> Any:
        size = info.batch_size
        first = [_first(each, dim, size) for each, dim in zip(arguments, in_dims[1:], strict=True)]
        result = call(*first)
        return result, (0,) * len(result) if isinstance(result, tuple) else 0


def _first(value: Any, dim: int | None, size: int) -> Any:
    if dim is None:
        return value.expand(size, *value.shape) if isinstance(value, Tensor) else value
    return value.movedim(dim, 0) if dim else value  # the very tensor, for which a gradient may be asked


def outside(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function with what tensors of a `torch.vmap` are outside of it: with all their S entries, first.

    Args:
        call: returns a tensor, or a tuple of such, with S entries first; those that it gets carry their graphs.
        arguments: at least one of them a tensor with S entries; others are handed on as they are.

    Returns:
        what `call` returned, as tensors inside again, without a graph.
    """
    return _Outside.apply(call, *arguments)


def entry(value: Any, index: int) -> Any:
    """Return an entry of what `outside` hands to its function; what is no tensor is the same for all."""
    return value[index] if isinstance(value, Tensor) else value


class Generators:
    """Where one generator is asked for inside `torch.vmap`: one for each of the S entries, which draws as its own run.

    Args:
        generators: of the CPU, S of them.
        like: any tensor with S entries.
    """

    def __init__(self, generators: Sequence[torch.Generator], like: Tensor) -> None:
        self._generators, self._like = list(generators), like

    def draw(self, one: Callable[[torch.Generator], Tensor]) -> Tensor:
        """Return what `one` draws with each generator, as entries."""
        return outside(lambda _: torch.stack([one(each) for each in self._generators]), self._like)
