"""Random starts, drawn for all environments at once and handed out one per reset."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rpo_lightning.envs.dmc.physics import Worlds

__all__ = ["StartBank"]


class StartBank:
    """Starts in the order drawn, none used twice; more are drawn when they are used up.

    Drawing many at once is what lets a start be settled by the physics, as some tasks ask, at little cost.

    Args:
        draw: returns new starts, at least one.
    """

    def __init__(self, draw: Callable[[], Worlds]) -> None:
        self._draw = draw
        self._starts = draw()
        self._used = 0

    def take(self, count: int) -> Worlds:
        """Return `count` fresh starts."""
        taken: list[Worlds] = []
        while count > 0:
            if self._used == len(self._starts.qpos):
                self._starts, self._used = self._draw(), 0
            some = self._starts.rows(slice(self._used, self._used + count))
            self._used += len(some.qpos)
            count -= len(some.qpos)
            taken.append(some)
        if len(taken) == 1:
            return taken[0]
        return Worlds(*(torch.cat(parts) for parts in zip(*(some.parts().values() for some in taken), strict=True)))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the starts and how many of them are used."""
        return {name: part.clone() for name, part in self._starts.parts().items()} | {"used": torch.tensor(self._used)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue with what `state_dict` returned."""
        self._starts = Worlds(**{name: state[name].cpu().clone() for name in self._starts.parts()})
        self._used = int(state["used"])
