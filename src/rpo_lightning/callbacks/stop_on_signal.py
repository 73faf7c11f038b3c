"""Stop in order when a signal asks for it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.environments import LightningEnvironment

from rpo_lightning.callbacks.checkpoint import LastAndBest
from rpo_lightning.distributed import max_over_ranks
from rpo_lightning.interrupts import Interrupted, signals
from rpo_lightning.processes import say
from rpo_lightning.run_folder import CHECKPOINTS
from rpo_lightning.runs import steps


class StopOnSignal(Checkpoint):
    """End the iteration at the first SIGINT or SIGTERM on any process, write `last.ckpt` and leave; at once at a second.

    An evaluation under way is abandoned; the run that goes on makes it first. Under SLURM, SIGUSR1 does between two
    iterations what Lightning does in the middle of one: a checkpoint, and the job back into the queue. A kind of
    `Checkpoint`, because drivers call those after all others; it belongs behind `LastAndBest`.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """From here on signals are read between iterations."""
        announcement = "stopping after this iteration; a second signal ends at once.\n" if trainer.is_global_zero else ""
        signals.defer(announcement, trainer.world_size, lambda: _kill_children(trainer))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop here, unless the epoch ends: what belongs to its end comes first."""
        if batch_idx + 1 < trainer.num_training_batches:
            self._obey(trainer, pl_module, save=True)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop at an epoch's end; the checkpoint is written."""
        self._obey(trainer, pl_module, save=False)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop before results are written, since the last evaluation was abandoned."""
        self._obey(trainer, pl_module, save=False)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """All is written."""
        signals.release()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Take the processes along that would wait for this one, and then fail with a traceback each."""
        if not (isinstance(exception, Interrupted) and exception.in_order):
            _kill_children(trainer)
        signals.release()

    def _obey(self, trainer: Any, module: Any, save: bool) -> None:
        """Do what a signal asked for, on all processes alike.

        Raises:
            Interrupted: if that is to stop.
        """
        asked = torch.tensor([float(signals.received), float(signals.requeue_asked)], device=module.device)
        signum, requeue = max_over_ranks(asked).int().tolist()
        if requeue:
            signals.requeue()
        if not signum:
            return
        for callback in trainer.callbacks if save else ():
            if isinstance(callback, LastAndBest):
                callback.save(trainer, module)
        last = Path(trainer.default_root_dir) / CHECKPOINTS / "last.ckpt"
        say(
            f"stopped by {signal.Signals(signum).name} at {steps(module)}; "
            + (f"--ckpt_path last goes on from {last}." if last.exists() else "there is no checkpoint to go on from.")
        )
        signals.end_within_bounds(signum)
        stop = Interrupted(signum, in_order=True)
        # Lightning's launcher takes a process that ends with another code than 0 for a failure, and kills all of us.
        ours = isinstance(getattr(trainer.strategy, "cluster_environment", None), LightningEnvironment)
        if ours and trainer.global_rank > 0:
            stop.code = 0
        raise stop


def _kill_children(trainer: Any) -> None:
    """End the processes that Lightning has started from this one."""
    for process in getattr(trainer.strategy.launcher, "procs", ()):
        process.kill()
