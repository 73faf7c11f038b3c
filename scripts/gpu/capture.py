"""Whether an update that is captured as one graph learns what launches do, and how much faster it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from statistics import median
from typing import Any

from lightning import Callback
from torch import Tensor

from gpu.agreement import fit
from gpu.part import Row, Settings
from gpu.recorded_graph import RecordedGraph
from rpo_lightning import algorithms
from rpo_lightning.algorithms.captured import REHEARSALS, CapturedUpdate
from rpo_lightning.driver import PlainDriver
from rpo_lightning.rollout import RolloutDataModule

ALGORITHMS = tuple(name for name in algorithms.__all__ if getattr(getattr(algorithms, name), "capturable", False))
CLOSE = 1e-2
"""Share of what one update changes of a tensor in which a replay may differ: a rate is rounded to float32."""
COMPARED = 2
"""Replays that are compared: the first runs on the very memory of the capture, the second on what that has left."""


class Recorded(Callback):
    """Stands in a rehearsal, where there are no graphs of CUDA, for `capture: true`."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Let the module replay what a graph of the CPU records."""
        pl_module._captured = CapturedUpdate(pl_module, RecordedGraph)


class Twin(Callback):
    """Lets a copy of the module learn by launches from every window, of the first replays from the very same weights."""

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.launched: list[float] = []
        self.replayed: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Copy the module, until enough replays have been compared."""
        if len(self.shares) < COMPARED:
            self.start = everything(pl_module)
            self.module = copy.deepcopy(pl_module)
            self.module.capture = False
            self.module.driver = PlainDriver(self.module)
            for own, other in zip(self.module.driver.optimizers(), pl_module.driver.optimizers(), strict=True):
                own.load_state_dict(copy.deepcopy(other.state_dict()))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let the copy learn from the same window, and compare what has become of both."""
        launched = self.module.training_step(batch, batch_idx)["time/update"]
        if not pl_module._captured.replaying:
            return
        if self.shares:  # the first has had the capture
            self.launched.append(launched)
            self.replayed.append(float(outputs["time/update"]))
        if len(self.shares) < COMPARED:
            mine, theirs = everything(self.module), everything(pl_module)
            differences = {key: float((mine[key] - theirs[key]).norm()) for key in mine}
            changes = {key: float((mine[key] - self.start.get(key, 0.0)).norm()) for key in mine}
            self.shares.append(max(differences[key] / max(changes[key], 1e-9) for key in mine))


def captured(settings: Settings) -> Iterator[Row]:
    """Two replays against launches from the same state: largest difference as a share of the change, milliseconds."""
    task, shape = settings.choose(("ant", (128, 32)), ("cartpole", (8, 4)))
    for name in ALGORITHMS:
        data, twin = RolloutDataModule(task, *shape, iterations_per_epoch=REHEARSALS + settings.choose(8, COMPARED)), Twin()
        callbacks = [twin, *([Recorded()] if settings.device == "cpu" else [])]
        own = {"capture": True, "lr_schedule": "linear"}
        fit(name, settings.device, data, 1, settings=own, callbacks=callbacks)
        yield {
            "algorithm": name,
            "compared": len(twin.shares),
            "difference": max(twin.shares, default=float("nan")),
            "launched_ms": 1e3 * median(twin.launched),
            "replayed_ms": 1e3 * median(twin.replayed),
            "ok": len(twin.shares) == COMPARED and max(twin.shares) <= CLOSE,
        }


def everything(module: Any) -> dict[str, Tensor]:
    """Return weights, statistics and the state of the optimizers."""
    found = dict(module.state_dict())
    for i, optimizer in enumerate(module.driver.optimizers()):
        for j, state in enumerate(optimizer.state.values()):
            found |= {f"optimizer {i}, parameter {j}, {name}": value for name, value in state.items()}
    return {name: value.detach().cpu().double().clone() for name, value in found.items()}
