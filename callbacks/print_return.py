"""Print the mean return of recent episodes.

rpo-lightning fit --config ant.yaml --trainer.callbacks+=PrintReturn --trainer.callbacks.every=20
"""

from typing import Any

from lightning import Callback


class PrintReturn(Callback):
    """Print one line every so many iterations.

    Args:
        every: iterations between two lines.
    """

    def __init__(self, every: int = 10) -> None:
        super().__init__()
        self.every = every

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Read the iteration's metrics from `outputs`; there is no return before the first episode has ended."""
        if trainer.is_global_zero and pl_module.iteration % self.every == 0 and "train/return" in outputs:
            print(f"{pl_module.env_steps} steps: return {outputs['train/return']:.1f}")
