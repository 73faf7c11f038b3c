"""Show how much of a window each actor epoch can still use."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import Callback


class EffectiveSamples(Callback):
    """Log, for every actor epoch, the share of samples inside the clip range and the largest probability ratio.

    Metrics `actor/effective_samples_epoch_<m>` and `actor/max_ratio_epoch_<m>`, m = 1..M; RPO measures before an epoch's
    step, so that its epoch 1 is on-policy (1 and 1), PPO after it. `actor/effective_samples` is logged by the algorithm
    itself: of RPO the mean over epochs 2..M, of PPO over all, of GI-PPO the share after the last.
    """

    def __init__(self) -> None:
        super().__init__()
        self._metrics: dict[str, Any] = {}

    def on_actor_epoch_end(self, module: Any, epoch: int, metrics: dict[str, Any]) -> None:
        """Keep what epoch `epoch` (counted from 0) measured; already reduced over processes."""
        for name in ("effective_samples", "max_ratio"):
            self._metrics[f"actor/{name}_epoch_{epoch + 1}"] = metrics[name]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the iteration's epochs together."""
        if self._metrics:
            pl_module.report(self._metrics)
            self._metrics = {}
