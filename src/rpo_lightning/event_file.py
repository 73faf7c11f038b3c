"""TensorBoard's event file of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger

from rpo_lightning.loggers import ForgetsLater
from rpo_lightning.runs import Run

__all__ = ["EventFile", "write_summary"]

FIRST = {
    "return, evaluated": ["eval/return$", "eval/return_deterministic$"],
    "return, while training": ["train/return$"],
    "KL of an iteration": ["actor/kl$"],
    "critic's loss": ["critic/loss$"],
    "steps per second": ["time/steps_per_second$"],
}
"""The five charts of the page "Custom Scalars", with patterns of what they show."""

METRIC = "eval/return"
"""What the table of hyper-parameters shows beside them: always the last value in the file."""


class EventFile(ForgetsLater, TensorBoardLogger):
    """Write TensorBoard's events into the run folder, and with them the run's parameters, command and foremost charts.

    Args:
        directory: the run folder.
    """

    def __init__(self, directory: str | Path) -> None:
        super().__init__(str(directory), name="", version="", default_hp_metric=False)
        self._session_end: Any = None

    def describe(self, run: Run, env_steps: int) -> None:
        """Write which charts come first and, as text, the command and the configuration of this start."""
        self.experiment.add_custom_scalars({"What matters": {title: ["Multiline", tags] for title, tags in FIRST.items()}})
        text = f"**command**\n\n`{run.command}`\n\n**config.yaml**\n\n```\n{run.config.strip()}\n```"
        self.experiment.add_text("run", text, env_steps)

    def log_hyperparams(self, params: Any, metrics: Any = None, step: int | None = None) -> None:
        """Write the run's row of the table of hyper-parameters into this file, not into a folder of its own.

        `metrics` and `step` are the base class's; the metric is the curve `eval/return`.
        """
        if not self.begun:
            return
        from torch.utils.tensorboard.summary import hparams

        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in params.items()
        }
        head, start, self._session_end = hparams(plain, {METRIC: 0.0})
        for summary in (head, start):
            write_summary(self, summary)

    def save(self) -> None:
        """Write what is under way, and no `hparams.yaml`, which would stay that of the first start: see `config.yaml`."""
        if self.begun:
            self.experiment.flush()

    def finalize(self, status: str) -> None:
        """Note in the table of hyper-parameters that the run is done, if it is, and close the file."""
        if self.begun and self._session_end is not None and status == "success":
            write_summary(self, self._session_end)
        super().finalize(status)


def write_summary(logger: TensorBoardLogger, summary: Any, step: int | None = None) -> None:
    """Write a ready-made protobuf `Summary` into the event file of a logger, opened again if it was closed.

    torch's writer has public methods for what it encodes itself only: no GIF as it is, and hyper-parameters in a file apart.
    """
    logger.experiment._get_file_writer().add_summary(summary, step)
