"""Tasks that grow more difficult where the policy can do them."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import Tensor

from rpo_lightning.distributed import mean_over_ranks
from rpo_lightning.transfers import Told


class Curriculum(Callback):
    """Move the difficulty of each environment by how its episodes went.

    For tasks with an attribute `difficulty` (N,) within 0 ... 1 that can be set and counts from each environment's next
    episode on, such as `quadruped_rough`. An episode that ended by its time limit with a mean reward per step of `up` or
    more makes its environment harder by `step`; one that failed, or had less than `down`, makes it easier by as much.
    Episodes whose beginning is unknown (`random_progress`) do not count. The difficulties are part of the environments'
    state, so a run that is resumed goes on exactly; `curriculum/difficulty` is their mean in the window just learned from.

    Args:
        up: mean reward per step from which on it becomes harder.
        down: mean reward per step below which it becomes easier.
        term: name of the term of the reward that is meant; None: the reward.
        step: by how much difficulties move.
    """

    def __init__(self, up: float, down: float, term: str | None = None, step: float = 0.1) -> None:
        super().__init__()
        if not down <= up or not 0.0 < step <= 1.0:
            raise ValueError(f"Curriculum needs down <= up and 0 < step <= 1, not down={down}, up={up}, step={step}.")
        self.up, self.down, self.term, self.step = up, down, term, step
        self._told: Told | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Check that the task has a difficulty to move.

        Raises:
            ValueError: if it has none.
        """
        if stage == "fit" and not isinstance(getattr(_env(trainer), "difficulty", None), Tensor):
            raise ValueError(f"Curriculum moves `difficulty`, which the task {trainer.datamodule.env_name} does not have.")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the difficulties by the episodes that ended in the window.

        Raises:
            ValueError: if the reward has no term of that name.
        """
        env = _env(trainer)
        told = self._told or Told(mean_over_ranks(env.difficulty.mean()))
        env.difficulty = (env.difficulty + self.step * self._moved(batch)).clamp(0.0, 1.0)
        self._told = Told(mean_over_ranks(env.difficulty.mean()))  # asked for after the next window: nobody waits
        pl_module.report({"curriculum/difficulty": float(told)})

    def _moved(self, batch: Any) -> Tensor:
        """Return by how many steps each environment becomes harder (N,)."""
        if self.term is not None and self.term not in batch.episode_terms:
            known = ", ".join(batch.episode_terms) or "none"
            raise ValueError(f"Curriculum: the task's reward has no term {self.term!r}; terms: {known}.")
        total = batch.episode_return if self.term is None else batch.episode_terms[self.term]
        mean = total / batch.episode_length  # NaN, and so neither, where no episode ended or its beginning is unknown
        harder = ~batch.terminated & (mean >= self.up)
        easier = (batch.terminated & ~mean.isnan()) | (mean < self.down)
        return (harder.float() - easier.float()).sum(0)


def _env(trainer: Any) -> Any:
    return trainer.datamodule.collector.env
