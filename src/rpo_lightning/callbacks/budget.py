"""Stop when the environment-step budget is used up."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import Callback


class StopAtBudget(Callback):
    """Stop training once `total_env_steps` of the model (summed over processes) have been taken, or `env_steps`.

    The counter is the same on every process, so all of them stop after the same iteration.

    Args:
        env_steps: stop after so many already: a part of the run, whose learning-rate schedule stays that of the whole.
            Continued with a larger number, or none, it goes on as if it had not stopped.
    """

    def __init__(self, env_steps: int | None = None) -> None:
        super().__init__()
        self.env_steps = env_steps

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Stop at once when a finished run is continued."""
        self._check(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop after the iteration that used up the budget."""
        self._check(trainer, pl_module)

    def _check(self, trainer: Any, pl_module: Any) -> None:
        partly = self.env_steps is not None and pl_module.env_steps >= self.env_steps
        if pl_module.budget_reached or partly:
            trainer.should_stop = True
