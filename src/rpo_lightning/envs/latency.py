"""Actions that come late, as on a robot: by steps, by substeps, or both, drawn for every episode."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from rpo_lightning.envs.starts import Starts
from rpo_lightning.transfers import sent

__all__ = ["Latency"]


class Latency:
    """What drives N robots when: an action takes effect some steps and substeps after it was given, and before it others.

    Before an episode's first action zeros are in effect. The parts of a step are those between any two of the substeps at
    which an action can take effect: two for a delay of some substeps that is the same in all episodes.

    Args:
        task: a name for messages.
        steps: delay in steps, a number or [low, high], drawn for every episode.
        substeps: in substeps, likewise, to be added.
        count: substeps of a step.
        actions: (N, A) zeros.

    Raises:
        ValueError: for what is no delay.
    """

    def __init__(self, task: str, steps: Any, substeps: Any, count: int, actions: Tensor) -> None:
        within = f", fewer than the {count} of a step"
        self._steps = _range(f"{task}: action_delay must be steps", steps)
        self._substeps = _range(f"{task}: action_delay_substeps must be substeps{within}", substeps, count)
        low, high = self._substeps
        starts = sorted({0, *range(low, high + 1), count})
        self._parts = list(pairwise(starts))
        kept = self._steps[1] + 1 + (high > 0)
        self._recent = actions.expand(kept, *actions.shape)
        self._late = torch.zeros(2, len(actions), dtype=torch.int64, device=actions.device)
        self._rows = torch.arange(len(actions), device=actions.device)

    def __call__(self, action: Tensor) -> list[tuple[Tensor, int]]:
        """Take the action (N, A) that is given now; return those in effect (N, A), each with its number of substeps."""
        self._recent = torch.cat([action[None], self._recent[:-1]])
        late, within = self._late
        return [(self._recent[late + (first < within), self._rows], last - first) for first, last in self._parts]

    def begin(self, mask: Tensor, late: Tensor) -> None:
        """Forget the actions where `mask` (N,) bool, and take the delays (N, 2) of the episodes that begin there."""
        self.blank(mask)
        self._late = torch.where(mask, late.T, self._late)

    def draws(self, generator: torch.Generator) -> Starts:
        """Return delays for all environments, (N, 2): steps and substeps."""
        ranges = self._steps, self._substeps
        drawn = [torch.randint(low, high + 1, self._rows.shape, generator=generator) for low, high in ranges]
        return {"late": sent(torch.stack(drawn, dim=1), self._rows.device)}

    def blank(self, mask: Tensor) -> None:
        """Put zeros, without a gradient, where `mask` (N,) bool."""
        self._recent = self._recent.masked_fill(mask[:, None], 0.0)

    def forget(self) -> None:
        """Put zeros, without a graph, everywhere; delays are kept."""
        self._recent = torch.zeros_like(self._recent)

    def detach(self) -> None:
        """Cut the graph."""
        self._recent = self._recent.detach()

    def state_dict(self) -> dict[str, Tensor]:
        """Return actions and delays."""
        return {"recent": self._recent.detach().clone(), "late": self._late.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue with what `state_dict` returned."""
        self._recent = state["recent"].to(self._recent.device, copy=True)
        self._late = state["late"].to(self._late.device, copy=True)


def _range(rule: str, given: Any, end: int | None = None) -> tuple[int, int]:
    """Return low and high of a delay."""
    pair = [given, given] if isinstance(given, int) else given
    whole = isinstance(pair, list | tuple) and len(pair) == 2 and all(type(each) is int for each in pair)
    if not whole or not 0 <= pair[0] <= pair[1] or (end is not None and pair[1] >= end):
        raise ValueError(f"{rule}, 0 or more, or [low, high] of them, got {given!r}")
    return pair[0], pair[1]
