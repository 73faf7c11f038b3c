"""Whether an update that is captured as one graph learns what launches do, and how much faster it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from statistics import median
from typing import Any

from lightning import Callback
from torch import Tensor

from gpu.agreement import Outputs, difference, fit
from gpu.part import Row, Settings
from gpu.recorded_graph import RecordedGraph
from rpo_lightning import algorithms
from rpo_lightning.algorithms.captured import REHEARSALS, CapturedUpdate
from rpo_lightning.driver import PlainDriver
from rpo_lightning.rollout import RolloutDataModule

ALGORITHMS = tuple(name for name in algorithms.__all__ if getattr(getattr(algorithms, name), "capturable", False))
CLOSE = 1e-3
"""Share of what one update changes in which a replay may differ: a rate is rounded to float32."""


class Recorded(Callback):
    """Stands in a rehearsal, where there are no graphs of CUDA, for `capture: true`."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Let the module replay what a graph of the CPU records."""
        pl_module._captured = CapturedUpdate(pl_module, RecordedGraph)


class Twin(Callback):
    """Lets a copy of the module learn by launches from the windows of the replays, first from the same weights."""

    def __init__(self) -> None:
        self.launched: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Copy the module before its first replay."""
        if batch_idx == REHEARSALS:
            self.start = weights_of(pl_module)
            self.module = copy.deepcopy(pl_module)
            self.module.driver = PlainDriver(self.module)
            for own, other in zip(self.module.driver.optimizers(), pl_module.driver.optimizers(), strict=True):
                own.load_state_dict(copy.deepcopy(other.state_dict()))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let the copy learn from the same window."""
        if batch_idx < REHEARSALS:
            return
        self.launched.append(self.module.training_step(batch, batch_idx)["time/update"])
        if batch_idx == REHEARSALS:
            mine, theirs = weights_of(self.module), weights_of(pl_module)
            self.share = difference(mine, theirs) / max(difference(self.start, mine), 1e-30)


def captured(settings: Settings) -> Iterator[Row]:
    """A replay against launches from the same weights: difference as a share of the change, milliseconds of an update."""
    task, shape = settings.choose(("ant", (128, 32)), ("cartpole", (8, 4)))
    for name in ALGORITHMS:
        data = RolloutDataModule(task, *shape, iterations_per_epoch=REHEARSALS + settings.choose(6, 2))
        outputs, twin = Outputs(), Twin()
        callbacks = [outputs, twin, *([Recorded()] if settings.device == "cpu" else [])]
        module, _ = fit(
            name, settings.device, data, 1, settings={"capture": True, "lr_schedule": "linear"}, callbacks=callbacks
        )
        replayed = median(row["time/update"] for row in outputs.rows[REHEARSALS + 1 :])
        replaying = module._captured is not None and module._captured.replaying
        yield {
            "algorithm": name,
            "difference": twin.share,
            "launched_ms": 1e3 * median(twin.launched[1:]),
            "replayed_ms": 1e3 * replayed,
            "ok": replaying and twin.share <= CLOSE,
        }


def weights_of(module: Any) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.named_parameters()}
