"""Learning rates over a run."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

__all__ = ["TARGET_KL", "LRSchedule", "LearningRates"]

LRSchedule = Literal["exponential", "linear", "constant", "kl"]

TARGET_KL = 0.008
"""KL(old || new) that schedule "kl" aims at, within a factor of two."""
STEP = 1.5
RANGE = (0.002, 20.0)
"""Bounds of the factor on the initial rates: 1e-6 and 1e-2 at the usual 5e-4."""


class LearningRates:
    """The rates of an iteration, all by the same schedule.

    Args:
        schedule: exponential or linear: fall from the first value to `final`; constant; kl: moved to keep KL(old || new)
            near 0.008.
        final: rate at the end of the run.
    """

    def __init__(self, schedule: LRSchedule, final: float) -> None:
        self.schedule, self.final = schedule, final
        self.factor = 1.0
        """On the initial rates, of schedule "kl"; part of a checkpoint."""

    def rate(self, initial: float, progress: float) -> float:
        """Return the rate at a share of the run done, within [0, 1]; schedule "kl" does not look at it."""
        if self.schedule == "exponential":
            return initial * (self.final / initial) ** progress if initial > 0.0 else 0.0
        if self.schedule == "linear":
            return initial + (self.final - initial) * progress
        return initial * self.factor if self.schedule == "kl" else initial

    def adapt(self, kl: Tensor | float) -> None:
        """Under schedule "kl", lower the rates after too large a step and raise them after too small a one."""
        if self.schedule != "kl":
            return
        kl = float(kl)  # waited for once
        if kl > 2.0 * TARGET_KL:
            self.factor /= STEP
        elif kl < 0.5 * TARGET_KL:
            self.factor *= STEP
        self.factor = min(max(self.factor, RANGE[0]), RANGE[1])
