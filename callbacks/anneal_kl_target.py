"""Steer REPPO's constraint from outside: let its KL target fall over the run, for a policy that settles.

rpo-lightning fit --config reppo/ant.yaml --trainer.callbacks+=AnnealKLTarget --trainer.callbacks.final=0.01
"""

from typing import Any

from lightning import Callback


class AnnealKLTarget(Callback):
    """Move `kl_target` geometrically from its configured value to `final` at the end of the budget.

    It follows from the step counter alone, so there is nothing to store in a checkpoint.

    Args:
        final: KL(old || new) per state when the budget is spent [nats].
    """

    def __init__(self, final: float = 0.01) -> None:
        super().__init__()
        if not final > 0:
            raise ValueError(f"AnnealKLTarget needs final > 0, not {final}.")
        self.final = final
        self.initial: float | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Remember where to start.

        Raises:
            ValueError: the model has no such target.
        """
        if not hasattr(pl_module, "kl_target"):
            raise ValueError(f"AnnealKLTarget moves `kl_target`, which {type(pl_module).__name__} does not have.")
        self.initial = self.initial or pl_module.kl_target  # a second fit finds a target already lowered

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Set the target for the first window, which may be one of a resumed run."""
        self._set(pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Set the target for the next window."""
        self._set(pl_module)

    def _set(self, module: Any) -> None:
        assert self.initial is not None
        progress = min(module.env_steps / module.total_env_steps, 1.0)
        module.kl_target = self.initial * (self.final / self.initial) ** progress
