"""The Trainer's arguments, from the configuration and from where the process runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from rpo_lightning import processes
from rpo_lightning.cli import accelerator

__all__ = ["TRAINER_DEFAULTS", "adjusted", "divide_cores", "multiply_in_float32"]

TRAINER_DEFAULTS = {
    "devices": 1,
    "max_epochs": -1,
    "log_every_n_steps": 1,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
}

STRATEGIES = ("auto", "SingleDeviceStrategy", "DDPStrategy")


def adjusted(configured: Mapping[str, Any], task: str, num_envs: int) -> dict[str, Any]:
    """Return those of the Trainer's arguments that differ from the configured ones, which are checked.

    Args:
        configured: the Trainer's arguments.
        task: name or class path of what is trained, for the choice of a device.
        num_envs: environments per process, for the same.

    Raises:
        ValueError: for what would not train, or train something else.
    """
    if configured["barebones"]:
        raise ValueError(
            "trainer.barebones takes away checkpoints, loggers and callbacks, so that nothing would be left of a run; "
            "--trainer.logger false and --without switch single ones off."
        )
    if str(configured["precision"] or "32-true") not in ("32", "32-true"):
        raise ValueError(
            f"trainer.precision is {configured['precision']}, but only 32-true keeps the policy that collects and the "
            f"policy that learns the same; model.init_args.critic_precision=bf16 makes the critics alone faster."
        )
    strategy = configured["strategy"]
    name = strategy if isinstance(strategy, str) else strategy["class_path"].rpartition(".")[2]
    if name not in STRATEGIES and not name.startswith("ddp"):
        raise ValueError(
            f"trainer.strategy is {name}, but every process holds the whole (small) networks and averages gradients "
            f"itself: only auto and ddp are possible."
        )
    if (every := configured["check_val_every_n_epoch"]) is not None and every < 1:
        raise ValueError(f"trainer.check_val_every_n_epoch must be at least 1, or null for the end alone, not {every}.")
    if configured["limit_train_batches"] == 0:
        raise ValueError("trainer.limit_train_batches is 0, so that nothing would be trained.")
    for name in ("max_epochs", "max_steps"):
        if (limit := configured[name]) is not None and limit < 1 and limit != -1:
            raise ValueError(f"trainer.{name} must be at least 1, or -1 for no limit, not {limit}.")
    # null is "the default", and these are ours
    changed: dict[str, Any] = {name: value for name, value in TRAINER_DEFAULTS.items() if configured[name] is None}
    if configured["accelerator"] == "auto":
        changed["accelerator"], why = accelerator.chosen(task, num_envs)
        if why is not None:
            processes.say(why)
    return {**changed, **processes.torchrun_layout(configured["strategy"])}


def multiply_in_float32() -> None:
    """Let matrix products and recurrent networks be those of float32 on every device, never TF32's ten bits.

    Action-gradients pass through hundreds of substeps, and the importance weights compare the policy that collects with the
    one that learns. `critic_precision: bf16` is what makes large products faster, where it does no harm.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def divide_cores(devices: Any) -> None:
    """Divide the cores among the processes of this machine; torch would give every process all of them."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 0)) or processes.process_count(devices)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores // local))
