"""Describe the run in its folder, and say where a resumed one goes on."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from rpo_lightning.event_file import EventFile
from rpo_lightning.loggers import OpensLate, log_hyperparameters, remember_ids
from rpo_lightning.processes import say
from rpo_lightning.runs import hyperparameters, keeps_files, run_of, steps


class RunFolder(Callback):
    """Write `config.yaml` and tell the loggers what the run is once the first iteration is done; watch over the folder.

    Nothing is written before, so that a start that fails leaves nothing behind.

    Args:
        checkpoint: what the run is continued from, to be named.
    """

    def __init__(self, checkpoint: Path | None = None) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.began = False
        """Whether training has begun: from there on an error is no longer one of the command line."""
        self._folder: tuple[int, int] | None = None
        self._from = 0

    @property
    def written(self) -> bool:
        """Whether something of the run lies in its folder."""
        return self._folder is not None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Say where the run goes on and with what changes."""
        self.began = True
        resumed = getattr(pl_module, "resumed", None)
        if pl_module.env_steps > 0:
            source = f" from {self.checkpoint}" if self.checkpoint is not None else ""
            say(f"continuing at {steps(pl_module)}{source}.")
        for name, (then, now) in (resumed.changes if resumed is not None else {}).items():
            say(f"changed since the checkpoint: {name} is now {now}, was {then}.")
        self._from = pl_module.env_steps
        for logger in trainer.loggers:
            if isinstance(logger, OpensLate) and keeps_files(trainer):
                logger.begin(pl_module.env_steps)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write `config.yaml` after the first iteration; check that the folder is still that one after every other.

        Loggers get the parameters of the run then, TensorBoard's the command and the configuration too.

        Raises:
            FileNotFoundError: if it is not.
        """
        if not keeps_files(trainer):
            return
        run = run_of(trainer, pl_module)
        if self._folder is None:
            run.write_config()
            self._folder = _identity(run.directory)
            for logger in trainer.loggers:
                log_hyperparameters(logger, hyperparameters(trainer, pl_module), self._from)
                if isinstance(logger, EventFile):
                    logger.describe(run, self._from)
            remember_ids(run.directory, trainer.loggers)
        if _identity(run.directory) != self._folder:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(run.directory))


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
