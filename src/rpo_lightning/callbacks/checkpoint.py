"""Keep the last and the best checkpoint of a run, and a history of it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Checkpoint

from rpo_lightning.distributed import any_rank
from rpo_lightning.files import named, write_atomically
from rpo_lightning.processes import say
from rpo_lightning.run_folder import CHECKPOINTS, history


class LastAndBest(Checkpoint):
    """Write `checkpoints/last.ckpt` at every epoch's end and by the clock, and `best.ckpt` when `monitor` has improved.

    With `every_n_steps` also a history, `step_<environment steps>.ckpt`, any of which a run can be continued from. All are
    moved into place in one step: a process killed while writing leaves the previous file. Weights that are not finite are
    not written. Lightning's ModelCheckpoint counts optimizer steps, moves files over from another directory
    and, under manual optimization, knows no clock, so it cannot do any of this.

    Args:
        monitor: metric of the evaluation, "return" (sampled actions) or "return_deterministic"; higher is better. One
            with a broken episode is never the best.
        every_n_iterations: also write `last.ckpt` in the middle of an epoch, every so many iterations.
        every_minutes: the same by the clock; None: not.
        every_n_steps: environment steps from one checkpoint of the history to the next; each is of the first iteration that
            reaches a multiple of it, and, if that is an epoch's last, holds its evaluation. None: no history.
        keep: how many of them, the newest; None: all.
    """

    def __init__(
        self,
        monitor: str = "return",
        every_n_iterations: int | None = None,
        every_minutes: float | None = 10.0,
        every_n_steps: int | None = None,
        keep: int | None = None,
    ) -> None:
        super().__init__()
        kinds = {"return": "sampled", "return_deterministic": "deterministic"}
        if monitor not in kinds:
            raise ValueError(f"LastAndBest can monitor {' or '.join(kinds)}, not {monitor}.")
        if every_n_iterations is not None and every_n_iterations < 1:
            raise ValueError(f"every_n_iterations must be at least 1, not {every_n_iterations}.")
        if every_minutes is not None and not every_minutes > 0:
            raise ValueError(f"every_minutes must be positive, not {every_minutes}.")
        for name, value in (("every_n_steps", every_n_steps), ("keep", keep)):
            if value is not None and value < 1:
                raise ValueError(f"{name} of LastAndBest must be at least 1, not {value}.")
        if keep is not None and every_n_steps is None:
            raise ValueError(f"keep {keep} of LastAndBest: there is no history to keep without every_n_steps.")
        self._kind, self.every_n_iterations, self.every_minutes = kinds[monitor], every_n_iterations, every_minutes
        self.every_n_steps, self.keep = every_n_steps, keep
        self._multiples = 0
        """Multiples of `every_n_steps` up to the last checkpoint of the history."""
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
        self._multiples = self._reached(pl_module)
        if self._improved:
            self.save(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write `last.ckpt`, and one of the history, in the middle of an epoch if that was asked for or is due."""
        due = self.every_n_iterations is not None and pl_module.iteration % self.every_n_iterations == 0
        if self.every_minutes is not None:
            # no two processes have the same clock
            late = time.monotonic() - self._time > 60.0 * self.every_minutes
            due = any_rank(late, pl_module.device) or due
        # what belongs to an epoch's end comes before a checkpoint that is kept
        ends = batch_idx + 1 == trainer.num_training_batches
        if not ends and (due or self._reached(pl_module) > self._multiples):
            self.save(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Write `last.ckpt`, `best.ckpt` after an improvement, and one of the history if it is due."""
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
        """Write `last.ckpt` on all processes together; on the first, and before it, those that are to be kept.

        In this order a process killed in between leaves a best one, or one of the history, that the resumed run will write
        again; in the other, the resumed run would know of one that is nowhere.
        """
        self._time = time.monotonic()
        if getattr(trainer, "fast_dev_run", False) or self._refuses(trainer, module):
            return
        folder = Path(trainer.default_root_dir) / CHECKPOINTS
        temporary = folder / ".last.ckpt.tmp"
        with named(folder / "last.ckpt", temporary):
            trainer.save_checkpoint(temporary)  # gathers the simulators of all processes, so every one must call it
        if trainer.is_global_zero:
            if self._improved:
                write_atomically(folder / "best.ckpt", lambda path: shutil.copyfile(temporary, path))
            if self._reached(module) > self._multiples:
                write_atomically(folder / f"step_{module.env_steps}.ckpt", lambda path: shutil.copyfile(temporary, path))
                self._prune(folder, module.env_steps)
            with named(folder / "last.ckpt", temporary):
                temporary.replace(folder / "last.ckpt")
        self._improved = False
        self._multiples = self._reached(module)

    def _reached(self, module: Any) -> int:
        """Return how many multiples of `every_n_steps` the run has reached."""
        return 0 if self.every_n_steps is None else int(module.env_steps) // self.every_n_steps

    def _prune(self, folder: Path, env_steps: int) -> None:
        """Remove all but the newest of the history; later ones, of a run that was taken back, are replaced when reached."""
        past = [steps for steps in history(folder) if steps <= env_steps]
        for steps in past[: -self.keep] if self.keep is not None else ():
            (folder / f"step_{steps}.ckpt").unlink(missing_ok=True)

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
