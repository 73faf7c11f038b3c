"""The same module, data module and callbacks, driven by Lightning Fabric in a loop one can read."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import lightning
import torch
from lightning.fabric import Fabric

from rpo_lightning.algorithms import RLModule
from rpo_lightning.distributed import any_rank, from_first_rank
from rpo_lightning.rollout import RolloutBatch, RolloutDataModule

__all__ = ["FabricDriver"]

Iterations: TypeAlias = Generator[tuple[Iterator[RolloutBatch], int], tuple[RolloutBatch, dict[str, float]], None]
"""Yields the windows and the number of an iteration in its epoch, and takes the window it was made with and its metrics."""


class FabricDriver:
    """Run the training loop and stand in for the Trainer where callbacks ask for one.

    `FabricDriver(Fabric(callbacks=callbacks), RPO(...), RolloutDataModule(...), callbacks, "runs/mine").fit()`

    Iterations, hooks and checkpoint contents are the Trainer's, so both drivers give the same weights and either can
    continue the other's run.

    Args:
        fabric: not yet launched; its callbacks are `callbacks`.
        module: the algorithm.
        data: the windows.
        callbacks: called in this order, checkpoints last.
        default_root_dir: the run folder.
        max_epochs: stop earlier than the model's budget; -1: no limit.
        max_steps: the same, counted in iterations.
        check_val_every_n_epoch: epochs between evaluations; None: none before the end.
        limit_train_batches: iterations of an epoch, if fewer than the data module's; up to 1.0 a share of them.
        fast_dev_run: so many iterations and no more, of which nothing is to be kept; 0: a real run.

    Raises:
        ValueError: for a limit below 1.
    """

    sanity_checking = False

    def __init__(
        self,
        fabric: Fabric,
        module: RLModule,
        data: RolloutDataModule,
        callbacks: Sequence[Any],
        default_root_dir: str | Path,
        max_epochs: int = -1,
        max_steps: int = -1,
        check_val_every_n_epoch: int | None = 1,
        limit_train_batches: float | None = None,
        fast_dev_run: int = 0,
    ) -> None:
        self.fabric, self.module, self.data, self.callbacks = fabric, module, data, list(callbacks)
        self.default_root_dir = str(default_root_dir)
        self.max_epochs, self.max_steps, self.fast_dev_run = max_epochs, fast_dev_run or max_steps, fast_dev_run
        self.check_val_every_n_epoch = check_val_every_n_epoch
        limit = data.iterations_per_epoch if limit_train_batches is None else limit_train_batches
        if limit <= 0 or check_val_every_n_epoch == 0:
            raise ValueError("limit_train_batches and check_val_every_n_epoch must be above 0, or None.")
        if isinstance(limit, float) and limit <= 1.0:
            limit *= data.iterations_per_epoch
        self.epoch_length = max(1, min(int(limit), data.iterations_per_epoch))
        self.should_stop = False
        self._optimizers: list[torch.optim.Optimizer] = []

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Hand metrics to the loggers, against environment steps."""
        self.fabric.log_dict(metrics, step=step)
        for logger in self.loggers:
            logger.save()

    def hook(self, name: str, *args: Any) -> None:
        """Call `name(module, *args)` on every callback that has it."""
        self.fabric.call(name, self.module, *args)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers, in the order of `configure_optimizers`."""
        return self._optimizers

    def count_iteration(self) -> None:
        """Do nothing: `global_step` is the module's own count."""

    @property
    def precision(self) -> str:
        """Fabric's precision."""
        return self.fabric.strategy.precision.precision

    @property
    def current_epoch(self) -> int:
        """Number of the epoch being run, from 0."""
        return self.module.iteration // self.epoch_length

    @property
    def global_step(self) -> int:
        """Iterations done, as under the Trainer."""
        return self.module.iteration

    @property
    def is_global_zero(self) -> bool:
        """Whether this is the first process."""
        return self.fabric.is_global_zero

    @property
    def global_rank(self) -> int:
        """Index of this process."""
        return self.fabric.global_rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.fabric.world_size

    @property
    def strategy(self) -> Any:
        """Fabric's strategy."""
        return self.fabric.strategy

    @property
    def datamodule(self) -> RolloutDataModule:
        """The source of windows."""
        return self.data

    @property
    def num_training_batches(self) -> int:
        """Iterations of an epoch."""
        return self.epoch_length

    @property
    def loggers(self) -> list[Any]:
        """Fabric's loggers."""
        return self.fabric.loggers

    def fit(self, ckpt_path: str | Path | None = None) -> None:
        """Train until the model's budget or a limit; continue from `ckpt_path` if there is one."""
        loop = self.iterations(ckpt_path)
        with suppress(StopIteration):
            windows, batch_idx = next(loop)
            while True:
                try:
                    batch = next(windows)
                    self.call("on_train_batch_start", batch=batch, batch_idx=batch_idx)
                    outputs = self.module.training_step(batch, batch_idx)
                except BaseException as exception:
                    loop.throw(exception)
                windows, batch_idx = loop.send((batch, outputs))

    def iterations(self, ckpt_path: str | Path | None = None) -> Iterations:
        """Do all of `fit` but the iterations: for each, yield the windows and its number in the epoch.

        Whoever runs this takes a window, calls `on_train_batch_start` and `training_step`, and sends window and metrics.
        """
        self.fabric.launch()
        # Not `fabric.setup`: it would wrap the module for a forward pass that is never called; gradients are averaged by
        # the module itself.
        module: Any = self.module
        module.fabric = self.fabric
        module.to(self.fabric.device)
        module.driver = self
        for tensor in (*module.parameters(), *module.buffers()):
            from_first_rank(tensor.data)
        self._optimizers = list(module.configure_optimizers())
        module.setup("fit")
        self.data.attach(module).setup("fit")
        try:
            self.call("setup", stage="fit")
            if ckpt_path is not None:
                self._restore(Path(ckpt_path))
            self.call("on_fit_start")
            yield from self._train()
            self.call("on_fit_end")
            self.call("teardown", stage="fit")
            self.data.teardown("fit")
        except BaseException as exception:
            self.call("on_exception", exception=exception)
            self._finalize_loggers("failed")
            raise
        self._finalize_loggers("success")

    def call(self, name: str, **arguments: Any) -> None:
        """Call a hook of Lightning's on every callback that has it."""
        self.fabric.call(name, trainer=self, pl_module=self.module, **arguments)

    def save_checkpoint(self, filepath: str | Path) -> None:
        """Write everything that a resumed run needs, under the Trainer's names; every process must call it."""
        content: dict[str, Any] = {
            "epoch": self.current_epoch,
            "global_step": self.global_step,
            "pytorch-lightning_version": lightning.__version__,
            "state_dict": self.module.state_dict(),
            "optimizer_states": [optimizer.state_dict() for optimizer in self._optimizers],
            "lr_schedulers": [],
            "callbacks": {c.state_key: state for c in self.callbacks if (state := c.state_dict())},
            type(self.data).__qualname__: self.data.state_dict(),
        }
        self.call("on_save_checkpoint", checkpoint=content)
        self.module.on_save_checkpoint(content)
        self.fabric.save(filepath, content)

    def _finalize_loggers(self, status: str) -> None:
        for logger in self.loggers:
            logger.finalize(status)

    def _train(self) -> Iterations:
        self.call("on_train_start")
        while not self._done():
            self.call("on_train_epoch_start")
            epoch, first = self.current_epoch, self.module.iteration % self.epoch_length
            windows = iter(self.data.train_dataloader())
            for batch_idx in range(first, self.epoch_length):
                batch, outputs = yield windows, batch_idx
                self.call("on_train_batch_end", outputs=outputs, batch=batch, batch_idx=batch_idx)
                # A callback may have stopped one process only; the others would wait for it for ever.
                self.should_stop = any_rank(self.should_stop, self.module.device)
                if self._done():
                    break
            # As the Trainer: an epoch cut short by `max_steps` is not evaluated, one that was stopped is.
            whole = self.module.iteration % self.epoch_length == 0 or self.should_stop or self.module.budget_reached
            if whole and self.check_val_every_n_epoch and (epoch + 1) % self.check_val_every_n_epoch == 0:
                self._validate()
            self.call("on_train_epoch_end")
        self.call("on_train_end")

    def _done(self) -> bool:
        epochs_done = self.max_epochs >= 0 and self.module.iteration >= self.max_epochs * self.epoch_length
        steps_done = self.max_steps >= 0 and self.module.iteration >= self.max_steps
        return self.should_stop or self.module.budget_reached or epochs_done or steps_done

    @torch.no_grad()
    def _validate(self) -> None:
        self.module.eval()
        self.call("on_validation_start")
        self.call("on_validation_epoch_start")
        for batch_idx, batch in enumerate(self.data.val_dataloader()):
            self.call("on_validation_batch_start", batch=batch, batch_idx=batch_idx)
            self.module.validation_step(batch, batch_idx)
            self.call("on_validation_batch_end", outputs=None, batch=batch, batch_idx=batch_idx)
        self.call("on_validation_epoch_end")
        self.call("on_validation_end")
        self.module.train()

    def _restore(self, path: Path) -> None:
        """Restore module, optimizers, simulators and callbacks.

        Raises:
            ValueError: the checkpoint holds no simulator, or belongs to another algorithm, task or layout.
        """
        content = self.fabric.load(path)
        data_key = type(self.data).__qualname__
        if not content.get(data_key) or "optimizer_states" not in content:
            raise ValueError(f"{path} holds no simulator and optimizer state, so no run can be continued from it.")
        self.module.on_load_checkpoint(content)
        self.module.load_state_dict(content["state_dict"])
        for optimizer, state in zip(self._optimizers, content["optimizer_states"], strict=True):
            optimizer.load_state_dict(state)
        self.data.load_state_dict(content[data_key])
        states = content["callbacks"]
        for callback in self.callbacks:
            callback.on_load_checkpoint(self, self.module, content)
            if callback.state_key in states:
                callback.load_state_dict(states[callback.state_key])
