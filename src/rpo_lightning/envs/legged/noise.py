"""Noise of what a robot measures, drawn on the CPU for many steps at once."""

from __future__ import annotations

import torch
from torch import Tensor

from rpo_lightning.transfers import sent

__all__ = ["Noise"]

_STEPS = 32  # drawn, and sent to the device, at once


class Noise:
    """Numbers (N, width) of the uniform distribution within -1 ... 1, the same until `renew` is called.

    Those of many steps are drawn at once, from a seed of their own that comes from a generator; a state keeps no more.

    Attributes: `numbers`, the present ones.

    Args:
        num_envs: N.
        width: how many for each environment.
        device: of the numbers.
    """

    def __init__(self, num_envs: int, width: int, device: torch.device) -> None:
        self._shape, self._device = (_STEPS, num_envs, width), device
        self._draw(seed=0)
        self.clear()

    def renew(self, generator: torch.Generator) -> None:
        """Take others."""
        self._step += 1
        if self._step >= _STEPS:
            self._draw(int(torch.randint(2**62, (), generator=generator)))
        self.numbers = self._all[self._step]

    def clear(self) -> None:
        """Forget those that are left."""
        self._step = _STEPS

    def state_dict(self) -> dict[str, Tensor]:
        """Return the seed, and which of its numbers are the present ones."""
        return {"seed": torch.tensor(self._seed), "step": torch.tensor(self._step)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue with what `state_dict` returned."""
        self._draw(int(state["seed"]), int(state["step"]))

    def _draw(self, seed: int, step: int = 0) -> None:
        self._seed, self._step = seed, step
        self._all = sent(2.0 * torch.rand(self._shape, generator=torch.Generator().manual_seed(seed)) - 1.0, self._device)
        self.numbers = self._all[min(step, _STEPS - 1)]
