"""The policies and updates of several modules as those of one, by `torch.vmap`: each operator is launched once for all."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from rpo_lightning.algorithms.base import RLModule
from rpo_lightning.algorithms.descent import take_step
from rpo_lightning.nn import Gaussian
from rpo_lightning.rollout import RolloutBatch
from rpo_lightning.under_vmap import Generators, entry, outside

__all__ = ["Stack", "check_alike"]


class Stack:
    """S modules of one class, whose parameters and buffers become views of tensors (S, ...).

    The algorithm's own `update` runs once, inside `torch.vmap`, on a copy of the first module that has the tensors of all.
    What it does with optimizers, generators, callbacks and learning rates is done outside, for each module with its own.
    Numbers among the attributes may differ between modules, as kl_coef and learning rates; what else is a choice may not.

    Args:
        modules: on their device, with their drivers.

    Raises:
        ValueError: if they are of different shapes, or differ in an option that is no number.
    """

    def __init__(self, modules: Sequence[RLModule]) -> None:
        self.modules = list(modules)
        check_alike(self.modules)
        self._tensors: dict[str, Tensor] = {}
        self._owners: dict[int, list[Any]] = {}
        named = [{**dict(module.named_parameters()), **dict(module.named_buffers())} for module in modules]
        for name, first in named[0].items():
            own = [each[name] for each in named]
            whole = torch.stack([each.data for each in own])
            for each, part in zip(own, whole.unbind(), strict=True):
                each.data = part
            self._tensors[name] = whole.requires_grad_(first.requires_grad)
            self._owners[id(whole)] = own
        self._acting = {name: each for name, each in self._tensors.items() if not name.startswith("critics.")}
        self._template = _template(self)
        self._caller = _Caller(self._template)
        numbers_of = [vars(module) for module in modules]
        numbers = [name for name, value in numbers_of[0].items() if type(value) is float and not name.endswith("_lr")]
        device = self._tensors["nonfinite_updates"].device
        self._differing = {
            name: torch.tensor([each[name] for each in numbers_of], device=device)
            for name in numbers
            if len({each[name] for each in numbers_of}) > 1
        }

    def behaviour(self, obs: Tensor) -> Gaussian:
        """Return the distribution (S N, A) that explores at raw observations (S N, D)."""
        kinds: list[type[Gaussian]] = []

        def one(state: dict[str, Tensor], obs: Tensor) -> tuple[Tensor, Tensor]:
            policy, _ = self._called(state, "behaviour", obs, obs[:, :0])
            kinds.append(type(policy))
            return policy.mean, policy.log_std

        parts = torch.vmap(one)(self._acting, obs.unflatten(0, (len(self.modules), -1)))
        return kinds[0](*(part.flatten(0, 1) for part in parts))

    def update(self, batches: Sequence[RolloutBatch]) -> list[dict[str, Tensor | float]]:
        """Let each module learn from its window; return the metrics of each."""
        names = [each.name for each in fields(RolloutBatch) if isinstance(getattr(batches[0], each.name), Tensor)]
        tensors = {name: torch.stack([getattr(batch, name) for batch in batches]) for name in names}
        rest: dict[str, Any] = {
            each.name: getattr(batches[0], each.name) for each in fields(RolloutBatch) if each.name not in names
        }
        rest["seed"] = [batch.seed for batch in batches]

        def one(state: dict[str, Tensor], numbers: dict[str, Tensor], window: dict[str, Any]) -> dict[str, Tensor]:
            with _set(self._template, numbers):
                metrics = self._called(state, "update", RolloutBatch(**window, **rest))
            return {name: torch.as_tensor(value) for name, value in metrics.items()}

        metrics = torch.vmap(one)(self._tensors, self._differing, tensors)
        return [{name: value[i] for name, value in metrics.items()} for i in range(len(self.modules))]

    def descend(self, optimizers: Sequence[Any], max_norm: Any, losses: Tensor, *params: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step down each loss (S,) with its optimizer; return norms and refusals (S,), see `descent.descend`."""
        # fused optimizers read gradients in the order of memory
        grads = [grad.contiguous() for grad in torch.autograd.grad(losses.sum(), params)]
        owners = [self._owners[id(param)] for param in params]
        steps = [
            take_step(optimizer, [own[i] for own in owners], [grad[i] for grad in grads], entry(max_norm, i))
            for i, optimizer in enumerate(optimizers)
        ]
        norms, refused = zip(*steps, strict=True)
        return torch.stack(norms), torch.stack(refused)

    def _called(self, state: dict[str, Tensor], name: str, *arguments: Any) -> Any:
        return functional_call(self._caller, {f"module.{key}": each for key, each in state.items()}, (name, *arguments))


class _Caller(nn.Module):
    """Calls a method of a module by its name."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, name: str, *arguments: Any) -> Any:
        return getattr(self.module, name)(*arguments)


class _Each(tuple[float, ...]):
    """A number of each module."""


class _Rates:
    """Stands for the `LearningRates` of all modules."""

    def __init__(self, modules: Sequence[RLModule]) -> None:
        self._modules = list(modules)

    def adapt(self, kl: Tensor) -> None:
        def each(kls: Tensor) -> Tensor:
            for module, own in zip(self._modules, kls, strict=True):
                module.rates.adapt(own)
            return kls

        outside(each, kl)


class _InVmap:
    """What an algorithm asks of itself in `update`, answered for S modules; mixed into a class of algorithms."""

    stack: Stack
    nonfinite_updates: Tensor

    @property
    def iteration(self) -> int:
        return self.stack.modules[0].iteration

    @property
    def progress(self) -> Tensor:
        return self._of_each([module.progress for module in self.stack.modules])

    def scheduled_optimizers(self, *initial: Any) -> list[Any]:
        """Return S optimizers in place of each, with this iteration's learning rates set."""
        each = [
            module.scheduled_optimizers(*(_own(rate, i) for rate in initial)) for i, module in enumerate(self.stack.modules)
        ]
        return list(zip(*each, strict=True))

    def learning_rate(self, initial: Any) -> Tensor:
        rates = [module.learning_rate(_own(initial, i)) for i, module in enumerate(self.stack.modules)]
        return self._of_each(rates)

    def _of_each(self, numbers: Sequence[float]) -> Tensor:
        return outside(lambda like: torch.tensor(numbers, dtype=torch.float64, device=like.device), self.nonfinite_updates)

    def generator(self, batch: Any) -> Generators:
        return Generators([torch.Generator().manual_seed(seed) for seed in batch.seed], self.nonfinite_updates)

    def apply_gradients(self, optimizer: Any, params: Sequence[Tensor], loss: Tensor, max_norm: Any) -> Tensor:
        def step(limit: Any, losses: Tensor, *leaves: Tensor) -> tuple[Tensor, Tensor]:
            return self.stack.descend(optimizer, limit, losses, *leaves)

        norm, refused = outside(step, max_norm, loss, *params)
        self.nonfinite_updates += refused
        return norm

    def at_once(self, call: Any, *arguments: Any) -> Any:
        return outside(call, *arguments)

    def hook(self, name: str, *args: Any) -> None:
        values, layout = pytree.tree_flatten(args)

        def tell(like: Tensor, *values: Any) -> Tensor:
            for i, module in enumerate(self.stack.modules):
                module.hook(name, *pytree.tree_unflatten([entry(value, i) for value in values], layout))
            return like

        outside(tell, self.nonfinite_updates, *values)


def _template(stack: Stack) -> Any:
    """Return a copy of the first module whose `update` is that of all, inside `torch.vmap`."""
    first = stack.modules[0]
    state = {**first.__getstate__(), "_trainer": None, "_fabric": None, "run": None}
    template: Any = object.__new__(type(f"Stacked{type(first).__name__}", (_InVmap, type(first)), {}))
    template.__setstate__(copy.deepcopy(state))
    vars(template).update(stack=stack, rates=_Rates(stack.modules))
    for name in [name for name in vars(first) if name.endswith("_lr")]:
        vars(template)[name] = _Each(vars(module)[name] for module in stack.modules)
    return template


def _own(number: Any, index: int) -> Any:
    return number[index] if isinstance(number, _Each) else number


@contextmanager
def _set(module: Any, numbers: dict[str, Tensor]) -> Iterator[None]:
    """Give a module numbers that are tensors, for the time being."""
    before = {name: vars(module)[name] for name in numbers}
    vars(module).update(numbers)
    try:
        yield
    finally:
        vars(module).update(before)


def check_alike(modules: Sequence[RLModule]) -> None:
    """Check that modules differ in nothing but what stacked ones can.

    Raises:
        ValueError: if they do.
    """
    first = modules[0]
    known = {*first.moved_by_training, *(name for name, value in vars(first).items() if type(value) is float)}
    known |= {"label", "final_lr", "weight_decay", "target_entropy_per_dim"}
    for module in modules:
        for name, value in module.options.items():
            if value != first.options.get(name) and name not in known:
                raise ValueError(
                    f"{type(first).__name__}: runs with {name} {first.options.get(name)} and {value} cannot train stacked; "
                    f"what can differ: {', '.join(sorted(known & first.options.keys()))}."
                )
