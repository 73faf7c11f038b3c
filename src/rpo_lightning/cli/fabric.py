"""Fabric from the Trainer's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.fabric import Fabric

from rpo_lightning import console, processes
from rpo_lightning.algorithms import RLModule
from rpo_lightning.fabric import FabricDriver
from rpo_lightning.rollout import RolloutDataModule

__all__ = ["fabric_driver"]

OPTIONS = ("accelerator", "strategy", "devices", "num_nodes", "precision", "plugins")
LIMITS = ("max_epochs", "max_steps", "check_val_every_n_epoch", "limit_train_batches")
USES = {
    *OPTIONS,
    *LIMITS,
    *("callbacks", "logger", "default_root_dir", "enable_checkpointing", "enable_progress_bar", "fast_dev_run"),
}


def fabric_driver(
    settings: dict[str, Any], defaults: Mapping[str, Any], module: RLModule, data: RolloutDataModule
) -> FabricDriver:
    """Build the driver from the Trainer's settings, and name those it ignores."""
    ignored = [
        f"trainer.{name}" for name, value in settings.items() if name not in USES and value != defaults.get(name, value)
    ]
    # Lightning's own callbacks ask the Trainer for more than Fabric has.
    foreign = [each for each in settings["callbacks"] if is_lightnings(each)]
    ignored += [type(callback).__name__ for callback in foreign]
    if ignored and processes.is_first_process():
        console.say(f"fabric ignores {', '.join(ignored)}.")
    callbacks = [each for each in settings["callbacks"] if each not in foreign]
    options = {name: settings[name] for name in OPTIONS if settings[name] is not None}
    limits = {name: settings[name] for name in LIMITS if settings[name] is not None}
    fabric = Fabric(**options, callbacks=callbacks, loggers=[] if settings["fast_dev_run"] else settings["logger"])
    return FabricDriver(
        fabric, module, data, callbacks, settings["default_root_dir"], fast_dev_run=int(settings["fast_dev_run"]), **limits
    )


def is_lightnings(callback: Any) -> bool:
    """Tell whether a callback is one of Lightning's own."""
    return type(callback).__module__.startswith("lightning.")
