"""An update as one CUDA graph: what it launches is recorded once, and then launched as a whole for every window."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from rpo_lightning.rollout import RolloutBatch

__all__ = ["CapturedUpdate", "CudaGraph", "Graph"]

log = logging.getLogger("rpo_lightning")

REHEARSALS = 2
"""Windows that are learned from one launch at a time before the capture, by which every library has made its workspaces."""
WORTH = 10
"""Replays that a recording must have had, or it was in vain."""
PATIENCE = 3
"""Recordings in vain, one after the other, after which nothing is captured any more."""
UNREAD = {"iteration", "env_steps", "refused_in_a_row", "skip_update", "stop_at", "tolerated", "patience", "advice", "name"}
"""Attributes of an algorithm that its update does not read; of the progress of the run it may ask `progress`."""

Key = tuple[str, float]
"""A number that changes from window to window: ("progress", 0), or ("rate", the rate at the start of the run)."""


class Graph(Protocol):
    """What remembers launches."""

    def capture(self, call: Callable[[], Any]) -> Any:
        """Return what a function returns, whose launches are remembered and not carried out."""

    def replay(self) -> None:
        """Carry them out: what `capture` returned has its values afterwards."""


class CudaGraph:
    """Launches of CUDA, in torch's present stream."""

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()

    def capture(self, call: Callable[[], Any]) -> Any:
        """Record what a function launches; other threads may go on using the device."""
        stream, first = torch.cuda.current_stream(), None
        try:
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                try:
                    return call()
                except Exception as error:
                    first = error
                    raise
        except Exception as error:
            torch.cuda.set_stream(stream)  # torch leaves the capture's where that does not end as it should
            raise first or error from None

    def replay(self) -> None:
        """Launch it."""
        self._graph.replay()


@dataclass
class _Recording:
    """What is known of an update."""

    graph: Graph | None = None
    rehearsals: int = 0
    replays: int = 0
    capturing: bool = False
    window: dict[str, Tensor] = field(default_factory=dict)
    """Where windows are copied to."""
    numbers: dict[Key, Tensor] = field(default_factory=dict)
    draws: list[Callable[[torch.Generator], Tensor]] = field(default_factory=list)
    drawn: list[Tensor] = field(default_factory=list)
    """What each of `draws` has given."""
    asked: int = 0
    """Draws in the capture so far."""
    hooks: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    rates: list[tuple[dict[str, Any], Key]] = field(default_factory=list)
    """Groups of parameters, and the rate of each."""
    metrics: dict[str, Tensor | float] = field(default_factory=dict)


class CapturedUpdate:
    """The `update` of a module, recorded after a few windows and replayed from then on.

    A graph has fixed memory. So each window is copied to where the first one was; random numbers are drawn on the CPU as
    ever, in the order in which the update asks for them, and copied likewise; learning rates and the progress of the run are
    tensors, filled before each replay. Hooks are called after the replay, with what the update handed them. Where
    the update is another than the one recorded, because an option or the place of a weight has changed, it is recorded anew;
    what changes all the time is never recorded.

    Args:
        module: on its device, with its driver.
        graph: what records; made anew for every capture.
    """

    def __init__(self, module: Any, graph: Callable[[], Graph] = CudaGraph) -> None:
        self.module = module
        self._new_graph = graph
        kind = type(module)
        # the very module under a class that asks this object for what differs from window to window
        self._recorded: Any = object.__new__(type(f"Captured{kind.__name__}", (_InGraph, kind), {"tape": self}))
        self._recorded.__dict__ = vars(module)
        self._known: dict[str, Any] = {}
        """The signature of the last window's update."""
        self._in_vain = 0
        self._now = _Recording()
        self._generator = torch.Generator()

    def __call__(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Learn from one window and return metrics, as `update` does."""
        self._look_for_changes(batch)
        if self._in_vain >= PATIENCE:
            return self.module.update(batch)
        if self._now.graph is None and self._now.rehearsals < REHEARSALS:
            return self._rehearse(batch)
        if not self._now.window:
            self._now.window = {name: torch.empty_like(given) for name, given in _tensors(batch).items()}
        for name, given in _tensors(batch).items():
            self._now.window[name].copy_(given)
        for key, number in self._now.numbers.items():
            number.fill_(self._value(key))
        generator = self.module.generator(batch)
        for draw, drawn in zip(self._now.draws, self._now.drawn, strict=True):
            drawn.copy_(draw(generator), non_blocking=True)
        if self._now.graph is None:
            self._capture(batch)
        assert self._now.graph is not None
        self._now.graph.replay()
        self._now.replays += 1
        self._restore_rates()
        for name, args in self._now.hooks:  # copies, which who is told may keep
            self.module.hook(name, *pytree.tree_map_only(Tensor, torch.clone, args))
        return dict(self._now.metrics)

    @property
    def replaying(self) -> bool:
        """Whether an update is recorded."""
        return self._now.graph is not None

    # ---- what the update asks, see `_InGraph` ----------------------------------------------------------------------------

    def number(self, key: Key) -> Tensor:
        """Return the tensor () that holds a number of the present window."""
        if key not in self._now.numbers:
            if self._now.capturing:
                raise RuntimeError(f"the update asks for another number than before: {key}")
            device = self.module.nonfinite_updates.device
            self._now.numbers[key] = torch.full((), self._value(key), dtype=torch.float32, device=device)
        return self._now.numbers[key]

    def begin_draws(self, generator: torch.Generator) -> CapturedUpdate:
        """Return what draws random numbers in a generator's place, in this order."""
        self._generator = generator
        return self

    def draw(self, one: Callable[[torch.Generator], Tensor]) -> Tensor:
        """Return what `one` draws: in a rehearsal with the window's generator, in a capture where replays will find it."""
        if self._now.capturing:
            self._now.asked += 1
            return self._now.drawn[self._now.asked - 1]
        drawn = one(self._generator)
        self._now.draws.append(one)
        self._now.drawn.append(torch.empty_like(drawn))
        return drawn

    def hook(self, name: str, args: tuple[Any, ...]) -> None:
        """Call a hook; in a capture, whenever that is replayed."""
        if self._now.capturing:
            self._now.hooks.append((name, args))
        else:
            self.module.hook(name, *args)

    # ---- rehearsal and capture -------------------------------------------------------------------------------------------

    def _rehearse(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        self._now = _Recording(rehearsals=self._now.rehearsals + 1)
        try:
            metrics = self._recorded.update(batch)
        finally:
            self._restore_rates()
        self._known = self._signature(batch)  # the first has made the optimizers' state
        # those of the window that is over are not to be told as the next one's
        return {name: value.clone() if isinstance(value, Tensor) else value for name, value in metrics.items()}

    def _capture(self, batch: RolloutBatch) -> None:
        # what no update reads is left out, so that one that does fails here
        rest: dict[str, Any] = {"reward_terms": {}, "episode_terms": {}, "start_state": (), "start_context": {}}
        window = replace(batch, **{**rest, **self._now.window})
        groups = [group for optimizer in self.module.driver.optimizers() for group in optimizer.param_groups]
        before = [group.get("capturable", False) for group in groups]
        graph, self._now.capturing = self._new_graph(), True
        try:
            for group in groups:  # torch's word for an optimizer that may be captured; fused ones always may
                group["capturable"] = True
            self._now.metrics = graph.capture(lambda: self._recorded.update(window))
            if self._now.asked != len(self._now.drawn):
                raise RuntimeError("the update asks for fewer random numbers than before")
        except Exception as error:
            self._restore_rates()
            why = str(error).splitlines()[0]
            raise RuntimeError(
                f"{self.module.name}: the update cannot be captured ({why}); train with capture: false."
            ) from error
        finally:
            self._now.capturing = False
            for group, capturable in zip(groups, before, strict=True):
                group["capturable"] = capturable
        self._now.graph = graph

    def _restore_rates(self) -> None:
        """Write numbers where optimizers have tensors: those are for the graph, these for checkpoints and who looks."""
        for optimizer in self.module.driver.optimizers():
            for group in optimizer.param_groups:
                key = next((key for key, number in self._now.numbers.items() if number is group["lr"]), None)
                if key is not None and not any(each is group for each, _ in self._now.rates):
                    self._now.rates.append((group, key))
        for group, key in self._now.rates:
            group["lr"] = self._value(key)

    def _value(self, key: Key) -> float:
        kind, initial = key
        return self.module.progress if kind == "progress" else self.module.learning_rate(initial)

    def _look_for_changes(self, batch: RolloutBatch) -> None:
        """Forget what was recorded if the update would be another now."""
        found = self._signature(batch)
        if found == self._known:
            return
        changed = next(name for name in {**self._known, **found} if self._known.get(name) != found.get(name))
        if self._known:
            self._in_vain = self._in_vain + 1 if self._now.replays < WORTH else 0
        if self._in_vain == PATIENCE:
            log.warning(f"{self.module.name}: {changed} keeps changing, so that updates are no longer captured.")
        self._known, self._now = found, _Recording()

    def _signature(self, batch: RolloutBatch) -> dict[str, Any]:
        """Return what decides which operators an update launches, and where."""
        found: dict[str, Any] = {"the window's shape": [(each.shape, each.dtype) for each in _tensors(batch).values()]}
        tensors = [*self.module.parameters(), *self.module.buffers()]
        for prefix, part in self.module.named_modules():
            for name, value in vars(part).items():
                if isinstance(value, Tensor):
                    tensors.append(value)
                elif _plain(value) and not name.startswith("_") and name not in UNREAD:
                    found[f"{prefix}.{name}" if prefix else name] = value
        scheduled = [id(group) for group, _ in self._now.rates]
        for i, optimizer in enumerate(self.module.driver.optimizers()):
            tensors += [each for state in optimizer.state.values() for each in state.values() if isinstance(each, Tensor)]
            for j, group in enumerate(optimizer.param_groups):
                for name, value in group.items():
                    if _plain(value) and name != "capturable" and not (name == "lr" and id(group) in scheduled):
                        found[f"{name} of optimizer {i}, group {j}"] = value
        found["the place of a weight"] = [each.data_ptr() for each in tensors]
        return found


class _InGraph:
    """What an algorithm asks of itself in `update`, answered so that it can be replayed; mixed into its class."""

    tape: CapturedUpdate

    @property
    def iteration(self) -> int:
        raise RuntimeError("it reads `iteration`, which would be the same in every replay; `progress` would not")

    @property
    def env_steps(self) -> int:
        raise RuntimeError("it reads `env_steps`, which would be the same in every replay; `progress` would not")

    @property
    def progress(self) -> Tensor:
        return self.tape.number(("progress", 0.0))

    def learning_rate(self, initial: float) -> Tensor:
        return self.tape.number(("rate", initial))

    def generator(self, batch: RolloutBatch) -> CapturedUpdate:
        return self.tape.begin_draws(self.tape.module.generator(batch))

    def hook(self, name: str, *args: Any) -> None:
        self.tape.hook(name, args)


def _plain(value: Any) -> bool:
    """Return whether a value is a number, a word, nothing, or a tuple of such."""
    return value is None or isinstance(value, bool | int | float | str) or (type(value) is tuple and all(map(_plain, value)))


def _tensors(batch: RolloutBatch) -> dict[str, Tensor]:
    """Return the tensors of a window that an update may read: none of its dictionaries, nor where it began."""
    return {each.name: value for each in fields(batch) if isinstance(value := getattr(batch, each.name), Tensor)}
