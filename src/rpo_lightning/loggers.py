"""Lightning's loggers for a run: their files in the run folder, resumed under the same id, with the run's parameters."""

from __future__ import annotations

import csv
import inspect
import json
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import DummyExperiment

from rpo_lightning.files import write_json
from rpo_lightning.run_folder import newest_checkpoint

__all__ = ["ForgetsLater", "OpensLate", "in_run_folder", "log_hyperparameters", "remember_ids"]

IDS = "loggers.json"
"""File of the run folder with the ids under which services know the run."""

PROJECT = "rpo-lightning"
"""Where services file the run, unless told."""


class OpensLate(Logger):
    """Put before a logger of Lightning's: nothing is opened until `begin`, or the first metric.

    The Trainer opens every logger before anything is known to work; so a start that fails shows no empty run.
    """

    begun = False

    def begin(self, env_steps: int) -> None:
        """Write from now on, at `env_steps`; what a process that was killed has logged of later ones may be forgotten."""
        self.begun = True

    @property
    def experiment(self) -> Any:
        """What the logger writes with; before `begin` something that takes its calls and does nothing."""
        return super().experiment if self.begun else DummyExperiment()  # type: ignore[misc]

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log at environment steps."""
        if not self.begun:
            self.begin(0)
        super().log_metrics(dict(metrics), step)  # type: ignore[safe-super]

    def log_hyperparams(self, params: Any, *args: Any, **options: Any) -> None:
        """Log parameters; nothing before `begin`."""
        if self.begun:
            super().log_hyperparams(params, *args, **options)  # type: ignore[safe-super]


class ForgetsLater(OpensLate):
    """Put before a `TensorBoardLogger`: points that a killed process has logged after its last checkpoint are forgotten."""

    def begin(self: Any, env_steps: int) -> None:
        """Write from now on, and tell TensorBoard to show nothing later than `env_steps` of what is in the folder."""
        super().begin(env_steps)
        self._kwargs["purge_step"] = env_steps + 1 if env_steps else 0


class _KeepsRows(OpensLate):
    """Put back the rows that `CSVLogger` throws away when it opens a file that is there."""

    def begin(self: Any, env_steps: int) -> None:
        rows, path = [], Path(self.log_dir) / "metrics.csv"
        if env_steps > 0 and path.exists():
            with path.open(newline="") as file:
                whole = (line for line in file if line.endswith("\n"))  # a killed process may leave half of one
                rows = [row for row in csv.DictReader(whole) if int(row["step"]) <= env_steps]
        super().begin(env_steps)
        if not rows:
            return
        for row in rows:
            self.experiment.log_metrics({n: float(v) for n, v in row.items() if v and n != "step"}, int(row["step"]))
        self.save()


_GOING_ON: dict[type, type] = {CSVLogger: _KeepsRows, TensorBoardLogger: ForgetsLater}
"""Logger of files -> what makes it go on where a resumed run does."""


def in_run_folder(kind: type[Logger], directory: str | Path, title: str | None = None, **options: Any) -> Logger:
    """Return a logger of Lightning's whose files lie in a run folder; one of a run that is there goes on under its id.

    A relative folder among `options` is one of the run folder, and so is the logger's own default. Loggers other than
    CSVLogger, MLFlowLogger, TensorBoardLogger and WandbLogger are made as `options` say.

    Args:
        kind: its class.
        directory: the run folder.
        title: name of the run, for people.
        options: arguments of the class; None means its default.

    Raises:
        ImportError: if what the logger logs to is not installed. TypeError: for an option it does not have.
    """
    directory = Path(directory).absolute()
    defaults = {n: each.default for n, each in inspect.signature(kind).parameters.items()}
    given = {n: value for n, value in options.items() if value is not None and value != defaults.get(n)}
    folder = {"save_dir": str(directory / given.get("save_dir", ""))}
    known = _ids(directory).get(_service(kind)) if newest_checkpoint(directory) is not None else None
    ours: dict[str, Any] = {}
    if issubclass(kind, WandbLogger):
        ours = {"project": os.environ.get("WANDB_PROJECT", PROJECT), "name": title, "id": known, **given, **folder}
    elif issubclass(kind, MLFlowLogger):
        folder["save_dir"] = str(directory / given.get("save_dir", "mlruns"))
        ours = {"experiment_name": PROJECT, "run_name": title, "run_id": known, **given, **folder}
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else MLflow 3 refuses folders: servers are its future
    elif issubclass(kind, CSVLogger | TensorBoardLogger):
        ours = {"name": "", "version": "", **given, **folder}
    if not ours:
        return kind(**options)
    base = next((ours for theirs, ours in _GOING_ON.items() if issubclass(kind, theirs)), OpensLate)
    warnings.filterwarnings("ignore", message="Experiment logs directory")  # CSVLogger's, of what it would throw away
    try:
        # a private name: in configurations the public one is Lightning's
        return type(f"_{kind.__name__}", (base, kind), {"__module__": __name__})(**ours)
    except ModuleNotFoundError as error:
        raise ImportError(f'{kind.__name__}: {error}; pip install "rpo-lightning[loggers]"') from error


def log_hyperparameters(logger: Any, parameters: Mapping[str, Any], env_steps: int) -> None:
    """Log the parameters of a run; those changed by a start at `env_steps` count from there."""
    if isinstance(logger, MLFlowLogger):
        # MLflow keeps a parameter's first value for ever, and refuses another
        known = logger.experiment.get_run(str(logger.run_id)).data.params
        for name, value in parameters.items():
            if name in known and known[name] != str(value)[:250]:
                logger.experiment.set_tag(str(logger.run_id), f"{name} from {env_steps} steps", str(value))
        parameters = {name: value for name, value in parameters.items() if name not in known}
    logger.log_hyperparams(dict(parameters))


def remember_ids(directory: Path, loggers: Iterable[Any]) -> None:
    """Write down under which ids services know the run, for the next start."""
    ids = {name: str(each.version) for each in loggers if (name := _service(type(each)))}
    if ids and ids != _ids(directory):
        write_json(directory / IDS, ids)


def _service(kind: type) -> str:
    """Return under which name the id of such a logger is kept; nothing for one that has none."""
    return next((service.__name__ for service in (WandbLogger, MLFlowLogger) if issubclass(kind, service)), "")


def _ids(directory: Path) -> dict[str, str]:
    try:
        return json.loads((directory / IDS).read_text())
    except FileNotFoundError:
        return {}
