"""Progress of a run in environment steps, with what decides its speed."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm


def _short(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


class Progress(ProgressBar):
    """Show environment steps, steps/s, rollout and update time, returns and time left.

    A bar on a terminal; elsewhere (a log file, a batch job) one line every so often.

    Args:
        every_s: seconds between two lines where there is no terminal.
    """

    def __init__(self, every_s: float = 30.0) -> None:
        super().__init__()
        self.every_s = every_s
        self._enabled = True
        self._bar: tqdm | None = None
        self._evaluation = math.nan
        self._first_step = 0
        self._started = self._printed = 0.0

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Show on the first process only."""
        self._enabled = self._enabled and trainer.is_global_zero

    def disable(self) -> None:
        """Show nothing."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock at the steps a resumed run already has."""
        self._first_step, self._started = pl_module.env_steps, time.perf_counter()
        self._printed = self._started
        if self._enabled and sys.stderr.isatty():
            self._bar = tqdm(
                total=pl_module.stop_at,
                initial=pl_module.env_steps,
                desc=pl_module.name,
                unit="step",
                unit_scale=True,
                dynamic_ncols=True,
            )

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Show the iteration just done."""
        if not self._enabled:
            return
        now = time.perf_counter()
        if self._bar is not None:
            self._bar.update(pl_module.env_steps - self._bar.n)
            self._bar.set_postfix_str(self._figures(outputs), refresh=False)
        elif now - self._printed >= self.every_s or pl_module.budget_reached:
            self._printed = now
            done, total = pl_module.env_steps, pl_module.stop_at
            speed = (done - self._first_step) / (now - self._started)
            left = max(total - done, 0) / speed
            print(
                f"{pl_module.name} {_short(done)}/{_short(total)} steps, {_short(speed)}steps/s, "
                f"{self._figures(outputs)}, {tqdm.format_interval(left)} left",
                file=sys.stderr,
                flush=True,
            )

    def on_evaluation_end(self, module: Any, results: dict[str, dict[str, float]]) -> None:
        """Keep the last evaluation in sight."""
        self._evaluation = results["sampled"]["mean"]

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave the terminal clean."""
        self.on_train_end(trainer, pl_module)

    def _figures(self, outputs: Any) -> str:
        """Return rollout and update time and the returns of one iteration."""
        parts = [f"rollout {float(outputs['time/rollout']):.2f}s, update {float(outputs['time/update']):.2f}s"]
        if math.isfinite(value := float(outputs.get("train/return", math.nan))):
            parts.append(f"return {value:.4g}")
        if math.isfinite(self._evaluation):
            parts.append(f"eval {self._evaluation:.4g}")
        return ", ".join(parts)
