"""Small runs under the Trainer and under Fabric, for the tests and for the processes they start."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Fabric, Trainer
from torch import Tensor

from rpo_lightning import make
from rpo_lightning.algorithms import GIPPO, NAPG, PPO, REPPO, RPO, SAC, SAPO, SHAC, RLModule
from rpo_lightning.distributed import rank, world_size
from rpo_lightning.fabric import FabricDriver
from rpo_lightning.nn import CriticEnsemble, FreeStdActor
from rpo_lightning.rollout import Collector, RolloutBatch, RolloutDataModule
from tests.toy import PointMass

ORIGINAL_NETWORKS: dict[str, Any] = {
    "actor": partial(FreeStdActor, hidden=(16, 16)),
    "critic": partial(CriticEnsemble, hidden=(16, 16), size=1, activation="elu", norm_first=False, gain=math.sqrt(2.0)),
}
"""Of the first SHAC, as configs/shac_original has them."""

SMALL: dict[str, tuple[type[RLModule], dict[str, Any]]] = {
    "rpo": (RPO, {"critic_epochs": 2, "actor_epochs": 3}),
    "shac": (SHAC, {"critic_epochs": 2}),
    "shac_original": (
        SHAC,
        {"critic_epochs": 2, "label": "shac_original", **ORIGINAL_NETWORKS, "target_smoothing": 0.2},
    ),
    "sapo": (SAPO, {"critic_epochs": 2}),
    "ppo": (PPO, {"actor_epochs": 3, "minibatch_size": 32}),
    "napg": (NAPG, {"critic_epochs": 2, "iterations": 4}),
    "gippo": (GIPPO, {"critic_epochs": 2, "fit_steps": 3, "actor_epochs": 2}),
    "reppo": (REPPO, {"epochs": 2, "minibatch_size": 32, "critic_width": 16}),
    "sac": (SAC, {"replay_size": 200, "batch_size": 32, "gradient_rounds": 2}),
}
"""Options that keep a run short; the replay buffer is full, and overwritten, in the fourth window."""

ALGORITHMS = tuple(SMALL)


def make_algorithm(name: str, **options: Any) -> RLModule:
    """Return a small module of the algorithm, always with the same weights."""
    torch.manual_seed(0)
    algorithm, defaults = SMALL[name]
    return algorithm(3, 1, **{"hidden": (16, 16), "total_env_steps": 4096, **defaults, **options})


def make_rpo(**options: Any) -> RPO:
    """Return a small RPO, always with the same weights."""
    return make_algorithm("rpo", **options)


def make_data(iterations_per_epoch: int = 4, **options: Any) -> RolloutDataModule:
    """Return a small data module."""
    defaults = {"num_envs": 8, "horizon": 8, "seed": 5}
    return RolloutDataModule(PointMass, iterations_per_epoch=iterations_per_epoch, **{**defaults, **options})


class UnionData(RolloutDataModule):
    """Every process rolls out the same environments and trains on its share of them."""

    def setup(self, stage: str | None = None) -> None:
        """Build the same collector on every rank."""
        if self.trainer is not None:
            self.attach(self.trainer.lightning_module)
        self.collector = Collector(make(self.env or PointMass, self.num_envs, seed=1), horizon=8, seed=1)

    def train_dataloader(self) -> Any:
        """Return the windows' share."""
        return _Share(super().train_dataloader())


class _Share:
    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[RolloutBatch]:
        return map(share, self.loader)


def share(batch: RolloutBatch) -> RolloutBatch:
    """Return this rank's environments of a window."""
    tensors = {f.name: getattr(batch, f.name) for f in fields(batch)}
    parts = {name: value[:, rank() :: world_size()] for name, value in tensors.items() if isinstance(value, Tensor)}
    return replace(batch, **parts)


def make_trainer(folder: Path | str = ".", **options: Any) -> Trainer:
    """Return a silent Trainer on one CPU process unless told otherwise."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": any("Checkpoint" in type(c).__name__ for c in options.get("callbacks", [])),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
        "default_root_dir": folder,
    }
    return Trainer(**{**defaults, **options})


def run_fabric(
    module: RLModule, data: RolloutDataModule, epochs: int = 1, callbacks: Sequence[Any] = (), **options: Any
) -> list[dict[str, float]]:
    """Train under Fabric and return every iteration's metrics."""
    record = Record()
    everyone = [*callbacks, record]
    fabric = Fabric(**{"accelerator": "cpu", "devices": 1, "callbacks": everyone, **options})
    FabricDriver(fabric, module, data, everyone, "runs", max_epochs=epochs, check_val_every_n_epoch=None).fit()
    return record.metrics


class Record(Callback):
    """Keep every iteration's metrics."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: dict[str, float], batch: Any, batch_idx: int
    ) -> None:
        """Keep the metrics that do not depend on the clock."""
        self.metrics.append({k: v for k, v in outputs.items() if not k.startswith("time/")})


def snapshot(module: RLModule) -> dict[str, Tensor]:
    """Return a copy of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def largest_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Return the largest absolute difference between two snapshots."""
    assert a.keys() == b.keys()
    return max((float((a[name] - b[name]).abs().max()) for name in a if a[name].numel()), default=0.0)
