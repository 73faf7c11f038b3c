"""Stop a run early, once an evaluation is good enough.

rpo-lightning fit --config ant.yaml --trainer.callbacks+=StopWhenSolved --trainer.callbacks.return_wanted=8000
"""

from typing import Any

from lightning import Callback


class StopWhenSolved(Callback):
    """Stop at the end of the epoch in which the evaluated return reaches a bound.

    Evaluations are the same on all processes, so all of them stop together.

    Args:
        return_wanted: mean return with sampled actions that is enough.
    """

    def __init__(self, return_wanted: float) -> None:
        super().__init__()
        self.return_wanted = return_wanted
        self.solved = False

    def on_evaluation_end(self, module: Any, results: dict[str, dict[str, float]]) -> None:
        """Look at the evaluation just made."""
        self.solved = results["sampled"]["mean"] >= self.return_wanted

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Tell the driver; both the Trainer and Fabric listen to `should_stop`."""
        if self.solved:
            trainer.should_stop = True
