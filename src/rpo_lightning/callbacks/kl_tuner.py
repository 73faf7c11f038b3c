"""Hold the policy's step size, measured as KL divergence, at a target."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.callbacks import Callback


class KLTuner(Callback):
    """Keep the measured KL(old || new) of an iteration at `target` by moving the model's `kl_coef`.

    After each iteration log(kl_coef) moves by `gain * log(kl / target)`, at most `gain` at once: a controller that
    integrates, so the KL settles at the target and not beside it. The coefficient is a buffer of the model; it is
    checkpointed there.

    Args:
        target: KL(old || new) after the last actor epoch, summed over action dimensions [nats].
        gain: step of log(kl_coef) per iteration when the KL is off by a factor of e.
        lowest: lower bound of the coefficient.
        highest: upper bound of the coefficient.
    """

    def __init__(self, target: float = 0.02, gain: float = 0.1, lowest: float = 1e-3, highest: float = 1e3) -> None:
        super().__init__()
        if not target > 0 or not gain > 0 or not 0 < lowest <= highest:
            raise ValueError(
                f"KLTuner needs target > 0, gain > 0 and 0 < lowest <= highest, not target={target}, gain={gain}, "
                f"lowest={lowest}, highest={highest}."
            )
        self.target, self.gain, self.lowest, self.highest = target, gain, lowest, highest

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Check that the model has a coefficient to move.

        Raises:
            ValueError: if it has none, or takes back what the target needs.
        """
        if not hasattr(pl_module, "kl_coef"):
            raise ValueError(f"KLTuner moves `kl_coef`, which {type(pl_module).__name__} does not have.")
        limit = float(getattr(pl_module, "kl_limit", math.inf))
        if limit < 2.0 * self.target:
            raise ValueError(
                f"KLTuner holds the KL at {self.target:g}, but kl_limit takes back what is above {limit:g} before it is "
                "seen: leave at least twice the target."
            )

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the coefficient by the KL this iteration ended with (already averaged over processes)."""
        kl = float(outputs["actor/kl"]) if "actor/kl" in outputs else math.nan
        if not math.isfinite(kl):
            return  # a skipped update measures nothing
        error = math.log(max(kl, 1e-12) / self.target)
        pl_module.kl_coef.mul_(math.exp(self.gain * max(-1.0, min(1.0, error)))).clamp_(self.lowest, self.highest)
