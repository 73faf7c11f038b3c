"""What an algorithm asks of whatever runs its loop: Lightning's Trainer, `FabricDriver`, or a loop of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

__all__ = ["Driver", "PlainDriver", "TrainerDriver"]


class Driver(Protocol):
    """The few things that the Trainer and Fabric do differently; device, processes and reductions they share."""

    @property
    def precision(self) -> str:
        """Precision of the weights, 32-true as a rule."""
        ...

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Hand metrics to the loggers, against environment steps."""
        ...

    def hook(self, name: str, *args: Any) -> None:
        """Call `name(module, *args)` on every callback that has it."""
        ...

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return torch's own optimizers, in the order of `configure_optimizers`."""
        ...

    def count_iteration(self) -> None:
        """Count one iteration in the loop's own step counter."""
        ...


class TrainerDriver:
    """The Trainer that a module is attached to."""

    def __init__(self, module: Any) -> None:
        self.module = module

    @property
    def precision(self) -> str:
        """Of the Trainer's plugin."""
        return self.module.trainer.precision

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Log through the module; the entry "step" is the x axis of Lightning's loggers."""
        self.module.log_dict({**metrics, "step": float(step)}, batch_size=1)

    def hook(self, name: str, *args: Any) -> None:
        """Call the callbacks' hook."""
        call_hook(self.module.trainer.callbacks, name, self.module, *args)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers inside Lightning's wrappers."""
        return [getattr(wrapper, "optimizer", wrapper) for wrapper in self._wrappers(use_pl_optimizer=False)]

    def count_iteration(self) -> None:
        """Make `global_step`, which counts steps of Lightning's wrappers, count iterations.

        The updates step torch's own optimizers, which Lightning does not see; this step sees no gradient.
        """
        self._wrappers()[-1].step()

    def _wrappers(self, use_pl_optimizer: bool = True) -> list[Any]:
        wrappers = self.module.optimizers(use_pl_optimizer=use_pl_optimizer)
        return wrappers if isinstance(wrappers, list) else [wrappers]


class PlainDriver:
    """A loop of one's own: `for batch in loader: module.training_step(batch, 0)`, which returns the metrics.

    Args:
        module: the algorithm.
        callbacks: whose hooks the algorithm calls while it learns; those of the loop are its own to call.
    """

    precision = "32-true"

    def __init__(self, module: Any, callbacks: Sequence[Any] = ()) -> None:
        self.module, self.callbacks = module, callbacks
        self._optimizers: list[torch.optim.Optimizer] = list(module.configure_optimizers())

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Do nothing: there is no logger."""

    def hook(self, name: str, *args: Any) -> None:
        """Call the callbacks' hook."""
        call_hook(self.callbacks, name, self.module, *args)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the module's optimizers."""
        return self._optimizers

    def count_iteration(self) -> None:
        """Do nothing: the module counts its iterations itself."""


def call_hook(callbacks: Sequence[Any], name: str, *args: Any) -> None:
    """Call `name(*args)` on every callback that has it."""
    for callback in callbacks:
        if (method := getattr(callback, name, None)) is not None:
            method(*args)
