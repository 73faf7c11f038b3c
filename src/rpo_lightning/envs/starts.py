"""Random starts, drawn for all environments at once and handed out one per reset."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["StartBank", "Starts"]

Starts = dict[str, Tensor]
"""The parts of M starts by name, (M, ...) each."""


class StartBank:
    """Starts in the order drawn, none used twice; more are drawn when they are used up. All are kept on the CPU.

    Drawing many at once costs little, also where the physics has to settle them, and what an episode starts with depends on
    nothing but the seed and how many episodes began before it.
    """

    def __init__(self) -> None:
        self._starts: Starts = {}
        self._used = self._size = 0

    def take(self, count: int, draw: Callable[[], Starts]) -> Starts:
        """Return `count` fresh starts, at least one; `draw` returns new ones, at least one.

        It is not kept: it is a method of the environment that keeps the bank, and a circle would outlive both.
        """
        taken: list[Starts] = []
        while count > 0:
            if self._used == self._size:
                self._starts = {name: part.detach().cpu() for name, part in draw().items()}
                self._used, self._size = 0, len(next(iter(self._starts.values())))
            now = slice(self._used, min(self._used + count, self._size))
            taken.append({name: part[now] for name, part in self._starts.items()})
            self._used = now.stop
            count -= now.stop - now.start
        return taken[0] if len(taken) == 1 else {name: torch.cat([some[name] for some in taken]) for name in taken[0]}

    def clear(self) -> None:
        """Forget the starts that are left."""
        self._used = self._size

    def state_dict(self) -> Starts:
        """Return the starts and how many of them are used."""
        return {name: part.clone() for name, part in self._starts.items()} | {"used": torch.tensor(self._used)}

    def load_state_dict(self, state: Starts) -> None:
        """Continue with what `state_dict` returned."""
        self._used = int(state["used"])
        self._starts = {name: part.cpu().clone() for name, part in state.items() if name != "used"}
        self._size = len(next(iter(self._starts.values()), ()))
