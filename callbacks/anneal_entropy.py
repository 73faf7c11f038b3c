"""Change the algorithm from outside: let the entropy coefficient fall over the run.

rpo-lightning fit --config ant.yaml --trainer.callbacks+=AnnealEntropy --trainer.callbacks.final=0.02
"""

from typing import Any

from lightning import Callback


class AnnealEntropy(Callback):
    """Move `entropy_coef` linearly from its configured value to `final` at the end of the budget.

    It follows from the step counter alone, so there is nothing to store in a checkpoint.

    Args:
        final: coefficient when the budget is spent.
    """

    def __init__(self, final: float = 0.0) -> None:
        super().__init__()
        self.final = final
        self.initial = 0.0

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Remember where to start."""
        self.initial = pl_module.entropy_coef

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Set the coefficient for the first window, which may be one of a resumed run."""
        self._set(pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Set the coefficient for the next window; `on_train_batch_start` would come after its collection."""
        self._set(pl_module)

    def _set(self, module: Any) -> None:
        progress = min(module.env_steps / module.total_env_steps, 1.0)
        module.entropy_coef = self.initial + (self.final - self.initial) * progress
