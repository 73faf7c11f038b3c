"""Keep the last and the best checkpoint of a run."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Checkpoint

from rpo_lightning.distributed import any_rank
from rpo_lightning.files import write_atomically
from rpo_lightning.processes import say
from rpo_lightning.run_folder import CHECKPOINTS


class LastAndBest(Checkpoint):
    """Write `checkpoints/last.ckpt` at every epoch's end and by the clock, and `best.ckpt` when `monitor` has improved.

    Both are moved into place in one step: a process killed while writing leaves the previous file. Weights that are not
    finite are not written. Lightning's ModelCheckpoint counts optimizer steps, moves files over from another directory
    and, under manual optimization, knows no clock, so it cannot do any of this.

    Args:
        monitor: metric of the evaluation, "return" (sampled actions) or "return_deterministic"; higher is better. One
            with a broken episode is never the best.
        every_n_iterations: also write `last.ckpt` in the middle of an epoch, every so many iterations.
        every_minutes: the same by the clock; None: not.
    """

    def __init__(
        self, monitor: str = "return", every_n_iterations: int | None = None, every_minutes: float | None = 10.0
    ) -> None:
        super().__init__()
        kinds = {"return": "sampled", "return_deterministic": "deterministic"}
        if monitor not in kinds:
            raise ValueError(f"LastAndBest can monitor {' or '.join(kinds)}, not {monitor}.")
        if every_n_iterations is not None and every_n_iterations < 1:
            raise ValueError(f"every_n_iterations must be at least 1, not {every_n_iterations}.")
        if every_minutes is not None and not every_minutes > 0:
            raise ValueError(f"every_minutes must be positive, not {every_minutes}.")
        self._kind, self.every_n_iterations, self.every_minutes = kinds[monitor], every_n_iterations, every_minutes
        self._best: float | None = None
        self._improved = False
        self._refused = False
        self._time = time.monotonic()

    def on_evaluation_end(self, module: Any, results: dict[str, dict[str, float]]) -> None:
        """Note whether this evaluation is the best so far."""
        if self._kind not in results:
            raise ValueError(f"LastAndBest monitors {self._kind} actions, which the Evaluation does not evaluate.")
        result = results[self._kind]
        if not result["broken"] and (self._best is None or result["mean"] > self._best):
            self._best, self._improved = result["mean"], True

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock; keep the weights that a resumed run has just evaluated, if they are the best."""
        self._time = time.monotonic()
        if self._improved:
            self.save(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write `last.ckpt` in the middle of an epoch if that was asked for or is due."""
        due = self.every_n_iterations is not None and pl_module.iteration % self.every_n_iterations == 0
        if self.every_minutes is not None:
            # no two processes have the same clock
            late = time.monotonic() - self._time > 60.0 * self.every_minutes
            due = any_rank(late, pl_module.device) or due
        if due:
            self.save(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Write `last.ckpt`, and `best.ckpt` after an improvement."""
        self.save(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write once more if the evaluation of the final weights was the best."""
        if self._improved:
            self.save(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Remember the best value."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._best = state_dict["best"]

    def save(self, trainer: Any, module: Any) -> None:
        """Write `last.ckpt` on all processes together; on the first, and before it, `best.ckpt` after an improvement.

        In this order a process killed between the two leaves a best one that the resumed run will find again; in the
        other, the resumed run would know of a best one that is nowhere.
        """
        self._time = time.monotonic()
        if getattr(trainer, "fast_dev_run", False) or self._refuses(trainer, module):
            return
        folder = Path(trainer.default_root_dir) / CHECKPOINTS
        temporary = folder / ".last.ckpt.tmp"
        trainer.save_checkpoint(temporary)  # gathers the simulators of all processes, so every one must call it
        if trainer.is_global_zero:
            if self._improved:
                write_atomically(folder / "best.ckpt", lambda path: shutil.copyfile(temporary, path))
            temporary.replace(folder / "last.ckpt")
        self._improved = False

    def _refuses(self, trainer: Any, module: Any) -> bool:
        """Tell, on all processes alike, whether the weights must not replace those of `last.ckpt`."""
        # the infinities of a buffer may be meant, as those of a mask
        broken = any(not bool(weights.isfinite().all()) for weights in module.parameters())
        broken = broken or any(bool(buffer.isnan().any()) for buffer in module.buffers())
        refused = any_rank(broken, module.device)
        if refused and not self._refused:
            say(
                f"the weights are not finite after {module.env_steps} steps: not written, "
                f"{Path(trainer.default_root_dir) / CHECKPOINTS} stays as it is."
            )
        self._refused = refused
        return refused
