"""TensorBoard's event file of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import _DummyExperiment
from lightning.pytorch.loggers import TensorBoardLogger

__all__ = ["EventFile"]


class EventFile(TensorBoardLogger):
    """Write TensorBoard's events into the run folder, once there are any: a start that fails shows no empty run.

    Drivers open every logger before anything is known to work.

    Args:
        directory: the run folder.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(str(directory), name="", version="", default_hp_metric=False)
        self._begun = False

    def begin(self, env_steps: int) -> None:
        """Write from now on; what an earlier process has logged after `env_steps` is to be forgotten."""
        self._begun = True
        self._kwargs["purge_step"] = env_steps + 1 if env_steps else 0

    @property
    def experiment(self) -> Any:
        """TensorBoard's `SummaryWriter`; before `begin` something that takes its calls and does nothing."""
        return super().experiment if self._begun else _DummyExperiment()

    def save(self) -> None:
        """Write what is under way, and no `hparams.yaml`, which would stay that of the first start: see `config.yaml`."""
        if self._begun:
            self.experiment.flush()
