"""The callbacks that belong to every run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
from lightning import Callback
from lightning.pytorch.callbacks import Checkpoint, ProgressBar, Timer
from lightning.pytorch.loggers import TensorBoardLogger

from rpo_lightning import console
from rpo_lightning.callbacks import (
    EffectiveSamples,
    Evaluation,
    Evidence,
    LastAndBest,
    NaNGuard,
    Progress,
    StopAtBudget,
    StopOnSignal,
)
from rpo_lightning.cli.fabric import is_lightnings
from rpo_lightning.discovery import nearest
from rpo_lightning.rollout import RolloutDataModule
from rpo_lightning.run_folder import CHECKPOINTS
from rpo_lightning.runs import Run, steps

__all__ = ["STANDARD", "Announcement", "with_standard_ones"]

STANDARD: dict[type[Callback], type] = {
    EffectiveSamples: EffectiveSamples,
    Evaluation: Evaluation,
    NaNGuard: NaNGuard,
    StopAtBudget: StopAtBudget,
    Evidence: Evidence,
    Progress: ProgressBar,
    LastAndBest: LastAndBest,
    StopOnSignal: StopOnSignal,
}
"""Callback of every training run -> the kind of which one given by the user takes its place."""

ON_ITERATIONS = ("LearningRateMonitor", "DeviceStatsMonitor", "ThroughputMonitor")
"""Lightning's callbacks that log against its own step counter, whatever the module says."""


def with_standard_ones(given: list[Callback], without: list[str], settings: dict[str, Any], command: str) -> list[Callback]:
    """Return the standard callbacks that a command needs, then those given, checkpoints last.

    Args:
        given: by the user; one of a standard kind replaces it.
        without: names of standard ones to leave out.
        settings: of the Trainer: the progress bar and checkpoints can be switched off there too.
        command: what is to be done.

    Raises:
        ValueError: for a name that is not one of them.
    """
    names = {kind.__name__: kind for kind in STANDARD}
    for name in without:
        if name not in names:
            raise ValueError(f"--without {name}: every run has {', '.join(names)}.{nearest(name, names)}")
    if command in ("fit", "fabric"):
        off = {names[name] for name in without}
        if settings["fast_dev_run"]:
            off |= {Evidence, LastAndBest}
            given = [each for each in given if not isinstance(each, (Evidence, Checkpoint))]
        off |= {Progress} if settings["enable_progress_bar"] is False else set()
        off |= {LastAndBest} if settings["enable_checkpointing"] is False else set()
        wanted = [kind for kind in STANDARD if kind not in off]
    else:
        wanted = [Evaluation] if command in ("validate", "test") else []
    # Fabric does without Lightning's own, so they take nobody's place there
    usable = [each for each in given if command != "fabric" or not is_lightnings(each)]
    standard = [kind() for kind in wanted if not any(isinstance(each, STANDARD[kind]) for each in usable)]
    for name in (type(each).__name__ for each in usable if type(each).__name__ in ON_ITERATIONS):
        console.say(f"{name} logs against iterations, everything else against environment steps.")
    return sorted([*standard, *given], key=lambda each: (isinstance(each, Checkpoint), isinstance(each, StopOnSignal)))


class Announcement(Callback):
    """Say in two lines what begins, where it can be watched and, when it is done, what came out and what to do with it."""

    def __init__(self, run: Run, data: RolloutDataModule) -> None:
        super().__init__()
        self.run, self.data = run, data
        self._sampled: dict[str, float] = {}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Say what runs, on what, in which folder."""
        if not trainer.is_global_zero:
            return
        processes = f" in each of {trainer.world_size} processes" if trainer.world_size > 1 else ""
        threads = torch.get_num_threads()
        console.say(
            f"{type(pl_module).__name__} on {self.run.task}: {self.data.num_envs} environments x {self.data.horizon} "
            f"steps{processes}, {steps(pl_module).partition(' of ')[2]} in all; {pl_module.device}, {threads} "
            f"{'thread' if threads == 1 else 'threads'}"
        )
        if trainer.fast_dev_run:
            console.say("fast_dev_run: nothing is written")
        elif any(isinstance(logger, TensorBoardLogger) for logger in trainer.loggers):
            console.say(f"folder {self.run.directory}; to watch: tensorboard --logdir {self.run.directory}")
        else:
            console.say(f"folder {self.run.directory}; to watch: curve.csv in it, after every epoch")

    def on_evaluation_end(self, module: Any, results: dict[str, dict[str, float]]) -> None:
        """Keep the last evaluation."""
        self._sampled = results["sampled"]

    def say_end(self, trainer: Any, module: Any) -> None:
        """Say what came out, where it lies and what can be done with it; the driver has returned."""
        directory = self.run.directory
        outcome = "not evaluated"
        if self._sampled:
            episodes, broken = int(self._sampled["episodes"]), int(self._sampled["broken"])
            outcome = f"return {self._sampled['mean']:.4g} over {episodes - broken} episodes"
            outcome = outcome if broken < episodes else "no return"
            if broken:
                outcome += f", {broken} of {episodes} episodes broke: something in them was not finite"
        files = [name for name in ("summary.json", "curve.csv", "policy.pt") if (directory / name).exists()]
        where = f"; {', '.join(files)} in {directory}" if files else ""
        console.say(f"{steps(module)}, {outcome}{where}")
        left = module.env_steps < module.total_env_steps and not trainer.fast_dev_run
        if left and (directory / CHECKPOINTS / "last.ckpt").exists():
            limit = _limit_reached(trainer, module)
            resumed = getattr(module, "resumed", None)
            idle = resumed is not None and resumed.env_steps == module.env_steps
            if limit is None:
                console.say("next: the same command with --ckpt_path last goes on")
            else:
                console.say(
                    f"{'nothing trained' if idle else 'stopped'}: {limit} is reached; with a larger one, or without, "
                    f"--ckpt_path last goes on"
                )
        elif "policy.pt" in files:
            console.say(f"next: rpo-lightning predict --ckpt_path {directory / 'policy.pt'} writes what it does")


def _limit_reached(trainer: Any, module: Any) -> str | None:
    """Name the option that ends a run before its budget; None if none has."""
    if 0 <= trainer.max_epochs <= trainer.current_epoch:
        return f"trainer.max_epochs {trainer.max_epochs}"
    if 0 <= trainer.max_steps <= trainer.global_step:
        return f"trainer.max_steps {trainer.max_steps}"
    if module.budget_reached:
        return f"env_steps {module.stop_at} of StopAtBudget"
    for timer in (each for each in trainer.callbacks if isinstance(each, Timer)):  # of trainer.max_time, as a rule
        left, spent = timer.time_remaining(), timer.time_elapsed()
        if left is not None and left <= 0:
            return f"trainer.max_time {timedelta(seconds=round(spent + left))}"
    return None
