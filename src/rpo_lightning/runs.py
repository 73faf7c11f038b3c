"""A run, as callbacks know it."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rpo_lightning.files import write_atomically

__all__ = ["Run", "hyperparameters", "keeps_files", "run_of", "steps"]

DIMENSIONS = ("obs_dim", "action_dim", "privileged_dim")
"""Options of every algorithm that the task decides."""

DATA_OPTIONS = ("num_envs", "horizon", "iterations_per_epoch", "random_progress", "noise_correlation")
"""Options of the data module that a configuration names, besides the environment, its options in training and the seed."""


@dataclass(frozen=True)
class Run:
    """What callbacks know about the run they work for; set as `module.run` by both drivers."""

    directory: Path
    task: str
    algorithm: str
    seed: int
    command: str
    config: str
    """The configuration as resolved, YAML text."""

    def write_config(self) -> None:
        """Write `config.yaml` into the run folder."""
        write_atomically(self.directory / "config.yaml", lambda path: path.write_text(self.config))


def run_of(trainer: Any, module: Any) -> Run:
    """Return what the command line has set as `module.run`; without one, make it of the driver's folder and data module."""
    if getattr(module, "run", None) is None:
        data = trainer.datamodule
        algorithm = f"{type(module).__module__}.{type(module).__qualname__}"
        env = data.env if isinstance(data.env, str | dict) else f"{data.env.__module__}.{data.env.__qualname__}"
        config: dict[str, Any] = {
            "seed_everything": data.seed,
            "model": {
                "class_path": algorithm,
                "init_args": {n: v for n, v in module.hparams.items() if n not in DIMENSIONS},
            },
            "data": {"env": env, **{name: getattr(data, name) for name in DATA_OPTIONS}, "training": data.training},
        }
        if (source := getattr(module, "source", None)) is not None:
            config["init_from"] = source["path"]
        module.run = Run(
            directory=Path(trainer.default_root_dir),
            task=data.env_name,
            algorithm=module.name,
            seed=data.seed,
            command=shlex.join(sys.argv),
            config=yaml.safe_dump(config, sort_keys=False),
        )
    return module.run


def hyperparameters(trainer: Any, module: Any) -> dict[str, Any]:
    """Return what tells a run from others: task, algorithm, seed, environments and all options, by name."""
    run, data = run_of(trainer, module), trainer.datamodule
    options = data.env.get("init_args") or {} if isinstance(data.env, dict) else {}
    return {
        "task": run.task,
        "algorithm": run.algorithm,
        "seed": run.seed,
        **{name: getattr(data, name) for name in DATA_OPTIONS},
        "processes": trainer.world_size,
        **{f"env.{name}": value for name, value in options.items()},
        **{f"training.{name}": value for name, value in data.training.items()},
        **{
            name: value
            for name, value in module.hparams.items()
            if value is not None and name not in DIMENSIONS and not name.startswith("_")
        },
    }


def keeps_files(trainer: Any) -> bool:
    """Tell whether this process writes files of a run; Lightning's `fast_dev_run` is none."""
    return trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False)


def steps(module: Any) -> str:
    """Return for example "204 800 of 10 000 000 steps"."""
    return f"{module.env_steps:,} of {module.total_env_steps:,} steps".replace(",", " ")
