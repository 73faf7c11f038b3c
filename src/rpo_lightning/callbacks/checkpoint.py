"""Keep the last and the best checkpoint of a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Checkpoint

from rpo_lightning.runs import CHECKPOINTS, write_atomically


class LastAndBest(Checkpoint):
    """Write `checkpoints/last.ckpt` at every epoch's end and `best.ckpt` when `monitor` has improved.

    Both are moved into place in one step: a process killed while writing leaves the previous file. Lightning's
    ModelCheckpoint counts optimizer steps and moves files over from another directory, so it can do neither.

    Args:
        monitor: metric of the evaluation, "return" (sampled actions) or "return_deterministic"; higher is better.
        every_n_iterations: also write `last.ckpt` in the middle of an epoch, every so many iterations.
    """

    def __init__(self, monitor: str = "return", every_n_iterations: int | None = None) -> None:
        super().__init__()
        kinds = {"return": "sampled", "return_deterministic": "deterministic"}
        if monitor not in kinds:
            raise ValueError(f"LastAndBest can monitor {' or '.join(kinds)}, not {monitor}.")
        if every_n_iterations is not None and every_n_iterations < 1:
            raise ValueError(f"every_n_iterations must be at least 1, not {every_n_iterations}.")
        self._kind, self.every_n_iterations = kinds[monitor], every_n_iterations
        self._best: float | None = None
        self._improved = False

    def on_evaluation_end(self, module: Any, results: dict[str, dict[str, float]]) -> None:
        """Note whether this evaluation is the best so far."""
        if self._kind not in results:
            raise ValueError(f"LastAndBest monitors {self._kind} actions, which the Evaluation does not evaluate.")
        value = results[self._kind]["mean"]
        if self._best is None or value > self._best:
            self._best, self._improved = value, True

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write `last.ckpt` in the middle of an epoch if that was asked for."""
        if self.every_n_iterations is not None and pl_module.iteration % self.every_n_iterations == 0:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Write `last.ckpt`, and `best.ckpt` after an improvement."""
        self._save(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write once more if the evaluation of the final weights was the best."""
        if self._improved:
            self._save(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Remember the best value."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._best = state_dict["best"]

    def _save(self, trainer: Any) -> None:
        """Write `last.ckpt` on all processes together; copy it to `best.ckpt` on the first."""
        folder = Path(trainer.default_root_dir) / CHECKPOINTS
        last = folder / "last.ckpt"
        temporary = folder / ".last.ckpt.tmp"
        trainer.save_checkpoint(temporary)  # gathers the simulators of all processes, so every one must call it
        if trainer.is_global_zero:
            temporary.replace(last)
            if self._improved:
                write_atomically(folder / "best.ckpt", lambda path: shutil.copyfile(last, path))
        self._improved = False
