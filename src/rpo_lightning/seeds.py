"""Several seeds of one training in one process, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rpo_lightning.algorithms.containment import NonFiniteError
from rpo_lightning.algorithms.stack import check_alike
from rpo_lightning.algorithms.together import Together, check_modules
from rpo_lightning.envs.together import check_env
from rpo_lightning.fabric import FabricDriver
from rpo_lightning.interrupts import Interrupted
from rpo_lightning.rollout.together import TogetherCollector

__all__ = ["SeedsDriver"]


class SeedsDriver:
    """Lead several runs in step: their environments are simulated in one launch, and on a GPU their updates are one too.

    `SeedsDriver([FabricDriver(...), FabricDriver(...)]).fit()`

    Each run is one as `FabricDriver` makes it, with weights, optimizers, random numbers, callbacks, loggers and a folder of
    its own, and does what it would do alone, to rounding. It can be continued alone or with others, from its own checkpoint.
    A run that is behind the others is led first, until all are level; one that ends or gives up leaves the others to go on.

    Args:
        drivers: of the runs, not yet started, each in one process.
        stacked: see `Together`; None: on a GPU.

    Raises:
        ValueError: for what cannot be trained so: see `check_modules`, `check_alike` and `check_env`; runs in more than one
            process.
    """

    def __init__(self, drivers: Sequence[FabricDriver], stacked: bool | None = None) -> None:
        if any(driver.world_size > 1 for driver in drivers):
            raise ValueError("Several runs train in one process, on one device: trainer.devices must be 1.")
        modules = [driver.module for driver in drivers]
        stacked = drivers[0].fabric.device.type == "cuda" if stacked is None else stacked
        check_modules(modules)
        if stacked:
            check_alike(modules)
        env = drivers[0].data.attach(drivers[0].module).make_env(1, seed=0, **drivers[0].data.training)
        try:
            check_env(env)
        finally:
            env.close()
        self.drivers, self.stacked = list(drivers), stacked

    def fit(self, checkpoints: Sequence[str | Path | None] | None = None) -> None:
        """Train all runs to their ends; continue each from its checkpoint, if there is one.

        Raises:
            Interrupted: a signal has stopped all of them, in order. NonFiniteError: that of the first run that gave up, when
                the others are done.
        """
        loops = [_Loop(*each) for each in zip(self.drivers, checkpoints or [None] * len(self.drivers), strict=True)]
        going, group = loops, None
        try:
            while going := [loop for loop in going if loop.begin()]:
                behind = min(loop.driver.module.iteration for loop in going)
                level = [loop for loop in going if loop.driver.module.iteration == behind]
                if group is None or group.loops != level:
                    group = _Group(level, self.stacked)
                group.iterate()
        except BaseException as error:
            for loop in loops:
                loop.give_up(error)
            raise
        stopped = [loop.error for loop in loops if loop.error is not None]
        for reason in sorted(stopped, key=lambda each: not isinstance(each, Interrupted)):
            raise reason


class _Loop:
    """A run between two iterations.

    Attributes: `error`, what has ended it before its end.
    """

    def __init__(self, driver: FabricDriver, checkpoint: str | Path | None) -> None:
        self.driver = driver
        self.error: BaseException | None = None
        self._iterations = driver.iterations(checkpoint)
        self._turn: Any = None
        self._over = False

    @property
    def batch_idx(self) -> int:
        """Number of the iteration to be made, in its epoch."""
        return self._turn[1]

    def begin(self) -> bool:
        """Go as far as the first iteration, if that has not been done; tell whether there is one to be made."""
        if self._turn is None and not self._over:
            self._advance(None)
        return not self._over

    def end(self, batch: Any, outputs: dict[str, float]) -> None:
        """Do what comes after an iteration, as far as the next one."""
        self._advance((batch, outputs))

    def give_up(self, error: BaseException) -> None:
        """Let the run end with an error."""
        if not self._over and self._turn is not None:
            self._over, self.error = True, error
            with suppress(type(error)):
                self._iterations.throw(error)

    def _advance(self, made: Any) -> None:
        try:
            self._turn = self._iterations.send(made)
        except StopIteration:
            self._over = True
        except Interrupted as error:
            self._over, self.error = True, error
        except BaseException:
            self._over = True
            raise


class _Group:
    """Runs that are level, and make their iterations together; a single one makes its own."""

    def __init__(self, loops: Sequence[_Loop], stacked: bool) -> None:
        self.loops = list(loops)
        self._modules: list[Any] = [loop.driver.module for loop in loops]
        self._collectors: list[Any] = [loop.driver.data.collector for loop in loops]
        self._together = Together(self._modules, stacked and len(loops) > 1)
        self._collector = TogetherCollector(self._collectors) if loops[1:] else None

    def iterate(self) -> None:
        """Make one iteration of each run."""
        windows = self._collect()
        for loop, batch in zip(self.loops, windows, strict=True):
            loop.driver.call("on_train_batch_start", batch=batch, batch_idx=loop.batch_idx)
        checked = [module.check(batch) for module, batch in zip(self._modules, windows, strict=True)]
        metrics = self._together.update(windows, [each.skipped for each in checked])
        for loop, *rest in zip(self.loops, windows, checked, metrics, strict=True):
            try:
                outputs = loop.driver.module.conclude(*rest)
            except NonFiniteError as error:
                loop.give_up(error)
            else:
                loop.end(rest[0], outputs)

    def _collect(self) -> list[Any]:
        if self._collector is not None:
            return self._collector.collect_each(self._together)
        return [self._collectors[0].collect(self._modules[0])]
