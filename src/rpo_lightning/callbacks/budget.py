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
        if env_steps is not None and env_steps < 1:
            raise ValueError(f"StopAtBudget needs env_steps of at least 1, or None, not {env_steps}.")
        self.env_steps = env_steps

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Tell the module where to stop."""
        if self.env_steps is not None:
            pl_module.stop_at = min(self.env_steps, pl_module.total_env_steps)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Stop at once when a finished run is continued."""
        self._check(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop after the iteration that used up the budget."""
        self._check(trainer, pl_module)

    @staticmethod
    def _check(trainer: Any, pl_module: Any) -> None:
        if pl_module.budget_reached:
            trainer.should_stop = True
